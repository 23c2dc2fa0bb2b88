"""What a trainer whose run is resumed does besides training on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER, RANK

from yolo_ema.engine.weights.checkpoints import restore_best


class AllEpochsDone(Exception):  # noqa: N818 - nothing is wrong
    """A resumed run has no epoch left to train."""


def keep_best(trainer: Any) -> None:
    """Write the checkpoint as the run's best where it ended before it could."""
    if trainer.resume and RANK in {-1, 0}:
        last = Path(str(trainer.args.resume))
        if restore_best(Path(trainer.best), last, trust=trainer.run_settings.trust):
            LOGGER.info(f"{trainer.best} is renewed: {last} is of the best epoch so far")


def require_epochs(trainer: Any) -> None:
    """Raise `AllEpochsDone` where a resumed run was killed after its last epoch."""
    stopper = trainer.stopper
    without_gain = trainer.start_epoch - stopper.best_epoch
    stopped_early = trainer.args.val and stopper.best_epoch and without_gain >= stopper.patience
    if trainer.resume and (trainer.start_epoch >= trainer.epochs or stopped_early):
        raise AllEpochsDone


def finish_run(trainer: Any) -> None:
    """Do what is left to do after the last epoch."""
    LOGGER.info(f"{trainer.args.resume}: all epochs are done, the final validation is left")
    trainer.epoch = trainer.start_epoch - 1
    trainer.final_eval()
    if RANK in {-1, 0}:
        if trainer.args.plots:
            trainer.plot_metrics()
        trainer.run_callbacks("on_train_end")
