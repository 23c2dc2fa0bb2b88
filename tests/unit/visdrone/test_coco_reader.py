from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.coco_reader import read_coco
from yolo_ema.visdrone.prepare import prepare

CATEGORIES = [{"id": 7, "name": "boat"}, {"id": 3, "name": "buoy"}]


def _dataset(
    folder: Path, annotations: list, *, images: list | None = None, categories: list | None = None
) -> tuple[Path, Path]:
    for name in ("a.jpg", "sub/b.png", "c.jpg"):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(path)
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict):
            annotation["id"] = number
    content = {
        "images": images
        or [
            {"id": 1, "file_name": "a.jpg"},
            {"id": 2, "file_name": "sub/b.png"},
            {"id": 9, "file_name": "c.jpg"},
        ],
        "annotations": annotations,
        "categories": CATEGORIES if categories is None else categories,
    }
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json", folder / "photos"


def _box(image_id: object, bbox: object, category_id: object = 7, **more) -> dict:
    return {"id": 1, "image_id": image_id, "bbox": bbox, "category_id": category_id, **more}


def test_boxes_crowds_and_classes(tmp_path: Path) -> None:
    file, photos = _dataset(
        tmp_path,
        [
            _box(1, [10.5, 20, 30, 40]),
            _box(1, [0, 0, 20, 20], 3),
            _box(1, [100, 0, 50, 50], iscrowd=1),
            _box(2, [190, 90, 30, 40], 3),
            _box(2, [0, 0, 10, 10], 99, ignore=1),
        ],
    )
    found = read_coco(file, photos)
    assert found.names == ("buoy", "boat")
    assert [one.key for one in found.images] == ["a", "c", "sub/b"]
    a, c, b = found.images
    assert a.classes.tolist() == [1, 0]
    assert a.boxes_xyxy.tolist() == [[10.5, 20, 40.5, 60], [0, 0, 20, 20]]
    assert a.ignored_xyxy.tolist() == [[100, 0, 150, 50]]
    assert len(c.classes) == 0
    assert b.boxes_xyxy.tolist() == [[190, 90, 200, 100]]
    assert b.ignored_xyxy.tolist() == [[0, 0, 10, 10]]
    assert [(one.row, one.kind) for one in found.anomalies] == [(4, "beyond-border")]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (_box(1, [0, 0, 0, 5]), "no-area"),
        (_box(1, [300, 0, 5, 5]), "outside-image"),
        (_box(1, [0, 0, 5]), "bad-box"),
        (_box(1, [0, 0, 5, "5"]), "bad-box"),
        (_box(1, [0, 0, 5, float("nan")]), "bad-box"),
        (_box(1, None), "bad-box"),
        (_box(1, [0, 0, 5, 5], 4), "unknown-category"),
        (_box(1, [0, 0, 5, 5], [4]), "unknown-category"),
        (_box(5, [0, 0, 5, 5]), "stray-annotation"),
        (_box({}, [0, 0, 5, 5]), "stray-annotation"),
        ("text", "field-count"),
    ],
)
def test_an_odd_annotation_is_named_and_the_rest_kept(
    tmp_path: Path, annotation: object, kind: str
) -> None:
    found = read_coco(*_dataset(tmp_path, [_box(1, [10, 20, 30, 40]), annotation]))
    assert [(one.row, one.kind) for one in found.anomalies] == [(2, kind)]
    assert sum(len(one.classes) for one in found.images) == 1


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ({"id": 4, "file_name": "gone.jpg"}, "missing-image"),
        ({"id": 4, "file_name": "../a.jpg"}, "bad-name"),
        ({"id": 4, "file_name": "/etc/passwd"}, "bad-name"),
        ({"id": 4, "file_name": "C:\\a.jpg"}, "bad-name"),
        ({"id": 4, "file_name": ""}, "bad-entry"),
        ({"id": 4}, "bad-entry"),
        (3, "bad-entry"),
        ({"id": 4, "file_name": "broken.jpg"}, "unreadable-image"),
        ({"id": 4, "file_name": "a.png"}, "same-name"),
        ({"id": 4, "file_name": "notes.txt"}, "missing-image"),
    ],
)
def test_an_odd_image_is_named_and_the_rest_kept(tmp_path: Path, image: object, kind: str) -> None:
    file, photos = _dataset(tmp_path, [], images=[{"id": 1, "file_name": "a.jpg"}, image])
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "notes.txt").write_text("")
    Image.new("RGB", (8, 8)).save(photos / "a.png")
    found = read_coco(file, photos)
    assert [one.kind for one in found.anomalies] == [kind]
    assert [one.key for one in found.images] == ["a"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[]", "missing: images, annotations, categories"),
        (b'{"images": [], "annotations": {}, "categories": []}', "missing: annotations"),
        (b'{"images": [], "annotations": [], "categories": []}', "expected categories"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1}]}', "expected categories"),
        (
            (
                b'{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": '
                b"1, "
                b'"name": "b"}]}'
            ),
            "share an id",
        ),
        (
            (
                b'{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": '
                b"2, "
                b'"name": "a"}]}'
            ),
            "share a name",
        ),
    ],
)
def test_a_file_in_another_layout_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=match):
        read_coco(tmp_path / "a.json", tmp_path)


def test_missing_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="image folder"):
        read_coco(tmp_path / "a.json", tmp_path / "photos")
    with pytest.raises(DataNotFoundError, match="annotation file"):
        read_coco(tmp_path / "a.json", tmp_path)


def test_the_same_root_layout_as_visdrone(tmp_path: Path) -> None:
    train = _dataset(
        tmp_path / "one", [_box(2, [0, 0, 100, 50]), _box(2, [0, 0, 20, 10], iscrowd=1)]
    )
    val = _dataset(tmp_path / "two", [_box(1, [0, 0, 20, 20], 3)])
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
    content["annotations"] = []
    val[0].write_text(json.dumps(content))
    assert prepare(options).record.splits["val"].boxes_per_class == (0, 0)


def test_two_sets_of_classes_do_not_mix_in_one_root(tmp_path: Path) -> None:
    first = _dataset(tmp_path / "one", [])
    other = _dataset(tmp_path / "two", [], categories=[{"id": 1, "name": "kite"}])

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
