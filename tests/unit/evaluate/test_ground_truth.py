"""Ground truth from VisDrone's annotations where they are, else from labels and ignored regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import AnnotationError
from yolo_ema.evaluate.ground_truth import image_names, read_ground_truth


@pytest.fixture
def image(tmp_path):
    for folder in ("images", "labels", "ignored", "annotations"):
        (tmp_path / folder / "val").mkdir(parents=True)
    (tmp_path / "labels/val/a.txt").write_text("3 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.1 0.1\n")
    (tmp_path / "ignored/val/a.txt").write_text("0.25 0.75 0.5 0.5\n")
    return tmp_path / "images" / "val" / "a.jpg"


def annotate(image: Path, text: str) -> None:
    (image.parents[2] / "annotations/val/a.txt").write_text(text)


def test_labels_and_ignored_regions_in_pixels(image):
    rows, origin, problems = read_ground_truth(image, (200, 100), VISDRONE_CLASSES)
    assert (origin, problems) == ("labels", [])
    expected = np.array([[80, 30, 40, 40, 1, 4], [10, 5, 20, 10, 1, 1], [0, 50, 100, 50, 0, 0]])
    assert rows == pytest.approx(expected, abs=1e-4)


def test_annotations_take_precedence_for_visdrones_classes_only(image):
    annotate(image, "1,2,3,4,1,4,0,0\n9,9,9,9,0,11,0,0\n")
    rows, origin, _ = read_ground_truth(image, (200, 100), VISDRONE_CLASSES)
    assert origin == "annotations"
    assert rows.tolist() == [[1, 2, 3, 4, 1, 4], [9, 9, 9, 9, 0, 11]]
    assert read_ground_truth(image, (200, 100), ("a", "b", "c", "d"))[1] == "labels"


def test_an_image_without_labels_has_no_objects(image):
    rows, origin, _ = read_ground_truth(image.with_name("b.jpg"), (200, 100), VISDRONE_CLASSES)
    assert (rows.shape, origin) == ((0, 6), "nothing")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("labels", "3 0.5 0.5 0.2\n", "labels/val/a.txt, row 2: 4 numbers"),
        ("labels", "10 0.5 0.5 0.2 0.2\n", "row 2: the class is 10; expected 0 to 9"),
        ("ignored", "0.5 0.5 0.2\n", "ignored/val/a.txt, row 2: 3 numbers"),
        ("annotations", "1,2,3,4,1,4,0,0\n1,2,3\n", "annotations/val/a.txt, row 2: 3 fields"),
    ],
)
def test_bad_rows_are_named_and_left_out(image, file, text, message):
    sound = {"labels": "3 0.5 0.5 0.2 0.2\n", "ignored": "0.5 0.5 0.2 0.2\n"}.get(file, "")
    (image.parents[2] / file / "val/a.txt").write_text(sound + text)
    _, _, problems = read_ground_truth(image, (200, 100), VISDRONE_CLASSES)
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "is not text"),
        (b"3 0.5 0.5 0.2 0.2 0.9\n", "none of its 1 rows can be read"),
    ],
)
def test_a_label_file_of_which_nothing_can_be_read_is_an_error(image, content, message):
    (image.parents[2] / "labels/val/a.txt").write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        read_ground_truth(image, (200, 100), VISDRONE_CLASSES)


def test_keypoints_are_cut_off_as_in_training(image):
    label = image.parents[2] / "labels/val/a.txt"
    label.write_text("3 0.5 0.5 0.2 0.2 " + "0.1 0.9 2 " * 4 + "\n")
    rows, _, _ = read_ground_truth(image, (200, 100), VISDRONE_CLASSES, row_length=17)
    assert rows[0].tolist() == pytest.approx([80, 40, 40, 20, 1, 4])


def test_equal_file_names_in_several_folders_stay_apart():
    assert image_names([Path("/d/images/x/1.jpg"), Path("/d/images/x/2.jpg")]) == ["1", "2"]
    assert image_names([Path("/d/images/x/1.jpg"), Path("/d/images/y/1.jpg")]) == ["x/1", "y/1"]
    both = [Path("/d/images/x/1.jpg"), Path("/d/images/x/1.png"), Path("/d/images/x/2.png")]
    assert image_names(both) == ["1.jpg", "1.png", "2"]


@pytest.mark.parametrize(
    ("file", "text"),
    [("labels", "3 0.5 0.5 0.2\n"), ("ignored", "0.5 0.5 0.2\n"), ("annotations", "1,2,3\n")],
)
def test_a_file_none_of_whose_rows_can_be_read_is_an_error(image, file, text):
    (image.parents[2] / file / "val/a.txt").write_text(text)
    with pytest.raises(AnnotationError, match=f"{file}/val/a.txt"):
        read_ground_truth(image, (200, 100), VISDRONE_CLASSES)
