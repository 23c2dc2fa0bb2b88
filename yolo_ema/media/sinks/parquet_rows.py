"""``detections.parquet``: one row per object, for DuckDB, pandas, Spark and the like."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from yolo_ema.errors import MissingPackageError
from yolo_ema.io.atomic_files import disk_full_is_clear
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.sink import FrameContext, Sink
from yolo_ema.media.sinks.unique_paths import assemble_unique

COLUMNS = {
    "source": "string",
    "frame": "int64",
    "time_s": "float64",
    "width": "int32",
    "height": "int32",
    "track_id": "int64",
    "class_id": "int32",
    "class": "string",
    "score": "float64",
    "x1": "float64",
    "y1": "float64",
    "x2": "float64",
    "y2": "float64",
    "longitude": "float64",
    "latitude": "float64",
    "position_error_m": "float64",
}
"""Names and types. ``track_id`` and the last three are null where they are not known."""

_ROWS_AT_ONCE = 100_000
_POSITION = ("longitude", "latitude", "position_error_m")


class ParquetRows(Sink):
    """``detections.parquet``: one row per object, a frame without objects leaves none; the file
    appears whole when the sink is closed. Memory holds at most 100,000 rows.

    The footer's key ``yolo_ema.frames`` holds how many frames were run.
    """

    def __init__(self, out: Path) -> None:
        """Start the file in the folder ``out``.

        Raises:
            MissingPackageError: pyarrow is not installed.
            DiskFullError: there is no space left.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                "Parquet files need pyarrow, which is not installed here; install it with: pip "
                'install "yolo-ema[parquet]"'
            ) from error
        self._pa, self._out = pa, out
        self._schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in COLUMNS.items()])
        with disk_full_is_clear(out / "detections.parquet"):
            out.mkdir(parents=True, exist_ok=True)
            # Without a name, so that a killed run leaves no trace.
            self._file = tempfile.TemporaryFile(dir=out)  # noqa: SIM115 - it lives as long as the sink
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []
        self._frames = 0

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Add a row for each object. Raises `DiskFullError`."""
        frame = found.as_json()
        self._frames += 1
        frame_cells = [frame[name] for name in list(COLUMNS)[:5]]
        frame_cells[0] = frame_cells[0].encode("utf-8", "backslashreplace").decode()
        self._rows += (
            (
                *frame_cells,
                detection.get("track_id"),
                detection["class_id"],
                detection["class"],
                detection["score"],
                *detection["box_xyxy"],
                *(detection.get(name) for name in _POSITION),
            )
            for detection in frame["detections"]
        )
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [
            self._pa.array(column, field.type)
            for column, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
        ]
        with disk_full_is_clear(self._out / "detections.parquet"):
            self._writer.write_table(self._pa.table(columns, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        """Write the file; a second call does nothing.

        Raises:
            DiskFullError: there is no space left; no partial file remains.
        """
        if self._file.closed:
            return
        with disk_full_is_clear(self._out / "detections.parquet"), self._file:
            try:
                self._flush()
                self._writer.add_key_value_metadata({"yolo_ema.frames": str(self._frames)})
            finally:
                self._writer.close()
            self.paths = (assemble_unique(self._out, "detections", ".parquet", self._copy_to),)

    def _copy_to(self, file: IO[bytes]) -> None:
        self._file.seek(0)
        shutil.copyfileobj(self._file, file, 1 << 20)
