"""What a training costs, epoch by epoch, and a run that ends by time instead of by epochs."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from yolo_ema.io.atomic_files import read_json, write_json


class TrainingBudget:
    """Times each epoch of a run, by the process's own processor time and by the wall clock, also
    over resumed runs.

    With a budget the run ends after the epoch in which it is used up. The learning rate schedule
    follows the number of epochs that the budget is estimated to allow, updated after each epoch.
    Validation is timed, and does not count.

    Args:
        file: where the times are kept: one entry for each epoch that was trained.
        budget_seconds: of training; None for a run that ends after its epochs.
        clock: which time the budget means: process (of all threads of this process) or wall.
    """

    def __init__(
        self, file: Path, *, budget_seconds: float | None = None, clock: str = "process"
    ) -> None:
        self.file, self.budget_seconds, self.clock = file, budget_seconds, clock
        self.epochs: list[dict[str, float]] = read_json(file)["epochs"] if file.is_file() else []
        self._started = self._now()

    def callbacks(self) -> dict[str, Any]:
        """Return the callbacks for the trainer, by event."""
        return {
            "on_train_start": self._start,
            "on_train_epoch_start": self._epoch_start,
            "on_train_epoch_end": self._epoch_end,
            "on_fit_epoch_end": self._validated,
        }

    @staticmethod
    def _now() -> dict[str, float]:
        return {"process": time.process_time(), "wall": time.monotonic()}

    def _elapsed(self, prefix: str) -> dict[str, float]:
        return {
            f"{prefix}_{clock}": round(now - self._started[clock], 3)
            for clock, now in self._now().items()
        }

    def _start(self, trainer: Any) -> None:
        """Forget epochs that are done again: the run was cut off before their checkpoint was
        written.
        """
        self.epochs = [entry for entry in self.epochs if entry["epoch"] <= trainer.start_epoch]

    def _epoch_start(self, _trainer: Any) -> None:
        self._started = self._now()

    def _epoch_end(self, trainer: Any) -> None:
        self.epochs = [entry for entry in self.epochs if entry["epoch"] <= trainer.epoch]
        self.epochs.append({"epoch": trainer.epoch + 1, **self._elapsed("train")})
        self._write()
        if self.budget_seconds is not None:
            self._replan(trainer)

    def _validated(self, trainer: Any) -> None:
        """Add the time with validation; the last one, of the best weights, belongs to no epoch."""
        if (
            self.epochs
            and self.epochs[-1]["epoch"] == trainer.epoch + 1
            and "all_wall" not in self.epochs[-1]
        ):
            self.epochs[-1] |= self._elapsed("all")
            self._write()

    def _replan(self, trainer: Any) -> None:
        used = sum(entry[f"train_{self.clock}"] for entry in self.epochs)
        done = trainer.epoch + 1
        left = max(float(self.budget_seconds or 0) - used, 0.0)
        trainer.epochs = trainer.args.epochs = done + math.ceil(left / (used / len(self.epochs)))
        trainer._setup_scheduler()  # noqa: SLF001 - as Ultralytics itself does it for its time=HOURS
        trainer.scheduler.last_epoch = trainer.epoch

    def _write(self) -> None:
        write_json(self.file, {"epochs": self.epochs})
