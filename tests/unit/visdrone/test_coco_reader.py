"""One COCO file checked against itself and its images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coco_files import HERE, box, coco_dataset, prepare_coco
from PIL import Image, ImageOps

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, IMAGE_SUFFIXES, VISDRONE_CLASSES
from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.visdrone.coco_reader import read_coco


def test_boxes_crowds_and_classes(tmp_path: Path) -> None:
    file, photos = coco_dataset(
        tmp_path,
        [
            box(1, [10.5, 20, 30, 40]),
            box(1, [0, 0, 20, 20], 3),
            box(1, [100, 0, 50, 50], iscrowd=1),
            box(2, [190, 90, 30, 40], 3),
            box(2, [0, 0, 10, 10], 99, ignore=1),
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
        (box(1, [0, 0, 0, 5]), "no-area"),
        (box(1, [300, 0, 5, 5]), "outside-image"),
        (box(1, [0, 0, 5]), "bad-box"),
        (box(1, [0, 0, 5, "5"]), "bad-box"),
        (box(1, [0, 0, 5, float("nan")]), "bad-box"),
        (box(1, None), "bad-box"),
        (box(1, [0, 0, 5, 5], 4), "unknown-category"),
        (box(1, [0, 0, 5, 5], [4]), "unknown-category"),
        (box(5, [0, 0, 5, 5]), "stray-annotation"),
        (box({}, [0, 0, 5, 5]), "stray-annotation"),
        ("text", "field-count"),
    ],
)
def test_an_odd_annotation_is_named_and_the_rest_kept(
    tmp_path: Path, annotation: object, kind: str
) -> None:
    found = read_coco(*coco_dataset(tmp_path, [box(1, [10, 20, 30, 40]), annotation]))
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
    file, photos = coco_dataset(tmp_path, [], images=[{"id": 1, "file_name": "a.jpg"}, image])
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "notes.txt").write_text("")
    Image.new("RGB", (8, 8)).save(photos / "a.png")
    found = read_coco(file, photos)
    assert [one.kind for one in found.anomalies] == [kind]
    assert [one.image.name for one in found.images] == ["a.jpg"]


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


def test_missing_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="image folder"):
        read_coco(tmp_path / "a.json", tmp_path / "photos")
    with pytest.raises(DataNotFoundError, match="annotation file"):
        read_coco(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize(
    ("category_id", "image_id"), [(7.0, 1.0), ("7", "1"), ("7", 1), (7, "1"), (7, 1)]
)
def test_ids_are_numbers_however_they_are_written(
    tmp_path: Path, category_id: object, image_id: object
) -> None:
    found = read_coco(*coco_dataset(tmp_path, [box(image_id, HERE, category_id)]))
    assert found.images[0].classes.tolist() == [1]
    assert found.anomalies == []


def test_ids_may_be_text(tmp_path: Path) -> None:
    images = [{"id": "flight-1", "file_name": "a.jpg"}, {"id": "01", "file_name": "c.jpg"}]
    categories = [{"id": "boat", "name": "boat"}]
    found = read_coco(
        *coco_dataset(
            tmp_path,
            [box("flight-1", HERE, "boat"), box(1, HERE, "boat")],
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
    found = read_coco(*coco_dataset(tmp_path, [box(1, HERE, **{flag: value})]))
    assert (len(found.images[0].classes), len(found.images[0].ignored_xyxy)) == (1 - is_set, is_set)


@pytest.mark.parametrize("value", [2, "maybe", [], -1])
def test_a_flag_that_is_neither_is_named(tmp_path: Path, value: object) -> None:
    found = read_coco(*coco_dataset(tmp_path, [box(2, HERE), box(1, HERE, iscrowd=value)]))
    assert [(one.row, one.kind) for one in found.anomalies] == [
        (2, "bad-flag"),
        (1, "unreadable-annotations"),
    ]


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]])
def test_polygons_give_the_box_where_there_is_none(tmp_path: Path, bbox: object) -> None:
    polygons = [[10, 20, 40, 20, 40, 30], [12.5, 25, 30, 60, 20, 60, 15, 50]]
    found = read_coco(*coco_dataset(tmp_path, [box(1, bbox, segmentation=polygons)]))
    assert found.images[0].boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    assert found.anomalies == []


@pytest.mark.parametrize(
    "polygons", [[], [[1, 2, 3]], [[1, 2, "3", 4, 5, 6]], {"counts": "abc", "size": [1, 2]}]
)
def test_an_image_none_of_whose_annotations_can_be_read_is_left_out(
    tmp_path: Path, polygons: object
) -> None:
    odd = {"image_id": 1, "category_id": 7, "segmentation": polygons}
    found = read_coco(*coco_dataset(tmp_path, [odd, box(2, HERE)]))
    assert [one.key for one in found.images] == ["c", "sub/b"]
    assert [one.kind for one in found.anomalies] == ["bad-box", "unreadable-annotations"]


@pytest.mark.parametrize("stated", [(400, 200), (100, 50), ("400", "200"), (400.0, 200.0)])
def test_boxes_of_another_size_are_scaled_and_named(tmp_path: Path, stated: tuple) -> None:
    scale = float(stated[0]) / 200
    images = [{"id": 1, "file_name": "a.jpg", "width": stated[0], "height": stated[1]}]
    ltwh = [scale * side for side in HERE]
    found = read_coco(*coco_dataset(tmp_path, [box(1, ltwh)], images=images))
    assert found.images[0].boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    (anomaly,) = found.anomalies
    assert (anomaly.row, anomaly.kind, anomaly.lost) == (1, "size-scaled", None)


@pytest.mark.parametrize("stated", [(200, 200), (100, 200), (640, 640)])
def test_an_image_of_another_shape_is_left_out(tmp_path: Path, stated: tuple[int, int]) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": stated[0], "height": stated[1]}]
    found = read_coco(*coco_dataset(tmp_path, [box(1, HERE)], images=images))
    assert found.images == []
    assert [one.kind for one in found.anomalies] == ["size-mismatch"]


@pytest.mark.parametrize("stated", [(0, 0), (None, 100), ("", ""), (-200, 100), (200, 100)])
def test_a_size_that_is_not_stated_is_not_checked(tmp_path: Path, stated: tuple) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": stated[0], "height": stated[1]}]
    found = read_coco(*coco_dataset(tmp_path, [box(1, HERE)], images=images))
    assert found.anomalies == []
    assert found.images[0].boxes_xyxy.tolist() == [[10, 20, 40, 60]]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("scale", [1, 3])
def test_boxes_of_the_stored_pixels_rotate_with_the_image(
    tmp_path: Path, orientation: int, scale: int
) -> None:
    file, photos = coco_dataset(
        tmp_path,
        [box(1, [scale * side for side in HERE])],
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
    found = read_coco(*coco_dataset(tmp_path, [box(1, HERE), box(2, HERE)], images=images))
    assert [one.key for one in found.images] == ["c"]
    assert [(one.row, one.kind) for one in found.anomalies] == [
        (1, "repeated-id"),
        (3, "repeated-id"),
    ]


def test_an_image_that_is_listed_twice_has_the_boxes_of_both_entries(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "./a.jpg"}]
    found = read_coco(*coco_dataset(tmp_path, [box(1, HERE), box(2, HERE, 3)], images=images))
    assert [one.classes.tolist() for one in found.images] == [[1, 0]]
    assert [(one.kind, one.lost) for one in found.anomalies] == [("repeated-image", None)]


def test_annotations_that_share_an_id_are_all_used_and_reported(tmp_path: Path) -> None:
    file, photos = coco_dataset(tmp_path, [box(1, HERE), box(2, HERE), box(9, HERE)])
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
    found = read_coco(*coco_dataset(tmp_path, [box(1, HERE, 1)], categories=categories))
    assert found.names == ("boat", "buoy")
    assert found.images[0].classes.tolist() == [0]


def test_a_supercategory_that_is_used_or_not_shared_by_all_is_a_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "ship", "supercategory": "none"},
        {"id": 1, "name": "boat", "supercategory": "ship"},
    ]
    used = read_coco(*coco_dataset(tmp_path, [box(1, HERE, 0)], categories=categories))
    assert used.names == ("ship", "boat")
    categories.append({"id": 2, "name": "dog", "supercategory": "animal"})
    assert read_coco(*coco_dataset(tmp_path, [], categories=categories)).names[0] == "ship"


@pytest.mark.parametrize("name", ["ignored regions", "Ignored-Region", "ignore", "ignored"])
def test_visdrones_ignored_regions_stay_ignored(tmp_path: Path, name: str) -> None:
    categories = [
        {"id": 0, "name": name},
        *({"id": n, "name": one} for n, one in enumerate(VISDRONE_CLASSES, start=1)),
        {"id": 11, "name": "others"},
    ]
    boxes = [box(1, HERE, 0), box(1, HERE, 4), box(1, HERE, 11)]
    found = read_coco(*coco_dataset(tmp_path, boxes, categories=categories))
    assert found.names == VISDRONE_CLASSES
    assert found.images[0].classes.tolist() == [3]
    assert len(found.images[0].ignored_xyxy) == 1
    assert found.others == 1
    assert found.anomalies == []


def test_others_is_a_class_where_the_classes_are_not_visdrones(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "boat"}, {"id": 2, "name": "others"}]
    found = read_coco(*coco_dataset(tmp_path, [box(1, HERE, 2)], categories=categories))
    assert found.names == ("boat", "others")
    assert found.images[0].classes.tolist() == [1]


@pytest.mark.parametrize(
    "name", [".", "./", "x" * 5000 + ".jpg", "a\0.jpg", "\ud800.jpg", "a/" * 3000]
)
def test_an_impossible_file_name_is_named_and_the_rest_kept(tmp_path: Path, name: str) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": name}]
    pair = coco_dataset(tmp_path, [box(1, HERE)], images=images)
    found = read_coco(*pair)
    assert [one.key for one in found.images] == ["a"]
    (anomaly,) = found.anomalies
    assert anomaly.kind in {"bad-name", "missing-image"}
    assert len(anomaly.message) < 400
    result = prepare_coco(tmp_path / "root", pair)
    assert result.as_json()["splits"]["train"]["images_left_out"] == {anomaly.kind: 1}
    assert anomaly.message in (tmp_path / "root/anomalies.txt").read_text()


def test_names_of_classes_stay_on_one_line(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": " bo\nat\x1b[31m \u2028red "}]
    assert read_coco(*coco_dataset(tmp_path, [], categories=categories)).names == (
        "bo at [31m red",
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_json_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    file, photos = coco_dataset(tmp_path, [], categories=[{"id": 1, "name": "Möwe"}])
    text = json.dumps(json.loads(file.read_text()), ensure_ascii=False)
    file.write_bytes(text.encode(encoding))
    assert read_coco(file, photos).names == ("Möwe",)


def test_prepared_images_are_those_that_training_reads() -> None:
    from ultralytics.data.utils import IMG_FORMATS

    read = {f".{suffix}" for suffix in IMG_FORMATS} & IMAGE_SUFFIXES
    assert read == DATASET_IMAGE_SUFFIXES
