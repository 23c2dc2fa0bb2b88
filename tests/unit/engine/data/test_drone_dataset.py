"""The dataset reads any YOLO layout safely, and leaves the user's files as they are."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from painted import DATA, NAMES, dataset_of, fill_buffer, make_dataset, seed_all, write_rows
from ultralytics.data.build import build_dataloader
from ultralytics.data.utils import verify_image_label
from ultralytics.models.yolo.detect import DetectionTrainer

from yolo_ema.engine.data import drone_dataset
from yolo_ema.engine.data.training_images import read_training_image
from yolo_ema.engine.training.loading_workers import clear_loading_errors
from yolo_ema.errors import DataError, DataNotFoundError, SourceError
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.options.drone import DroneOptions


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "cache"))
    return make_dataset(tmp_path / "data")


def digest(folder: Path) -> dict[str, str]:
    """Return a hash of every file below a folder, times included: what is the same has not been
    touched.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        + str(path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.write_text, (self.target, "boom"))


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
def test_nothing_is_written_next_to_the_data_and_no_pickle_in_it_runs(images, cache, tmp_path):
    target = tmp_path / "executed"
    poison = pickle.dumps(Bomb(target))
    (images.parent.parent / "labels" / "train.cache").write_bytes(poison)
    np.save(
        images.parent.parent / "labels" / "object.npy",
        np.array([Bomb(target)], dtype=object),
        allow_pickle=True,
    )
    for image in sorted(images.glob("*.png"))[:3]:
        image.with_suffix(".npy").write_bytes(poison)
    before = digest(tmp_path / "data")
    for _ in range(2):
        dataset = dataset_of(images, cache=cache, deterministic=False, mosaic=0.5)
        fill_buffer(dataset)
        assert len([dataset[index] for index in range(len(dataset))]) == 6
    assert digest(tmp_path / "data") == before
    assert not target.exists()


def test_a_read_only_data_folder_is_enough(images, tmp_path):
    for folder in (tmp_path / "data").rglob("*"):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    try:
        assert len(dataset_of(images, cache="disk")) == 6
    finally:
        for folder in (tmp_path / "data").rglob("*"):
            folder.chmod(0o755 if folder.is_dir() else 0o644)


def test_linked_images_are_neither_followed_nor_altered(images, tmp_path):
    originals = tmp_path / "originals"
    shutil.move(images, originals)
    images.mkdir()
    (originals / "000.jpg").write_bytes(
        _jpeg()[:-400]
    )  # Ultralytics would write a whole one through the link
    shutil.copy(
        images.parent.parent / "labels/train/000.txt",
        images.parent.parent / "labels/train/000.txt.bak",
    )
    for original in originals.iterdir():
        (images / original.name).symlink_to(original)
    before = digest(originals)
    dataset = dataset_of(images)
    assert digest(originals) == before
    assert len(dataset) == 6
    assert all(str(images) in file for file in dataset.im_files)
    assert [
        problem for problem in dataset.problems if "000.jpg" in problem and "truncated" in problem
    ]


def _jpeg() -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def test_damaged_images_are_named_and_left_out(images):
    (images / "900.jpg").write_bytes(b"")
    (images / "901.jpg").write_bytes(b"no image at all")
    (images / "902.jpg").write_bytes(_jpeg()[:-400])
    (images / "903.jpg").write_bytes(_jpeg()[:30])
    (images / "904.jpg").write_bytes(_jpeg())
    before = digest(images)
    dataset = dataset_of(images)
    assert len(dataset) == 7
    assert len(dataset.problems) == 4
    for name, problem in zip(("900", "901", "902", "903"), dataset.problems, strict=True):
        assert f"{name}.jpg" in problem
    assert digest(images) == before


def test_a_bad_row_loses_only_itself(images):
    label = images.parent.parent / "labels/train/002.txt"
    rows = label.read_text().splitlines()
    label.write_text("\n".join([*rows[:2], "7 0.5 0.5 0.1 0.1", *rows[2:]]) + "\n")
    dataset = dataset_of(images)
    assert len(dataset) == 6
    assert len(dataset.labels[2]["cls"]) == len(rows)
    assert dataset.problems == (f"{label}, row 3: the class is 7; expected 0 to 2",)
    with pytest.raises(DataError, match=r"002.txt, row 3: the class is 7"):
        dataset_of(images, drone=DroneOptions(strict_labels=True))
    assert len(dataset_of(images, single_cls=True).problems) == 0


