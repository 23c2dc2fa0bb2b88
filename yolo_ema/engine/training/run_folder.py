"""A run's folder: a name of its own, one process at a time, and no leftovers of killed runs."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from yolo_ema.engine.weights.checkpoints import RUN_LOCK, discard_leftovers
from yolo_ema.errors import ConfigError
from yolo_ema.io.atomic_files import locked
from yolo_ema.io.machine import cache_dir

_OLD_SECONDS = 24 * 3600
"""A half-written file in the cache that is older belongs to no running process."""


def make_run_folder(project: Path, name: str, *, exist_ok: bool = False) -> Path:
    """Make the run's folder; where the name is taken, the first that is free of ``name-2``,
    ``name-3`` and so on.
    """
    project = project.absolute()
    project.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = project / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(exist_ok=exist_ok)
        except FileExistsError:
            number += 1
        else:
            return folder


@contextlib.contextmanager
def open_run_folder(folder: Path, *, is_new: bool) -> Iterator[None]:
    """Keep other processes out of a run's folder while the block runs, and sweep what a killed run
    left half-written there and in the cache.

    A new run's folder is removed if the block fails before it wrote anything there but its
    settings.

    Raises:
        ConfigError: another process trains in this folder.
    """

    def refuse() -> None:
        raise ConfigError(
            f"another process is training in {folder}; wait for it, or end it before resuming"
        )

    try:
        with locked(folder / RUN_LOCK, refuse):
            for written in (folder, folder / "weights"):
                discard_leftovers(written)
            _sweep_cache()
            yield
    except BaseException:
        files = {path.name for path in folder.rglob("*") if not path.is_dir()}
        if is_new and files <= {"args.yaml"}:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def discard_former_run(folder: Path, *, keep: Iterable[Path] = ()) -> None:
    """Remove the checkpoints of a former run from the folder that a new one takes over, but for
    those to ``keep``: they would pass as the new run's.
    """
    kept = {file.resolve() for file in keep}
    for checkpoint in (folder / "weights").glob("*.pt"):
        if checkpoint.resolve() not in kept:
            checkpoint.unlink()


def _sweep_cache() -> None:
    for folder in ("labels", "images"):
        for leftover in (cache_dir() / folder).glob(".*.part*"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _OLD_SECONDS:
                    leftover.unlink()
