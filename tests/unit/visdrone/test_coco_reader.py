from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageOps

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, IMAGE_SUFFIXES, VISDRONE_CLASSES
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


def _split(folder: Path, names: dict[object, str], objects: list[tuple[object, list]]) -> tuple:
    """A file and its images: one object an image, given by category id and box."""
    images = [{"id": n, "file_name": f"{n}.jpg"} for n, _ in enumerate(objects, start=1)]
    for one in images:
        (folder / "photos").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(folder / "photos" / one["file_name"])
    annotations = [_box(n, bbox, category) for n, (category, bbox) in enumerate(objects, start=1)]
    categories = [{"id": number, "name": name} for number, name in names.items()]
    file, _ = _dataset(folder, annotations, images=images, categories=categories)
    return file, folder / "photos"


def _prepare(root: Path, *splits: tuple[Path, Path], names: tuple[str, ...] = ("train", "val")):
    files, folders = zip(*splits, strict=True)
    return prepare(
        PrepareOptions(
            dataset="coco",
            root=root,
            annotations=files,
            images=folders,
            splits=names[: len(splits)],
        )
    )


def _classes(root: Path, split: str) -> list[str]:
    names = yaml.safe_load((root / "root.yaml").read_text())["names"]
    rows = [
        row
        for file in sorted((root / "labels" / split).iterdir())
        for row in file.read_text().splitlines()
    ]
    return [names[int(row.split()[0])] for row in rows]


HERE = [10, 20, 30, 40]


def test_classes_of_splits_go_by_name(tmp_path: Path) -> None:
    train = _split(tmp_path / "one", {1: "car", 2: "person"}, [(1, HERE), (2, HERE), (1, HERE)])
    val = _split(tmp_path / "two", {1: "person", 2: "car"}, [(2, HERE), (1, HERE)])
    assert _prepare(tmp_path / "root", train, val).anomalies == []
    assert _classes(tmp_path / "root", "train") == ["car", "person", "car"]
    assert _classes(tmp_path / "root", "val") == ["car", "person"]
    # the same where one comes after the other
    _prepare(tmp_path / "later" / "root", train)
    _prepare(tmp_path / "later" / "root", val, names=("val",))
    assert _classes(tmp_path / "later" / "root", "val") == ["car", "person"]


@pytest.mark.parametrize("first", ["train", "val"])
def test_a_split_that_lacks_a_class_keeps_the_numbers_of_the_other(
    tmp_path: Path, first: str
) -> None:
    train = _split(tmp_path / "one", {1: "person", 2: "car"}, [(1, HERE), (2, HERE)])
    val = _split(tmp_path / "two", {7: "car"}, [(7, HERE)])
    splits = {"train": train, "val": val}
    order = [first, "val" if first == "train" else "train"]
    result = _prepare(tmp_path / "root", *(splits[one] for one in order), names=tuple(order))
    assert result.record.names == ("person", "car")
    assert _classes(tmp_path / "root", "train") == ["person", "car"]
    assert _classes(tmp_path / "root", "val") == ["car"]
    assert [(split, one.kind) for split, one in result.anomalies] == [("val", "missing-class")]
    assert "no category person, which another split has" in result.as_text()


def test_splits_of_which_none_has_all_classes_are_refused(tmp_path: Path) -> None:
    train = _split(tmp_path / "one", {1: "car", 2: "person"}, [(1, HERE)])
    val = _split(tmp_path / "two", {1: "car", 2: "dog"}, [(1, HERE)])
    with pytest.raises(DataError, match=r"different classes.*train car, person; val car, dog"):
        _prepare(tmp_path / "root", train, val)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("category_id", "image_id"), [(7.0, 1.0), ("7", "1"), ("7", 1), (7, "1"), (7, 1)]
)
def test_ids_are_numbers_however_they_are_written(
    tmp_path: Path, category_id: object, image_id: object
) -> None:
    found = read_coco(*_dataset(tmp_path, [_box(image_id, HERE, category_id)]))
    assert found.images[0].classes.tolist() == [1]
    assert found.anomalies == []


