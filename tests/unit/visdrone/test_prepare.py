"""`prepare` on small real files: what it derives, what it leaves alone, what it notices, and how it
continues.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from visdrone_files import ROWS, add_image, add_split, label_rows, prepare_root, state_of

from yolo_ema.errors import (
    AnnotationError,
    ConfigError,
)
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone import prepare as prepare_module
from yolo_ema.visdrone import prepared_files
from yolo_ema.visdrone.prepare import prepare


def test_derived_files(tmp_path: Path) -> None:
    source = add_split(tmp_path / "mine")
    before = state_of(source)
    result = prepare_root(tmp_path / "root", source)
    root = tmp_path / "root"
    assert result.data_yaml == root / "visdrone.yaml"
    content = yaml.safe_load(result.data_yaml.read_text())
    assert content["path"] == str(root)
    assert (content["train"], content["val"]) == ("images/train", "images/val")
    assert content["names"][0] == "pedestrian"
    assert content["names"][9] == "motor"
    # 10,20,30,40 in 200x100: centre 25,40, size 30,40
    assert label_rows(root / "labels/val/a.txt") == [[3, 0.125, 0.4, 0.15, 0.4]]
    assert label_rows(root / "labels/val/b.txt") == [[0, 0.55, 0.55, 0.1, 0.1]]
    assert (root / "labels/val/c.txt").read_text() == ""
    assert label_rows(root / "ignored/val/a.txt") == [[0.125, 0.3, 0.25, 0.6]]
    assert not (root / "ignored/val/b.txt").exists()
    assert (root / "images/val/a.jpg").readlink() == source / "images" / "a.jpg"
    assert (root / "annotations/val/a.txt").read_text() == ROWS["a"]
    assert state_of(source) == before
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
    source = add_split(tmp_path, rows=rows)
    add_image(source / "images" / "without.jpg")
    (source / "annotations" / "alone.txt").write_text("")
    (source / "images" / "broken.jpg").write_bytes(b"no image")
    (source / "annotations" / "broken.txt").write_text("1,1,4,4,1,5,0,0\n")
    add_image(source / "images" / "b.png")
    result = prepare_root(tmp_path / "root", source)
    assert label_rows(tmp_path / "root/labels/val/a.txt") == [
        [3, 0.975, 0.95, 0.05, 0.1],
        [0, 0.025, 0.025, 0.05, 0.05],
    ]
    # row 7 has score 0: the evaluation skips it, so it becomes an ignored region; row 8 is
    # clipped
    assert label_rows(tmp_path / "root/ignored/val/a.txt") == [
        [0.015, 0.03, 0.02, 0.04],
        [0.875, 0.75, 0.25, 0.5],
    ]
    assert label_rows(tmp_path / "root/labels/val/b.txt") == [[8, 0.5, 0.5, 1, 1]]
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
        prepare_root(tmp_path / "root", source, strict=True)


def test_images_in_a_folder_inside_a_splits_are_named(tmp_path: Path) -> None:
    source = add_split(tmp_path, rows={"a": "1,1,4,4,1,5,0,0\n"})
    (source / "images" / "sequence").mkdir()
    add_image(source / "images" / "sequence" / "b.jpg")
    add_image(source / "images" / "sequence" / "c.jpg")
    ((_, anomaly),) = prepare_root(tmp_path / "root", source).anomalies
    assert (anomaly.kind, anomaly.count) == ("sub-folder", 2)
    with pytest.raises(AnnotationError, match="whose 2 images are left out"):
        prepare_root(tmp_path / "strict", source, strict=True)


def test_strict_writes_nothing_when_there_are_anomalies(tmp_path: Path) -> None:
    source = add_split(tmp_path, rows={"a": "1,1,4,4,1,5,0,0\n", "b": "1,1,0,4,1,5,0,0\n"})
    with pytest.raises(AnnotationError, match=r"b\.txt, row 1: .*no area; it is dropped"):
        prepare_root(tmp_path / "root", source, strict=True)
    assert not (tmp_path / "root").exists()
    (source / "annotations" / "b.txt").write_text("1,1,2,4,1,5,0,0,\n")
    assert prepare_root(tmp_path / "root", source, strict=True).anomalies == []


def test_a_second_run_has_nothing_to_do_and_writes_nothing(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    assert not prepare_root(tmp_path / "root", source).up_to_date
    before = state_of(tmp_path / "root")
    again = prepare_root(tmp_path / "root", source)
    assert again.up_to_date
    assert state_of(tmp_path / "root") == before
    assert "nothing to do" in again.as_text()
    # without a source, what was prepared before is checked again, and nothing is fetched
    assert prepare(PrepareOptions(root=tmp_path / "root", offline=True)).up_to_date


def test_a_changed_annotation_is_noticed(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    prepare_root(tmp_path / "root", source)
    untouched = (tmp_path / "root/labels/val/a.txt").stat().st_mtime_ns
    (source / "annotations" / "b.txt").write_text("100,50,40,10,1,1,0,1,\n")  # the same size
    result = prepare_root(tmp_path / "root", source)
    assert not result.up_to_date
    assert label_rows(tmp_path / "root/labels/val/b.txt") == [[0, 0.6, 0.55, 0.2, 0.1]]
    assert (tmp_path / "root/labels/val/a.txt").stat().st_mtime_ns == untouched


def test_images_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    prepare_root(tmp_path / "root", source)
    (source / "images" / "a.jpg").rename(source / "images" / "d.jpg")
    (source / "annotations" / "a.txt").rename(source / "annotations" / "d.txt")
    prepare_root(tmp_path / "root", source)
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
def test_files_missing_below_the_root_are_recreated(tmp_path: Path, harm: str) -> None:
    source = add_split(tmp_path)
    prepare_root(tmp_path / "root", source)
    whole = {
        path: content[-1]
        for path, content in state_of(tmp_path / "root").items()
        if "json" not in path
    }
    (tmp_path / "root" / harm).unlink()
    assert not prepare_root(tmp_path / "root", source).up_to_date
    assert {
        path: content[-1]
        for path, content in state_of(tmp_path / "root").items()
        if "json" not in path
    } == whole
    assert prepare_root(tmp_path / "root", source).up_to_date


def test_a_file_left_empty_by_a_crash_is_recreated(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    prepare_root(tmp_path / "root", source)
    (tmp_path / "root/labels/val/a.txt").write_text("")
    prepare_root(tmp_path / "root", source)
    assert label_rows(tmp_path / "root/labels/val/a.txt") == [[3, 0.125, 0.4, 0.15, 0.4]]


def test_an_interrupted_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = add_split(tmp_path)
    really_link, count = prepared_files.link, 0

    def link(*args) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        really_link(*args)

    monkeypatch.setattr(prepared_files, "link", link)
    with pytest.raises(KeyboardInterrupt):
        prepare_root(tmp_path / "root", source)
    assert json.loads((tmp_path / "root/fingerprint.json").read_text())["complete"] is False
    monkeypatch.undo()
    assert not prepare_root(tmp_path / "root", source).up_to_date
    assert sorted(path.stem for path in (tmp_path / "root/labels/val").iterdir()) == ["a", "b", "c"]
    assert prepare_root(tmp_path / "root", source).up_to_date


def test_a_read_only_source_works(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state_of(source)
    prepare_root(tmp_path / "root", source)
    assert state_of(source) == before
    for path in [source, *source.rglob("*")]:
        path.chmod(0o755)


@pytest.mark.parametrize("forbidden", ["symlink", "symlink and hard link"])
def test_without_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forbidden: str
) -> None:
    def refuse(*_args, **_kwargs):
        raise OSError("not here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    if "hard" in forbidden:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    source = add_split(tmp_path)
    prepare_root(tmp_path / "root", source)
    copy = tmp_path / "root/images/val/a.jpg"
    assert not copy.is_symlink()
    assert copy.samefile(source / "images/a.jpg") == ("hard" not in forbidden)
    assert copy.read_bytes() == (source / "images/a.jpg").read_bytes()
    assert prepare_root(tmp_path / "root", source).up_to_date


def test_the_list_of_anomalies_is_removed_when_there_are_none(tmp_path: Path) -> None:
    source, root = (
        add_split(tmp_path, rows={"a": "1,2,3\n", "b": "1,1,4,4,1,5,0,0\n"}),
        tmp_path / "root",
    )
    prepare_root(root, source)
    assert (root / "anomalies.txt").is_file()
    (source / "annotations/a.txt").write_text("")
    prepare_root(root, source)
    assert not (root / "anomalies.txt").exists()


def test_the_exif_orientation_counts(tmp_path: Path) -> None:
    source = add_split(tmp_path, rows={"a": "10,20,30,40,1,4,0,0\n"})
    exif = Image.Exif()
    exif[274] = 6
    add_image(source / "images/a.jpg", exif=exif)
    prepare_root(tmp_path / "root", source)
    assert label_rows(tmp_path / "root/labels/val/a.txt") == [
        [3, 0.25, 0.2, 0.3, 0.2]
    ]  # 100x200 as shown


def test_options_name_every_mistake() -> None:
    with pytest.raises(ConfigError, match="did you mean 'train'") as caught:
        PrepareOptions(
            splits=("trian", "val", "val"),
            mirror=("ftp://x",),
            sha256=("abc",),
            annotations=(Path("a"),),
        )
    for part in ("twice", "--mirror", "--sha256", "--annotations and --images belong"):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match="--mirror is for downloads"):
        PrepareOptions(source=(Path("a"),), mirror=("https://x",))
    with pytest.raises(ConfigError, match="--mirror and --sha256 belong to 'data prepare visdr"):
        PrepareOptions(dataset="coco", sha256=(f"a.zip={'0' * 64}",))
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


def test_thousands_of_files_are_checked_in_much_less_time_than_made(tmp_path: Path) -> None:
    rows = {f"{number:05d}": "10,20,30,40,1,4,0,0\n" for number in range(1000)}
    source = add_split(tmp_path, rows={"first": "1,1,4,4,1,5,0,0\n"})
    photo = (source / "images/first.jpg").read_bytes()
    for stem, text in rows.items():
        (source / "images" / f"{stem}.jpg").write_bytes(photo)
        (source / "annotations" / f"{stem}.txt").write_text(text)
    options = PrepareOptions(root=tmp_path / "root", source=(source,))
    started_s = time.process_time()
    made = prepare_module.prepare(options)
    made_s = time.process_time()
    assert np.sum(made.record.splits["val"].boxes_per_class) == 1001
    assert prepare_module.prepare(options).up_to_date
    assert time.process_time() - made_s < (made_s - started_s) / 3


def test_annotations_in_utf_16_are_read(tmp_path: Path) -> None:
    source = add_split(tmp_path)
    for path in (source / "annotations").iterdir():
        path.write_text(path.read_text(), encoding="utf-16")
    result = prepare_root(tmp_path / "root", source)
    assert result.anomalies == []
    assert sum(result.record.splits["val"].boxes_per_class) == 2
