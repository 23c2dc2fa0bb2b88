"""One training of a study: started, gone on with, or found to be done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from yolo_ema.engine.training.train import train
from yolo_ema.engine.training.training_budget import StudyClock
from yolo_ema.engine.weights.checkpoints import strip_checkpoint
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.engine.weights.paired_start import PairedStart
from yolo_ema.errors import WeightsNotFoundError
from yolo_ema.io.atomic_files import read_json, write_json
from yolo_ema.options.train import TrainOptions
from yolo_ema.studies.jobs import Job, weights_of

__all__ = ["start_facts", "train_run"]


def train_run(job: Job) -> None:
    """Train a run, from the start or from its last checkpoint; do nothing where it is trained.

    Raises:
        WeightsNotFoundError: the run has a record that lacks something, and its weights are gone; a
            training would give others.
        YoloEmaError: as `yolo_ema.engine.training.train.train`.
    """
    folder, last = Path(job.folder), weights_of(Path(job.folder))
    if Path(job.record).is_file() and not last.is_file():
        raise WeightsNotFoundError(
            f"{job.record} lacks settings that the study wants, and the weights that it was made "
            f"with are not at {last}; put them "
            "there, say with --runs where they are, or move the record away to have the run made "
            "again"
        )
    clock = StudyClock(
        job.beside(".clock.json"), budget_seconds=job.budget["seconds"], clock=job.budget["clock"]
    )
    if not last.is_file():
        if folder.is_dir():  # ours, see Job.write, and cut off before its first checkpoint
            shutil.rmtree(folder)
        _train_anew(job, clock)
        return
    checkpoint = load_checkpoint(last)
    if checkpoint["epoch"] == -1:
        return
    if (
        checkpoint["epoch"] + 1 >= checkpoint["train_args"]["epochs"]
    ):  # cut off after the last epoch, before it was stripped
        strip_checkpoint(last)
        return
    kept = {key: job.train[key] for key in ("data", "device", "offline")}
    train(TrainOptions(resume=str(last), **kept), callbacks=clock.callbacks())


def _train_anew(job: Job, clock: StudyClock) -> None:
    start = PairedStart(job.baseline_model)
    facts = job.beside(".start.json")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in job.train.items()
    }
    options = TrainOptions(**{**values, "project": Path(job.train["project"])})

    def begin(trainer: Any) -> None:
        start(trainer)
        first = trainer.optimizer.param_groups[0]  # what Ultralytics' own choice came to
        optimizer = {
            "name": type(trainer.optimizer).__name__,
            "lr": first.get("initial_lr", first["lr"]),
        }
        write_json(facts, {**start.facts, "optimizer": optimizer})

    train(options, callbacks={**clock.callbacks(), "on_pretrain_routine_end": begin})


def start_facts(job: Job) -> dict[str, object]:
    """Return what was found of the run's start."""
    facts: dict[str, object] = read_json(job.beside(".start.json"))
    return facts
