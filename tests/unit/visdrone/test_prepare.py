"""`prepare` on small real files: what it derives, what it leaves alone, what it notices, and how it
goes on.
"""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from yolo_ema.errors import (
    AnnotationError,
    ArchiveError,
    ConfigError,
    DataError,
    DataNotFoundError,
    OfflineError,
)
from yolo_ema.io.download import Fetched
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone import prepare as prepare_module
from yolo_ema.visdrone import prepared_files, split_sources
from yolo_ema.visdrone.prepare import prepare

WH = (200, 100)

ROWS = {
    "a": "10,20,30,40,1,4,0,0\n0,0,50,60,0,0,0,0\n5,5,5,5,0,11,0,0\n",
    "b": "100,50,20,10,1,1,0,1,\n",
    "c": "",
}


def _image(path: Path, wh: tuple[int, int] = WH, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", wh, (90, 120, 90)).save(path, **more)
    return path


def _split(parent: Path, split: str = "val", rows: dict[str, str] | None = None) -> Path:
    folder = parent / f"VisDrone2019-DET-{split}"
    (folder / "annotations").mkdir(parents=True)
    for stem, text in (ROWS if rows is None else rows).items():
        _image(folder / "images" / f"{stem}.jpg")
        (folder / "annotations" / f"{stem}.txt").write_text(text)
    return folder


def _state(folder: Path) -> dict[str, tuple]:
    """What a folder of the user's must still be after we worked with it."""
    return {
        str(path.relative_to(folder)): (
            path.is_symlink(),
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.is_file() and path.read_bytes(),
        )
        for path in sorted(folder.rglob("*"))
    }


def _prepare(root: Path, *sources: Path, **more):
    return prepare(PrepareOptions(root=root, source=sources, **more))


def _rows(path: Path) -> list[list[float]]:
    return [[float(number) for number in row.split()] for row in path.read_text().splitlines()]


def test_what_is_derived(tmp_path: Path) -> None:
    source = _split(tmp_path / "mine")
    before = _state(source)
    result = _prepare(tmp_path / "root", source)
    root = tmp_path / "root"
    assert result.data_yaml == root / "visdrone.yaml"
    content = yaml.safe_load(result.data_yaml.read_text())
    assert content["path"] == str(root)
    assert (content["train"], content["val"]) == ("images/train", "images/val")
    assert content["names"][0] == "pedestrian"
    assert content["names"][9] == "motor"
    # 10,20,30,40 in 200x100: centre 25,40, size 30,40
    assert _rows(root / "labels/val/a.txt") == [[3, 0.125, 0.4, 0.15, 0.4]]
    assert _rows(root / "labels/val/b.txt") == [[0, 0.55, 0.55, 0.1, 0.1]]
    assert (root / "labels/val/c.txt").read_text() == ""
    assert _rows(root / "ignored/val/a.txt") == [[0.125, 0.3, 0.25, 0.6]]
    assert not (root / "ignored/val/b.txt").exists()
    assert (root / "images/val/a.jpg").readlink() == source / "images" / "a.jpg"
    assert (root / "annotations/val/a.txt").read_text() == ROWS["a"]
    assert _state(source) == before
    split = result.as_json()["splits"]["val"]
    assert (split["images"], split["boxes"], split["ignored_regions"], split["others"]) == (
        3,
        2,
        1,
        1,
    )
    assert split["boxes_per_class"]["car"] == 1
    assert split["trailing_commas"] == 1
    assert split["anomalies"] == {}
    assert split["official_equal"] is None
    assert json.dumps(result.as_json())
    assert "ignored regions" in result.as_text()


def test_boxes_are_clipped_or_dropped_and_every_anomaly_is_named(tmp_path: Path) -> None:
    rows = {
        "a": "190,90,30,40,1,4,0,0\n-10,-5,20,10,1,1,0,0\n300,5,10,10,1,1,0,0\n"
        "10,10,0,5,1,1,0,0\n1,2,3\n7,7,7,7,1,99,0,0\n"
        "1,1,4,4,0,5,0,0\n150,50,100,100,0,0,0,0\n0,0,x,1,1,1,0,0\n",
        "b": "0,0,200,100,1,9,0,0\n",
    }
    source = _split(tmp_path, rows=rows)
    _image(source / "images" / "without.jpg")
    (source / "annotations" / "alone.txt").write_text("")
    (source / "images" / "broken.jpg").write_bytes(b"no image")
    (source / "annotations" / "broken.txt").write_text("1,1,4,4,1,5,0,0\n")
    _image(source / "images" / "b.png")
    result = _prepare(tmp_path / "root", source)
    assert _rows(tmp_path / "root/labels/val/a.txt") == [
        [3, 0.975, 0.95, 0.05, 0.1],
        [0, 0.025, 0.025, 0.05, 0.05],
    ]
    # row 7 has score 0: the evaluation passes over it, so it becomes an ignored region; row 8 is
    # clipped
    assert _rows(tmp_path / "root/ignored/val/a.txt") == [
        [0.015, 0.03, 0.02, 0.04],
        [0.875, 0.75, 0.25, 0.5],
    ]
    assert _rows(tmp_path / "root/labels/val/b.txt") == [[8, 0.5, 0.5, 1, 1]]
    found = {
        (Path(one["file"]).name, one["row"], one["kind"]) for one in result.as_json()["anomalies"]
    }
    assert found == {
        ("a.txt", 1, "beyond-border"),
        ("a.txt", 2, "beyond-border"),
        ("a.txt", 3, "outside-image"),
        ("a.txt", 4, "no-area"),
        ("a.txt", 5, "field-count"),
        ("a.txt", 6, "unknown-category"),
        ("a.txt", 7, "score-mismatch"),
        ("a.txt", 8, "beyond-border"),
        ("a.txt", 9, "not-integer"),
        ("without.jpg", None, "missing-annotation"),
        ("alone.txt", None, "stray-annotation"),
        ("broken.jpg", None, "unreadable-image"),
        ("b.png", None, "same-name"),
    }
    assert sorted(path.name for path in (tmp_path / "root/images/val").iterdir()) == [
        "a.jpg",
        "b.jpg",
    ]
    listed = (tmp_path / "root" / "anomalies.txt").read_text().splitlines()
    assert listed[0].startswith("# Made by 'yolo-ema data prepare'")
    assert len(listed) == 1 + len(found)
    assert "… and 3 more" in result.as_text()
    with pytest.raises(AnnotationError, match="val has anomalies, and --strict stops"):
        _prepare(tmp_path / "root", source, strict=True)


def test_strict_makes_nothing_where_something_is_odd(tmp_path: Path) -> None:
    source = _split(tmp_path, rows={"a": "1,1,4,4,1,5,0,0\n", "b": "1,1,0,4,1,5,0,0\n"})
    with pytest.raises(AnnotationError, match=r"b\.txt, row 1: .*no area; it is dropped"):
        _prepare(tmp_path / "root", source, strict=True)
    assert not (tmp_path / "root").exists()
    (source / "annotations" / "b.txt").write_text("1,1,2,4,1,5,0,0,\n")
    assert _prepare(tmp_path / "root", source, strict=True).anomalies == []


def test_a_second_run_has_nothing_to_do_and_writes_nothing(tmp_path: Path) -> None:
    source = _split(tmp_path)
    assert not _prepare(tmp_path / "root", source).up_to_date
    before = _state(tmp_path / "root")
    again = _prepare(tmp_path / "root", source)
    assert again.up_to_date
    assert _state(tmp_path / "root") == before
    assert "nothing to do" in again.as_text()
    # without a source, what was prepared before is looked at again, and nothing is fetched
    assert prepare(PrepareOptions(root=tmp_path / "root", offline=True)).up_to_date


def test_a_changed_annotation_is_noticed(tmp_path: Path) -> None:
    source = _split(tmp_path)
    _prepare(tmp_path / "root", source)
    untouched = (tmp_path / "root/labels/val/a.txt").stat().st_mtime_ns
    (source / "annotations" / "b.txt").write_text("100,50,40,10,1,1,0,1,\n")  # the same size
    result = _prepare(tmp_path / "root", source)
    assert not result.up_to_date
    assert _rows(tmp_path / "root/labels/val/b.txt") == [[0, 0.6, 0.55, 0.2, 0.1]]
    assert (tmp_path / "root/labels/val/a.txt").stat().st_mtime_ns == untouched


def test_images_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    source = _split(tmp_path)
    _prepare(tmp_path / "root", source)
    (source / "images" / "a.jpg").rename(source / "images" / "d.jpg")
    (source / "annotations" / "a.txt").rename(source / "annotations" / "d.txt")
    _prepare(tmp_path / "root", source)
    for folder, names in (
        ("images", "bcd"),
        ("labels", "bcd"),
        ("annotations", "bcd"),
        ("ignored", "d"),
    ):
        assert sorted(path.stem for path in (tmp_path / "root" / folder / "val").iterdir()) == list(
            names
        )


@pytest.mark.parametrize(
    "harm",
    [
        "labels/val/a.txt",
        "images/val/a.jpg",
        "ignored/val/a.txt",
        "annotations/val/b.txt",
        "visdrone.yaml",
    ],
)
def test_what_is_missing_below_the_root_is_made_anew(tmp_path: Path, harm: str) -> None:
    source = _split(tmp_path)
    _prepare(tmp_path / "root", source)
    whole = {
        path: content[-1]
        for path, content in _state(tmp_path / "root").items()
        if "json" not in path
    }
    (tmp_path / "root" / harm).unlink()
    assert not _prepare(tmp_path / "root", source).up_to_date
    assert {
        path: content[-1]
        for path, content in _state(tmp_path / "root").items()
        if "json" not in path
    } == whole
    assert _prepare(tmp_path / "root", source).up_to_date


def test_a_file_that_a_crash_left_empty_is_made_anew(tmp_path: Path) -> None:
    source = _split(tmp_path)
    _prepare(tmp_path / "root", source)
    (tmp_path / "root/labels/val/a.txt").write_text("")
    _prepare(tmp_path / "root", source)
    assert _rows(tmp_path / "root/labels/val/a.txt") == [[3, 0.125, 0.4, 0.15, 0.4]]


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _split(tmp_path)
    really_link, count = prepared_files.link, 0

    def link(*args) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        really_link(*args)

    monkeypatch.setattr(prepared_files, "link", link)
    with pytest.raises(KeyboardInterrupt):
        _prepare(tmp_path / "root", source)
    assert json.loads((tmp_path / "root/fingerprint.json").read_text())["complete"] is False
    monkeypatch.undo()
    assert not _prepare(tmp_path / "root", source).up_to_date
    assert sorted(path.stem for path in (tmp_path / "root/labels/val").iterdir()) == ["a", "b", "c"]
    assert _prepare(tmp_path / "root", source).up_to_date


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"splits": {"val": 3}, "dataset": "visdrone"}']
)
def test_a_torn_fingerprint_is_made_anew(tmp_path: Path, content: str) -> None:
    source = _split(tmp_path)
    _prepare(tmp_path / "root", source)
    (tmp_path / "root/fingerprint.json").write_text(content)
    assert not _prepare(tmp_path / "root", source).up_to_date
    assert _prepare(tmp_path / "root", source).up_to_date


