"""Where splits come from: folders, archives, downloads."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from visdrone_files import add_image, add_split, prepare_root, state_of, zipped

from yolo_ema.errors import (
    ArchiveError,
    ConfigError,
    DataError,
    DataNotFoundError,
    OfflineError,
)
from yolo_ema.io.download import Fetched
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone import split_sources
from yolo_ema.visdrone.prepare import prepare


def test_splits_come_together_in_one_root(tmp_path: Path) -> None:
    add_split(tmp_path / "mine", "train")
    add_split(tmp_path / "mine", "val")
    add_split(tmp_path / "other", "test-dev")
    assert prepare_root(tmp_path / "root", tmp_path / "mine", splits=("val",)).splits == ("val",)
    assert list((tmp_path / "root/images/train").iterdir()) == []
    assert "train was not prepared" in (tmp_path / "root/visdrone.yaml").read_text()
    assert prepare_root(tmp_path / "root", tmp_path).splits == ("train", "val", "test-dev")
    result = prepare_root(
        tmp_path / "root2", tmp_path / "mine", tmp_path / "other", splits=("test", "train")
    )
    assert result.splits == ("test-dev", "train")
    content = yaml.safe_load((tmp_path / "root/visdrone.yaml").read_text())
    assert content["test"] == "images/test-dev"
    with pytest.raises(ConfigError, match=r"the split val is in .* and in"):
        prepare_root(
            tmp_path / "root", tmp_path / "mine", tmp_path / "mine" / "VisDrone2019-DET-val"
        )
    with pytest.raises(
        DataNotFoundError, match=r"the split test-dev is not in .*; found train, val"
    ):
        prepare_root(tmp_path / "root3", tmp_path / "mine", splits=("test-dev",))


def test_the_split_comes_from_the_folders_name_or_from_the_user(tmp_path: Path) -> None:
    folder = add_split(tmp_path).rename(tmp_path / "survey")
    with pytest.raises(ConfigError, match="does not say which split"):
        prepare_root(tmp_path / "root", folder)
    assert prepare_root(tmp_path / "root", folder, splits=("train",)).splits == ("train",)


def test_test_challenge_has_no_annotations_and_the_others_must(tmp_path: Path) -> None:
    shutil.rmtree(add_split(tmp_path, "test-challenge") / "annotations")
    result = prepare_root(tmp_path / "root", tmp_path / "VisDrone2019-DET-test-challenge")
    assert result.record.splits["test-challenge"].images == 3
    assert result.anomalies == []
    shutil.rmtree(add_split(tmp_path, "val") / "annotations")
    with pytest.raises(DataError, match="no folder annotations"):
        prepare_root(tmp_path / "root", tmp_path / "VisDrone2019-DET-val")


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
def test_other_layouts_get_instructions(tmp_path: Path, images: str, other: str, way: str) -> None:
    add_image(tmp_path / "val" / images)
    (tmp_path / "val" / other).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "val" / other).write_text("{}")
    with pytest.raises(DataError, match=f"not in VisDrone's layout. If .*{way}"):
        prepare_root(tmp_path / "root", tmp_path / "val")
    assert not (tmp_path / "root").exists()


def test_labels_or_json_next_to_visdrones_annotations_do_not_matter(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    (source / "labels").mkdir()
    (source / "annotations.json").write_text("{}")
    assert prepare_root(tmp_path / "root", source).record.splits["val"].images == 3


@pytest.mark.parametrize("make", ["nothing", "a folder", "an empty split"])
def test_a_path_that_is_not_a_source_is_reported(tmp_path: Path, make: str) -> None:
    source = tmp_path / "source"
    if make != "nothing":
        (source / ("images" if make == "an empty split" else "pictures")).mkdir(parents=True)
    with pytest.raises(
        DataNotFoundError,
        match=r"is not there|has no split in VisDrone's layout.*found (pictures|images)",
    ):
        prepare_root(tmp_path / "root", source)


@pytest.mark.parametrize("inside", ["VisDrone2019-DET-val/", ""])
def test_a_users_archive_is_unpacked_once_below_the_root(tmp_path: Path, inside: str) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside=inside)
    before = archive.read_bytes()
    result = prepare_root(tmp_path / "root", archive)
    assert result.record.splits["val"].images == 3
    about = result.as_json()["splits"]["val"]["archive"]
    assert about["name"] == archive.name
    assert len(about["sha256"]) == 64
    assert archive.read_bytes() == before
    assert (tmp_path / "root/images/val/a.jpg").is_file()
    unpacked = (tmp_path / "root/sources/VisDrone2019-DET-val").stat().st_ino
    assert prepare_root(tmp_path / "root", archive).up_to_date
    assert (tmp_path / "root/sources/VisDrone2019-DET-val").stat().st_ino == unpacked
    with pytest.raises(ArchiveError, match="expected aaaa"):
        prepare_root(tmp_path / "root", archive, sha256=(f"{archive.name}={'a' * 64}",))
    with pytest.raises(ConfigError, match=f"--sha256 names x.zip; .* used: {archive.name}"):
        prepare_root(tmp_path / "root", archive, sha256=(f"x.zip={'a' * 64}",))
    archive.unlink()  # what was unpacked is enough
    assert prepare_root(tmp_path / "root", archive).up_to_date


def test_a_changed_archive_is_unpacked_again(tmp_path: Path) -> None:
    folder = add_split(tmp_path / "mine")
    prepare_root(tmp_path / "root", zipped(folder, inside=""))
    (folder / "annotations/c.txt").write_text("1,1,4,4,1,5,0,0\n")
    result = prepare_root(tmp_path / "root", zipped(folder, inside=""))
    assert sum(result.record.splits["val"].boxes_per_class) == 3


def test_a_folder_of_archives_is_a_source(tmp_path: Path) -> None:
    for split in ("val", "train"):
        archive = zipped(add_split(tmp_path / "mine", split), inside="")
        (tmp_path / "archives").mkdir(exist_ok=True)
        archive.rename(tmp_path / "archives" / archive.name)
    (tmp_path / "archives" / "other.zip").write_bytes(b"not a split's")
    result = prepare_root(tmp_path / "root", tmp_path / "archives")
    assert {split: one.images for split, one in result.record.splits.items()} == {
        "train": 3,
        "val": 3,
    }


def test_an_archive_that_the_user_put_below_the_root_is_used_and_left_there(tmp_path: Path) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside="")
    given = tmp_path / "root" / "archives" / archive.name
    given.parent.mkdir(parents=True)
    archive.rename(given)
    before = given.read_bytes()
    result = prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True))
    assert result.record.splits["val"].images == 3
    assert given.read_bytes() == before
    assert prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True)).up_to_date


def test_a_fetched_archive_is_removed_once_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside="")
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


def test_files_a_mac_adds_to_folders_are_skipped(tmp_path: Path) -> None:
    source = add_split(tmp_path / "mine")
    for path in (source / "images/._a.jpg", source / "annotations/._a.txt"):
        path.write_bytes(b"\0\5\x16\7resource fork")
    fork = tmp_path / "mine/__MACOSX/VisDrone2019-DET-val/images/._a.jpg"
    fork.parent.mkdir(parents=True)
    fork.write_bytes(b"\0\5\x16\7")
    add_image(source / ".ipynb_checkpoints/images/a.jpg")
    result = prepare_root(tmp_path / "root", tmp_path / "mine")
    assert result.record.splits["val"].images == 3
    assert result.anomalies == []
    fork.unlink()
    (source / "images/._b.jpg").write_bytes(b"another")
    assert prepare_root(tmp_path / "root", tmp_path / "mine").up_to_date


def test_a_mac_archive_is_like_its_folder(tmp_path: Path) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside="VisDrone2019-DET-val/")
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("images/._a.jpg", "annotations/._a.txt"):
            file.writestr(f"__MACOSX/VisDrone2019-DET-val/{name}", b"\0\5\x16\7")
    result = prepare_root(tmp_path / "root", archive)
    assert result.record.splits["val"].images == 3
    assert result.anomalies == []


@pytest.mark.parametrize("name", ["...zip", ".zip", "..tar.gz", ". .zip", ".zip.zip"])
def test_no_archive_entry_escapes_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    prepare_root(root, add_split(tmp_path / "other", "train"))
    (root / "mine.txt").write_text("the user's own")
    (tmp_path / "mine.txt").write_text("the user's own")
    before = {path: one for path, one in state_of(root).items() if "train/" in path}
    archive = zipped(add_split(tmp_path / "mine"), inside="VisDrone2019-DET-val/")
    named = archive.rename(archive.with_name(name))
    result = prepare_root(root, named)
    assert result.record.splits["val"].images == 3
    assert {path: one for path, one in state_of(root).items() if "train/" in path} == before
    assert (root / "mine.txt").read_text() == (tmp_path / "mine.txt").read_text()
    assert len(list((root / "sources").iterdir())) == 1


def test_a_users_folder_is_not_replaced_by_unpacked_files(tmp_path: Path) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside="")
    mine = tmp_path / "root/sources/VisDrone2019-DET-val/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("the user's own")
    with pytest.raises(ConfigError, match="is in the way, and was not unpacked by this version"):
        prepare_root(tmp_path / "root", archive)
    assert mine.read_text() == "the user's own"


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("nothing/of/a/split", "has no split in VisDrone's layout"),
        ("images", "does not say which split"),
    ],
)
def test_a_refused_archive_does_not_stay_unpacked(tmp_path: Path, folder: str, says: str) -> None:
    with zipfile.ZipFile(tmp_path / "survey.zip", "w") as archive:
        archive.write(add_image(tmp_path / "a.jpg"), f"{folder}/a.jpg")
        archive.writestr("annotations/a.txt", "1,1,4,4,1,5,0,0\n")
    with pytest.raises((DataError, ConfigError), match=says):
        prepare_root(tmp_path / "root", tmp_path / "survey.zip")
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


def test_two_archives_of_one_split_leave_nothing_unpacked(tmp_path: Path) -> None:
    first = zipped(add_split(tmp_path / "one"), inside="")
    second = zipped(add_split(tmp_path / "two"), inside="")
    with pytest.raises(ConfigError, match="the split val is in"):
        prepare_root(tmp_path / "root", first, second)
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


def test_archives_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    archives = []
    for split in ("train", "val"):
        folder = add_split(tmp_path / split, split)
        archive = zipped(folder, inside=f"{folder.name}/")
        archives.append(archive.rename(archive.with_name("data.zip")))
    result = prepare_root(tmp_path / "root", *archives)
    assert {split: one.images for split, one in result.record.splits.items()} == {
        "train": 3,
        "val": 3,
    }
    assert (tmp_path / "root/images/train/a.jpg").is_file()
    assert prepare_root(tmp_path / "root", *archives).up_to_date


def test_half_unpacked_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside="")
    sources = tmp_path / "root/sources"
    for name, marked in ((".VisDrone2019-DET-val.new", True), ("other.new", False)):
        part = sources / f".{name}-x1y2.part"
        (part / "images").mkdir(parents=True)
        if marked:
            (part / ".unpacked-by-yolo-ema.json").touch()
    prepare_root(tmp_path / "root", archive)
    assert sorted(path.name for path in sources.iterdir()) == [
        ".other.new-x1y2.part",
        "VisDrone2019-DET-val",
    ]
