"""The Parquet sink: types, nulls, and the same figures as detections.csv."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.errors import MissingPackageError
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sinks.csv_rows import CsvRows
from yolo_ema.media.sinks.parquet_rows import COLUMNS, ParquetRows
from yolo_ema.media.sinks.sink import FrameContext

parquet = pytest.importorskip("pyarrow.parquet")
NAMES = {0: "car", 1: "bus"}


def found(index: int, count: int, *, tracked: bool = True) -> FrameDetections:
    random = np.random.default_rng(index)
    return FrameDetections(
        Frame(np.zeros((48, 64, 3), np.uint8), "flight\udcff.mp4", index, index / 30),
        random.uniform(0, 48, (count, 4)).astype(np.float32),
        random.uniform(0, 1, count).astype(np.float32),
        np.arange(count) % 2,
        NAMES,
        track_ids=np.arange(count) - 1 if tracked else None,
    )


@pytest.mark.parametrize("tracked", [True, False])
def test_rows_are_those_of_the_csv(tmp_path: Path, monkeypatch, tracked: bool) -> None:
    monkeypatch.setattr("yolo_ema.media.sinks.parquet_rows._ROWS_AT_ONCE", 4)
    sinks = [ParquetRows(tmp_path), CsvRows(tmp_path)]
    for index, count in enumerate((3, 0, 2, 4)):
        for sink in sinks:
            sink.write(found(index, count, tracked=tracked), FrameContext(None, "flight"))
    assert sinks[0].paths == ()
    for sink in sinks:
        sink.close()
    sinks[0].close()
    table = parquet.read_table(sinks[0].paths[0])
    assert {field.name: str(field.type).replace("double", "float64") for field in table.schema} == (
        COLUMNS
    )
    with sinks[1].paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table.num_rows == len(rows) == 9
    for row, other in zip(rows, table.to_pylist(), strict=True):
        for name, text in row.items():
            assert text == ("" if other[name] is None else str(other[name])), name
        assert other["longitude"] is other["latitude"] is other["position_error_m"] is None
    footer = parquet.read_metadata(sinks[0].paths[0])
    assert footer.metadata[b"yolo_ema.frames"] == b"4"
    assert footer.num_row_groups == 3 - 1
    assert not list(tmp_path.glob(".*"))


def test_without_rows_the_file_still_has_its_columns(tmp_path: Path) -> None:
    sink = ParquetRows(tmp_path)
    sink.write(found(0, 0), FrameContext(None, "flight"))
    sink.close()
    assert parquet.read_table(sink.paths[0]).column_names == list(COLUMNS)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in "ab":
        sink = ParquetRows(tmp_path / name)
        for index in range(5):
            sink.write(found(index, 20), FrameContext(None, "flight"))
        sink.close()
        contents.append(sink.paths[0].read_bytes())
    assert contents[0] == contents[1]


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r'pip install "yolo-ema\[parquet\]"'):
        ParquetRows(tmp_path)
    assert not list(tmp_path.iterdir())
