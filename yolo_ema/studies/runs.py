"""One training of a study: started, gone on with, or found to be done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from yolo_ema.engine.checkpoints import strip_checkpoint
from yolo_ema.engine.loading import load_checkpoint
from yolo_ema.engine.paired_start import PairedStart
from yolo_ema.engine.study_clock import StudyClock
from yolo_ema.engine.training import train
from yolo_ema.files import read_json, write_json
from yolo_ema.options.train import TrainOptions
from yolo_ema.studies.jobs import Job

__all__ = ["start_facts", "train_run", "weights_of"]


def weights_of(folder: Path) -> Path:
    """Return the weights that a run is measured with: of its last epoch, so that nothing is chosen on the images measured on."""
    return folder / "weights" / "last.pt"


def train_run(job: Job) -> None:
    """Train a run, from the start or from its last checkpoint; do nothing where it is trained.

    Raises:
        YoloEmaError: as `yolo_ema.engine.training.train`.
    """
    folder, last = Path(job.folder), weights_of(Path(job.folder))
    clock = StudyClock(job.beside(".clock.json"), budget_seconds=job.budget["seconds"], clock=job.budget["clock"])
    if not last.is_file():
        if folder.is_dir():  # ours, see Job.write, and cut off before its first checkpoint
            shutil.rmtree(folder)
        _train_anew(job, clock)
        return
    checkpoint = load_checkpoint(last)
    if checkpoint["epoch"] == -1:
        return
    if checkpoint["epoch"] + 1 >= checkpoint["train_args"]["epochs"]:  # cut off after the last epoch, before it was stripped
        strip_checkpoint(last)
        return
    kept = {key: job.train[key] for key in ("data", "device", "offline")}
    train(TrainOptions(resume=str(last), **kept), callbacks=clock.callbacks())


def _train_anew(job: Job, clock: StudyClock) -> None:
    start = PairedStart(job.baseline_model)
    facts = job.beside(".start.json")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in job.train.items()}
    options = TrainOptions(**{**values, "project": Path(job.train["project"])})

    def begin(trainer: object) -> None:
        start(trainer)
        write_json(facts, start.facts)

    train(options, callbacks={**clock.callbacks(), "on_pretrain_routine_end": begin})


def start_facts(job: Job) -> dict[str, object]:
    """Return what was found of the run's start."""
    facts: dict[str, object] = read_json(job.beside(".start.json"))
    return facts
