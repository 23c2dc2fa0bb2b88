"""The images of a split, and what lies next to them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from yaml_datasets import write_dataset

from yolo_ema.engine.data.split_facts import is_same_split
from yolo_ema.engine.data.split_files import (
    data_fingerprint,
    ignored_path,
    images_in,
    label_path,
    region_files,
    split_images,
)
from yolo_ema.errors import DataError, DataNotFoundError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("yolo_ema.engine.setup.ultralytics_settings.user_settings", dict)


def test_images_of_a_folder_are_sorted_and_include_subfolders(tmp_path):
    file = write_dataset(tmp_path / "mine")
    below = tmp_path / "mine" / "images" / "train" / "a" / "b"
    below.mkdir(parents=True)
    (below / "deep.PNG").write_bytes(b"x")
    (below / "notes.txt").write_text("no image")
    names = [
        image.relative_to(tmp_path / "mine" / "images" / "train").as_posix()
        for image in split_images(file, "train")
    ]
    assert names == ["0.jpg", "1.jpg", "a/b/deep.PNG"]


def test_a_list_file_names_images_from_its_own_folder(tmp_path):
    file = write_dataset(
        tmp_path / "mine", train="train.txt", val=["images/val", "images/train/0.jpg"]
    )
    (tmp_path / "mine" / "train.txt").write_text(
        f"./images/train/1.jpg\r\n\n{tmp_path}/mine/images/train/0.jpg\n"
    )
    assert [image.name for image in split_images(file, "train")] == ["0.jpg", "1.jpg"]
    assert [image.name for image in split_images(file, "val")] == ["0.jpg", "0.jpg", "1.jpg"]


def test_plain_rows_of_a_list_are_found_from_the_working_folder_or_the_lists(tmp_path, monkeypatch):
    file = write_dataset(tmp_path / "mine", train="train.txt")
    (tmp_path / "mine" / "train.txt").write_text("images/train/0.jpg\n")
    for folder in (tmp_path, tmp_path / "mine"):
        monkeypatch.chdir(folder)
        [image] = split_images(file, "train")
        assert image == tmp_path / "mine/images/train/0.jpg"
        assert label_path(image) == tmp_path / "mine/labels/train/0.txt"


def test_test_dev_is_the_test_split(tmp_path):
    file = write_dataset(tmp_path / "mine", **{"test-dev": "images/val"})
    assert split_images(file, "test-dev") == split_images(file, "test") == split_images(file, "val")


def test_a_split_that_is_not_there_names_those_that_are(tmp_path):
    file = write_dataset(tmp_path / "mine")
    with pytest.raises(DataNotFoundError, match=r"no split 'test'; it has train, val"):
        split_images(file, "test")
    with pytest.raises(DataNotFoundError, match="did you mean 'train'"):
        split_images(file, "trian")
    with pytest.raises(DataNotFoundError, match=r"has no split 'tset'; it has train, val$"):
        split_images(file, "tset")  # nearest is a split that is not there, either


def test_an_empty_split_is_an_error(tmp_path):
    file = write_dataset(tmp_path / "mine", images=0)
    with pytest.raises(DataNotFoundError, match="no images for 'train'"):
        split_images(file, "train")


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/images/x/images/a.b.jpg", "/images/x/labels/a.b.txt"),
        ("/d/photos/a.jpg", "/d/photos/a.txt"),
    ],
)
def test_labels_are_where_ultralytics_looks_for_them(image, labels):
    from ultralytics.data.utils import img2label_paths

    assert str(label_path(Path(image))) == labels == img2label_paths([image])[0]


def test_ignored_regions_are_next_to_the_labels():
    assert ignored_path(Path("/d/images/train/a.jpg")) == Path("/d/ignored/train/a.txt")


def test_a_visdrone_without_test_dev_says_how_to_add_it(tmp_path):
    file = write_dataset(tmp_path / "visdrone")
    (tmp_path / "visdrone" / "fingerprint.json").write_text("{}")
    with pytest.raises(DataNotFoundError, match="yolo-ema data prepare visdrone --splits test-dev"):
        split_images(file, "test")


def test_the_fingerprint_changes_with_labels_images_and_classes_and_with_nothing_else(tmp_path):
    file = write_dataset(tmp_path / "mine")
    first = data_fingerprint(file)
    assert first["splits"]["train"]["images"] == 2
    (tmp_path / "mine").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "mine.yaml"
    moved.write_text(moved.read_text().replace(str(tmp_path / "mine"), str(tmp_path / "moved")))
    assert data_fingerprint(moved) == first
    label = tmp_path / "moved" / "labels" / "val" / "1.txt"
    label.write_text("1 0.5 0.5 0.1 0.1\n")
    changed = data_fingerprint(moved)
    assert changed["splits"]["train"] == first["splits"]["train"]
    assert changed["splits"]["val"] != first["splits"]["val"]
    label.unlink()
    assert data_fingerprint(moved)["splits"]["val"] not in (
        first["splits"]["val"],
        changed["splits"]["val"],
    )


def test_the_fingerprint_changes_with_ignored_regions(tmp_path):
    file = write_dataset(tmp_path / "mine")
    found = [data_fingerprint(file)["splits"]]
    regions = tmp_path / "mine" / "ignored" / "train" / "1.txt"
    assert ignored_path(tmp_path / "mine" / "images" / "train" / "1.jpg") == regions
    regions.parent.mkdir(parents=True)
    for text in ("0.5 0.5 1 1\n", "0.5 0.5 0.5 1\n", ""):
        regions.write_text(text)
        found.append(data_fingerprint(file)["splits"])
    assert len({splits["train"]["regions_sha256"] for splits in found}) == 4
    assert len({splits["train"]["sha256"] for splits in found}) == 1
    assert all(splits["val"] == found[0]["val"] for splits in found)
    assert found[0]["train"]["regions_sha256"] is None
    assert not is_same_split(found[0]["train"], found[1]["train"])
    older = {key: found[1]["train"][key] for key in ("images", "sha256")}
    assert is_same_split(older, found[1]["train"])
    regions.unlink()
    assert data_fingerprint(file)["splits"] == found[0]


def test_the_fingerprint_of_images_and_labels_is_what_it_always_was(tmp_path):
    """By the digest's first definition, which records of older runs hold."""
    file = write_dataset(tmp_path / "mine")
    digest = hashlib.sha256()
    for image in split_images(file, "train"):
        digest.update(f"{image.name}\0{image.stat().st_size}\0".encode())
        digest.update(label_path(image).read_bytes() + b"\0")
    assert data_fingerprint(file)["splits"]["train"]["sha256"] == digest.hexdigest()


