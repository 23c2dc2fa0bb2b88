"""Augmentations for drone footage: each acts, and one that silently would not is an error."""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np
import pytest
from painted import dataset_of, make_dataset, seed_all
from ultralytics.data.augment import Compose
from ultralytics.utils.instance import Instances

from yolo_ema.engine.data import drone_augmentations
from yolo_ema.engine.data.drone_augmentations import (
    DroneAugmentation,
    Haze,
    QuarterTurns,
    add_drone_augmentations,
    check_active,
    turned,
)
from yolo_ema.errors import CheckFailedError
from yolo_ema.options.drone import AUGMENTATIONS, DroneOptions

PHOTOMETRIC = [name for name in AUGMENTATIONS if name != "quarter_turns"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("painted"))


def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8), (0, 0), 2)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_training_samples(images, name, monkeypatch):
    """Fails where a named augmentation does not reach the images."""
    monkeypatch.setattr(drone_augmentations, "PROBABILITY", 0.5)
    plain, with_it = dataset_of(images), dataset_of(images, drone=DroneOptions(augment=(name,)))
    changed = 0
    for seed in range(24):
        pair = []
        for dataset in (plain, with_it):
            seed_all(seed)
            pair.append(dataset[seed % 6])
        changed += not np.array_equal(pair[0]["img"], pair[1]["img"])
        assert len(pair[0]["cls"]) == len(pair[1]["cls"])
        if name != "quarter_turns":
            assert np.array_equal(pair[0]["bboxes"], pair[1]["bboxes"])
    assert 6 <= changed <= 22


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_each_photometric_augmentation_does_what_its_name_says(name):
    before = picture().astype(float)
    after = DroneAugmentation([name]).parts()[name](picture()).astype(float)
    assert after.shape == before.shape
    sharpness = [cv2.Laplacian(one.mean(2), cv2.CV_64F).std() for one in (before, after)]
    if name == "motion_blur":
        assert sharpness[1] < 0.9 * sharpness[0]
    elif name == "haze":
        assert after.std() < 0.95 * before.std()
        assert after.mean() > before.mean()
        assert after[:10].std() < after[-10:].std(), "thicker towards the top"
    elif name == "low_light":
        assert after.mean() < 0.85 * before.mean()
    elif name == "noise":
        assert sharpness[1] > 1.2 * sharpness[0]
    else:
        assert 0 < abs(after - before).mean() < 12


def test_haze_is_a_blend_with_the_airlight():
    image = picture()
    hazy = Haze(p=1.0).apply(image, haze=0.2, airlight=200.0)
    for row in (0, 50, 95):
        clear = 1 - 0.2 * (1.5 - 0.5 * row / 95)
        expected = image[row].astype(float) * clear + 200.0 * (1 - clear)
        assert abs(hazy[row] - expected).max() <= 0.51
    assert np.array_equal(Haze(p=1.0).apply(image, haze=0.0), image)


def test_photometric_augmentations_follow_the_seed(images):
    dataset = dataset_of(images, drone=DroneOptions(augment=tuple(PHOTOMETRIC)))

    def run(seed: int) -> list[np.ndarray]:
        seed_all(seed)
        return [dataset[index]["img"].numpy() for index in range(6)]

    step = next(
        step for step in dataset.transforms.transforms if isinstance(step, DroneAugmentation)
    )
    first = run(1)
    step.seed = None  # as in a worker that has just started
    assert all(np.array_equal(one, other) for one, other in zip(first, run(1), strict=True))
    assert not all(np.array_equal(one, other) for one, other in zip(first, run(2), strict=True))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("normalized", [False, True])
def test_quarter_turns_turn_boxes_with_the_pixels(turns, normalized):
    image = np.zeros((60, 100, 3), np.uint8)
    image[10:25, 30:70] = 255
    polygon = np.array([[[30, 10], [70, 10], [70, 25], [30, 25]]], np.float32)
    instances = Instances(
        np.array([[50, 17.5, 40, 15]], np.float32), polygon, bbox_format="xywh", normalized=False
    )
    if normalized:
        instances.normalize(100, 60)
    labels = turned({"img": image, "instances": instances, "cls": np.zeros((1, 1))}, turns)
    rows, columns = np.nonzero(labels["img"][..., 0])
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    boxes = labels["instances"]
    boxes.convert_bbox("xyxy")
    boxes.denormalize(labels["img"].shape[1], labels["img"].shape[0])
    assert np.allclose(boxes.bboxes[0], expected)
    assert np.allclose([*boxes.segments[0].min(0), *boxes.segments[0].max(0)], expected)
    assert np.array_equal(labels["img"], np.rot90(image, turns))


def test_an_oblong_image_is_only_turned_upside_down():
    shapes = set()
    for seed in range(20):
        seed_all(seed)
        instances = Instances(np.zeros((0, 4), np.float32), bbox_format="xyxy", normalized=False)
        shapes.add(
            QuarterTurns()({"img": np.zeros((60, 100, 3), np.uint8), "instances": instances})[
                "img"
            ].shape
        )
    assert shapes == {(60, 100, 3)}


def test_quarter_turns_are_equally_likely():
    seed_all(0)
    corner = np.zeros((8, 8, 3), np.uint8)
    corner[0, 0] = 1
    found = [
        int(np.flatnonzero(QuarterTurns()({"img": corner})["img"][..., 0])[0]) for _ in range(800)
    ]
    counts = np.unique(found, return_counts=True)[1]
    assert len(counts) == 4
    assert counts.min() > 150


def test_an_augmentation_that_changes_nothing_is_an_error(images, monkeypatch):
    monkeypatch.setattr(drone_augmentations, "_photometric", lambda name, p: A.NoOp(p=p))
    with pytest.raises(CheckFailedError, match="motion_blur changes nothing"):
        dataset_of(images, drone=DroneOptions(augment=("motion_blur",)))


def test_an_augmentation_that_fails_is_an_error():
    class Failing(QuarterTurns):
        def parts(self):
            return {"failing": lambda image: 1 / 0}

    with pytest.raises(CheckFailedError, match="failing failed on a test image: ZeroDivisionError"):
        check_active(Failing())


def test_albumentations_that_ultralytics_silently_leaves_out_are_an_error(images):
    with pytest.raises(CheckFailedError, match="dropped silently"):
        dataset_of(images, augmentations=["no transform"])


def test_a_pipeline_without_the_step_is_an_error():
    with pytest.raises(CheckFailedError, match="no Albumentations step"):
        add_drone_augmentations(Compose([]), ())


def test_validation_images_are_left_as_they_are(images):
    dataset = dataset_of(images, mode="val", drone=DroneOptions(augment=AUGMENTATIONS))
    plain = dataset_of(images, mode="val")
    assert all(np.array_equal(dataset[index]["img"], plain[index]["img"]) for index in range(6))