def test_sound_labels_are_read_as_ultralytics_reads_them(images):
    dataset = dataset_of(images)
    for label in dataset.labels:
        file = label["im_file"].replace("/images/", "/labels/").replace(".png", ".txt")
        _, rows, shape, *_ = verify_image_label((label["im_file"], file, "", False, 3, 0, 0, False))
        assert np.array_equal(np.concatenate((label["cls"], label["bboxes"]), 1), rows)
        assert tuple(shape) == label["shape"]


def test_an_image_turned_by_exif_has_its_upright_shape(images):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30), (10, 20, 30)).save(images / "turned.jpg", exif=exif)
    dataset = dataset_of(images)
    label = next(label for label in dataset.labels if label["im_file"].endswith("turned.jpg"))
    assert label["shape"] == (60, 30)


def test_a_second_start_decodes_nothing(images, monkeypatch):
    first = dataset_of(images)
    monkeypatch.setattr(drone_dataset, "decoded_hw", lambda _: pytest.fail("decoded again"))
    second = dataset_of(images)
    assert all(
        np.array_equal(a["bboxes"], b["bboxes"])
        for a, b in zip(first.labels, second.labels, strict=True)
    )


def test_without_an_images_folder_labels_are_not_taken_for_regions(tmp_path):
    picture = np.full((64, 64, 3), 90, np.uint8)
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
        write_rows(tmp_path / f"{name}.txt", [[1, 0.5, 0.5, 0.25, 0.25]])
    dataset = dataset_of(tmp_path)
    assert [len(label["cls"]) for label in dataset.labels] == [1, 1]
    assert [len(label["ignored"]) for label in dataset.labels] == [0, 0]
    assert dataset.problems == ()