def test_a_read_only_source_works(tmp_path: Path) -> None:
    source = _split(tmp_path)
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = _state(source)
    _prepare(tmp_path / "root", source)
    assert _state(source) == before
    for path in [source, *source.rglob("*")]:
        path.chmod(0o755)


@pytest.mark.parametrize("forbidden", ["symlink", "symlink and hard link"])
def test_without_links_there_are_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forbidden: str
) -> None:
    def refuse(*_args, **_kwargs):
        raise OSError("not here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    if "hard" in forbidden:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    source = _split(tmp_path)
    _prepare(tmp_path / "root", source)
    copy = tmp_path / "root/images/val/a.jpg"
    assert not copy.is_symlink()
    assert copy.samefile(source / "images/a.jpg") == ("hard" not in forbidden)
    assert copy.read_bytes() == (source / "images/a.jpg").read_bytes()
    assert _prepare(tmp_path / "root", source).up_to_date


def test_a_root_that_holds_the_users_files_is_refused(tmp_path: Path) -> None:
    source = _split(tmp_path)
    _image(tmp_path / "root/images/train/mine.jpg")
    before = _state(tmp_path / "root")
    with pytest.raises(ConfigError, match="not made by 'data prepare'"):
        _prepare(tmp_path / "root", source)
    with pytest.raises(ConfigError, match="not made by 'data prepare'"):
        _prepare(source, source)
    (tmp_path / "root/fingerprint.json").write_text("{}")
    with pytest.raises(ConfigError, match="may be yours"):
        _prepare(tmp_path / "root", source)
    (tmp_path / "root/fingerprint.json").unlink()
    assert _state(tmp_path / "root") == before


@pytest.mark.parametrize(
    "mine",
    [
        "images/val/mine.jpg",
        "images/val/d.jpg",
        "labels/val/backup/notes.txt",
        "ignored/val/c.txt",
        "annotations/val/e.txt",
    ],
)
def test_a_file_of_the_users_among_the_derived_ones_is_named_and_left(
    tmp_path: Path, mine: str
) -> None:
    source, root = _split(tmp_path), tmp_path / "root"
    _prepare(root, source)
    (root / mine).parent.mkdir(parents=True, exist_ok=True)
    (root / mine).write_bytes(b"the user's own")
    _image(source / "images" / "d.jpg")
    (source / "annotations" / "d.txt").write_text("")
    (source / "images" / "a.jpg").unlink()  # there is something to write and something to remove
    before = _state(root)
    with pytest.raises(ConfigError, match=f"did not make: .*{mine}; nothing of it is touched"):
        _prepare(root, source)
    assert _state(root) == before
    (root / mine).unlink()
    assert _prepare(root, source).record.splits["val"].images == 3


def test_files_that_no_dataset_is_made_of_are_left_alone(tmp_path: Path) -> None:
    source, root = _split(tmp_path), tmp_path / "root"
    _prepare(root, source)
    others = [
        root / "images/val/a.npy",
        root / "labels/val/.hidden.txt",
        root / "labels/notes.txt",
        root / "images/val/readme.md",
    ]
    for path in others:
        path.write_bytes(b"the user's own")
    (source / "images" / "a.jpg").unlink()
    assert _prepare(root, source).record.splits["val"].images == 2
    assert [path.read_bytes() for path in others] == [b"the user's own"] * 4


@pytest.mark.parametrize("name", ["visdrone.yaml", "anomalies.txt"])
@pytest.mark.parametrize("when", ["before the first run", "afterwards"])
def test_a_file_of_the_users_right_below_the_root_is_neither_replaced_nor_removed(
    tmp_path: Path, name: str, when: str
) -> None:
    source, root = _split(tmp_path), tmp_path / "root"
    if when == "afterwards":
        _prepare(root, source)
        (source / "images" / "a.jpg").unlink()
    root.mkdir(exist_ok=True)
    (root / name).write_text("the user's own")
    before = _state(root)
    with pytest.raises(ConfigError, match=f"did not make: .*{name}; nothing of it is touched"):
        _prepare(root, source)
    assert _state(root) == before


def test_anomalies_that_are_gone_take_their_list_along(tmp_path: Path) -> None:
    source, root = (
        _split(tmp_path, rows={"a": "1,2,3\n", "b": "1,1,4,4,1,5,0,0\n"}),
        tmp_path / "root",
    )
    _prepare(root, source)
    assert (root / "anomalies.txt").is_file()
    (source / "annotations/a.txt").write_text("")
    _prepare(root, source)
    assert not (root / "anomalies.txt").exists()


def test_a_fingerprint_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    source, root = _split(tmp_path), tmp_path / "root"
    root.mkdir()
    (root / "fingerprint.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=r"fingerprint\.json is not ours, or damaged"):
        _prepare(root, source)
    assert [path.name for path in root.iterdir()] == ["fingerprint.json"]


def test_what_an_interrupted_run_wrote_is_known_to_be_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, root = _split(tmp_path), tmp_path / "root"
    _prepare(root, source)
    (source / "images" / "a.jpg").rename(source / "images" / "d.jpg")
    (source / "annotations" / "a.txt").rename(source / "annotations" / "d.txt")

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "remove_files", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _prepare(root, source)
    monkeypatch.undo()
    (source / "images" / "d.jpg").unlink()  # neither a nor d is wanted any more
    _prepare(root, source)
    for folder in ("images", "labels", "annotations"):
        assert sorted(path.stem for path in (root / folder / "val").iterdir()) == ["b", "c"]


def test_a_root_of_one_source_alone_takes_no_other_and_drops_what_that_has_no_more(
    tmp_path: Path,
) -> None:
    for place in ("a", "b"):
        for split in ("train", "val"):
            _split(tmp_path / place / "survey", split)
    first, root = tmp_path / "a/survey", tmp_path / "root"

    def alone(folder: Path):
        return prepare(PrepareOptions(source=(folder,), root=root), alone=True)

    alone(first)
    before = _state(root)
    with pytest.raises(
        ConfigError, match=r"was prepared from .*a/survey \(train\), not from .*b/survey"
    ):
        alone(tmp_path / "b/survey")
    assert _state(root) == before
    assert alone(first).up_to_date
    shutil.rmtree(first / "VisDrone2019-DET-val")
    result = alone(first)
    assert not result.up_to_date
    assert list(result.record.splits) == ["train"]
    assert list((root / "images/val").iterdir()) == []
    assert "val was not prepared" in result.data_yaml.read_text()
    assert alone(first).up_to_date


def test_a_root_that_was_fetched_into_is_none_of_a_folders(tmp_path: Path) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside="")
    (tmp_path / "root/archives").mkdir(parents=True)
    archive.rename(tmp_path / "root/archives" / archive.name)
    prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True))
    with pytest.raises(ConfigError, match=r"was prepared from what was fetched \(val\)"):
        prepare(PrepareOptions(source=(tmp_path / "mine",), root=tmp_path / "root"), alone=True)


