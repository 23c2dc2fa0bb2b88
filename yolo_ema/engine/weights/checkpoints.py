"""Checkpoints that are either whole or absent: Ultralytics writes them in place, and a kill at the
wrong moment leaves half a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import strip_optimizer

from yolo_ema.engine.setup.environment import quiet_log
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.errors import (
    ConfigError,
    DamagedWeightsError,
    UnsafeWeightsError,
    WeightsError,
    WeightsNotFoundError,
    YoloEmaError,
)
from yolo_ema.io.atomic_files import atomic_path, is_locked, write_bytes

RUN_LOCK = ".lock"
"""The lock file in a run's folder, which the process that trains there holds."""


class AtomicPath(type(Path())):  # type: ignore[misc] # the platform's own Path: before Python 3.12 Path itself can't be derived from
    """A path whose `write_bytes` replaces the file at once or not at all; what is made from it with
    ``/`` is one too.
    """

    def write_bytes(self, data: Any) -> int:
        """Write ``data`` atomically and return its length. Raises `DiskFullError` with the old file
        intact.
        """
        write_bytes(Path(self), bytes(data))
        return len(data)


def strip_checkpoint(path: Path, updates: dict[str, Any] | None = None) -> dict[str, Any]:
    """Replace a run's checkpoint by what is needed to use it: the averaged model in half precision,
    no optimizer.

    Args:
        path: the checkpoint.
        updates: entries to set besides.

    Returns:
        What was written.

    Raises:
        WeightsError: it is not a checkpoint of this project or of Ultralytics.
        DiskFullError: the disk is full; the checkpoint is as it was.
    """
    with atomic_path(path) as temp, quiet_log():  # it would tell of the temporary file
        content = strip_optimizer(path, s=str(temp), updates=updates)
        if not content:
            raise WeightsError(
                f"{path} cannot be read back to strip its optimizer; it is left as it is"
            )
    return content


def restore_best(best: Path, last: Path, *, trust: bool = False) -> bool:
    """Write a run's last checkpoint to ``best`` where its epoch was the best so far and ``best`` is
    missing, damaged, or of a lesser epoch; return whether it was.

    Ultralytics writes the best after the last: a run that ends between the two, and never becomes
    better, would be left with an epoch that was not its best.

    Raises:
        WeightsError: the last checkpoint cannot be loaded.
        DiskFullError: the disk is full; ``best`` is as it was.
    """
    checkpoint = load_checkpoint(last, trust=trust)
    fitness = _fitness(checkpoint)
    if fitness is None or fitness != checkpoint.get("best_fitness"):
        return False
    try:
        held = _fitness(load_checkpoint(best, trust=trust)) if best.exists() else None
    except DamagedWeightsError:
        held = None
    except WeightsError:
        return False  # whatever it is, it was not cut off
    if held is not None and held >= fitness:
        return False
    write_bytes(best, last.read_bytes())
    return True


def _fitness(checkpoint: dict[str, Any]) -> float | None:
    """Return the fitness of a checkpoint's own epoch; None where it was not validated."""
    metrics = checkpoint.get("train_metrics")
    value = metrics.get("fitness") if isinstance(metrics, dict) else None
    return float(value) if isinstance(value, int | float) else None


def discard_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written in its weights folder."""
    for leftover in folder.glob(".*.part*"):
        leftover.unlink(missing_ok=True)


def latest_checkpoint(project: Path, *, trust: bool = False) -> Path:
    """Return the newest ``last.pt`` under a project's folder from which a run can be resumed;
    damaged ones, and those of runs that another process trains, are named and skipped.

    Raises:
        WeightsNotFoundError: there is none; the message says how many were tried.
        UnsafeWeightsError: the newest holds more than data, and ``trust`` does not allow it.
    """
    checkpoints = sorted(
        project.glob("*/weights/last.pt"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    damaged: list[str] = []
    held = 0
    for path in checkpoints:
        if is_locked(path.parent.parent / RUN_LOCK):
            held += 1
            LOGGER.warning(f"skipped: another process trains in {path.parent.parent}")
            continue
        try:
            checkpoint = load_checkpoint(path, trust=trust)
            _check_state(checkpoint, path)
        except UnsafeWeightsError:
            raise  # perhaps the very run that is meant; an older one would be a surprise
        except WeightsError as error:
            damaged.append(str(error))
            LOGGER.warning(f"skipped: {error}")
            continue
        if _is_unfinished(checkpoint):
            return path
    finished = len(checkpoints) - len(damaged) - held
    runs = (
        f"{finished} finished runs are under {project}"
        if checkpoints
        else f"there is no run under {project}"
    )
    unread = f" and {len(damaged)} that cannot be read ({'; '.join(damaged)})" if damaged else ""
    in_use = f" and {held} that other processes train" if held else ""
    raise WeightsNotFoundError(
        f"nothing to resume: {runs}{in_use}{unread}; --resume also takes the path of a last.pt"
    )


def resumable_checkpoint(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Load a checkpoint from which a run can be resumed.

    Raises:
        ConfigError: its run is finished, or it never was a run's checkpoint.
        DamagedWeightsError: its training state is not one.
        WeightsError: it cannot be loaded, see `load_checkpoint`.
    """
    checkpoint = load_checkpoint(path, trust=trust)
    _check_state(checkpoint, path)
    if not _is_unfinished(checkpoint):
        raise ConfigError(
            f"{path} is not a checkpoint of an unfinished run: its training state was removed when "
            f"the run ended; to train on from its weights, start a new run with --model {path}"
        )
    return checkpoint


_STATE: dict[str, tuple[Any, str]] = {
    "epoch": (int, "a whole number"),
    "best_fitness": (int | float, "a number"),
    "updates": (int | float, "a number"),
    "ema": (nn.Module, "a model"),
    "optimizer": (dict, "an optimizer's state"),
    "scaler": (dict, "a scaler's state"),
    "stopper": (dict, "the state of early stopping"),
}
"""What a run writes of its state, where it writes it at all."""


def _check_state(checkpoint: dict[str, Any], path: Path) -> None:
    for key, (kind, expected) in _STATE.items():
        value = checkpoint.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise DamagedWeightsError(
                f"{path} is damaged: its {key} is a {type(value).__name__}; expected {expected}"
            )
    stopper = checkpoint.get("stopper") or {}
    if not all(isinstance(value, int | float) for value in stopper.values()):
        raise DamagedWeightsError(f"{path} is damaged: early stopping has a state without numbers")


def _is_unfinished(checkpoint: dict[str, Any]) -> bool:
    return (
        isinstance(checkpoint.get("train_args"), dict)
        and checkpoint.get("ema") is not None
        and (-1 if checkpoint.get("epoch") is None else checkpoint["epoch"]) >= 0
    )


@contextlib.contextmanager
def training_state_fits(path: Path, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Turn what torch says of a checkpoint's state that is loaded in the block into one clear
    error, and hold the optimizer's numbers against its parameters.

    Raises:
        DamagedWeightsError: the state is not that of the checkpoint's model.
    """
    try:
        yield
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if (
                    isinstance(value, torch.Tensor)
                    and value.dim()
                    and value.shape != parameter.shape
                ):
                    raise ValueError(f"{name} of the optimizer is {tuple(value.shape)}")  # noqa: TRY301
        for group in optimizer.param_groups:
            if not all(isinstance(group[name], int | float) for name in ("lr", "initial_lr")):
                raise ValueError("a learning rate is not a number")  # noqa: TRY301
    except YoloEmaError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise DamagedWeightsError(
            f"{path} is damaged: its training state does not fit its model ({str(e)[:200]})"
        ) from e
