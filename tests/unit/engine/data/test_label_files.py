"""Labels: every bad row named, the rest kept; what is remembered holds no code and no stale
result.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.engine.data.label_files import (
    Problem,
    label_row_length,
    read_label_file,
    read_region_file,
)
from yolo_ema.engine.data.label_scan import scan_labels
from yolo_ema.errors import AnnotationError


def read(path: Path, text: str, class_count: int | None = 10):
    path.write_text(text)
    problems: list[Problem] = []
    notes: list[Problem] = []
    return (
        read_label_file(path, class_count=class_count, problems=problems, notes=notes),
        problems,
        notes,
    )


def test_valid_rows_are_read_unchanged(tmp_path):
    labels, problems, notes = read(
        tmp_path / "a.txt", "0 0.5 0.5 0.1 0.2\n\n9 1.004 0.25 0.5 0.5\n"
    )
    assert not problems
    assert not notes
    expected = np.array([[0, 0.5, 0.5, 0.1, 0.2], [9, 1.004, 0.25, 0.5, 0.5]], np.float32)
    assert np.array_equal(labels.rows, expected)
    assert labels.rows.dtype == np.float32


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.5 0.5 0.1", "4 numbers; expected 5"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers; expected 5"),
        ("0 0.5 0.5 x 0.1", "not all numbers"),
        ("10 0.5 0.5 0.1 0.1", "the class is 10; expected 0 to 9"),
        ("-1 0.5 0.5 0.1 0.1", "the class is -1"),
        ("1.5 0.5 0.5 0.1 0.1", "the class is 1.5; expected a whole number"),
        ("0 640 0.5 0.1 0.1", "the coordinate 640 is outside 0 to 1"),
        ("0 0.5 -0.5 0.1 0.1", "the coordinate -0.5 is outside"),
        ("0 0.5 0.5 -0.005 0.1", "width -0.005"),
        ("0 0.5 0.5 0 0.1", "width 0 and height 0.1; both must be above 0"),
        ("0 0.5 0.5 -0.2 0.1", "width -0.2 and height 0.1; both must be above 0"),
        ("0 nan 0.5 0.1 0.1", "not finite"),
        ("0 1e999 0.5 0.1 0.1", "not finite"),
        ("0 0.1 0.1 0.2 0.2 0.3 1.7", "the coordinate 1.7"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_kept(tmp_path, row, reason):
    labels, problems, _ = read(
        tmp_path / "a.txt", f"1 0.5 0.5 0.1 0.1\n{row}\n2 0.25 0.25 0.1 0.1\n"
    )
    assert [(problem.row, problem.file) for problem in problems] == [(2, str(tmp_path / "a.txt"))]
    assert reason in str(problems[0])
    assert "row 2" in str(problems[0])
    assert labels.rows[:, 0].tolist() == [1, 2]


def test_repeated_rows_count_once(tmp_path):
    text = "1 0.5 0.5 0.1 0.1\n0 0.2 0.2 0.1 0.1\n1 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n"
    labels, problems, notes = read(tmp_path / "a.txt", text)
    assert not problems
    assert [note.row for note in notes] == [3]
    assert "as do 1 more" in str(notes[0])
    assert labels.rows[:, 0].tolist() == [1, 0]


def test_polygons_become_boxes_and_stay_where_all_rows_are(tmp_path):
    triangle = "3 0.1 0.2 0.5 0.2 0.3 0.6\n"
    labels, problems, _ = read(tmp_path / "a.txt", triangle)
    assert not problems
    assert np.allclose(labels.rows, [[3, 0.3, 0.4, 0.4, 0.4]])
    assert np.allclose(labels.polygons[0], [[0.1, 0.2], [0.5, 0.2], [0.3, 0.6]])
    labels, problems, _ = read(tmp_path / "a.txt", triangle + "1 0.5 0.5 0.1 0.1\n")
    assert not problems
    assert len(labels.rows) == 2
    assert labels.polygons == []


def test_pose_labels_of_a_box_task_lose_their_points(tmp_path):
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1 " + "0.5 0.5 2 " * 3 + "\n")
    problems: list[Problem] = []
    labels = read_label_file(
        tmp_path / "a.txt", class_count=1, row_length=14, problems=problems, notes=[]
    )
    assert not problems
    assert np.allclose(labels.rows, [[0, 0.5, 0.5, 0.1, 0.1]])


def test_a_byte_order_mark_is_skipped_and_binary_content_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf0 0.5 0.5 0.1 0.1\r\n")
    assert len(read_label_file(tmp_path / "a.txt", class_count=1, problems=[], notes=[]).rows) == 1
    (tmp_path / "a.txt").write_bytes(b"\xff\x80\x81")
    with pytest.raises(AnnotationError, match="is not text"):
        read_label_file(tmp_path / "a.txt", class_count=1, problems=[], notes=[])


@pytest.mark.parametrize(
    "text",
    [
        "0,0.5,0.5,0.1,0.1\n9,0.25,0.25,0.5,0.5\n",
        "0, 0.5, 0.5, 0.1, 0.1\n9, 0.25, 0.25, 0.5, 0.5\n",
        "0.0 0.5 0.5 0.1 0.1\n9.0 0.25 0.25 0.5 0.5\n",
    ],
)
def test_commas_between_all_numbers_and_classes_with_a_point_are_unambiguous(tmp_path, text):
    labels, problems, _ = read(tmp_path / "a.txt", text)
    assert not problems
    assert np.allclose(labels.rows, [[0, 0.5, 0.5, 0.1, 0.1], [9, 0.25, 0.25, 0.5, 0.5]])


def test_decimal_commas_are_not_guessed_at(tmp_path):
    with pytest.raises(AnnotationError, match="none of its 1 rows can be read"):
        read(tmp_path / "a.txt", "0 0,1 0,1 0,2 0,2\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_read_with_a_mark_and_without(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("0 0.5 0.5 0.25 0.25\r\n".encode(encoding))
    labels = read_label_file(tmp_path / "a.txt", class_count=1, problems=[], notes=[])
    assert labels.rows.tolist() == [[0, 0.5, 0.5, 0.25, 0.25]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.5 0.5 0.1 0.1 0.9", "a sixth, such as a confidence, is not part of a label"),
        ("1,12,10,20,30,40,1,4,0,0", "10 numbers; expected 5"),
        ("\uff10 0.5 0.5 0.1 0.1", "is not all numbers"),
        ("1_0 0.5 0.5 0.1 0.1", "is not all numbers"),
        ("7 0.5 0.5 0.1 0.1", "the class is 7; expected 0 to 2"),
    ],
)
def test_a_file_of_which_no_row_can_be_read_is_an_error(tmp_path, row, reason):
    problems: list[Problem] = []
    (tmp_path / "a.txt").write_text(f"{row}\n{row}\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match=f"none of its 2 rows can be read; row 1: .*{reason}"):
        read_label_file(tmp_path / "a.txt", class_count=3, problems=problems, notes=[])
    assert problems == []
    (tmp_path / "a.txt").write_text("0.5 0.5 0.1\n")
    with pytest.raises(AnnotationError, match="none of its 1 rows can be read; row 1: 3 numbers"):
        read_region_file(tmp_path / "a.txt", problems=problems)


@pytest.mark.parametrize(("shape", "length"), [(None, 5), ([4, 2], 13), ([2, 3], 11), ([0, 0], 5)])
def test_the_length_of_a_row_follows_from_its_keypoints(shape, length):
    assert label_row_length({"kpt_shape": shape} if shape else {}) == length


def test_regions_are_read_and_bad_ones_named(tmp_path):
    (tmp_path / "a.txt").write_text("0.5 0.5 1 1\n0.5 0.5 0 1\n0 0.5 0.5 1 1\nx 1 1 1\n")
    problems: list[Problem] = []
    regions = read_region_file(tmp_path / "a.txt", problems=problems)
    assert np.allclose(regions, [[0.5, 0.5, 1, 1]])
    assert sorted(problem.row for problem in problems) == [2, 3, 4]
    assert any("5 numbers; expected 4" in str(problem) for problem in problems)


class Folder:
    """A split of three images whose sizes are told by a table, and which counts how often it was
    asked.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, 0
        self.images = [str(root / f"{name}.jpg") for name in "abc"]
        self.labels = [str(root / f"{name}.txt") for name in "abc"]
        self.regions = [str(root / f"{name}.ignored") for name in "abc"]
        for image in self.images:
            Path(image).write_bytes(b"image")
        Path(self.labels[0]).write_text("0 0.5 0.5 0.1 0.1\n1 0.5 0.5 7 0.1\n")
        Path(self.labels[1]).write_text("")
        Path(self.regions[1]).write_text("0.5 0.5 0.2 0.2\n")

    def image_hw(self, image: str) -> tuple[int, int]:
        self.asked += 1
        if Path(image).read_bytes() != b"image":
            raise OSError(f"{image} is damaged")
        return (100, 200)

    def scan(self, **changes):
        settings = {
            "class_count": 2,
            "image_hw": self.image_hw,
            "cache": self.root / "cache",
        } | changes
        return scan_labels(self.images, self.labels, self.regions, **settings)

    @property
    def kept(self) -> Path:
        return next((self.root / "cache").glob("*.npz"))


