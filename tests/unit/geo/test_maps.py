"""Files of a flight's map, read back."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from flown_lot import Standing, camera_at, fly, parking_lot
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from yolo_ema.errors import ConfigError
from yolo_ema.geo.camera_heights import grounds_of_stills
from yolo_ema.geo.flight_map import map_flight
from yolo_ema.geo.maps.antimeridian import cut_line, cut_polygons
from yolo_ema.geo.maps.kml import ellipse_ring
from yolo_ema.geo.maps.page import map_page
from yolo_ema.geo.maps.write_map import write_map
from yolo_ema.geo.outlines import outlines
from yolo_ema.geo.pose import NoPose
from yolo_ema.geo.sightings import locate_source
from yolo_ema.options.mapping import MapOptions

HOSTILE = 'c</script>"&=<x>'


@pytest.fixture(scope="module")
def flight():
    things = [*parking_lot(rows=1, bays=5), Standing("pedestrian", -4, -6, velocity=(1.5, 0.0))]
    frames = fly(things, lambda time_s: camera_at(0, -45, 50, 0, -50), seconds=4, fps=4)
    frames = [
        replace(
            frame,
            class_names=tuple(HOSTILE if name == "car" else name for name in frame.class_names),
        )
        for frame in frames
    ]
    lost = replace(frames[-1], frame=99, time_s=9.0, pose=NoPose("gap"))
    options = MapOptions()
    return map_flight([locate_source([*frames, lost], options)], options)


def area(ring) -> float:
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def polygons_of(geometry):
    single = geometry["type"] == "Polygon"
    return [geometry["coordinates"]] if single else geometry["coordinates"]


def test_geojson_is_as_rfc_7946_has_it(flight, tmp_path):
    path = tmp_path / "objects.geojson"
    write_map(path, flight, layers=("objects", "paths", "sightings", "coverage"))
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    assert content["type"] == "FeatureCollection"
    assert "crs" not in content
    header = content["yolo_ema"]
    assert header["sightings_not_placed"] == {"gap": len(flight.sources[0].frames[-1].scores)}
    assert len(set(header["assumptions"])) == len(header["assumptions"]) > 5
    layers = {}
    for feature in content["features"]:
        layers.setdefault(feature["properties"]["layer"], []).append(feature)
    assert {name: len(found) for name, found in layers.items()} == {
        "objects": len(flight.objects),
        "paths": 1,
        "sightings": flight.sightings,
        "coverage": len(flight.coverage),
    }
    longitude, latitude = layers["objects"][0]["geometry"]["coordinates"]
    assert (longitude, latitude) == (
        pytest.approx(8.765, abs=1e-2),
        pytest.approx(47.123, abs=1e-2),
    )
    assert not re.search(r"\d\.\d{8,}", text)
    for feature in layers["coverage"]:
        for outer, *holes in polygons_of(feature["geometry"]):
            assert outer[0] == outer[-1]
            assert area(outer) > 0
            assert all(area(hole) < 0 for hole in holes)
    unplaced = [one for one in layers["sightings"] if one["geometry"] is None]
    assert {one["properties"]["not_placed"] for one in unplaced} == {"gap"}


def test_geopackage_is_read_by_gdal(flight, tmp_path):
    path = tmp_path / "map.gpkg"
    write_map(path, flight)
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        said = connection.execute("SELECT value FROM about WHERE name = 'assumption'").fetchall()
        assert [value for (value,) in said] == list(flight.assumptions)
    finally:
        connection.close()
    pyogrio = pytest.importorskip("pyogrio")
    layers = dict(pyogrio.list_layers(path).tolist())
    assert layers == {
        "objects": "Point",
        "paths": "MultiLineString",
        "sightings": "Point",
        "coverage": "MultiPolygon",
        "about": None,
    }
    for layer, count in (("objects", len(flight.objects)), ("sightings", flight.sightings)):
        info = pyogrio.read_info(path, layer=layer)
        assert (info["features"], info["crs"]) == (count, "EPSG:4326")
    box = pyogrio.read_info(path, layer="objects", force_total_bounds=True)["total_bounds"]
    assert box == pytest.approx((8.765, 47.123, 8.766, 47.124), abs=1e-3)


def test_kml_is_xml_with_ellipses(flight, tmp_path):
    path = tmp_path / "map.kml"
    write_map(path, flight)
    root = ET.parse(path).getroot()
    space = {"k": "http://www.opengis.net/kml/2.2"}
    names = [one.text for one in root.findall(".//k:Placemark/k:name", space)]
    assert sum("95 % ellipse" in name for name in names) == len(flight.objects)
    assert any(name.startswith(HOSTILE) for name in names)
    ring = np.array(ellipse_ring([8.0, 47.0], 20.0, 5.0, 0.0))
    assert area(ring) > 0
    assert np.ptp(ring[:, 1]) * 111_000 == pytest.approx(40, rel=0.01)
    assert np.ptp(ring[:, 0]) * 76_000 == pytest.approx(10, rel=0.02)


def test_csv_has_every_sighting_and_says_what_is_assumed(flight, tmp_path):
    path = tmp_path / "map.csv"
    write_map(path, flight)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == flight.sightings
    assert all(bool(row["latitude_deg"]) != bool(row["not_placed"]) for row in rows)
    about = json.loads((tmp_path / "map.about.json").read_text())
    assert about["assumptions"] == list(flight.assumptions)


def test_the_page_holds_hostile_names_as_text_and_fetches_only_asked_for_tiles(flight):
    page = map_page(flight)
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert HOSTILE in json.loads(data)["classes"]
    assert HOSTILE not in page
    assert "https://" not in page
    tiled = map_page(flight, tiles="https://tiles.example.org/{z}/{x}/{y}.png")
    assert "img-src data: https://tiles.example.org" in tiled


def test_an_unknown_suffix_is_refused(flight, tmp_path):
    with pytest.raises(ConfigError, match="is not a map"):
        write_map(tmp_path / "map.shp", flight)


def test_lines_and_polygons_are_cut_at_the_antimeridian():
    line = cut_line([[179.0, 10.0], [-179.0, 20.0]])
    assert line == {
        "type": "MultiLineString",
        "coordinates": [[[179.0, 10.0], [180.0, 15.0]], [[-180.0, 15.0], [-179.0, 20.0]]],
    }
    square = [[179.0, 0.0], [-179.0, 0.0], [-179.0, 1.0], [179.0, 1.0], [179.0, 0.0]]
    cut = cut_polygons([[square]])
    assert cut["type"] == "MultiPolygon"
    areas = [area(rings[0]) for rings in cut["coordinates"]]
    assert areas == pytest.approx([1, 1])
    assert {x for rings in cut["coordinates"] for x, _ in rings[0]} == {179, 180, -180, -179}
    assert cut_line([[1.0, 2.0], [3.0, 4.0]])["type"] == "LineString"


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_outlines_enclose_as_much_as_there_are_cells(cells):
    polygons = outlines(cells)
    assert sum(area(ring) for rings in polygons for ring in rings) == cells.sum()
    for outer, *holes in polygons:
        assert area(outer) > 0
        assert all(area(hole) < 0 for hole in holes)


def test_coverage_of_a_view_straight_down_is_its_frame_on_the_ground():
    frames = fly([], lambda _: camera_at(0, 0, 60, 0, -89.9), seconds=1, fps=2)
    options = MapOptions()
    flight = map_flight([locate_source(frames, options)], options)
    width = 60 / 0.8  # metres: the focal length is 0.8 frame widths
    expected = width * width * 1080 / 1920
    assert sum(one.square_metres for one in flight.coverage) == pytest.approx(expected, rel=0.05)
    fine = map_flight([locate_source(frames, options)], MapOptions(coverage_gsd=0.01))
    assert fine.coverage == ()


def test_photos_far_apart_cover_what_each_covers():
    """In one grid, cells would be larger than what a photo shows."""
    options = MapOptions()

    def covered(*places_m: float) -> float:
        photos = []
        for number, north_m in enumerate(places_m):
            camera = camera_at(0, north_m, 60, 0, -89.9)
            (photo,) = fly([], lambda _, camera=camera: camera, seconds=1, fps=1)
            photos.append(replace(photo, source=f"{number}.jpg"))
        grounds = grounds_of_stills(options, [photo.pose for photo in photos])
        sources = [
            locate_source([photo], options, is_video=False, ground=ground)
            for photo, ground in zip(photos, grounds, strict=True)
        ]
        return sum(area.square_metres for area in map_flight(sources, options).coverage)

    alone = covered(0)
    assert covered(0, 100e3) == pytest.approx(2 * alone, rel=0.02)
    assert covered(0, 20, 100e3) == pytest.approx(covered(0, 20) + alone, rel=0.02)
    assert covered(0, 20) < 1.7 * alone


@pytest.mark.parametrize("seed", range(25))
def test_coverage_of_any_outline_is_cut_into_valid_polygons(seed):
    shapely = pytest.importorskip("shapely")
    cells = np.random.default_rng(seed).random((9, 9)) < 0.65
    # The cut runs askew through cells, through their corners, or along their edges.
    shear, start = (0.0, 4.0) if seed % 3 == 0 else (0.1, 3.0 + 0.3 * (seed % 5))
    for rings in outlines(cells):
        corners = [corner for ring in rings for corner in ring[:-1]]
        if len(corners) > len(set(corners)):
            continue  # rings that touch each other may be cut apart at more than one corner
        polygon = [
            [[(180 + 1e-5 * (x - start + shear * y) + 180) % 360 - 180, 1e-5 * y] for x, y in ring]
            for ring in rings
        ]
        polygon = [[[round(x, 7), round(y, 7)] for x, y in ring] for ring in polygon]
        cut = shapely.geometry.shape(cut_polygons([polygon]))
        flat = [[[x % 360, y] for x, y in ring] for ring in polygon]
        assert cut.area == pytest.approx(shapely.Polygon(flat[0], flat[1:]).area, rel=0.02)
        assert cut.bounds[0] >= -180
        for part in getattr(cut, "geoms", [cut]):
            assert part.is_valid, shapely.is_valid_reason(part)
            assert part.bounds[2] - part.bounds[0] < 1
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)


@pytest.mark.parametrize("seed", range(10))
def test_outlines_are_valid_polygons_also_where_cells_touch_at_corners(seed):
    shapely = pytest.importorskip("shapely")
    cells = np.random.default_rng(seed).random((9, 9)) < 0.65
    for outer, *holes in outlines(cells):
        assert shapely.Polygon(outer, holes).is_valid