def test_the_root_may_lie_around_the_source(tmp_path: Path) -> None:
    source = _split(tmp_path)
    before = _state(source)
    _prepare(tmp_path, tmp_path)
    assert _state(source) == before
    assert not (tmp_path / "images/val/a.jpg").readlink().is_absolute()
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert (moved / "images/val/a.jpg").is_file()
    moved.rename(tmp_path)


def test_splits_come_together_in_one_root(tmp_path: Path) -> None:
    _split(tmp_path / "mine", "train")
    _split(tmp_path / "mine", "val")
    _split(tmp_path / "other", "test-dev")
    assert _prepare(tmp_path / "root", tmp_path / "mine", splits=("val",)).splits == ("val",)
    assert list((tmp_path / "root/images/train").iterdir()) == []
    assert "train was not prepared" in (tmp_path / "root/visdrone.yaml").read_text()
    assert _prepare(tmp_path / "root", tmp_path).splits == ("train", "val", "test-dev")
    result = _prepare(
        tmp_path / "root2", tmp_path / "mine", tmp_path / "other", splits=("test", "train")
    )
    assert result.splits == ("test-dev", "train")
    content = yaml.safe_load((tmp_path / "root/visdrone.yaml").read_text())
    assert content["test"] == "images/test-dev"
    with pytest.raises(ConfigError, match=r"the split val is in .* and in"):
        _prepare(tmp_path / "root", tmp_path / "mine", tmp_path / "mine" / "VisDrone2019-DET-val")
    with pytest.raises(
        DataNotFoundError, match=r"the split test-dev is not in .*; found train, val"
    ):
        _prepare(tmp_path / "root3", tmp_path / "mine", splits=("test-dev",))