def test_ids_may_be_words(tmp_path: Path) -> None:
    images = [{"id": "flight-1", "file_name": "a.jpg"}, {"id": "01", "file_name": "c.jpg"}]
    categories = [{"id": "boat", "name": "boat"}]
    found = read_coco(
        *_dataset(
            tmp_path,
            [_box("flight-1", HERE, "boat"), _box(1, HERE, "boat")],
            images=images,
            categories=categories,
        )
    )
    assert [len(one.classes) for one in found.images] == [1, 0]
    assert [one.kind for one in found.anomalies] == ["stray-annotation"]  # 1 is not 01


@pytest.mark.parametrize(
    ("value", "is_set"),
    [
        *((value, 0) for value in (0, "0", False, "false", None, 0.0, "")),
        *((value, 1) for value in (1, "1", True, "True", 1.0)),
    ],
)
@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
def test_flags_however_they_are_written(
    tmp_path: Path, flag: str, value: object, is_set: int
) -> None:
    found = read_coco(*_dataset(tmp_path, [_box(1, HERE, **{flag: value})]))
    assert (len(found.images[0].classes), len(found.images[0].ignored_xyxy)) == (1 - is_set, is_set)


@pytest.mark.parametrize("value", [2, "maybe", [], -1])
def test_a_flag_that_is_neither_is_named(tmp_path: Path, value: object) -> None:
    found = read_coco(*_dataset(tmp_path, [_box(2, HERE), _box(1, HERE, iscrowd=value)]))
    assert [(one.row, one.kind) for one in found.anomalies] == [
        (2, "bad-flag"),
        (1, "unreadable-annotations"),
    ]


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]])
def test_polygons_give_the_box_where_there_is_none(tmp_path: Path, bbox: object) -> None:
    polygons = [[10, 20, 40, 20, 40, 30], [12.5, 25, 30, 60, 20, 60, 15, 50]]
    found = read_coco(*_dataset(tmp_path, [_box(1, bbox, segmentation=polygons)]))
    assert found.images[0].boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    assert found.anomalies == []


@pytest.mark.parametrize(
    "polygons", [[], [[1, 2, 3]], [[1, 2, "3", 4, 5, 6]], {"counts": "abc", "size": [1, 2]}]
)
def test_an_image_none_of_whose_annotations_can_be_read_is_left_out(
    tmp_path: Path, polygons: object
) -> None:
    odd = {"image_id": 1, "category_id": 7, "segmentation": polygons}
    found = read_coco(*_dataset(tmp_path, [odd, _box(2, HERE)]))
    assert [one.key for one in found.images] == ["c", "sub/b"]
    assert [one.kind for one in found.anomalies] == ["bad-box", "unreadable-annotations"]


@pytest.mark.parametrize("stated", [(400, 200), (100, 50), ("400", "200"), (400.0, 200.0)])
def test_boxes_of_another_size_are_scaled_and_named(tmp_path: Path, stated: tuple) -> None:
    scale = float(stated[0]) / 200
    images = [{"id": 1, "file_name": "a.jpg", "width": stated[0], "height": stated[1]}]
    box = [scale * side for side in HERE]
    found = read_coco(*_dataset(tmp_path, [_box(1, box)], images=images))
    assert found.images[0].boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    (anomaly,) = found.anomalies
    assert (anomaly.row, anomaly.kind, anomaly.lost) == (1, "size-scaled", None)


@pytest.mark.parametrize("stated", [(200, 200), (100, 200), (640, 640)])
def test_an_image_of_another_shape_is_left_out(tmp_path: Path, stated: tuple[int, int]) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": stated[0], "height": stated[1]}]
    found = read_coco(*_dataset(tmp_path, [_box(1, HERE)], images=images))
    assert found.images == []
    assert [one.kind for one in found.anomalies] == ["size-mismatch"]


@pytest.mark.parametrize("stated", [(0, 0), (None, 100), ("", ""), (-200, 100), (200, 100)])
def test_a_size_that_is_not_stated_is_not_held_against_the_image(
    tmp_path: Path, stated: tuple
) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": stated[0], "height": stated[1]}]
    found = read_coco(*_dataset(tmp_path, [_box(1, HERE)], images=images))
    assert found.anomalies == []
    assert found.images[0].boxes_xyxy.tolist() == [[10, 20, 40, 60]]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("scale", [1, 3])
