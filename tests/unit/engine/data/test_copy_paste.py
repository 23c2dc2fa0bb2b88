"""Pasting copies of small objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from painted import dataset_of, make_dataset, seed_all
from ultralytics.utils.instance import Instances
from ultralytics.utils.ops import resample_segments

from yolo_ema.engine.data.copy_paste import (
    LARGEST_PX,
    MOST_COPIES,
    SMALLEST_PX,
    paste_boxes,
    paste_into_sample,
)
from yolo_ema.options.drone import DroneOptions


def scene(seed: int):
    """An image of noise with boxes and regions anywhere."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
    count = int(rng.integers(0, 12))
    sides = rng.uniform(2, 60, (count, 2))
    corners = rng.uniform(0, [300, 200], (count, 2))
    boxes = np.concatenate((corners, np.minimum(corners + sides, [300, 200])), 1).astype(np.float32)
    regions = np.array([[20, 20, 120, 60]], np.float32)[: int(rng.integers(0, 2))].reshape(-1, 4)
    return (
        image,
        boxes,
        rng.integers(0, 4, (count, 1)).astype(np.float32),
        regions,
        np.random.default_rng(seed + 1),
    )


def overlap(a, b) -> bool:
    return bool(min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1]))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31))
def test_copies_are_inside_the_image_and_cover_nothing(seed):
    image, boxes, classes, regions, rng = scene(seed)
    before = image.copy()
    pasted, copies, kinds = paste_boxes(image, boxes, classes, regions, rng)
    assert np.array_equal(image, before), "the given image is not changed"
    assert pasted.dtype == np.uint8
    assert len(copies) == len(kinds) <= MOST_COPIES
    for number, copy in enumerate(copies):
        assert copy[0] >= 0
        assert copy[1] >= 0
        assert copy[2] <= 300
        assert copy[3] <= 200
        sides = copy[2:] - copy[:2]
        assert sides.min() >= SMALLEST_PX - 1e-3
        assert sides.max() <= LARGEST_PX + 1e-3
        assert not any(overlap(copy, other) for other in [*boxes, *regions, *copies[:number]])
        assert any(
            np.allclose(sides, box[2:] - box[:2], atol=1e-3)
            for box in boxes[classes.ravel() == kinds[number]]
        )
    untouched = np.ones(image.shape[:2], bool)
    for x1, y1, x2, y2 in copies:
        margin = round(max(x2 - x1, y2 - y1) / 10) + 3
        untouched[
            max(0, int(y1) - margin) : int(y2) + margin + 1,
            max(0, int(x1) - margin) : int(x2) + margin + 1,
        ] = False
    assert np.array_equal(pasted[untouched], image[untouched])


def test_a_copy_has_its_objects_pixels_mirrored_or_not():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
    box = np.array([[100, 100, 120, 110]], np.float32)
    seen = set()
    for seed in range(12):
        pasted, copies, _ = paste_boxes(
            image, box, np.zeros((1, 1), np.float32), box[:0], np.random.default_rng(seed)
        )
        if not len(copies):
            continue
        x1, y1, x2, y2 = copies[0].astype(int)
        patch, original = pasted[y1:y2, x1:x2], image[100:110, 100:120]
        straight, mirrored = (
            np.array_equal(patch, original),
            np.array_equal(patch, original[:, ::-1]),
        )
        assert straight or mirrored
        seen.add(straight)
    assert seen == {True, False}


def test_covered_large_and_tiny_objects_are_not_copied():
    image = np.zeros((200, 300, 3), np.uint8)
    covered = np.array([[100, 100, 120, 120], [105, 100, 125, 120]], np.float32)
    large = np.array([[10, 10, 80, 40]], np.float32)
    tiny = np.array([[10, 10, 13, 40]], np.float32)
    for boxes in (covered, large, tiny):
        assert (
            len(
                paste_boxes(
                    image, boxes, np.zeros((len(boxes), 1)), boxes[:0], np.random.default_rng(0)
                )[1]
            )
            == 0
        )
    alone = np.array([[100, 100, 120, 120]], np.float32)
    inside = paste_boxes(
        image,
        alone,
        np.zeros((1, 1)),
        np.array([[90, 90, 150, 150]], np.float32),
        np.random.default_rng(0),
    )
    assert len(inside[1]) == 0


def test_a_rare_class_is_copied_as_often_as_a_common_one():
    image = np.zeros((400, 400, 3), np.uint8)
    x, y = np.meshgrid(np.arange(20, 380, 45), np.arange(20, 380, 45))
    boxes = np.stack((x, y, x + 8, y + 8), -1).reshape(-1, 4).astype(np.float32)
    classes = np.zeros((len(boxes), 1), np.float32)
    classes[30] = 1
    kinds = np.concatenate(
        [
            paste_boxes(image, boxes, classes, boxes[:0], np.random.default_rng(seed))[2].ravel()
            for seed in range(40)
        ]
    )
    assert 0.35 < kinds.mean() < 0.65


def test_the_polygon_of_a_copy_is_the_outline_of_its_box():
    boxes = np.array([[0.10, 0.20, 0.16, 0.28], [0.5, 0.5, 0.54, 0.56]], np.float32)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    segments = np.stack(resample_segments(list(corners), n=40))
    instances = Instances(boxes, segments, bbox_format="xyxy", normalized=True)
    instances.convert_bbox("xywh")
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    sample = {"img": image, "cls": np.array([[0.0], [3.0]]), "instances": instances}
    paste_into_sample(sample, np.random.default_rng(1))
    assert len(sample["cls"]) == len(instances.bboxes) == len(instances.segments) > 2
    instances.convert_bbox("xyxy")
    around = np.concatenate((instances.segments.min(1), instances.segments.max(1)), 1)
    assert around == pytest.approx(instances.bboxes, abs=1e-5)


@pytest.mark.parametrize("polygons", [False, True])
def test_the_option_pastes_into_training_samples_and_labels_them(tmp_path, polygons):
    images = make_dataset(tmp_path, polygons=polygons)
    plain, pasting = dataset_of(images), dataset_of(images, drone=DroneOptions(paste_boxes=1.0))
    more = 0
    for index in range(6):
        seed_all(index)
        sample, before = pasting[index], plain[index]
        more += len(sample["cls"]) - len(before["cls"])
        assert np.array_equal(sample["cls"][: len(before["cls"])], before["cls"])
        assert np.allclose(sample["ignored_xyxy"], before["ignored_xyxy"])
        picture = sample["img"].numpy()
        for x, y, _w, _h in sample["bboxes"].numpy()[len(before["cls"]) :] * 256:
            assert picture[:, int(y), int(x)].min() > 100, "an object's grey at the copy's centre"
        assert np.array_equal(plain[index]["img"], before["img"]), (
            "the buffered image is not changed"
        )
    assert more > 10
    assert len(dataset_of(images, mode="val", drone=DroneOptions(paste_boxes=1.0))[0]["cls"]) <= 8