def test_the_name_of_a_folder_tells_its_split_or_the_user_does(tmp_path: Path) -> None:
    folder = _split(tmp_path).rename(tmp_path / "survey")
    with pytest.raises(ConfigError, match="does not say which split"):
        _prepare(tmp_path / "root", folder)
    assert _prepare(tmp_path / "root", folder, splits=("train",)).splits == ("train",)


def test_test_challenge_has_no_annotations_and_the_others_must(tmp_path: Path) -> None:
    shutil.rmtree(_split(tmp_path, "test-challenge") / "annotations")
    result = _prepare(tmp_path / "root", tmp_path / "VisDrone2019-DET-test-challenge")
    assert result.record.splits["test-challenge"].images == 3
    assert result.anomalies == []
    shutil.rmtree(_split(tmp_path, "val") / "annotations")
    with pytest.raises(DataError, match="no folder annotations"):
        _prepare(tmp_path / "root", tmp_path / "VisDrone2019-DET-val")


@pytest.mark.parametrize(
    ("images", "other", "way"),
    [
        (
            "images/a.jpg",
            "annotations/instances.json",
            "yolo-ema data prepare coco --annotations .*instances.json --images",
        ),
        ("images/train/a.jpg", "annotations/instances.json", "yolo-ema data prepare coco"),
        ("train/a.jpg", "train/_annotations.coco.json", "yolo-ema data prepare coco"),
        ("a.jpg", "coco.json", "yolo-ema data prepare coco"),
        ("images/a.jpg", "labels/a.txt", "a data YAML with path, train, val, names"),
        ("images/val/a.jpg", "labels/val/a.txt", "a data YAML with path, train, val, names"),
        ("val/images/a.jpg", "val/labels/a.txt", "a data YAML with path, train, val, names"),
    ],
)
def test_for_other_layouts_the_way_is_named(
    tmp_path: Path, images: str, other: str, way: str
) -> None:
    _image(tmp_path / "val" / images)
    (tmp_path / "val" / other).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "val" / other).write_text("{}")
    with pytest.raises(DataError, match=f"not in VisDrone's layout. If .*{way}"):
        _prepare(tmp_path / "root", tmp_path / "val")
    assert not (tmp_path / "root").exists()


