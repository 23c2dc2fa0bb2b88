"""What cannot be used: left out by name, or an error of its split alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from coco_files import coco_dataset, prepare_coco
from PIL import Image
from visdrone_files import ROWS, add_split, prepare_root, zipped

from yolo_ema.errors import (
    ArchiveError,
    DataError,
)
from yolo_ema.io.download import Fetched
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone import split_sources
from yolo_ema.visdrone.prepare import prepare


def test_an_image_that_claims_too_many_pixels_is_left_out(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    content = bytearray((source / "images/a.jpg").read_bytes())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = (60_000).to_bytes(2, "big") * 2
    (source / "images/a.jpg").write_bytes(content)
    (anomaly,) = prepare_root(tmp_path / "root", source).anomalies
    assert anomaly[1].kind == "unreadable-image"
    assert "60000x60000" in anomaly[1].message
    assert Image.MAX_IMAGE_PIXELS is not None


def test_an_unreadable_source_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = add_split(tmp_path)
    really = Path.iterdir

    def refuse(folder: Path):
        if folder == source / "images":
            raise PermissionError(13, "Permission denied", str(folder))
        return really(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="images cannot be read: Permission denied"):
        prepare_root(tmp_path / "root", source)


def test_images_none_of_whose_rows_can_be_read_are_left_out(tmp_path: Path) -> None:
    rows = {"a": ROWS["a"], "b": "1,0,593,43,174,190,1,4,0,0\n", "c": "1 2 3\nx\n", "d": ""}
    result = prepare_root(tmp_path / "root", add_split(tmp_path, rows=rows))
    split = result.as_json()["splits"]["val"]
    assert split["images"] == 2
    assert split["images_left_out"] == {"unreadable-annotations": 2}
    assert split["annotations_left_out"] == {"field-count": 3}
    assert sorted(path.stem for path in (tmp_path / "root/images/val").iterdir()) == ["a", "d"]
    assert "val: images left out: 2 unreadable-annotations" in result.as_text()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"a": "1,0,593,43,174,190,1,4,0,0\n"}, "1 unreadable-annotations.*10 is the format of"),
        (
            {"a": "1,1,0,4,1,5,0,0\n"},
            "1 annotations becomes a labelled object.*no-area",
        ),
        ({"a": "1,1,4,4,0,0,0,0\n"}, "1 became ignored regions"),
    ],
)
def test_a_split_without_objects_is_an_error(
    tmp_path: Path, rows: dict[str, str], says: str
) -> None:
    with pytest.raises(DataError, match=f"val: none of its .*{says}"):
        prepare_root(tmp_path / "root", add_split(tmp_path, rows=rows))
    assert not (tmp_path / "root").exists()


def test_an_empty_annotation_folder_is_an_error(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    for path in (source / "annotations").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of its 3 images can be used \(3 missing-annotation"):
        prepare_root(tmp_path / "root", source)


def test_one_damaged_archive_does_not_affect_the_others(tmp_path: Path) -> None:
    good = zipped(add_split(tmp_path / "mine", "train"), inside="")
    damaged = tmp_path / "VisDrone2019-DET-val.zip"
    damaged.write_bytes(good.read_bytes()[:-100])
    result = prepare_root(tmp_path / "root", good, damaged, tmp_path / "gone")
    assert result.splits == ("train",)
    assert result.exit_code == 3
    assert list(result.failures) == [str(damaged), str(tmp_path / "gone")]
    assert "is damaged" in result.failures[str(damaged)]
    assert f"{damaged} could not be prepared: " in result.as_text()
    assert result.as_json()["failures"] == result.failures
    with pytest.raises(ArchiveError, match="is damaged"):
        prepare_root(tmp_path / "strict", good, damaged, strict=True)


def test_one_unusable_split_does_not_affect_the_others(tmp_path: Path) -> None:
    add_split(tmp_path / "mine", "train")
    add_split(tmp_path / "mine", "val", rows={"a": "no row\n"})
    result = prepare_root(tmp_path / "root", tmp_path / "mine")
    assert result.splits == ("train",)
    assert "none of its 1 images can be used" in result.failures["val"]
    assert "val was not prepared" in result.data_yaml.read_text()
    (tmp_path / "mine/VisDrone2019-DET-val/annotations/a.txt").write_text(ROWS["a"])
    result = prepare_root(tmp_path / "root", tmp_path / "mine")
    assert (result.splits, result.failures) == (("train", "val"), {})


def test_a_failed_download_does_not_affect_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(add_split(tmp_path / "mine", "train"), inside="")

    def fetch(urls, target, **_):
        if "train" not in target.name:
            raise DataError(f"{target.name} could not be fetched")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(archive, target)
        return Fetched(urls[0], target.stat().st_size, "0")

    monkeypatch.setattr(split_sources, "remote_size", lambda _: None)
    monkeypatch.setattr(split_sources, "fetch", fetch)
    result = prepare(PrepareOptions(root=tmp_path / "root", splits=("train", "val")))
    assert result.splits == ("train",)
    assert result.failures == {"val": "VisDrone2019-DET-val.zip could not be fetched"}


def test_images_whose_names_are_not_unicode_are_left_out(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    for folder, suffix in (("images", "jpg"), ("annotations", "txt")):
        shutil.copy(source / folder / f"a.{suffix}", source / folder / f"\udcff.{suffix}")
    result = prepare_root(tmp_path / "root", source)
    split = result.as_json()["splits"]["val"]
    assert (split["images"], split["images_left_out"]) == (3, {"bad-name": 1})
    assert "\\udcff.jpg" in (tmp_path / "root/anomalies.txt").read_text(encoding="utf-8")


def test_a_split_without_one_annotation_is_not_ready(tmp_path):
    """But for a test split, whose annotations are kept from the public."""
    split = coco_dataset(tmp_path, [])
    with pytest.raises(DataError, match="train: its 3 images have no annotations at all"):
        prepare_coco(tmp_path / "root", split, names=("train",))
    assert not (tmp_path / "root").exists()
    result = prepare_coco(tmp_path / "root", split, names=("test-dev",))
    assert result.data_yaml.is_file()
