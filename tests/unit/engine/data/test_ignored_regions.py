"""Ignored regions through the transforms: what is painted must be covered, and little more."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from painted import (
    STILL,
    dataset_of,
    fill_buffer,
    make_dataset,
    painted,
    seed_all,
    too_much,
    uncovered,
)
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import Mosaic
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils.instance import Instances

import yolo_ema.engine.data.drone_dataset as dataset_module
from yolo_ema.engine.data.ignored_regions import (
    CELL_PX,
    IGNORED_CLASS,
    RegionCutMix,
    RegionPerspective,
)
from yolo_ema.options.drone import DroneOptions

STRAIGHT = 4  # pixels that a carried region may reach beyond what is painted
TURNED = round(CELL_PX * 0.75) + 4

CASES = {
    "nothing": ({}, STRAIGHT),
    "flips": ({"fliplr": 0.5, "flipud": 0.5}, STRAIGHT),
    "scale": ({"scale": 0.9, "translate": 0.4}, STRAIGHT),
    "mosaic": ({"mosaic": 1.0, "scale": 0.5, "translate": 0.2, "fliplr": 0.5}, STRAIGHT),
    "rotation": ({"degrees": 45.0, "scale": 0.5, "translate": 0.2}, TURNED),
    "mosaic, rotation, shear": (
        {"mosaic": 1.0, "degrees": 30.0, "shear": 10.0, "scale": 0.5},
        TURNED,
    ),
    "perspective": ({"perspective": 0.0008, "translate": 0.1}, TURNED),
    "mixup": ({"mixup": 1.0, "mosaic": 1.0, "scale": 0.3}, STRAIGHT),
    "cutmix": ({"cutmix": 1.0, "mosaic": 0.5, "scale": 0.3}, STRAIGHT),
    "all mixed": (
        {"mixup": 0.5, "cutmix": 0.5, "mosaic": 0.8, "scale": 0.5, "fliplr": 0.5, "flipud": 0.5},
        STRAIGHT,
    ),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("painted"))


@pytest.fixture(scope="module")
def polygon_images(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("polygons"), polygons=True, seed=3)


def check(dataset, within_px: int, rounds: int = 3) -> int:
    fill_buffer(dataset)
    shown = 0
    for index in range(rounds * len(dataset)):
        seed_all(index)
        sample = dataset[index % len(dataset)]
        shown += int(painted(sample).sum())
        assert uncovered(sample) == 0, f"sample {index}"
        # A turned cell just outside the image may reach into it, with its own paint out of sight.
        allowed = 0 if within_px == STRAIGHT else 0.002 * sample["img"][0].numel()
        assert too_much(sample, within_px) <= allowed, f"sample {index}"
        assert (sample["cls"] >= 0).all()
        assert len(sample["cls"]) == len(sample["bboxes"]) == len(sample["batch_idx"])
        assert sample["ignored_xyxy"].dtype == torch.float32
    return shown


@pytest.mark.parametrize("name", CASES)
def test_painted_regions_stay_covered(images, name):
    settings, within_px = CASES[name]
    assert check(dataset_of(images, **settings), within_px) > 5000


def test_painted_regions_stay_covered_under_quarter_turns(images):
    drone = DroneOptions(augment=("quarter_turns",))
    assert (
        check(dataset_of(images, drone=drone, mosaic=0.5, scale=0.5, fliplr=0.5), STRAIGHT) > 5000
    )


def test_painted_regions_stay_covered_by_letterbox(images):
    assert check(dataset_of(images, mode="val"), STRAIGHT, rounds=1) > 5000


def test_painted_regions_stay_covered_in_rectangular_training(images):
    assert check(dataset_of(images, rect=True, scale=0.3), STRAIGHT) > 5000


def test_painted_regions_stay_covered_on_tiles(images):
    drone = DroneOptions(train_tiles="96x96", tile_overlap=0.25)
    for mosaic in (0.0, 1.0):
        dataset = dataset_of(images, imgsz=96, drone=drone, mosaic=mosaic)
        fill_buffer(dataset)
        for index in range(
            len(dataset)
        ):  # objects cut off by a tile are regions too, so that more than magenta is carried
            assert uncovered(dataset[index]) == 0


@pytest.mark.parametrize("mode", ["flip", "mixup"])
def test_painted_regions_stay_covered_with_polygons_and_copy_paste(polygon_images, mode):
    settings = {
        "copy_paste": 0.7,
        "copy_paste_mode": mode,
        "mosaic": 0.7,
        "degrees": 10.0,
        "scale": 0.5,
    }
    assert check(dataset_of(polygon_images, **settings), TURNED) > 5000


def test_painted_regions_stay_covered_under_the_users_own_spatial_albumentations(images):
    import albumentations as A

    own = [A.to_dict(A.HorizontalFlip(p=1.0)), A.to_dict(A.RandomCrop(200, 200, p=1.0))]
    dataset = dataset_of(images, augmentations=own, mosaic=0.5)
    assert check(dataset, STRAIGHT) > 5000


def test_painted_regions_stay_covered_in_a_mosaic_of_nine(images):
    dataset = dataset_of(images, mosaic=1.0)
    seed_all(0)
    transforms = dataset.transforms.transforms[0]
    transforms.transforms[0] = Mosaic(dataset, imgsz=256, p=1.0, n=9)
    fill_buffer(dataset)
    for index in range(12):
        seed_all(index)
        assert uncovered(dataset[index % len(dataset)]) == 0


def test_the_check_fails_with_ultralytics_own_transforms(images, monkeypatch):
    monkeypatch.setattr(dataset_module, "carry_regions", lambda transforms: None)
    dataset = dataset_of(images, scale=0.9, translate=0.45)
    assert any(_uncovered_with(dataset, seed) for seed in range(60))


def _uncovered_with(dataset, seed: int) -> int:
    seed_all(seed)
    return uncovered(dataset[seed % len(dataset)])


def test_a_sliver_of_a_large_region_survives_where_an_object_is_dropped():
    step = RegionPerspective(translate=0.0, scale=0.0, size=(100, 100))
    # Moved left by 180 of 200 pixels, both show a tenth less a little.
    boxes = np.array([[0, 0, 185, 50], [0, 50, 185, 100]], np.float32)
    labels = {
        "img": np.zeros((100, 200, 3), np.uint8),
        "cls": np.array([[1.0], [IGNORED_CLASS]], np.float32),
        "instances": Instances(boxes, bbox_format="xyxy", normalized=False),
    }
    matrix = np.array([[1, 0, -180], [0, 1, 0], [0, 0, 1]], np.float32)
    labels = step.apply_instances(
        labels, {"M": matrix, "scale": 1.0, "size": (100, 100), "orig_shape": (100, 200)}
    )
    assert labels["cls"].tolist() == [[IGNORED_CLASS]]
    assert labels["instances"].bboxes.tolist() == [[0, 50, 5, 100]]


@pytest.mark.parametrize("side", [100, 640, 1280])
def test_a_turned_region_reaches_beyond_itself_by_the_corners_of_small_cells(side):
    cosine, sine = np.cos(np.radians(10.0)), np.sin(np.radians(10.0))
    labels = {
        "img": np.zeros((side, side, 3), np.uint8),
        "cls": np.array([[IGNORED_CLASS]], np.float32),
        "instances": Instances(
            np.array([[0, 0, side, side]], np.float32), bbox_format="xyxy", normalized=False
        ),
    }
    turn = np.array([[cosine, -sine, side], [sine, cosine, side], [0, 0, 1]], np.float32)
    size = (3 * side, 3 * side)  # all of it stays in sight
    labels = RegionPerspective(size=size).apply_instances(
        labels, {"M": turn, "scale": 1.0, "size": size, "orig_shape": (side, side)}
    )
    boxes = labels["instances"].bboxes
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2) - side
    x, y = (corners @ np.array([[cosine, -sine], [sine, cosine]])).T  # turned back
    beyond = np.max([-x, x - side, -y, y - side])
    assert 0 < beyond <= CELL_PX * sine * cosine + 0.5


def test_a_cutmix_patch_brings_the_corner_of_a_large_region_along(monkeypatch):
    def labels_of(boxes: list[list[float]], classes: list[float]) -> dict:
        return {
            "img": np.zeros((200, 200, 3), np.uint8),
            "cls": np.array(classes, np.float32).reshape(-1, 1),
            "instances": Instances(
                np.array(boxes, np.float32).reshape(-1, 4), bbox_format="xyxy", normalized=False
            ),
        }

    # The patch shows an object whole, 1/16 of a region, and 1/16 of an object, which Ultralytics
    # does not count.
    other = labels_of(
        [[60, 60, 70, 70], [75, 75, 175, 175], [75, 0, 175, 75]], [2.0, IGNORED_CLASS, 1.0]
    )
    dataset = SimpleNamespace(get_image_and_label=lambda index: other, __len__=lambda self: 1)
    step = RegionCutMix(dataset, p=1.0)
    monkeypatch.setattr(step, "get_indexes", lambda: 0)
    monkeypatch.setattr(step, "_rand_bbox", lambda width, height: (50, 50, 100, 100))
    mixed = step(labels_of([[0, 0, 20, 20]], [0.0]))
    assert mixed["cls"].ravel().tolist() == [0, 2, IGNORED_CLASS]
    assert mixed["instances"].bboxes.tolist() == [
        [0, 0, 20, 20],
        [60, 60, 70, 70],
        [75, 75, 100, 100],
    ]


def test_batches_name_the_image_of_each_region(images):
    dataset = dataset_of(images)
    samples = [dataset[index] for index in range(4)]
    counts = [len(sample["ignored_xyxy"]) for sample in samples]
    batch = dataset.collate_fn(samples)
    assert batch["ignored_xyxy"].shape == (sum(counts), 4)
    assert torch.bincount(batch["ignored_batch_idx"].long(), minlength=4).tolist() == counts
    assert torch.equal(batch["ignored_xyxy"][: counts[0]], samples[0]["ignored_xyxy"])
    again = dataset.collate_fn(samples)  # samples are not used up
    assert torch.equal(again["ignored_xyxy"], batch["ignored_xyxy"])


def test_without_regions_batches_are_ultralytics_own_to_the_bit(tmp_path):
    images = make_dataset(tmp_path, with_regions=False, seed=7)
    settings = {
        "mosaic": 0.8,
        "mixup": 0.3,
        "cutmix": 0.3,
        "degrees": 10.0,
        "scale": 0.5,
        "hsv_s": 0.7,
        "hsv_v": 0.4,
        "flipud": 0.3,
        "fliplr": 0.5,
    }
    ours = dataset_of(images, **settings)
    hyp = get_cfg(overrides={"task": "detect", "imgsz": 256, **STILL, **settings})
    theirs = YOLODataset(
        str(images),
        imgsz=256,
        augment=True,
        hyp=hyp,
        batch_size=4,
        data={"names": ours.data["names"]},
        task="detect",
        prefix="",
    )
    for one, other in zip(ours.labels, theirs.labels, strict=True):
        assert one["im_file"] == other["im_file"]
        assert np.array_equal(one["cls"], other["cls"])
        assert np.array_equal(one["bboxes"], other["bboxes"])
        assert tuple(one["shape"]) == tuple(other["shape"])
    for dataset in (ours, theirs):
        fill_buffer(dataset)
    for seed in range(12):
        batches = []
        for dataset in (ours, theirs):
            seed_all(seed)
            batches.append(dataset.collate_fn([dataset[index] for index in range(4)]))
        mine, plain = batches
        assert set(mine) - set(plain) == {"ignored_xyxy", "ignored_batch_idx"}
        assert all(
            torch.equal(mine[key], plain[key]) for key in ("img", "cls", "bboxes", "batch_idx")
        )
        assert mine["ignored_xyxy"].shape == (0, 4)