def test_labels_or_json_beside_visdrones_annotations_do_not_matter(tmp_path: Path) -> None:
    source = _split(tmp_path)
    (source / "labels").mkdir()
    (source / "annotations.json").write_text("{}")
    assert _prepare(tmp_path / "root", source).record.splits["val"].images == 3


@pytest.mark.parametrize("make", ["nothing", "a folder", "an empty split"])
def test_a_source_that_is_none_is_said(tmp_path: Path, make: str) -> None:
    source = tmp_path / "source"
    if make != "nothing":
        (source / ("images" if make == "an empty split" else "pictures")).mkdir(parents=True)
    with pytest.raises(
        DataNotFoundError,
        match=r"is not there|has no split in VisDrone's layout.*found (pictures|images)",
    ):
        _prepare(tmp_path / "root", source)


def test_the_exif_orientation_counts(tmp_path: Path) -> None:
    source = _split(tmp_path, rows={"a": "10,20,30,40,1,4,0,0\n"})
    exif = Image.Exif()
    exif[274] = 6
    _image(source / "images/a.jpg", exif=exif)
    _prepare(tmp_path / "root", source)
    assert _rows(tmp_path / "root/labels/val/a.txt") == [
        [3, 0.25, 0.2, 0.3, 0.2]
    ]  # 100x200 as shown


def test_an_image_that_claims_too_many_pixels_is_left_out(tmp_path: Path) -> None:
    source = _split(tmp_path)
    content = bytearray((source / "images/a.jpg").read_bytes())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = (60_000).to_bytes(2, "big") * 2
    (source / "images/a.jpg").write_bytes(content)
    (anomaly,) = _prepare(tmp_path / "root", source).anomalies
    assert anomaly[1].kind == "unreadable-image"
    assert "60000x60000" in anomaly[1].message
    assert Image.MAX_IMAGE_PIXELS is not None


def _zipped(folder: Path, *, inside: str) -> Path:
    archive = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, f"{inside}{path.relative_to(folder).as_posix()}")
    return archive


@pytest.mark.parametrize("inside", ["VisDrone2019-DET-val/", ""])
def test_an_archive_of_the_users_is_unpacked_once_below_the_root(
    tmp_path: Path, inside: str
) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside=inside)
    before = archive.read_bytes()
    result = _prepare(tmp_path / "root", archive)
    assert result.record.splits["val"].images == 3
    about = result.as_json()["splits"]["val"]["archive"]
    assert about["name"] == archive.name
    assert len(about["sha256"]) == 64
    assert archive.read_bytes() == before
    assert (tmp_path / "root/images/val/a.jpg").is_file()
    unpacked = (tmp_path / "root/sources/VisDrone2019-DET-val").stat().st_ino
    assert _prepare(tmp_path / "root", archive).up_to_date
    assert (tmp_path / "root/sources/VisDrone2019-DET-val").stat().st_ino == unpacked
    with pytest.raises(ArchiveError, match="expected aaaa"):
        _prepare(tmp_path / "root", archive, sha256=(f"{archive.name}={'a' * 64}",))
    archive.unlink()  # what was unpacked is enough
    assert _prepare(tmp_path / "root", archive).up_to_date


def test_a_changed_archive_is_unpacked_anew(tmp_path: Path) -> None:
    folder = _split(tmp_path / "mine")
    _prepare(tmp_path / "root", _zipped(folder, inside=""))
    (folder / "annotations/c.txt").write_text("1,1,4,4,1,5,0,0\n")
    result = _prepare(tmp_path / "root", _zipped(folder, inside=""))
    assert sum(result.record.splits["val"].boxes_per_class) == 3


def test_a_folder_of_archives_is_a_source(tmp_path: Path) -> None:
    for split in ("val", "train"):
        archive = _zipped(_split(tmp_path / "mine", split), inside="")
        (tmp_path / "archives").mkdir(exist_ok=True)
        archive.rename(tmp_path / "archives" / archive.name)
    (tmp_path / "archives" / "other.zip").write_bytes(b"not a split's")
    result = _prepare(tmp_path / "root", tmp_path / "archives")
    assert {split: one.images for split, one in result.record.splits.items()} == {
        "train": 3,
        "val": 3,
    }


@pytest.mark.parametrize("root", ["file", "file/below", "/proc/nowhere"])
def test_a_root_that_cannot_be_written_is_said(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"cannot be written .*; give another --root"):
        _prepare(tmp_path / root, _split(tmp_path))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_source_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _split(tmp_path)
    really = Path.iterdir

    def refuse(folder: Path):
        if folder == source / "images":
            raise PermissionError(13, "Permission denied", str(folder))
        return really(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="images cannot be read: Permission denied"):
        _prepare(tmp_path / "root", source)


def test_an_archive_that_the_user_put_below_the_root_is_used_and_left_there(tmp_path: Path) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside="")
    given = tmp_path / "root" / "archives" / archive.name
    given.parent.mkdir(parents=True)
    archive.rename(given)
    before = given.read_bytes()
    result = prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True))
    assert result.record.splits["val"].images == 3
    assert given.read_bytes() == before
    assert prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True)).up_to_date


