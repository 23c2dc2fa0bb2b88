"""`prepare` on COCO files: several splits, what is left out, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from coco_files import HERE, box, coco_dataset, coco_split, label_classes, prepare_coco
from PIL import Image

from yolo_ema.engine.data.split_files import label_path, split_images
from yolo_ema.errors import ConfigError, DataError
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.prepare import prepare


def test_the_same_root_layout_as_visdrone(tmp_path: Path) -> None:
    train = coco_dataset(
        tmp_path / "one", [box(2, [0, 0, 100, 50]), box(2, [0, 0, 20, 10], iscrowd=1)]
    )
    val = coco_dataset(tmp_path / "two", [box(1, [0, 0, 20, 20], 3)])
    root = tmp_path / "harbour"
    options = PrepareOptions(
        dataset="coco",
        root=root,
        annotations=(train[0], val[0]),
        images=(train[1], val[1]),
        splits=("train", "val"),
    )
    result = prepare(options)
    assert result.data_yaml == root / "harbour.yaml"
    assert yaml.safe_load(result.data_yaml.read_text())["names"] == {0: "buoy", 1: "boat"}
    assert (
        root / "labels/train/sub/b.txt"
    ).read_text() == "1 0.250000 0.250000 0.500000 0.500000\n"
    assert (root / "ignored/train/sub/b.txt").read_text() == "0.050000 0.050000 0.100000 0.100000\n"
    assert (root / "images/train/sub/b.png").readlink() == train[1] / "sub/b.png"
    assert "buoy" in result.as_text()
    assert "official" not in result.as_text()
    assert prepare(options).up_to_date
    content = json.loads(val[0].read_text())
    content["annotations"] *= 2
    content["annotations"][1] = content["annotations"][1] | {"id": 99, "bbox": [40, 0, 20, 20]}
    val[0].write_text(json.dumps(content))
    assert prepare(options).record.splits["val"].boxes_per_class == (2, 0)


def test_a_folder_called_images_in_a_file_name_hides_no_labels(tmp_path: Path) -> None:
    """Tools write such names; training looks for labels beside the last folder of that name."""
    images = [{"id": 1, "file_name": "images/a.jpg"}, {"id": 2, "file_name": "images/images/b.png"}]
    for image in images:
        place = tmp_path / "photos" / image["file_name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(place)
    pair = coco_dataset(tmp_path, [box(1, HERE), box(2, HERE)], images=images)
    prepare_coco(tmp_path / "root", pair, names=("train",))
    prepared = split_images(tmp_path / "root" / "root.yaml", "train")
    assert [path.name for path in prepared] == ["a.jpg", "b.png"]
    assert all(label_path(path).read_text() for path in prepared)


def test_another_annotation_file_of_the_same_size_and_time_is_another(tmp_path: Path) -> None:
    file, photos = coco_dataset(tmp_path, [box(1, [10, 20, 30, 40])])
    other = file.with_name("b.json")
    other.write_text(file.read_text().replace("[10, 20, 30, 40]", "[50, 20, 30, 40]"))
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    labels = tmp_path / "root" / "labels" / "train" / "a.txt"
    prepare_coco(tmp_path / "root", (file, photos), names=("train",))
    before = labels.read_text()
    prepare_coco(tmp_path / "root", (other, photos), names=("train",))
    assert labels.read_text() != before


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("path",), "--splits has 'path', too close to a key of data YAMLs"),
        (("Names",), "a key of data YAMLs"),
        (("validation",), "a key of data YAMLs"),
        (("TRAIN",), "expected train, val, test, or another name"),
        (("test", "test-dev"), "test and test-dev, which are one"),
    ],
)
def test_splits_that_no_data_yaml_can_hold_are_refused(splits, message) -> None:
    given = {"annotations": ("a.json",) * len(splits), "images": ("a",) * len(splits)}
    with pytest.raises(ConfigError, match=message):
        PrepareOptions(dataset="coco", splits=splits, **given)


def test_two_sets_of_classes_do_not_mix_in_one_root(tmp_path: Path) -> None:
    first = coco_dataset(tmp_path / "one", [box(1, [0, 0, 20, 20])])
    other = coco_dataset(
        tmp_path / "two", [box(1, [0, 0, 20, 20])], categories=[{"id": 7, "name": "kite"}]
    )

    def made(pair: tuple[Path, Path], split: str):
        return prepare(
            PrepareOptions(
                dataset="coco",
                root=tmp_path / "root",
                annotations=pair[:1],
                images=pair[1:],
                splits=(split,),
            )
        )

    made(first, "train")
    with pytest.raises(
        DataError, match="the classes are kite, but the root has splits with buoy, boat"
    ):
        made(other, "val")
    assert made(other, "train").record.names == ("kite",)


def test_classes_of_splits_go_by_name(tmp_path: Path) -> None:
    train = coco_split(tmp_path / "one", {1: "car", 2: "person"}, [(1, HERE), (2, HERE), (1, HERE)])
    val = coco_split(tmp_path / "two", {1: "person", 2: "car"}, [(2, HERE), (1, HERE)])
    assert prepare_coco(tmp_path / "root", train, val).anomalies == []
    assert label_classes(tmp_path / "root", "train") == ["car", "person", "car"]
    assert label_classes(tmp_path / "root", "val") == ["car", "person"]
    # the same where one comes after the other
    prepare_coco(tmp_path / "later" / "root", train)
    prepare_coco(tmp_path / "later" / "root", val, names=("val",))
    assert label_classes(tmp_path / "later" / "root", "val") == ["car", "person"]


@pytest.mark.parametrize("first", ["train", "val"])
def test_a_split_that_lacks_a_class_keeps_the_numbers_of_the_other(
    tmp_path: Path, first: str
) -> None:
    train = coco_split(tmp_path / "one", {1: "person", 2: "car"}, [(1, HERE), (2, HERE)])
    val = coco_split(tmp_path / "two", {7: "car"}, [(7, HERE)])
    splits = {"train": train, "val": val}
    order = [first, "val" if first == "train" else "train"]
    result = prepare_coco(tmp_path / "root", *(splits[one] for one in order), names=tuple(order))
    assert result.record.names == ("person", "car")
    assert label_classes(tmp_path / "root", "train") == ["person", "car"]
    assert label_classes(tmp_path / "root", "val") == ["car"]
    assert [(split, one.kind) for split, one in result.anomalies] == [("val", "missing-class")]
    assert "no category person, which another split has" in result.as_text()


def test_splits_none_of_which_has_all_classes_are_refused(tmp_path: Path) -> None:
    train = coco_split(tmp_path / "one", {1: "car", 2: "person"}, [(1, HERE)])
    val = coco_split(tmp_path / "two", {1: "car", 2: "dog"}, [(1, HERE)])
    with pytest.raises(DataError, match=r"different classes.*train car, person; val car, dog"):
        prepare_coco(tmp_path / "root", train, val)
    assert not (tmp_path / "root").exists()


def test_a_name_with_a_colon_is_a_name(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "2024-05-01T10:00:00.jpg"}]
    file, photos = coco_dataset(tmp_path, [box(1, HERE)], images=images)
    (photos / "a.jpg").rename(photos / "2024-05-01T10:00:00.jpg")
    assert prepare_coco(tmp_path / "root", (file, photos)).record.splits["train"].images == 1
    assert prepare_coco(tmp_path / "root", (file, photos)).up_to_date


def test_no_usable_data_is_an_error_that_says_why(tmp_path: Path) -> None:
    file, photos = coco_dataset(
        tmp_path, [box(1, HERE)], images=[{"id": 1, "file_name": "photos\\a.jpg"}]
    )
    with pytest.raises(
        DataError, match=r"none of its 1 images can be used \(1 missing-image.*a.jpg lies in it"
    ):
        prepare_coco(tmp_path / "root", (file, photos))
    assert not (tmp_path / "root").exists()
    assert prepare_coco(tmp_path / "root", (file, tmp_path)).record.splits["train"].images == 1


@pytest.mark.parametrize(
    ("annotation", "match"),
    [
        (box(1, HERE, iscrowd=1), "1 became ignored regions .iscrowd or ignore is set"),
        (box(1, [300, 0, 5, 5]), "1 outside-image"),
    ],
)
def test_annotations_that_leave_no_object_are_an_error(
    tmp_path: Path, annotation: dict, match: str
) -> None:
    with pytest.raises(DataError, match=f"none of its 1 annotations becomes .*{match}"):
        prepare_coco(tmp_path / "root", coco_dataset(tmp_path, [annotation]))
    assert not (tmp_path / "root").exists()


def test_a_problem_in_one_split_does_not_affect_the_other(tmp_path: Path) -> None:
    train = coco_dataset(tmp_path / "one", [box(1, HERE)])
    result = prepare_coco(tmp_path / "root", train, (tmp_path / "gone.json", train[1]))
    assert result.exit_code == 3
    assert list(result.failures) == ["val"]
    assert "val could not be prepared: the annotation file" in result.as_text()
    assert result.as_json()["splits"]["train"]["boxes"] == 1
    (tmp_path / "gone.json").write_text("{")
    result = prepare_coco(tmp_path / "root", train, (tmp_path / "gone.json", train[1]))
    assert "is not JSON" in result.failures["val"]
    with pytest.raises(DataError, match="is not JSON"):
        prepare(
            PrepareOptions(
                dataset="coco",
                root=tmp_path / "strict",
                annotations=(train[0], tmp_path / "gone.json"),
                images=(train[1], train[1]),
                splits=("train", "val"),
                strict=True,
            )
        )
    assert not (tmp_path / "strict").exists()


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": name} for n, name in enumerate(("a.jpg", "x.jpg", "y.jpg"), 1)]
    boxes = [box(1, HERE), box(1, [0, 0, 0, 5]), box(1, HERE, 99), box(7, HERE), box(7, HERE)]
    result = prepare_coco(tmp_path / "root", coco_dataset(tmp_path, boxes, images=images))
    split = result.as_json()["splits"]["train"]
    assert split["images_left_out"] == {"missing-image": 2}
    assert split["annotations_left_out"] == {
        "stray-annotation": 2,
        "unknown-category": 1,
        "no-area": 1,
    }
    assert "train: images left out: 2 missing-image" in result.as_text()
    rows = {line.split("  ")[0]: line.split()[-1] for line in result.as_text().splitlines() if line}
    assert (rows["images left out"], rows["annotations left out"]) == ("2", "4")
