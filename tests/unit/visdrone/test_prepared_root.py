"""What below a root is ours, and what of the user's is never touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from visdrone_files import add_image, add_split, prepare_root, state_of, zipped

from yolo_ema.errors import ConfigError
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone import prepare as prepare_module
from yolo_ema.visdrone.prepare import prepare


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"splits": {"val": 3}, "dataset": "visdrone"}']
)
def test_a_truncated_fingerprint_is_recreated(tmp_path: Path, content: str) -> None:
    source = add_split(tmp_path)
    prepare_root(tmp_path / "root", source)
    (tmp_path / "root/fingerprint.json").write_text(content)
    assert not prepare_root(tmp_path / "root", source).up_to_date
    assert prepare_root(tmp_path / "root", source).up_to_date


def test_a_root_that_contains_user_files_is_refused(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    add_image(tmp_path / "root/images/train/mine.jpg")
    before = state_of(tmp_path / "root")
    with pytest.raises(ConfigError, match="not made by 'data prepare'"):
        prepare_root(tmp_path / "root", source)
    with pytest.raises(ConfigError, match="not made by 'data prepare'"):
        prepare_root(source, source)
    (tmp_path / "root/fingerprint.json").write_text("{}")
    with pytest.raises(ConfigError, match="may be yours"):
        prepare_root(tmp_path / "root", source)
    (tmp_path / "root/fingerprint.json").unlink()
    assert state_of(tmp_path / "root") == before


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
def test_a_user_file_among_the_derived_ones_is_named_and_left(tmp_path: Path, mine: str) -> None:
    source, root = add_split(tmp_path), tmp_path / "root"
    prepare_root(root, source)
    (root / mine).parent.mkdir(parents=True, exist_ok=True)
    (root / mine).write_bytes(b"the user's own")
    add_image(source / "images" / "d.jpg")
    (source / "annotations" / "d.txt").write_text("")
    (source / "images" / "a.jpg").unlink()  # there is something to write and something to remove
    before = state_of(root)
    with pytest.raises(ConfigError, match=f"did not make: .*{mine}; it is left untouched"):
        prepare_root(root, source)
    assert state_of(root) == before
    (root / mine).unlink()
    assert prepare_root(root, source).record.splits["val"].images == 3


def test_files_that_are_not_part_of_a_dataset_are_left_alone(tmp_path: Path) -> None:
    source, root = add_split(tmp_path), tmp_path / "root"
    prepare_root(root, source)
    others = [
        root / "images/val/a.npy",
        root / "labels/val/.hidden.txt",
        root / "labels/notes.txt",
        root / "images/val/readme.md",
    ]
    for path in others:
        path.write_bytes(b"the user's own")
    (source / "images" / "a.jpg").unlink()
    assert prepare_root(root, source).record.splits["val"].images == 2
    assert [path.read_bytes() for path in others] == [b"the user's own"] * 4


@pytest.mark.parametrize("name", ["visdrone.yaml", "anomalies.txt"])
@pytest.mark.parametrize("when", ["before the first run", "afterwards"])
def test_a_user_file_directly_below_the_root_is_neither_replaced_nor_removed(
    tmp_path: Path, name: str, when: str
) -> None:
    source, root = add_split(tmp_path), tmp_path / "root"
    if when == "afterwards":
        prepare_root(root, source)
        (source / "images" / "a.jpg").unlink()
    root.mkdir(exist_ok=True)
    (root / name).write_text("the user's own")
    before = state_of(root)
    with pytest.raises(ConfigError, match=f"did not make: .*{name}; it is left untouched"):
        prepare_root(root, source)
    assert state_of(root) == before


def test_a_fingerprint_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    source, root = add_split(tmp_path), tmp_path / "root"
    root.mkdir()
    (root / "fingerprint.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=r"fingerprint\.json is not ours, or damaged"):
        prepare_root(root, source)
    assert [path.name for path in root.iterdir()] == ["fingerprint.json"]


def test_files_written_by_an_interrupted_run_are_recognised_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, root = add_split(tmp_path), tmp_path / "root"
    prepare_root(root, source)
    (source / "images" / "a.jpg").rename(source / "images" / "d.jpg")
    (source / "annotations" / "a.txt").rename(source / "annotations" / "d.txt")

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "remove_files", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_root(root, source)
    monkeypatch.undo()
    (source / "images" / "d.jpg").unlink()  # neither a nor d is wanted any more
    prepare_root(root, source)
    for folder in ("images", "labels", "annotations"):
        assert sorted(path.stem for path in (root / folder / "val").iterdir()) == ["b", "c"]


def test_a_root_of_one_source_accepts_no_other_and_drops_what_the_source_dropped(
    tmp_path: Path,
) -> None:
    for place in ("a", "b"):
        for split in ("train", "val"):
            add_split(tmp_path / place / "survey", split)
    first, root = tmp_path / "a/survey", tmp_path / "root"

    def alone(folder: Path):
        return prepare(PrepareOptions(source=(folder,), root=root), alone=True)

    alone(first)
    before = state_of(root)
    with pytest.raises(
        ConfigError, match=r"was prepared from .*a/survey \(train\), not from .*b/survey"
    ):
        alone(tmp_path / "b/survey")
    assert state_of(root) == before
    assert alone(first).up_to_date
    shutil.rmtree(first / "VisDrone2019-DET-val")
    result = alone(first)
    assert not result.up_to_date
    assert list(result.record.splits) == ["train"]
    assert list((root / "images/val").iterdir()) == []
    assert "val was not prepared" in result.data_yaml.read_text()
    assert alone(first).up_to_date


def test_a_root_with_fetched_data_is_not_the_root_of_a_folder(tmp_path: Path) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside="")
    (tmp_path / "root/archives").mkdir(parents=True)
    archive.rename(tmp_path / "root/archives" / archive.name)
    prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True))
    with pytest.raises(ConfigError, match=r"was prepared from what was fetched \(val\)"):
        prepare(PrepareOptions(source=(tmp_path / "mine",), root=tmp_path / "root"), alone=True)


def test_the_root_may_contain_the_source(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    before = state_of(source)
    prepare_root(tmp_path, tmp_path)
    assert state_of(source) == before
    assert not (tmp_path / "images/val/a.jpg").readlink().is_absolute()
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert (moved / "images/val/a.jpg").is_file()
    moved.rename(tmp_path)


@pytest.mark.parametrize("root", ["file", "file/below", "/proc/nowhere"])
def test_an_unwritable_root_is_reported(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"cannot be written .*; give another --root"):
        prepare_root(tmp_path / root, add_split(tmp_path))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_root_of_another_kind_is_refused(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    prepare_root(tmp_path / "root", source)
    with pytest.raises(ConfigError, match="prepared from visdrone, not coco"):
        prepare(
            PrepareOptions(
                dataset="coco",
                root=tmp_path / "root",
                annotations=(tmp_path / "a.json",),
                images=(source,),
            )
        )


@pytest.mark.parametrize(
    "place", ["../../mine.txt", "/etc/passwd", "a/../../../mine.txt", "C:/mine.txt", ""]
)
def test_a_fingerprint_cannot_name_files_outside_to_be_removed(tmp_path: Path, place: str) -> None:
    source, root = add_split(tmp_path), tmp_path / "root"
    prepare_root(root, source)
    (tmp_path / "mine.txt").write_text("the user's own")
    (root / "mine.txt").write_text("the user's own")
    content = json.loads((root / "fingerprint.json").read_text())
    content["files"]["val"]["labels"].append(place)
    content["splits"]["val"]["source_digest"] = "another"
    (root / "fingerprint.json").write_text(json.dumps(content))
    assert prepare_root(root, source).record.splits["val"].images == 3
    assert (tmp_path / "mine.txt").is_file()
    assert (root / "mine.txt").is_file()


@pytest.mark.parametrize("path", ["a\0b", "a\udcffb"])
def test_paths_that_cannot_be_recorded_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written into a data YAML"):
        prepare_root(tmp_path / path, add_split(tmp_path))
    with pytest.raises(ConfigError, match="cannot be written into a data YAML"):
        prepare_root(tmp_path / "root", tmp_path / path)
