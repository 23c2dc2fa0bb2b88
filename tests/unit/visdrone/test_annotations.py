from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import AnnotationError, DataError, DataNotFoundError
from yolo_ema.visdrone.annotations import (
    parse_annotations,
    parse_results,
    read_annotations,
    read_results,
)


def test_a_row_becomes_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("10,20,30,40,1,4,1,2\n0,0,5,6,0,0,0,0\n")
    found = read_annotations(file)
    assert found.boxes_ltwh.tolist() == [[10, 20, 30, 40], [0, 0, 5, 6]]
    assert found.score.tolist() == [1, 0]
    assert found.category.tolist() == [4, 0]
    assert found.truncation.tolist() == [1, 0]
    assert found.occlusion.tolist() == [2, 0]
    assert found.lines.tolist() == [1, 2]
    assert found.rows.tolist() == [[10, 20, 30, 40, 1, 4], [0, 0, 5, 6, 0, 0]]
    assert found.anomalies == ()
    assert len(found) == 2


def test_the_ten_classes_in_the_order_of_the_categories() -> None:
    assert (
        *("pedestrian", "people", "bicycle", "car", "van"),
        *("truck", "tricycle", "awning-tricycle", "bus", "motor"),
    ) == VISDRONE_CLASSES


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_objects_and_no_anomalies(content: bytes) -> None:
    found = parse_annotations(content, "a.txt")
    assert len(found) == 0
    assert found.anomalies == ()
    assert found.boxes_ltwh.shape == (0, 4)
    assert found.rows.shape == (0, 6)


@pytest.mark.parametrize(
    "content", [b"1,2,3,4,1,5,0,0\r\n", b"\xef\xbb\xbf1,2,3,4,1,5,0,0", b" 1, 2,3 ,4,1,5,0,0 \n\n"]
)
def test_line_ends_marks_and_spaces_do_not_matter(content: bytes) -> None:
    found = parse_annotations(content, "a.txt")
    assert found.rows.tolist() == [[1, 2, 3, 4, 1, 5]]
    assert found.anomalies == ()


def test_a_trailing_comma_is_counted_and_is_not_an_anomaly() -> None:
    found = parse_annotations(b"1,2,3,4,1,5,0,0,\n1,2,3,4,1,5,0,0\n1,2,3,4,1,5,0,0, \r\n", "a.txt")
    assert len(found) == 3
    assert found.trailing_commas == 2
    assert found.anomalies == ()


@pytest.mark.parametrize(
    ("row", "kind", "says"),
    [
        ("1,2,3,4,1,5,0", "field-count", "7 fields, expected 8"),
        ("1,2,3,4,1,5,0,0,0", "field-count", "9 fields, expected 8"),
        ("0 0.5 0.5 0.1 0.1", "field-count", "1 field, expected 8"),
        ("1,2,3.5,4,1,5,0,0", "not-integer", "width is '3.5', expected a whole number"),
        ("1,2,3,4,1,car,0,0", "not-integer", "category is 'car'"),
        ("1,2,,4,1,5,0,0", "not-integer", "width is ''"),
        ("1,2,3,4,1,12,0,0", "unknown-category", "category is 12, expected 0 to 11"),
        ("1,2,3,4,1,-1,0,0", "unknown-category", "category is -1"),
        ("99999999999999999999,2,3,4,1,5,0,0", "out-of-range", "left is 99999999999999999999"),
    ],
)
def test_an_unreadable_row_is_left_out_and_named(row: str, kind: str, says: str) -> None:
    found = parse_annotations(
        f"1,2,3,4,1,5,0,0\n\n{row}\n5,6,7,8,1,10,0,0\n".encode(), "some/a.txt"
    )
    assert found.lines.tolist() == [1, 4]
    (anomaly,) = found.anomalies
    assert (anomaly.file, anomaly.row, anomaly.kind) == ("some/a.txt", 3, kind)
    assert says in anomaly.message
    assert str(anomaly).startswith("some/a.txt, row 3: ")


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        ("1,2,0,4,1,5,0,0", ["no-area"]),
        ("1,2,3,-4,1,5,0,0", ["no-area"]),
        ("1,2,3,0,0,0,0,0", ["no-area"]),
        ("1,2,3,4,0,5,0,0", ["score-mismatch"]),
        ("1,2,3,4,1,0,0,0", ["score-mismatch"]),
        ("1,2,3,4,1,11,0,0", ["score-mismatch"]),
        ("1,2,3,4,2,5,0,0", ["score-mismatch"]),
        ("1,2,0,4,0,5,0,0", ["no-area", "score-mismatch"]),
        ("1,2,3,4,0,11,0,0", []),
        ("-1,-2,3,4,1,1,0,0", []),
    ],
)
def test_an_odd_row_is_kept_and_named(row: str, kinds: list[str]) -> None:
    found = parse_annotations(row.encode(), "a.txt")
    assert len(found) == 1
    assert [anomaly.kind for anomaly in found.anomalies] == kinds
    assert all(anomaly.row == 1 for anomaly in found.anomalies)