def test_an_archive_that_was_fetched_is_gone_once_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside="")
    root = tmp_path / "root"

    def fetch(urls, target, **_):
        assert urls[0] == f"https://example.org/{archive.name}"
        target.parent.mkdir(parents=True)
        shutil.copy(archive, target)
        return Fetched(urls[0], target.stat().st_size, "0")

    monkeypatch.setattr(split_sources, "remote_size", lambda _: None)
    monkeypatch.setattr(split_sources, "fetch", fetch)
    result = prepare(PrepareOptions(root=root, splits=("val",), mirror=("https://example.org/",)))
    assert result.record.splits["val"].images == 3
    assert not [path for path in root.rglob("*.zip*") if path.suffix != ".json"]
    assert not (root / ".fetched").exists()
    assert prepare(PrepareOptions(root=root, splits=("val",), offline=True)).up_to_date


def test_offline_says_what_would_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(
        OfflineError,
        match=r"VisDrone2019-DET-train\.zip, .*: yolo-ema data prepare visdrone --source",
    ):
        prepare(PrepareOptions(root=tmp_path / "root", offline=True))
    assert not (tmp_path / "root").exists()


def test_official_totals_are_compared_where_the_number_of_images_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolo_ema.visdrone import official_totals as totals

    source = _split(tmp_path)
    right = totals.OfficialTotals("val", 3, (1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1))
    monkeypatch.setattr(totals, "OFFICIAL_TOTALS", (right,))
    assert _prepare(tmp_path / "one", source).as_json()["splits"]["val"]["official_equal"] is True
    wrong = totals.OfficialTotals("val", 3, (1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1))
    monkeypatch.setattr(totals, "OFFICIAL_TOTALS", (wrong,))
    result = _prepare(tmp_path / "two", source)
    assert result.as_json()["splits"]["val"]["official_equal"] is False
    assert "val: differs from the official val split: car 1 instead of 2" in result.as_text()


def _totals(monkeypatch: pytest.MonkeyPatch, images: int):
    from yolo_ema.visdrone import official_totals as totals

    official = totals.OfficialTotals("val", images, (1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1))
    monkeypatch.setattr(totals, "OFFICIAL_TOTALS", (official,))
    return totals.compare_with_official, np.array(official.rows_per_category)


@pytest.mark.parametrize(
    ("found", "used", "certain", "equal", "says"),
    [
        (548, 548, False, True, "equal to the official val split"),
        (548, 547, False, False, "1 of 548 images left out"),
        (547, 547, False, False, "1 of 548 images missing"),
        (546, 545, False, False, "2 of 548 images missing, 1 of 546 images left out"),
        (549, 549, False, None, "not an official split"),
        (300, 300, False, None, "not an official split"),
        (300, 300, True, False, "248 of 548 images missing"),
        (549, 549, True, False, "549 images instead of 548"),
    ],
)
def test_a_few_images_less_do_not_turn_the_comparison_off(
    monkeypatch, found, used, certain, equal, says
) -> None:
    compare, rows = _totals(monkeypatch, 548)
    verdict, sentence = compare("val", rows, found=found, used=used, certain=certain)
    assert verdict is equal
    assert says in sentence


def test_one_damaged_image_does_not_turn_the_comparison_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _totals(monkeypatch, 3)
    source = _split(tmp_path)
    (source / "images/b.jpg").write_bytes(b"no image")
    result = _prepare(tmp_path / "root", source)
    assert result.findings()[0] == (
        "val: differs from the official val split: 1 of 3 images left out, pedestrian 0 instead "
        "of 1"
    )


def test_what_was_fetched_is_always_compared(tmp_path: Path) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside="")
    (tmp_path / "root/archives").mkdir(parents=True)
    archive.rename(tmp_path / "root/archives" / archive.name)
    result = prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True))
    assert "545 of 548 images missing" in result.findings()[0]


def test_the_official_totals_add_up_to_the_known_ones() -> None:
    from yolo_ema.visdrone.official_totals import OFFICIAL_TOTALS

    assert [
        (one.split, one.images, sum(one.rows_per_category[1:11])) for one in OFFICIAL_TOTALS
    ] == [
        ("train", 6471, 343_205),
        ("val", 548, 38_759),
        ("test-dev", 1610, 75_102),
    ]
    assert OFFICIAL_TOTALS[1].rows_per_category[0] == 1378
    assert OFFICIAL_TOTALS[1].rows_per_category[11] == 32


def test_a_root_of_another_kind_is_refused(tmp_path: Path) -> None:
    source = _split(tmp_path)
    _prepare(tmp_path / "root", source)
    with pytest.raises(ConfigError, match="prepared from visdrone, not coco"):
        prepare(
            PrepareOptions(
                dataset="coco",
                root=tmp_path / "root",
                annotations=(tmp_path / "a.json",),
                images=(source,),
            )
        )


def test_options_name_everything_that_is_wrong() -> None:
    with pytest.raises(ConfigError, match="did you mean 'train'") as caught:
        PrepareOptions(
            splits=("trian", "val", "val"),
            mirror=("ftp://x",),
            sha256=("abc",),
            annotations=(Path("a"),),
        )
    for part in ("twice", "--mirror", "--sha256", "--annotations and --images belong"):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match="one --images per --annotations, found 1 and 0"):
        PrepareOptions(dataset="coco", annotations=(Path("a"),))
    with pytest.raises(ConfigError, match="one name in --splits per"):
        PrepareOptions(
            dataset="coco", annotations=(Path("a"), Path("b")), images=(Path("a"), Path("b"))
        )
    with pytest.raises(ConfigError, match="plain name"):
        PrepareOptions(
            dataset="coco", annotations=(Path("a"),), images=(Path("a"),), splits=("../x",)
        )


