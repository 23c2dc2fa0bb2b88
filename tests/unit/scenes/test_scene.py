"""Scenes: the same from the same seed, VisDrone's sizes, all classes, clear errors."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.scenes import draw_scene
from yolo_ema.scenes.light import texture


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(seed, image_wh=(960, 540)) for seed in range(12)]


def test_the_same_seed_gives_the_same_bytes():
    one, other = draw_scene(5, image_wh=(320, 180)), draw_scene(5, image_wh=(320, 180))
    assert one.image_bgr.tobytes() == other.image_bgr.tobytes()
    assert one.annotations.tobytes() == other.annotations.tobytes()
    assert one.identities.tobytes() == other.identities.tobytes()


def test_other_seeds_give_other_scenes():
    assert (
        draw_scene(5, image_wh=(320, 180)).image_bgr.tobytes()
        != draw_scene(6, image_wh=(320, 180)).image_bgr.tobytes()
    )


def test_drawing_leaves_numpys_global_generator_alone():
    np.random.seed(1)  # noqa: NPY002 - the global generator is what is tested
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_scene(1, image_wh=(160, 96))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_all_ten_classes_and_ignored_regions_occur(scenes):
    categories = np.concatenate([scene.annotations[:, 5] for scene in scenes])
    assert set(range(11)) <= set(categories.tolist())


def test_sizes_and_densities_are_visdrones(scenes):
    counted = [scene.annotations[scene.annotations[:, 4] == 1] for scene in scenes]
    rows = np.concatenate(counted)
    at_640 = np.sqrt(rows[:, 2] * rows[:, 3]) * 640 / 960
    assert 8 < np.median(at_640) < 20
    assert 35 < np.median([len(one) for one in counted]) < 100
    cars, walkers = rows[rows[:, 5] == 4], rows[rows[:, 5] == 1]
    assert np.median(walkers[:, 3]) > 1.2 * np.median(walkers[:, 2]), (
        "most walkers stand upright in the picture"
    )
    assert np.median(cars[:, 2] * cars[:, 3]) > 4 * np.median(walkers[:, 2] * walkers[:, 3])


def test_some_objects_are_partly_hidden_and_some_truncated(scenes):
    rows = np.concatenate([scene.annotations for scene in scenes])
    rows = rows[rows[:, 5] > 0]
    assert 0.1 < (rows[:, 7] > 0).mean() < 0.7
    assert 0.01 < (rows[:, 6] > 0).mean() < 0.25


def test_a_crowd_lies_in_an_ignored_region():
    found = 0
    for seed in range(6):
        scene = draw_scene(seed, image_wh=(640, 360), crowd=True)
        regions = scene.annotations[scene.annotations[:, 5] == 0]
        found += bool((regions[:, 2] * regions[:, 3] > 600).any())
    assert found >= 4


def test_images_are_neither_black_nor_overexposed(scenes):
    for scene in scenes:
        assert 35 < scene.image_bgr.mean() < 200
        assert (scene.image_bgr == 255).mean() < 0.1


def test_the_grounds_texture_repeats_without_a_seam():
    tile = texture()
    inside = np.abs(np.diff(tile, axis=1)).mean()
    assert np.abs(tile[:, 0] - tile[:, -1]).mean() < 1.3 * inside
    assert np.abs(tile[0] - tile[-1]).mean() < 1.3 * inside


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_wh": (32, 540)}, "64 to 8192"),
        ({"image_wh": (960, 9000)}, "64 to 8192"),
        ({"objects": 0}, "1 to 200"),
        ({"objects": 900}, "1 to 200"),
        ({"range_m": (90.0, 40.0)}, "smaller first"),
        ({"range_m": (1.0, 40.0)}, "10 to 300"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        draw_scene(0, **wrong)