def test_binary_garbage_gives_anomalies_and_no_rows() -> None:
    found = parse_annotations(bytes(range(256)) * 3, "a.txt")
    assert len(found) == 0
    assert {anomaly.kind for anomaly in found.anomalies} == {"field-count"}


@pytest.mark.parametrize("read", [read_annotations, read_results])
def test_a_missing_file_is_named(read, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"gone\.txt does not exist"):
        read(tmp_path / "gone.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_results_keep_the_file_order(tmp_path: Path) -> None:
    file = tmp_path / "r.txt"
    file.write_text("1.5,2,3,4,0.25,10,-1,-1\n5,6,7,8,0.9,1,-1,-1\n")
    assert read_results(file).tolist() == [[1.5, 2, 3, 4, 0.25, 10], [5, 6, 7, 8, 0.9, 1]]


@pytest.mark.parametrize(
    "row", ["1,2,3,4,0.5,6", "1,2,3,4,0.5,6,-1,-1,", "1,2,3,4,0.5,6.0,-1", "1, 2,3,4,5e-1,6\r"]
)
def test_results_in_every_known_variant(row: str) -> None:
    assert parse_results(row.encode(), "r.txt").tolist() == [[1, 2, 3, 4, 0.5, 6]]


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_result_file_means_no_detections(content: bytes) -> None:
    assert parse_results(content, "r.txt").shape == (0, 6)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1,2,3,4,0.5", "5 fields, expected 6 to 8"),
        ("1,2,3,4,0.5,", "5 fields, expected 6 to 8"),
        ("1,2,3,4,0.5,1,-1,-1,-1", "9 fields"),
        ("1,2,three,4,0.5,1", "width is 'three'"),
        ("1,2,3,4,nan,1", "score is 'nan', expected a finite number"),
        ("inf,2,3,4,0.5,1", "left is 'inf'"),
        ("1,2,3,4,0.5,12", "category is '12'"),
        ("1,2,3,4,0.5,1.5", "category is '1.5'"),
    ],
)
def test_an_invalid_result_row_is_an_error_that_names_it(row: str, says: str) -> None:
    with pytest.raises(AnnotationError, match=r"r\.txt, row 3: ") as caught:
        parse_results(f"1,2,3,4,0.5,1\n\n{row}\n".encode(), "r.txt")
    assert says in str(caught.value)


def test_the_quick_and_the_careful_reading_of_results_agree() -> None:
    generator = np.random.default_rng(5)
    boxes, scores = generator.uniform(-50, 2000, (200, 4)).round(2), generator.random(200).round(4)
    table = np.column_stack([boxes, scores, generator.integers(1, 11, 200)])
    rows = [
        ",".join(f"{number:.4f}" for number in row[:5]) + f",{int(row[5])},-1,-1" for row in table
    ]
    quick = parse_results("\n".join(rows).encode(), "r.txt")
    careful = parse_results("\n".join([rows[0] + ",", *rows[1:]]).encode(), "r.txt")
    assert np.array_equal(quick, table)
    assert np.array_equal(careful, table)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_annotations_and_results_in_other_encodings(encoding: str) -> None:
    content = "684,8,273,116,1,4,0,0\r\n406,119,265,70,1,10,0,0\r\n".encode(encoding)
    found = parse_annotations(content, "a.txt")
    assert found.rows.tolist() == [[684, 8, 273, 116, 1, 4], [406, 119, 265, 70, 1, 10]]
    assert found.anomalies == ()
    assert parse_results(content, "r.txt").tolist() == found.rows.tolist()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_are_counted_with_every_line_end(end: str) -> None:
    found = parse_annotations(end.join(["1,2,3,4,1,5,0,0", "x", "1,2,3,4,1,5,0,0"]).encode(), "a")
    assert found.lines.tolist() == [1, 3]
    assert found.anomalies[0].row == 2


def test_integers_may_be_written_with_a_decimal_point() -> None:
    found = parse_annotations(b"1.0,2.,3.000,+4,1.0,5.0,0.0,-0\n", "a.txt")
    assert found.rows.tolist() == [[1, 2, 3, 4, 1, 5]]
    assert found.anomalies == ()


@pytest.mark.parametrize("width", ["٣", "３", "1_0", "1e1", "0x3", "²"])
def test_only_the_digits_of_the_format_are_accepted(width: str) -> None:
    row = f"1,2,{width},4,1,5,0,0"
    (anomaly,) = parse_annotations(row.encode(), "a.txt").anomalies
    assert anomaly.kind == "not-integer"
    if width != "1e1":
        with pytest.raises(AnnotationError, match=r"width is .*, expected a finite number"):
            parse_results(row.encode(), "r.txt")


def test_rows_of_the_video_format_are_recognised() -> None:
    (anomaly,) = parse_annotations(b"1,0,593,43,174,190,1,4,0,0\n", "a.txt").anomalies
    assert "10 fields, expected 8" in anomaly.message
    assert "VisDrone's videos" in anomaly.message
