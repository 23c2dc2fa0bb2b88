"""A training on several processes that its launcher starts again: it resumes where it stopped.

torchrun starts all processes again, with the same command, when one fails (``--max-restarts``) or a
node comes or goes; a cluster's scheduler does so with the whole job.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ultralytics.utils import LOGGER

from yolo_ema.engine.training.launch import Launch
from yolo_ema.engine.training.run_record import RECORD_NAME
from yolo_ema.engine.training.run_settings import command_line
from yolo_ema.engine.weights.checkpoints import resumable_checkpoint
from yolo_ema.errors import ConfigError, WeightsError
from yolo_ema.io.atomic_files import read_json
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.train import TrainOptions

_UNNAMED = {None, "", "none"}
"""What torchrun calls a training without ``--rdzv-id``."""


def unfinished_run(options: TrainOptions, launch: Launch) -> Path | None:
    """Return the ``last.pt`` of the newest run of this very launch that was not finished, or None.

    A launch is known by its name and command. One without a name may be another one with the same
    command, unless the launcher says that it has started its processes again.
    """
    if launch.run_id in _UNNAMED and not launch.restarts:
        return None
    records = options.project.absolute().glob(f"*/{RECORD_NAME}")
    for record in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True):
        last = record.parent / "weights" / "last.pt"
        if _is_of(record, launch) and last.is_file():
            try:
                checkpoint = resumable_checkpoint(last, trust=options.trust)
            except (ConfigError, WeightsError) as error:
                LOGGER.warning(f"skipped: {error}")
                continue
            LOGGER.info(f"started again: {last} is resumed after epoch {checkpoint['epoch'] + 1}")
            return last
    return None


def _is_of(record: Path, launch: Launch) -> bool:
    try:
        content = read_json(record)
    except (OSError, ValueError):
        return False
    commands = [content, *content.get("resumed", [])]
    return (
        content.get("status") != "finished"
        and (content.get("processes") or {}).get("run_id") == (launch.run_id or None)
        and (launch.command or command_line()) in [entry.get("command") for entry in commands]
    )


def resuming(options: TrainOptions, last: Path) -> TrainOptions:
    """Return the options of the command that resumes a run which these options started."""
    kept = {"project", "offline", "trust", "loggers", "device", "workers", "batch", "data"}
    fields = {field.name for field in dataclasses.fields(TrainOptions)}
    drone = {field.name for field in dataclasses.fields(DroneOptions)}
    given = {name: getattr(options, name) for name in fields & (kept | drone)}
    return TrainOptions(resume=str(last), **given)