def test_no_images_and_no_usable_image_are_reported(tmp_path):
    with pytest.raises(DataNotFoundError, match="nowhere"):
        dataset_of(tmp_path / "nowhere")
    (tmp_path / "a.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"no image of .* can be used: .*a\.jpg"):
        dataset_of(tmp_path)


def test_training_without_label_files_is_refused_and_says_where_they_belong(images):
    shutil.rmtree(images.parent.parent / "labels")
    with pytest.raises(DataError, match=r"expected at .*/labels/train/000\.txt"):
        dataset_of(images)
    assert len(dataset_of(images, mode="val")) == 6


def test_disk_cache_is_in_the_cache_folder_and_follows_the_image(images, tmp_path):
    dataset = dataset_of(images, cache="disk")
    kept = sorted((tmp_path / "cache/images").glob("*.npy"))
    assert len(kept) == 6
    plain = dataset_of(images)
    assert np.array_equal(dataset.load_image(0)[0], plain.load_image(0)[0])
    first = min(images.glob("*.png"))
    picture = cv2.imread(str(first))
    cv2.imwrite(str(first), 255 - picture)
    os.utime(
        first, ns=(1, 1)
    )  # older than before: a name by time and size, not the newer file, decides
    changed = dataset_of(images, cache="disk")
    assert not np.array_equal(changed.load_image(0)[0], plain.load_image(0)[0])
    assert len(sorted((tmp_path / "cache/images").glob("*.npy"))) == 7


def test_disk_cache_is_declined_where_there_is_no_space(images, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "yolo_ema.engine.data.drone_dataset.shutil.disk_usage", lambda _: SimpleNamespace(free=1000)
    )
    dataset = dataset_of(images, cache="disk")
    assert dataset.cache is None
    assert not list((tmp_path / "cache/images").glob("*.npy"))
    assert dataset[0]["img"].shape == (3, 256, 256)


def test_workers_of_a_loader_get_it_whole(images):
    dataset = dataset_of(images, mosaic=1.0)
    loader = build_dataloader(dataset, batch=3, workers=2, shuffle=False, rank=-1)
    batch = next(iter(loader))
    assert batch["img"].shape == (3, 3, 256, 256)
    assert batch["ignored_xyxy"].shape[1] == 4
    assert len(batch["ignored_batch_idx"]) == len(batch["ignored_xyxy"])
    loader.close()
    assert len(pickle.loads(pickle.dumps(dataset))) == 6


def test_closing_the_mosaic_ends_pasting_and_keeps_regions(images):
    dataset = dataset_of(
        images, mosaic=1.0, drone=DroneOptions(paste_boxes=1.0, augment=("quarter_turns",))
    )
    args = SimpleNamespace(**vars(dataset_args(mosaic=1.0)))
    dataset.close_mosaic(args)
    seed_all(0)
    sample = dataset[0]
    assert len(sample["cls"]) == len(dataset.labels[0]["cls"])
    assert len(sample["ignored_xyxy"]) == len(dataset.labels[0]["ignored"])
    assert any(type(step).__name__ == "QuarterTurns" for step in dataset.transforms.transforms)


def dataset_args(**settings):
    from painted import STILL
    from ultralytics.cfg import get_cfg

    return get_cfg(overrides={"task": "detect", "imgsz": 256, **STILL, **settings})


def test_class_filter_and_class_weights_ignore_regions(images):
    dataset = dataset_of(images, classes=[1])
    assert all((label["cls"] == 1).all() for label in dataset.labels)
    assert sum(len(dataset[index]["ignored_xyxy"]) for index in range(6)) > 0

    everything = dataset_of(images)
    counts = np.bincount(
        np.concatenate([label["cls"].ravel() for label in everything.labels]).astype(int),
        minlength=3,
    )
    trainer = SimpleNamespace(
        args=SimpleNamespace(cls_pw=0.5),
        data=DATA,
        model=torch.nn.Linear(1, 1),
        device=torch.device("cpu"),
        train_loader=SimpleNamespace(dataset=everything),
    )
    for name in ("get_class_counts", "compute_class_weights"):
        setattr(trainer, name, getattr(DetectionTrainer, name).__get__(trainer))
    DetectionTrainer.set_class_weights(trainer)
    expected = counts.astype(float) ** -0.5
    assert np.allclose(trainer.model.class_weights.numpy(), expected / expected.mean(), rtol=1e-5)


def test_rectangular_validation_gives_ultralytics_shapes(images):
    dataset = dataset_of(images, mode="val")
    batch = dataset.collate_fn([dataset[index] for index in range(2)])
    assert batch["img"].shape[2] % 32 == 0
    assert "ori_shape" in batch
    assert "ratio_pad" in batch


@pytest.mark.realdata
def test_real_images_and_annotations(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "cache"))
    source = shared / "data/visdrone-sample/VisDrone2019-DET-val"
    for folder in ("images", "labels", "ignored"):
        (tmp_path / folder / "val").mkdir(parents=True)
    boxes = regions = 0
    for image in sorted((source / "images").glob("*.jpg"))[:12]:
        (tmp_path / "images/val" / image.name).symlink_to(image)
        height, width = cv2.imread(str(image)).shape[:2]
        rows, areas = [], []
        for row in (source / "annotations" / f"{image.stem}.txt").read_text().split():
            x, y, w, h, _, category = (int(value) for value in row.split(",")[:6])
            share = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
            if category == 0:
                areas.append(share)
            elif category <= 10:
                rows.append([category - 1, *share])
        write_rows(tmp_path / "labels/val" / f"{image.stem}.txt", rows)
        write_rows(tmp_path / "ignored/val" / f"{image.stem}.txt", areas)
        boxes, regions = boxes + len(rows), regions + len(areas)
    monkeypatch.setitem(DATA, "names", dict(enumerate("abcdefghij")))
    try:
        dataset = dataset_of(
            tmp_path / "images/val", imgsz=640, drone=DroneOptions(train_tiles="640x640")
        )
        whole = dataset_of(tmp_path / "images/val", imgsz=640)
    finally:
        monkeypatch.setitem(DATA, "names", NAMES)
    assert dataset.problems == whole.problems == ()
    assert sum(len(label["cls"]) for label in whole.labels) == boxes
    assert sum(len(label["ignored"]) for label in whole.labels) == regions
    assert len(dataset) > 3 * len(whole)
    assert dataset[0]["img"].shape == (3, 640, 640)


