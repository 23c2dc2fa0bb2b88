"""Training on tiles: native pixels, and a rule for what a tile's border cuts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from painted import dataset_of, fill_buffer, make_dataset, seed_all

from yolo_ema.engine.data.train_tiles import KEPT_SHARE, cut_into_tiles
from yolo_ema.errors import ConfigError
from yolo_ema.options.drone import DroneOptions
from yolo_ema.tiling.grid import tile_grid


def label_of(wh: tuple[int, int], boxes: list[tuple], regions: list[tuple] = ()) -> dict:
    def shares(rows):
        return np.array(
            [
                [(x1 + x2) / 2 / wh[0], (y1 + y2) / 2 / wh[1], (x2 - x1) / wh[0], (y2 - y1) / wh[1]]
                for x1, y1, x2, y2 in rows
            ],
            np.float32,
        ).reshape(-1, 4)

    classes = np.arange(len(boxes), dtype=np.float32).reshape(-1, 1)
    return {
        "im_file": "a.jpg",
        "shape": wh[::-1],
        "cls": classes,
        "bboxes": shares(boxes),
        "ignored": shares(regions),
        "segments": [],
    }


def pixels(shares: np.ndarray, tile: tuple[int, ...]) -> list[list[float]]:
    x1, y1, x2, y2 = tile
    size = np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    boxes = shares * size
    corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1)
    return np.round(corners, 3).tolist()


def test_what_a_border_cuts_is_a_label_from_half_and_a_region_below():
    # Two tiles, 0 to 100 and 100 to 200. The boxes show 100 %, 60 %, exactly 50 % and 40 % of
    # themselves in the left one.
    boxes = [(10, 10, 30, 30), (88, 40, 108, 60), (90, 64, 110, 70), (92, 80, 112, 90)]
    left, right = cut_into_tiles([label_of((200, 100), boxes)], (100, 100), 0.0)
    assert left["cls"].ravel().tolist() == [0, 1, 2]
    assert pixels(left["bboxes"], left["tile_xyxy"]) == [
        [10, 10, 30, 30],
        [88, 40, 100, 60],
        [90, 64, 100, 70],
    ]
    assert pixels(left["ignored"], left["tile_xyxy"]) == [[92, 80, 100, 90]]
    assert right["cls"].ravel().tolist() == [2, 3]
    assert pixels(right["ignored"], right["tile_xyxy"]) == [[0, 40, 8, 60]]
    assert left["shape"] == right["shape"] == (100, 100)
    assert right["tile_xyxy"] == (100, 0, 200, 100)


@pytest.mark.parametrize("classes", [[1], 1])
def test_what_is_not_of_a_chosen_class_is_background_cut_or_whole(classes):
    # The left tile shows 40 % of both classes' objects, the right one 60 % and a whole one of each.
    boxes = [(92, 20, 112, 40), (92, 60, 112, 80), (150, 20, 170, 40), (150, 60, 170, 80)]
    label = label_of((200, 100), boxes)
    label["cls"] = np.array([[0], [1], [0], [1]], np.float32)
    left, right = cut_into_tiles([label], (100, 100), 0.0, classes)
    assert (left["cls"].size, pixels(left["ignored"], left["tile_xyxy"])) == (
        0,
        [[92, 60, 100, 80]],
    )
    assert right["cls"].tolist() == [[1], [1]]
    assert pixels(right["bboxes"], right["tile_xyxy"]) == [[0, 60, 12, 80], [50, 60, 70, 80]]
    assert right["ignored"].size == 0
    assert label["cls"].ravel().tolist() == [0, 1, 0, 1], "the caller's labels stay"

    covered = label_of((200, 100), [(20, 20, 40, 40), (150, 20, 170, 40)], [(0, 0, 100, 100)])
    tiles = cut_into_tiles([covered], (100, 100), 0.0, classes)
    assert [tile["tile_xyxy"] for tile in tiles] == [(100, 0, 200, 100)]


def test_tiles_of_a_dataset_are_cut_of_the_chosen_classes(tmp_path):
    images = make_dataset(tmp_path, images=2, with_regions=False)
    drone = DroneOptions(train_tiles="96x96", tile_overlap=0.0)
    label = images.parents[1] / "labels" / "train" / "000.txt"
    label.write_text("0 0.5 0.5 0.9 0.9\n1 0.1 0.1 0.05 0.05\n")
    chosen = dataset_of(images, imgsz=96, drone=drone, classes=[1])
    assert {number for one in chosen.labels for number in one["cls"].ravel()} == {1}
    first = [one for one in chosen.labels if one["im_file"].endswith("000.png")]
    assert all((one["ignored"][:, 2:] < 0.3).all() for one in first), "nothing of the large one"


def test_regions_are_cut_and_a_tile_with_nothing_to_teach_is_left_out():
    label = label_of((200, 100), [(120, 10, 140, 30)], [(50, 0, 200, 100)])
    left, right = cut_into_tiles([label], (100, 100), 0.0)
    assert pixels(left["ignored"], left["tile_xyxy"]) == [[50, 0, 100, 100]]
    assert pixels(right["ignored"], right["tile_xyxy"]) == [[0, 0, 100, 100]]
    assert len(right["cls"]) == 1, "a label inside a region still trains"
    without = label_of((200, 100), [], [(50, 0, 200, 100)])
    assert [tile["tile_xyxy"] for tile in cut_into_tiles([without], (100, 100), 0.0)] == [
        (0, 0, 100, 100)
    ]


def test_every_label_is_whole_somewhere_and_its_tiles_follow_the_rule():
    rng = np.random.default_rng(0)
    for _ in range(30):
        wh = tuple(int(side) for side in rng.integers(80, 400, 2))
        corners = np.sort(
            rng.integers(0, 40, (12, 2, 2)) + rng.integers(0, 60, (12, 1, 2)), axis=1
        ).reshape(12, 4)
        boxes = [tuple(np.minimum(box, [*wh, *wh]).tolist()) for box in corners]
        boxes = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
        label = label_of(wh, boxes)
        tiles = cut_into_tiles([label], (96, 96), 0.5)
        assert [tile["tile_xyxy"] for tile in tiles] == [
            tuple(tile) for tile in tile_grid(wh, (96, 96), 48).tolist()
        ]
        whole = set()
        for tile in tiles:
            x1, y1, x2, y2 = tile["tile_xyxy"]
            kept, ignored = [], []
            for number, (a, b, c, d) in enumerate(boxes):
                seen = max(0, min(c, x2) - max(a, x1)) * max(0, min(d, y2) - max(b, y1))
                share = seen / ((c - a) * (d - b))
                kept += [number] if share >= KEPT_SHARE else []
                ignored += [number] if 0 < share < KEPT_SHARE else []
                whole |= {number} if share == 1 else set()
            assert tile["cls"].ravel().tolist() == kept
            assert len(tile["ignored"]) == len(ignored)
        assert whole == set(range(len(boxes)))


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
def test_a_tile_shows_the_images_own_pixels(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "cache"))
    images = make_dataset(tmp_path / "data")
    drone = DroneOptions(train_tiles="128x128", tile_overlap=0.25)
    dataset = dataset_of(images, imgsz=128, drone=drone, cache=cache, deterministic=False)
    fill_buffer(dataset)
    assert len(dataset) > 3 * 6
    for index in range(len(dataset)):
        x1, y1, x2, y2 = dataset.labels[index]["tile_xyxy"]
        expected = cv2.imread(dataset.im_files[index])[y1:y2, x1:x2, ::-1].transpose(2, 0, 1)
        assert np.array_equal(dataset[index]["img"].numpy(), expected)
    assert len(list((tmp_path / "data").rglob("*.png"))) == 6


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
def test_whole_images_are_listed_next_to_their_tiles(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "cache"))
    images = make_dataset(tmp_path / "data")
    plain = dataset_of(images, imgsz=128, deterministic=False)
    tiles = dataset_of(images, imgsz=128, drone=DroneOptions(train_tiles="128x128"))
    drone = DroneOptions(train_tiles="128x128", tile_whole=2)
    mixed = dataset_of(images, imgsz=128, drone=drone, cache=cache, deterministic=False)
    fill_buffer(plain)
    fill_buffer(mixed)
    assert len(mixed) == len(tiles) + 2 * len(plain)
    for place in range(2 * len(plain)):
        expected, whole = plain[place % len(plain)], mixed[len(tiles) + place]
        assert np.array_equal(whole["img"].numpy(), expected["img"].numpy())
        assert np.array_equal(whole["bboxes"].numpy(), expected["bboxes"].numpy())
        assert np.array_equal(whole["ignored_xyxy"], expected["ignored_xyxy"])


def test_whole_images_without_tiles_are_refused():
    with pytest.raises(ConfigError, match="--tile-whole is 2, but without --train-tiles"):
        DroneOptions(tile_whole=2)


def test_labels_of_a_tile_are_on_its_objects(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "cache"))
    images = make_dataset(tmp_path / "data")
    dataset = dataset_of(
        images, imgsz=128, drone=DroneOptions(train_tiles="128x128"), mosaic=1.0, fliplr=0.5
    )
    fill_buffer(dataset)
    looked = 0
    for index in range(len(dataset)):
        seed_all(index)
        sample = dataset[index]
        grey = sample["img"].numpy().min(0)
        for x, y, w, h in sample["bboxes"].numpy() * 128:
            inner = grey[
                round(y - h / 2) + 2 : round(y + h / 2) - 2,
                round(x - w / 2) + 2 : round(x + w / 2) - 2,
            ]
            assert (inner >= 118).all(), "objects are drawn brighter than 118, the ground is 60"
            looked += inner.size > 0
    assert looked > 100


def test_tiles_act_on_training_only(tmp_path):
    images = make_dataset(tmp_path)
    assert len(dataset_of(images, mode="val", drone=DroneOptions(train_tiles="64x64"))) == 6


def test_tiles_of_another_size_are_scaled_to_the_network_and_that_is_reported(tmp_path, caplog):
    images = make_dataset(tmp_path)
    with caplog.at_level("WARNING"):
        assert len(dataset_of(images, imgsz=128, drone=DroneOptions(train_tiles="128x64"))) > 6
        assert "scaled" not in caplog.text
        dataset = dataset_of(images, imgsz=256, drone=DroneOptions(train_tiles="128x64"))
    assert "tiles are scaled by 2.00: their longer side is 128, imgsz is 256" in caplog.text
    assert dataset[0]["img"].shape == (3, 256, 256)
    assert dataset.load_image(0)[2] == (128, 256)
