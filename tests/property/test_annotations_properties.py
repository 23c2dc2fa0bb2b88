"""Reading and deriving against slow, literal forms, on random files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.io.text_files import decode_text
from yolo_ema.visdrone.annotations import parse_annotations, parse_results
from yolo_ema.visdrone.image_labels import clip_boxes, label_annotations, yolo_rows

modest = settings(deadline=None, max_examples=150)

coordinate = st.integers(-50, 300)
side = st.integers(-3, 200)
rows = st.lists(
    st.tuples(
        coordinate,
        coordinate,
        side,
        side,
        st.integers(0, 1),
        st.integers(-1, 12),
        st.integers(0, 1),
        st.integers(0, 2),
    ),
    max_size=12,
)


@modest
@given(rows, st.sampled_from(["\n", "\r\n"]), st.data())
def test_rows_survive_writing_and_reading(
    table: list[tuple[int, ...]], end: str, data: st.DataObject
) -> None:
    commas = [data.draw(st.booleans()) for _ in table]
    text = "".join(
        ",".join(map(str, row)) + "," * comma + end
        for row, comma in zip(table, commas, strict=True)
    )
    found = parse_annotations(text.encode(), "a.txt")
    readable = [(line, row) for line, row in enumerate(table, start=1) if 0 <= row[5] <= 11]
    assert found.lines.tolist() == [line for line, _ in readable]
    columns = np.column_stack(
        [found.boxes_ltwh, found.score, found.category, found.truncation, found.occlusion]
    )
    assert columns.tolist() == [list(row) for _, row in readable]
    assert found.trailing_commas == sum(commas)
    expected = []
    for line, row in enumerate(table, start=1):
        if not 0 <= row[5] <= 11:
            expected.append((line, "unknown-category"))
            continue
        if row[2] <= 0 or row[3] <= 0:
            expected.append((line, "no-area"))
        if row[4] != (1 if 1 <= row[5] <= 10 else 0):
            expected.append((line, "score-mismatch"))
    assert [(one.row, one.kind) for one in found.anomalies] == expected


@modest
@given(st.binary(max_size=300))
def test_no_bytes_stop_the_reader(content: bytes) -> None:
    found = parse_annotations(content, "a.txt")
    named = {one.row for one in found.anomalies}
    rows_there = [
        number
        for number, row in enumerate(re.split(r"\r\n|\r|\n", decode_text(content)), start=1)
        if row.strip()
    ]
    assert set(found.lines.tolist()) | named >= set(rows_there)


@modest
@given(
    st.lists(
        st.tuples(*[st.floats(-1e4, 1e4)] * 4, st.floats(0, 1), st.integers(0, 11)),
        max_size=8,
    )
)
def test_results_come_back_digit_for_digit(table: list[tuple[float, ...]]) -> None:
    text = "\n".join(",".join(map(repr, row)) + ",-1,-1" for row in table)
    assert parse_results(text.encode(), "r.txt").tolist() == [
        list(map(float, row)) for row in table
    ]


def _clipped(box: tuple[int, ...], wh: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The part of a box inside the image, pixel by pixel; None where no pixel is."""
    left, top, width, height = box
    columns = [x for x in range(left, left + width) if 0 <= x < wh[0]]
    lines = [y for y in range(top, top + height) if 0 <= y < wh[1]]
    return (columns[0], lines[0], columns[-1] + 1, lines[-1] + 1) if columns and lines else None


@modest
@given(rows, st.tuples(st.integers(1, 250), st.integers(1, 250)))
def test_labels_are_the_pixels_inside_the_image(
    table: list[tuple[int, ...]], wh: tuple[int, int]
) -> None:
    text = "".join(",".join(map(str, row)) + "\n" for row in table)
    annotations = parse_annotations(text.encode(), "a.txt")
    labels, odd = label_annotations(annotations, "a", Path("a.jpg"), Path("a.txt"), wh)
    objects, ignored, named = [], [], []
    for line, row in enumerate(table, start=1):
        if not 0 <= row[5] <= 11:
            continue
        inside = _clipped(row[:4], wh)
        if min(row[2:4]) > 0 and inside != (row[0], row[1], row[0] + row[2], row[1] + row[3]):
            named.append((line, "outside-image" if inside is None else "beyond-border"))
        if inside is None or row[5] == 11:
            continue
        if row[5] == 0 or row[4] == 0:
            ignored.append(inside)
        else:
            objects.append((row[5] - 1, *inside))
    assert np.column_stack([labels.classes, labels.boxes_xyxy]).tolist() == [
        list(map(float, one)) for one in objects
    ]
    assert labels.ignored_xyxy.tolist() == [list(map(float, one)) for one in ignored]
    assert [(one.row, one.kind) for one in odd] == named
    written = [
        list(map(float, row.split()))
        for row in yolo_rows(labels.boxes_xyxy, wh, labels.classes).splitlines()
    ]
    for (number, x, y, w, h), (class_id, x1, y1, x2, y2) in zip(written, objects, strict=True):
        assert number == class_id
        assert np.allclose(
            [(x - w / 2) * wh[0], (y - h / 2) * wh[1], (x + w / 2) * wh[0], (y + h / 2) * wh[1]],
            [x1, y1, x2, y2],
            atol=5e-4,
        )


@modest
@given(
    st.lists(st.tuples(coordinate, coordinate, side, side), max_size=10),
    st.tuples(st.integers(1, 250), st.integers(1, 250)),
)
def test_every_box_gets_one_known_outcome(
    boxes: list[tuple[int, ...]], wh: tuple[int, int]
) -> None:
    corners, fates = clip_boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), wh)
    assert corners.shape == (len(boxes), 4)
    assert set(fates.tolist()) <= {"inside", "clipped", "outside", "no-area"}
    assert (corners >= 0).all()
    assert (corners <= [*wh, *wh]).all()