def test_thousands_of_files_are_checked_in_under_two_seconds(tmp_path: Path) -> None:
    rows = {f"{number:05d}": "10,20,30,40,1,4,0,0\n" for number in range(1000)}
    source = _split(tmp_path, rows={"first": "1,1,4,4,1,5,0,0\n"})
    photo = (source / "images/first.jpg").read_bytes()
    for stem, text in rows.items():
        (source / "images" / f"{stem}.jpg").write_bytes(photo)
        (source / "annotations" / f"{stem}.txt").write_text(text)
    assert np.sum(_prepare(tmp_path / "root", source).record.splits["val"].boxes_per_class) == 1001
    started = time.process_time()
    assert prepare_module.prepare(
        PrepareOptions(root=tmp_path / "root", source=(source,))
    ).up_to_date
    assert time.process_time() - started < 0.23  # 8,629 images in two seconds


def test_images_none_of_whose_rows_can_be_read_are_left_out(tmp_path: Path) -> None:
    rows = {"a": ROWS["a"], "b": "1,0,593,43,174,190,1,4,0,0\n", "c": "1 2 3\nx\n", "d": ""}
    result = _prepare(tmp_path / "root", _split(tmp_path, rows=rows))
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
def test_a_split_that_teaches_nothing_is_an_error(
    tmp_path: Path, rows: dict[str, str], says: str
) -> None:
    with pytest.raises(DataError, match=f"val: none of its .*{says}"):
        _prepare(tmp_path / "root", _split(tmp_path, rows=rows))
    assert not (tmp_path / "root").exists()


def test_an_empty_annotation_folder_is_an_error(tmp_path: Path) -> None:
    source = _split(tmp_path)
    for path in (source / "annotations").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of its 3 images can be used \(3 missing-annotation"):
        _prepare(tmp_path / "root", source)


def test_annotations_in_utf_16_are_read(tmp_path: Path) -> None:
    source = _split(tmp_path)
    for path in (source / "annotations").iterdir():
        path.write_text(path.read_text(), encoding="utf-16")
    result = _prepare(tmp_path / "root", source)
    assert result.anomalies == []
    assert sum(result.record.splits["val"].boxes_per_class) == 2


def test_what_a_mac_adds_to_folders_is_passed_over(tmp_path: Path) -> None:
    source = _split(tmp_path / "mine")
    for path in (source / "images/._a.jpg", source / "annotations/._a.txt"):
        path.write_bytes(b"\0\5\x16\7resource fork")
    fork = tmp_path / "mine/__MACOSX/VisDrone2019-DET-val/images/._a.jpg"
    fork.parent.mkdir(parents=True)
    fork.write_bytes(b"\0\5\x16\7")
    _image(source / ".ipynb_checkpoints/images/a.jpg")
    result = _prepare(tmp_path / "root", tmp_path / "mine")
    assert result.record.splits["val"].images == 3
    assert result.anomalies == []
    fork.unlink()
    (source / "images/._b.jpg").write_bytes(b"another")
    assert _prepare(tmp_path / "root", tmp_path / "mine").up_to_date


def test_a_mac_archive_is_like_its_folder(tmp_path: Path) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside="VisDrone2019-DET-val/")
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("images/._a.jpg", "annotations/._a.txt"):
            file.writestr(f"__MACOSX/VisDrone2019-DET-val/{name}", b"\0\5\x16\7")
    result = _prepare(tmp_path / "root", archive)
    assert result.record.splits["val"].images == 3
    assert result.anomalies == []


@pytest.mark.parametrize("name", ["...zip", ".zip", "..tar.gz", ". .zip", ".zip.zip"])
def test_no_archive_name_reaches_out_of_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    _prepare(root, _split(tmp_path / "other", "train"))
    (root / "mine.txt").write_text("the user's own")
    (tmp_path / "mine.txt").write_text("the user's own")
    before = {path: one for path, one in _state(root).items() if "train/" in path}
    archive = _zipped(_split(tmp_path / "mine"), inside="VisDrone2019-DET-val/")
    named = archive.rename(archive.with_name(name))
    result = _prepare(root, named)
    assert result.record.splits["val"].images == 3
    assert {path: one for path, one in _state(root).items() if "train/" in path} == before
    assert (root / "mine.txt").read_text() == (tmp_path / "mine.txt").read_text()
    assert len(list((root / "sources").iterdir())) == 1


def test_a_folder_of_the_users_is_not_replaced_by_what_is_unpacked(tmp_path: Path) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside="")
    mine = tmp_path / "root/sources/VisDrone2019-DET-val/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("the user's own")
    with pytest.raises(ConfigError, match="is in the way, and was not unpacked by this version"):
        _prepare(tmp_path / "root", archive)
    assert mine.read_text() == "the user's own"


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("nothing/of/a/split", "has no split in VisDrone's layout"),
        ("images", "does not say which split"),
    ],
)
def test_an_archive_that_is_refused_does_not_stay_unpacked(
    tmp_path: Path, folder: str, says: str
) -> None:
    with zipfile.ZipFile(tmp_path / "survey.zip", "w") as archive:
        archive.write(_image(tmp_path / "a.jpg"), f"{folder}/a.jpg")
        archive.writestr("annotations/a.txt", "1,1,4,4,1,5,0,0\n")
    with pytest.raises((DataError, ConfigError), match=says):
        _prepare(tmp_path / "root", tmp_path / "survey.zip")
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