def test_rectangles_keep_the_shape_of_every_image(images):
    plain, rect = dataset_of(images), dataset_of(images, rect=True)
    shapes = {label["im_file"]: label["shape"] for label in plain.labels}
    assert {label["im_file"]: label["shape"] for label in rect.labels} == shapes
    ratios = [height / width for height, width in (label["shape"] for label in rect.labels)]
    assert ratios == sorted(ratios)
    assert len([rect[index] for index in range(len(rect))]) == 6


@pytest.mark.parametrize("settings", [{}, {"classes": [1]}])
def test_training_without_a_box_to_learn_from_is_refused(images, settings):
    for label in (images.parent.parent / "labels/train").iterdir():
        label.write_text("0 0.5 0.5 0.1 0.1\n" if settings else "")
    with pytest.raises(DataError, match=r"have no labelled box.*nothing to learn"):
        dataset_of(images, **settings)
    assert len(dataset_of(images, mode="val", **settings)) == 6


def test_what_is_left_out_is_counted_by_reason(images):
    labels = images.parent.parent / "labels/train"
    (labels / "000.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n")
    rows = (labels / "001.txt").read_text()
    (labels / "001.txt").write_text(rows + "7 0.5 0.5 0.1 0.1\n0 640 0.5 0.1 0.1\n")
    (images / "900.jpg").write_bytes(b"no image")
    dataset = dataset_of(images)
    assert len(dataset) == 5
    assert dataset.left_out == {
        "unreadable labels": 1,
        "class out of range": 1,
        "outside the image": 1,
        "unreadable image": 1,
    }
    assert sum(dataset.left_out.values()) == len(dataset.problems)


def test_training_sees_what_detection_sees(images):
    """Of a TIFF with several pages the same one, decoded by detection's own reader."""
    from PIL import Image

    pages = [Image.new("RGB", (64, 48), colour) for colour in ((200, 30, 10), (10, 200, 30))]
    pages[1] = pages[1].resize((640, 480))
    pages[0].save(images / "pages.tif", save_all=True, append_images=pages[1:])
    write_rows(images.parent.parent / "labels/train/pages.txt", [[1, 0.5, 0.5, 0.25, 0.25]])
    dataset = dataset_of(images)
    index = next(n for n, file in enumerate(dataset.im_files) if file.endswith("pages.tif"))
    expected = read_image(images / "pages.tif")
    assert dataset.labels[index]["shape"] == expected.shape[:2]
    assert np.array_equal(dataset._read(index), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".mpo", ".heic", ".avif", ".dng"])
def test_an_image_that_claims_too_many_pixels_is_not_decoded(tmp_path, suffix, monkeypatch):
    file = tmp_path / f"a{suffix}"
    header = b"IHDR" + (40_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    checksum = zlib.crc32(header).to_bytes(4, "big")
    file.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + checksum + b"\0\0\0\0IDAT")
    for name in ("imdecode", "imread", "imdecodemulti"):
        monkeypatch.setattr(cv2, name, lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(SourceError, match=rf"a\{suffix} .*40000x40000"):
        read_training_image(file)


def test_an_image_that_disappears_during_training_is_one_clear_error(images):
    dataset = dataset_of(images)
    Path(dataset.im_files[2]).unlink()
    with pytest.raises(SourceError, match=r"002\.png could be read when training started, and"):
        dataset.load_image(2)
    loader = build_dataloader(dataset, batch=3, workers=2, shuffle=False, rank=-1)
    with pytest.raises(SourceError) as caught, clear_loading_errors():
        list(loader)
    loader.close()
    assert str(caught.value).startswith(dataset.im_files[2])
    assert "Traceback" not in str(caught.value)


def test_a_damaged_cached_image_is_read_again_from_its_file(images):
    dataset = dataset_of(images, cache="disk")
    expected = dataset.load_image(0)[0]
    dataset.npy_files[0].write_bytes(b"damaged")
    assert np.array_equal(dataset_of(images, cache="disk").load_image(0)[0], expected)