def same(one, other) -> bool:
    return (
        one.images == other.images
        and np.array_equal(one.shapes_hw, other.shapes_hw)
        and all(
            np.array_equal(a.rows, b.rows) for a, b in zip(one.labels, other.labels, strict=True)
        )
        and all(
            np.array_equal(p, q)
            for a, b in zip(one.labels, other.labels, strict=True)
            for p, q in zip(a.polygons, b.polygons, strict=True)
        )
        and all(np.array_equal(a, b) for a, b in zip(one.regions, other.regions, strict=True))
        and (one.problems, one.notes, one.without_file)
        == (other.problems, other.notes, other.without_file)
    )


def test_a_second_scan_recalls_the_first_without_reading_images(tmp_path):
    folder = Folder(tmp_path)
    first = folder.scan()
    assert folder.asked == 3
    assert [len(labels.rows) for labels in first.labels] == [1, 0, 0]
    assert [len(regions) for regions in first.regions] == [0, 1, 0]
    assert first.without_file == 1
    assert [problem.row for problem in first.problems] == [2]
    assert same(folder.scan(), first)
    assert folder.asked == 3


def test_polygons_are_recalled(tmp_path):
    folder = Folder(tmp_path)
    Path(folder.labels[0]).write_text(
        "0 0.1 0.1 0.2 0.1 0.2 0.2\n1 0.3 0.3 0.5 0.3 0.5 0.5 0.3 0.5\n"
    )
    Path(folder.labels[2]).write_text("1 0.3 0.3 0.5 0.3 0.5 0.5\n")
    first = folder.scan()
    assert [len(labels.polygons) for labels in first.labels] == [2, 0, 1]
    assert same(folder.scan(), first)