def test_boxes_of_the_stored_pixels_turn_with_the_image(
    tmp_path: Path, orientation: int, scale: int
) -> None:
    file, photos = _dataset(
        tmp_path,
        [_box(1, [scale * side for side in HERE])],
        images=[{"id": 1, "file_name": "a.png", "width": 200 * scale, "height": 100 * scale}],
    )
    stored = Image.new("L", (200, 100))
    stored.paste(255, (10, 20, 40, 60))
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(photos / "a.png", exif=exif)
    found = read_coco(file, photos)
    with Image.open(photos / "a.png") as image:
        shown = ImageOps.exif_transpose(image)
    assert found.images[0].image_wh == shown.size == (100, 200)
    assert found.images[0].boxes_xyxy.tolist() == [list(map(float, shown.getbbox()))]
    assert [one.kind for one in found.anomalies] == ["size-turned"]


def test_images_that_share_an_id_are_left_out(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.jpg"},
        {"id": 2, "file_name": "c.jpg"},
        {"id": 1.0, "file_name": "sub/b.png"},
    ]
    found = read_coco(*_dataset(tmp_path, [_box(1, HERE), _box(2, HERE)], images=images))
    assert [one.key for one in found.images] == ["c"]
    assert [(one.row, one.kind) for one in found.anomalies] == [
        (1, "repeated-id"),
        (3, "repeated-id"),
    ]


def test_an_image_that_is_listed_twice_has_the_boxes_of_both_entries(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "./a.jpg"}]
    found = read_coco(*_dataset(tmp_path, [_box(1, HERE), _box(2, HERE, 3)], images=images))
    assert [one.classes.tolist() for one in found.images] == [[1, 0]]
    assert [(one.kind, one.lost) for one in found.anomalies] == [("repeated-image", None)]


def test_annotations_that_share_an_id_are_all_taken_and_said(tmp_path: Path) -> None:
    file, photos = _dataset(tmp_path, [_box(1, HERE), _box(2, HERE), _box(9, HERE)])
    content = json.loads(file.read_text())
    for annotation in content["annotations"][:2]:
        annotation["id"] = 5
    file.write_text(json.dumps(content))
    found = read_coco(file, photos)
    assert [len(one.classes) for one in found.images] == [1, 1, 1]
    assert [(one.kind, one.count) for one in found.anomalies] == [("repeated-annotation-id", 1)]


@pytest.mark.parametrize("root_name", ["harbour-x7", "boat"])
def test_roboflows_first_category_is_not_a_class(tmp_path: Path, root_name: str) -> None:
    categories = [
        {"id": 0, "name": root_name, "supercategory": "none"},
        {"id": 1, "name": "boat", "supercategory": root_name},
        {"id": 2, "name": "buoy", "supercategory": root_name},
    ]
    found = read_coco(*_dataset(tmp_path, [_box(1, HERE, 1)], categories=categories))
    assert found.names == ("boat", "buoy")
    assert found.images[0].classes.tolist() == [0]


def test_a_group_that_is_used_or_not_of_all_is_a_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "ship", "supercategory": "none"},
        {"id": 1, "name": "boat", "supercategory": "ship"},
    ]
    used = read_coco(*_dataset(tmp_path, [_box(1, HERE, 0)], categories=categories))
    assert used.names == ("ship", "boat")
    categories.append({"id": 2, "name": "dog", "supercategory": "animal"})
    assert read_coco(*_dataset(tmp_path, [], categories=categories)).names[0] == "ship"


@pytest.mark.parametrize("name", ["ignored regions", "Ignored-Region", "ignore", "ignored"])
def test_visdrones_ignored_regions_stay_ignored(tmp_path: Path, name: str) -> None:
    categories = [
        {"id": 0, "name": name},
        *({"id": n, "name": one} for n, one in enumerate(VISDRONE_CLASSES, start=1)),
        {"id": 11, "name": "others"},
    ]
    boxes = [_box(1, HERE, 0), _box(1, HERE, 4), _box(1, HERE, 11)]
    found = read_coco(*_dataset(tmp_path, boxes, categories=categories))
    assert found.names == VISDRONE_CLASSES
    assert found.images[0].classes.tolist() == [3]
    assert len(found.images[0].ignored_xyxy) == 1
    assert found.others == 1
    assert found.anomalies == []


def test_others_are_a_class_where_the_classes_are_not_visdrones(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "boat"}, {"id": 2, "name": "others"}]
    found = read_coco(*_dataset(tmp_path, [_box(1, HERE, 2)], categories=categories))
    assert found.names == ("boat", "others")
    assert found.images[0].classes.tolist() == [1]