def test_two_archives_of_one_split_leave_nothing_unpacked(tmp_path: Path) -> None:
    first = _zipped(_split(tmp_path / "one"), inside="")
    second = _zipped(_split(tmp_path / "two"), inside="")
    with pytest.raises(ConfigError, match="the split val is in"):
        _prepare(tmp_path / "root", first, second)
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


def test_archives_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    archives = []
    for split in ("train", "val"):
        folder = _split(tmp_path / split, split)
        archive = _zipped(folder, inside=f"{folder.name}/")
        archives.append(archive.rename(archive.with_name("data.zip")))
    result = _prepare(tmp_path / "root", *archives)
    assert {split: one.images for split, one in result.record.splits.items()} == {
        "train": 3,
        "val": 3,
    }
    assert (tmp_path / "root/images/train/a.jpg").is_file()
    assert _prepare(tmp_path / "root", *archives).up_to_date


def test_what_a_killed_run_left_half_unpacked_is_swept(tmp_path: Path) -> None:
    archive = _zipped(_split(tmp_path / "mine"), inside="")
    sources = tmp_path / "root/sources"
    for name, marked in ((".VisDrone2019-DET-val.new", True), ("other.new", False)):
        part = sources / f".{name}-x1y2.part"
        (part / "images").mkdir(parents=True)
        if marked:
            (part / ".unpacked-by-yolo-ema.json").touch()
    _prepare(tmp_path / "root", archive)
    assert sorted(path.name for path in sources.iterdir()) == [
        ".other.new-x1y2.part",
        "VisDrone2019-DET-val",
    ]


def test_one_damaged_archive_does_not_hold_up_the_others(tmp_path: Path) -> None:
    good = _zipped(_split(tmp_path / "mine", "train"), inside="")
    damaged = tmp_path / "VisDrone2019-DET-val.zip"
    damaged.write_bytes(good.read_bytes()[:-100])
    result = _prepare(tmp_path / "root", good, damaged, tmp_path / "gone")
    assert result.splits == ("train",)
    assert result.exit_code == 3
    assert list(result.failures) == [str(damaged), str(tmp_path / "gone")]
    assert "is damaged" in result.failures[str(damaged)]
    assert f"{damaged} could not be prepared: " in result.as_text()
    assert result.as_json()["failures"] == result.failures
    with pytest.raises(ArchiveError, match="is damaged"):
        _prepare(tmp_path / "strict", good, damaged, strict=True)


def test_one_split_that_cannot_be_used_does_not_hold_up_the_others(tmp_path: Path) -> None:
    _split(tmp_path / "mine", "train")
    _split(tmp_path / "mine", "val", rows={"a": "no row\n"})
    result = _prepare(tmp_path / "root", tmp_path / "mine")
    assert result.splits == ("train",)
    assert "none of its 1 images can be used" in result.failures["val"]
    assert "val was not prepared" in result.data_yaml.read_text()
    (tmp_path / "mine/VisDrone2019-DET-val/annotations/a.txt").write_text(ROWS["a"])
    result = _prepare(tmp_path / "root", tmp_path / "mine")
    assert (result.splits, result.failures) == (("train", "val"), {})


def test_a_download_that_fails_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _zipped(_split(tmp_path / "mine", "train"), inside="")

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


@pytest.mark.parametrize(
    "place", ["../../mine.txt", "/etc/passwd", "a/../../../mine.txt", "C:/mine.txt", ""]
)
def test_a_fingerprint_cannot_name_files_outside_to_be_removed(tmp_path: Path, place: str) -> None:
    source, root = _split(tmp_path), tmp_path / "root"
    _prepare(root, source)
    (tmp_path / "mine.txt").write_text("the user's own")
    (root / "mine.txt").write_text("the user's own")
    content = json.loads((root / "fingerprint.json").read_text())
    content["files"]["val"]["labels"].append(place)
    content["splits"]["val"]["source_digest"] = "another"
    (root / "fingerprint.json").write_text(json.dumps(content))
    assert _prepare(root, source).record.splits["val"].images == 3
    assert (tmp_path / "mine.txt").is_file()
    assert (root / "mine.txt").is_file()


@pytest.mark.parametrize("path", ["a\0b", "a\udcffb"])
def test_paths_that_cannot_be_written_down_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written into a data YAML"):
        _prepare(tmp_path / path, _split(tmp_path))
    with pytest.raises(ConfigError, match="cannot be written into a data YAML"):
        _prepare(tmp_path / "root", tmp_path / path)


def test_images_whose_names_are_not_unicode_are_left_out(tmp_path: Path) -> None:
    source = _split(tmp_path)
    for folder, suffix in (("images", "jpg"), ("annotations", "txt")):
        shutil.copy(source / folder / f"a.{suffix}", source / folder / f"\udcff.{suffix}")
    result = _prepare(tmp_path / "root", source)
    split = result.as_json()["splits"]["val"]
    assert (split["images"], split["images_left_out"]) == (3, {"bad-name": 1})
    assert "\\udcff.jpg" in (tmp_path / "root/anomalies.txt").read_text(encoding="utf-8")
