"""Bodies: sizes a person would accept, faces that look outward, colours in range."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_ema.constants import OTHERS, VISDRONE_CLASSES
from yolo_ema.scenes.bodies import body_of, rider
from yolo_ema.scenes.paints import palette_of

CATEGORIES = [*range(1, len(VISDRONE_CLASSES) + 1), OTHERS]
SIZES_M = {  # length, width, height that the class's real things have
    1: (0.2, 0.9, 0.4, 0.9, 1.5, 1.9),
    2: (0.5, 1.0, 0.4, 0.9, 1.1, 1.5),
    3: (1.5, 2.0, 0.3, 0.8, 0.9, 1.2),
    4: (3.8, 5.0, 1.6, 2.0, 1.3, 1.7),
    5: (4.5, 6.0, 1.7, 2.2, 1.8, 2.6),
    6: (6, 12, 2.1, 2.7, 2.4, 4),
    7: (2.2, 3.5, 1.0, 1.5, 0.9, 1.6),
    8: (2.2, 3.5, 1.0, 1.6, 1.6, 2.2),
    9: (9, 13, 2.3, 2.8, 2.7, 3.6),
    10: (1.6, 2.3, 0.4, 0.9, 0.9, 1.3),
    OTHERS: (1, 4.5, 0.8, 2, 1.5, 3),
}


@pytest.mark.parametrize("category", CATEGORIES)
def test_sizes_are_plausible(category):
    corners = body_of(category).mesh.corners
    low, high = corners.min(axis=0), corners.max(axis=0)
    bounds = np.array(SIZES_M[category]).reshape(3, 2)
    assert ((high - low >= bounds[:, 0]) & (high - low <= bounds[:, 1])).all(), high - low
    assert low[2] == pytest.approx(0, abs=0.06), "it stands on the ground"


@pytest.mark.parametrize(
    "category", [one for one in CATEGORIES if one != 3]
)  # a bicycle's wheels are rings, which are not convex
def test_faces_point_away_from_their_part(category):
    shape = body_of(category).mesh
    outward = shape.corners[shape.faces].mean(axis=1) - shape.centres[shape.part]
    assert ((shape.normals * outward).sum(axis=1) > 0).all()


@pytest.mark.parametrize("category", CATEGORIES)
def test_normals_have_unit_length(category):
    np.testing.assert_allclose(np.linalg.norm(body_of(category).mesh.normals, axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("category", CATEGORIES)
def test_colours_are_in_range(category):
    for seed in range(20):
        palette = palette_of(category, np.random.default_rng(seed))
        assert palette.shape == (8, 3)
        assert palette.min() >= 0
        assert palette.max() <= 255


def test_a_rider_sits_where_the_seat_is():
    low, high = (rider(seat).mesh.corners[:, 2] for seat in (0.8, 1.0))
    np.testing.assert_allclose(high - low, 0.2, atol=1e-9)
    assert rider(0.8).category == 2
