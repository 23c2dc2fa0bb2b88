from __future__ import annotations

import numpy as np
import pytest

from yolo_ema.geo.geodesic import LocalFrame, geodesic_forward, geodesic_inverse, wrapped_deg

pyproj = pytest.importorskip("pyproj")
GEOD = pyproj.Geod(ellps="WGS84")


def _ways(count: int = 5000) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    return (
        rng.uniform(-89.5, 89.5, count),
        rng.uniform(-180, 180, count),
        rng.uniform(-180, 180, count),
        10 ** rng.uniform(-2, 5, count),
    )


def test_forward_is_pyprojs_to_a_hundredth_of_a_millimetre():
    latitude, longitude, azimuth, distance = _ways()
    found = geodesic_forward(latitude, longitude, azimuth, distance)
    expected_longitude, expected_latitude, _ = GEOD.fwd(longitude, latitude, azimuth, distance)
    off = GEOD.inv(found[1], found[0], expected_longitude, expected_latitude)[2]
    assert np.max(off) < 1e-5


def test_inverse_undoes_forward():
    latitude, longitude, azimuth, distance = _ways()
    there = geodesic_forward(latitude, longitude, azimuth, distance)
    back_azimuth, back_distance = geodesic_inverse(latitude, longitude, *there)
    assert np.abs(back_distance - distance).max() < 1e-5
    assert np.abs(np.radians(wrapped_deg(back_azimuth - azimuth)) * distance).max() < 1e-5


def test_the_same_point_is_no_way_off_and_the_equator_is_no_exception():
    assert geodesic_inverse(10.0, 20.0, 10.0, 20.0)[1] == 0
    azimuth, distance = geodesic_inverse(0.0, 179.9995, 0.0, -179.9995)
    assert (azimuth, distance) == (90, pytest.approx(111.319, abs=1e-3))


def test_opposite_points_of_the_earth_are_refused():
    assert np.isnan(geodesic_inverse(0.0, 0.0, 0.3, 179.8)[1])


def test_a_local_frame_works_over_the_antimeridian():
    latitudes, longitudes = np.array([-17.0, -17.001]), np.array([179.9995, -179.9995])
    frame = LocalFrame.around(latitudes, longitudes)
    assert abs(wrapped_deg(frame.longitude_deg - 180)) < 1e-6
    metres = frame.to_metres(latitudes, longitudes)
    expected = GEOD.inv(longitudes[0], latitudes[0], longitudes[1], latitudes[1])[2]
    assert np.hypot(*(metres[1] - metres[0])) == pytest.approx(expected, abs=1e-4)
    back = frame.to_degrees(metres)
    np.testing.assert_allclose(back[0], latitudes, atol=1e-11)
    np.testing.assert_allclose(wrapped_deg(back[1] - longitudes), 0, atol=1e-11)