def test_a_test_split_that_does_not_exist_is_left_out_of_the_fingerprint(tmp_path):
    file = write_dataset(tmp_path / "mine", test="../nowhere/images")
    assert sorted(data_fingerprint(file)["splits"]) == ["train", "val"]


def test_a_missing_image_counts_by_its_name(tmp_path):
    file = write_dataset(tmp_path / "mine")
    before = data_fingerprint(file)["splits"]["train"]
    (tmp_path / "mine/images/train/gone.jpg").symlink_to(tmp_path / "nothing")
    after = data_fingerprint(file)["splits"]["train"]
    assert (before["images"], after["images"]) == (2, 3)
    assert before["sha256"] != after["sha256"]


def test_folders_linked_in_a_loop_are_read_once(tmp_path):
    images = tmp_path / "images"
    (images / "more").mkdir(parents=True)
    (images / "a.jpg").write_bytes(b"x")
    (images / "more" / "b.jpg").write_bytes(b"x")
    (images / "again").symlink_to(images)
    (images / "more" / "up").symlink_to(images)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.jpg").write_bytes(b"x")
    (images / "linked").symlink_to(elsewhere)
    found = list(images_in([images]))
    assert sorted(image.name for image in found) == ["a.jpg", "b.jpg", "c.jpg"]


def test_hidden_files_and_those_of_operating_systems_are_skipped(tmp_path):
    for name in ("a.jpg", "._a.jpg", ".thumbs/t.jpg", "__MACOSX/m.jpg", ".ipynb_checkpoints/c.jpg"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    assert [image.name for image in images_in([tmp_path / "images"])] == ["a.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le-bom"])
def test_lists_may_be_utf8_or_utf16(tmp_path, encoding):
    text = "./\u00e4.jpg\r\n./b.jpg\r\n"
    content = (
        b"\xff\xfe" + text.encode("utf-16-le")
        if encoding == "utf-16-le-bom"
        else text.encode(encoding)
    )
    (tmp_path / "list.txt").write_bytes(content)
    assert [image.name for image in images_in([tmp_path / "list.txt"])] == ["\u00e4.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("./\u00e4.jpg\n".encode("latin-1"), "neither UTF-8 nor UTF-16 text"),
        (b"a\0b.jpg\n", "a row holds a NUL character"),
    ],
)
def test_a_list_that_is_not_text_is_named(tmp_path, content, what):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"list\.txt is not a list of images: .*{what}"):
        list(images_in([tmp_path / "list.txt"]))


def test_a_name_that_is_not_utf8_is_one_clear_error(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Path(os.fsdecode(bytes(folder) + b"/stra\xdfe.jpg")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"stra\\xdfe\.jpg is not UTF-8 text; rename it"):
        list(images_in([folder]))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "images" / "closed").mkdir(parents=True)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"closed cannot be read: Permission denied"):
        list(images_in([tmp_path / "images"]))


def test_without_a_folder_images_there_are_no_regions():
    assert region_files(["/d/images/a.jpg", "/d/photos/a.jpg"]) == ["/d/ignored/a.txt", None]