@pytest.mark.parametrize("change", ["label", "image", "region", "new label", "class count"])
def test_any_change_is_scanned_again(tmp_path, change):
    folder = Folder(tmp_path)
    folder.scan()
    settings = {}
    if change == "label":
        Path(folder.labels[1]).write_text("0 0.2 0.2 0.1 0.1\n")
    elif change == "image":
        Path(folder.images[1]).write_bytes(b"damaged")
    elif change == "region":
        Path(folder.regions[1]).write_text("0.5 0.5 0.2 0.3\n")
    elif change == "new label":
        Path(folder.labels[2]).write_text("0 0.2 0.2 0.1 0.1\n")
    else:
        settings["class_count"] = 3
    folder.scan(**settings)
    assert folder.asked == 6


def test_a_damaged_image_and_an_unreadable_label_file_are_left_out_and_named(tmp_path):
    folder = Folder(tmp_path)
    Path(folder.images[0]).write_bytes(b"broken")
    Path(folder.labels[1]).write_bytes(b"\xff\xfe\x80")
    scan = folder.scan()
    assert scan.images == [2]
    assert "a.jpg is damaged" in str(scan.problems[0])
    assert "b.txt is not text" in str(scan.problems[1])


def test_an_image_none_of_whose_labels_can_be_read_is_left_out_and_counted(tmp_path):
    folder = Folder(tmp_path)
    Path(folder.labels[0]).write_text("0 0.5 0.5 0.1 0.1 0.9\n")
    Path(folder.regions[1]).write_text("0.5 0.5\n")
    Path(folder.images[2]).unlink()
    scan = folder.scan()
    assert scan.images == []
    assert [problem.kind for problem in scan.problems] == [
        "unreadable labels",
        "unreadable labels",
        "missing image",
    ]
    assert same(folder.scan(), scan)


def test_a_tiny_image_is_left_out(tmp_path):
    scan = Folder(tmp_path).scan(image_hw=lambda image: (9, 100))
    assert scan.images == []
    assert "100x9 pixels; expected at least 10" in str(scan.problems[0])


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.write_text, (self.target, "boom"))


def test_the_cache_is_never_unpickled(tmp_path):
    folder = Folder(tmp_path)
    first = folder.scan()
    target = tmp_path / "executed"
    for poison in ("npz", "pickle", "garbage", "short"):
        if poison == "npz":
            with folder.kept.open("wb") as file:
                np.savez(file, texts=np.array([Bomb(target)], dtype=object))
        else:
            content = {
                "pickle": pickle.dumps(Bomb(target)),
                "garbage": b"garbage",
                "short": folder.kept.read_bytes()[:50],
            }[poison]
            folder.kept.write_bytes(content)
        assert same(folder.scan(), first), poison
        assert not target.exists(), poison


def test_a_cache_folder_that_cannot_be_written_is_noted_and_tolerated(tmp_path):
    folder = Folder(tmp_path)
    (tmp_path / "blocked").write_text("a file where the folder would be")
    scan = folder.scan(cache=tmp_path / "blocked")
    assert scan.images == [0, 1, 2]
    assert "reads all labels again" in str(scan.notes[-1])