@pytest.mark.parametrize(
    "name", [".", "./", "x" * 5000 + ".jpg", "a\0.jpg", "\ud800.jpg", "a/" * 3000]
)
def test_a_file_name_that_cannot_be_one_is_named_and_the_rest_kept(
    tmp_path: Path, name: str
) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": name}]
    pair = _dataset(tmp_path, [_box(1, HERE)], images=images)
    found = read_coco(*pair)
    assert [one.key for one in found.images] == ["a"]
    (anomaly,) = found.anomalies
    assert anomaly.kind in {"bad-name", "missing-image"}
    assert len(anomaly.message) < 400
    result = _prepare(tmp_path / "root", pair)
    assert result.as_json()["splits"]["train"]["images_left_out"] == {anomaly.kind: 1}
    assert anomaly.message in (tmp_path / "root/anomalies.txt").read_text()


def test_a_name_with_a_colon_is_a_name(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "2024-05-01T10:00:00.jpg"}]
    file, photos = _dataset(tmp_path, [_box(1, HERE)], images=images)
    (photos / "a.jpg").rename(photos / "2024-05-01T10:00:00.jpg")
    assert _prepare(tmp_path / "root", (file, photos)).record.splits["train"].images == 1
    assert _prepare(tmp_path / "root", (file, photos)).up_to_date


def test_names_of_classes_stay_on_one_line(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": " bo\nat\x1b[31m \u2028red "}]
    assert read_coco(*_dataset(tmp_path, [], categories=categories)).names == ("bo at [31m red",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_json_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    file, photos = _dataset(tmp_path, [], categories=[{"id": 1, "name": "Möwe"}])
    text = json.dumps(json.loads(file.read_text()), ensure_ascii=False)
    file.write_bytes(text.encode(encoding))
    assert read_coco(file, photos).names == ("Möwe",)


def test_nothing_that_can_be_used_is_an_error_that_says_why(tmp_path: Path) -> None:
    file, photos = _dataset(
        tmp_path, [_box(1, HERE)], images=[{"id": 1, "file_name": "photos\\a.jpg"}]
    )
    with pytest.raises(
        DataError, match=r"none of its 1 images can be used \(1 missing-image.*a.jpg lies in it"
    ):
        _prepare(tmp_path / "root", (file, photos))
    assert not (tmp_path / "root").exists()
    assert _prepare(tmp_path / "root", (file, tmp_path)).record.splits["train"].images == 1


@pytest.mark.parametrize(
    ("annotation", "match"),
    [
        (_box(1, HERE, iscrowd=1), "1 became ignored regions .iscrowd or ignore is set"),
        (_box(1, [300, 0, 5, 5]), "1 outside-image"),
    ],
)
def test_annotations_that_leave_no_object_are_an_error(
    tmp_path: Path, annotation: dict, match: str
) -> None:
    with pytest.raises(DataError, match=f"none of its 1 annotations becomes .*{match}"):
        _prepare(tmp_path / "root", _dataset(tmp_path, [annotation]))
    assert not (tmp_path / "root").exists()


def test_one_splits_trouble_does_not_hold_up_the_other(tmp_path: Path) -> None:
    train = _dataset(tmp_path / "one", [_box(1, HERE)])
    result = _prepare(tmp_path / "root", train, (tmp_path / "gone.json", train[1]))
    assert result.exit_code == 3
    assert list(result.failures) == ["val"]
    assert "val could not be prepared: the annotation file" in result.as_text()
    assert result.as_json()["splits"]["train"]["boxes"] == 1
    (tmp_path / "gone.json").write_text("{")
    result = _prepare(tmp_path / "root", train, (tmp_path / "gone.json", train[1]))
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
    boxes = [_box(1, HERE), _box(1, [0, 0, 0, 5]), _box(1, HERE, 99), _box(7, HERE), _box(7, HERE)]
    result = _prepare(tmp_path / "root", _dataset(tmp_path, boxes, images=images))
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


def test_prepared_images_are_those_that_training_reads() -> None:
    from ultralytics.data.utils import IMG_FORMATS

    read = {f".{suffix}" for suffix in IMG_FORMATS} & IMAGE_SUFFIXES
    assert read == DATASET_IMAGE_SUFFIXES
