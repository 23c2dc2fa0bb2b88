"""What a run over an orthomosaic has done so far, on disk, so that a killed one can resume."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolo_ema.errors import ConfigError, DiskFullError

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE windows (number INTEGER PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL,
  pixels INTEGER NOT NULL, square_metres REAL, boxes BLOB NOT NULL);
"""
_FILES = "CREATE TABLE IF NOT EXISTS files (kind TEXT PRIMARY KEY, name TEXT NOT NULL)"
_COMMIT_EVERY = 32


class WindowRecord(NamedTuple):
    """What became of one window.

    Attributes:
        number: of the window.
        state: ``detected``, ``no_data`` or ``unreadable``.
        boxes: (N, 6) float32 x1, y1, x2, y2 in pixels of the whole image, score, class id.
        pixels: how many pixels with data it has that no later window has, and
        square_metres: their area, None where it is unknown.
        reason: why it is unreadable.
    """

    number: int
    state: str
    boxes: np.ndarray
    pixels: int = 0
    square_metres: float | None = None
    reason: str = ""


class WindowJournal:
    """A SQLite file. What was committed survives a killed process."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Open a run's journal, or begin one; ``settings`` are all that boxes depend on, as plain
        values.

        Raises:
            ConfigError: the file is not a journal, or is that of another run, with other settings
                or still running.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._uncommitted = 0
        self._connection = sqlite3.connect(path, timeout=0.5)
        try:
            with self._explained():
                self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._connection.execute("BEGIN EXCLUSIVE")
                self._settle({name: json.dumps(value) for name, value in settings.items()})
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; what was added stays."""
        with self._explained():
            self._connection.commit()
        self._connection.close()

    def remove(self) -> None:
        """Close and delete the file: its run is complete."""
        self._connection.close()
        self.path.unlink(missing_ok=True)

    def add(self, record: WindowRecord) -> None:
        """Note a window that is done.

        Raises:
            DiskFullError: there is no room.
        """
        blob = np.ascontiguousarray(record.boxes, np.float32).tobytes()
        values = (record.number, record.state, record.reason, record.pixels, record.square_metres)
        with self._explained():
            self._connection.execute(
                "INSERT INTO windows (number, state, reason, pixels, square_metres, boxes) "
                "VALUES (?,?,?,?,?,?)",
                (*values, blob),
            )
            self._uncommitted += 1
            if record.state == "detected" or self._uncommitted >= _COMMIT_EVERY:
                self._connection.commit()
                self._uncommitted = 0

    def name_files(self, paths: Mapping[str, Path]) -> None:
        """Note the files, by kind, beside the journal, that a run writes when it has all windows:
        one that ends before it is complete writes the same when it continues.
        """
        with self._explained():
            rows = [(kind, path.name) for kind, path in paths.items()]
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?,?)", rows)
            self._connection.commit()

    def files(self) -> dict[str, Path]:
        """Return those files; none where none were noted yet."""
        with self._explained():
            rows = self._connection.execute("SELECT kind, name FROM files")
            return {kind: self.path.with_name(name) for kind, name in rows}

    def done(self) -> set[int]:
        """Return the numbers of windows that are done."""
        return {number for (number,) in self._connection.execute("SELECT number FROM windows")}

    def boxes(self, numbers: range) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the windows of a range that have boxes, and these (N, 6)."""
        rows = self._connection.execute(
            "SELECT number, boxes FROM windows WHERE number >= ? AND number < ? AND boxes <> x'' "
            "ORDER BY number",
            (numbers.start, numbers.stop),
        )
        for number, blob in rows:
            yield number, np.frombuffer(blob, np.float32).reshape(-1, 6)

    def states(self) -> dict[str, int]:
        """Return how many windows are in which state."""
        return dict(self._connection.execute("SELECT state, COUNT(*) FROM windows GROUP BY state"))

    def unreadable(self) -> list[tuple[int, str]]:
        """Return the windows that could not be read, and why."""
        return list(
            self._connection.execute(
                "SELECT number, reason FROM windows WHERE state = 'unreadable' ORDER BY number"
            )
        )

    def area(self) -> tuple[int, float | None]:
        """Return how many pixels have data, and their square metres where all are known."""
        pixels, square_metres, unknown = self._connection.execute(
            "SELECT TOTAL(pixels), TOTAL(square_metres), COUNT(*) - COUNT(square_metres) "
            "FROM windows WHERE pixels > 0"
        ).fetchone()
        return int(pixels), None if unknown else square_metres

    def _settle(self, settings: dict[str, str]) -> None:
        """Begin the journal, or hold the settings against those that it was begun with."""
        tables = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if tables == (0,):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._connection.execute(statement)
            self._connection.executemany("INSERT INTO settings VALUES (?,?)", settings.items())
        self._connection.execute(_FILES)
        known = dict(self._connection.execute("SELECT name, value FROM settings"))
        self._connection.commit()
        other = [name for name in {**known, **settings} if known.get(name) != settings.get(name)]
        if other:
            diff = "; ".join(
                f"{name} was {known.get(name, 'not set')} and is {settings.get(name, 'not set')}"
                for name in other[:3]
            )
            raise ConfigError(
                f"{self.path} belongs to a run with other settings: {diff}. Give the same ones to "
                f"continue, or another --out for a new run"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise ConfigError(
                    f"another run is writing {self.path}; wait for it, or give another --out"
                ) from error
            if "full" in str(error):
                raise DiskFullError(
                    f"disk full while writing {self.path}; the windows until here are in it. Free "
                    f"some space and run the same command again."
                ) from error
            raise ConfigError(
                f"{self.path} is not the journal of a run ({error}); delete it to start over, or "
                f"give another --out"
            ) from error
