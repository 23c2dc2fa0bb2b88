"""``yolo-ema train``: plans the run, trains, and says how to go on, whether it ended well or
not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yolo_ema.engine.setup.console import log_to_stderr
from yolo_ema.engine.training.run_plan import plan_run
from yolo_ema.engine.training.run_record import RECORD_NAME, RunRecord
from yolo_ema.engine.training.run_settings import RUN_KEY
from yolo_ema.engine.training.trainer import EmaTrainer
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.errors import DiskFullError, WeightsError
from yolo_ema.io.atomic_files import disk_full_is_clear, read_json
from yolo_ema.options.train import TrainOptions

__all__ = ["TrainResult", "train"]


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run left.

    Attributes:
        best: the checkpoint of the best epoch.
        last: the checkpoint of the last epoch.
        record: the run record.
        metrics: of the best checkpoint on the validation split, in percent; Ultralytics' own, not
            the official protocol's.
        transfer: how many tensors were carried over from the first weights; None where there were
            none.
    """

    best: Path
    last: Path
    record: Path
    metrics: dict[str, float | None]
    transfer: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Return the result for machines."""
        paths = {name: str(getattr(self, name)) for name in ("best", "last", "record")}
        return {**paths, "metrics": self.metrics, "transfer": self.transfer}

    def as_text(self) -> str:
        """Return the result and what to do next."""
        weights = shlex.quote(_shown(self.best))
        figures = ", ".join(
            f"{name} {value:.1f} %" for name, value in self.metrics.items() if value is not None
        )
        first = self.transfer
        carried = (
            [f"weights        {first['tensors']} of {first['of']} tensors from {first['from']}"]
            if first
            else []
        )
        lines = [
            f"best weights   {_shown(self.best)}",
            f"run record     {_shown(self.record)}",
            f"on val         {figures} (Ultralytics' own figures)",
            *carried,
            "next:",
            f"  yolo-ema val --weights {weights}",
            f"  yolo-ema detect IMAGES_OR_VIDEO --weights {weights}",
            f"  yolo-ema export --weights {weights} --format onnx",
        ]
        return "\n".join(lines)


def _shown(path: Path) -> str:
    """Return a path relative to the working folder where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def train(
    options: TrainOptions, *, callbacks: Mapping[str, Callable[[Any], None]] | None = None
) -> TrainResult:
    """Train a model, or go on with a run that was cut off.

    Args:
        options: what to train on what.
        callbacks: more for Ultralytics' trainer to call, by its names of the moments
            (``on_train_epoch_end``); on one device only.

    Raises:
        ConfigError: an option or a setting is wrong, or the run to resume is finished.
        ModelError: the model's name or YAML is wrong.
        DataError: the dataset is not there or wrong.
        WeightsError: weights are not there, unsafe, damaged, or fit too little.
        OfflineError: a download would be needed.
        DiskFullError: the disk is full; the last checkpoint is intact.
        MachineError: the device asked for is not there, or a process on a GPU failed.
    """
    with log_to_stderr():
        return _run(plan_run(options), callbacks)


def _run(
    overrides: dict[str, Any], callbacks: Mapping[str, Callable[[Any], None]] | None = None
) -> TrainResult:
    folder = Path(overrides["save_dir"])
    last = folder / "weights" / "last.pt"
    is_new = not overrides.get("resume") and not overrides.get("exist_ok")
    with (
        _without_empty_folder(folder, is_ours=is_new),
        _ending_well(last, trust=overrides[RUN_KEY]["trust"]),
    ):
        trainer = EmaTrainer(overrides=overrides)
        for moment, callback in (callbacks or {}).items():
            trainer.add_callback(moment, callback)
        trainer.train()
    content = read_json(folder / RECORD_NAME)
    final = {
        _short(name): value
        for name, value in content["final"].items()
        if name.startswith("metrics/")
    }
    metrics = {name: None if value is None else 100 * value for name, value in final.items()}
    return TrainResult(
        folder / "weights" / "best.pt", last, folder / RECORD_NAME, metrics, content.get("transfer")
    )


def _short(name: str) -> str:
    return name.removeprefix("metrics/").removesuffix("(B)")


@contextlib.contextmanager
def _without_empty_folder(folder: Path, *, is_ours: bool) -> Iterator[None]:
    """Remove the run's folder if the run ends before it wrote anything there but its settings."""
    try:
        yield
    except BaseException:
        if is_ours and {one.name for one in folder.rglob("*") if not one.is_dir()} <= {"args.yaml"}:
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _ending_well(last: Path, *, trust: bool = False) -> Iterator[None]:
    """Name the command that goes on, whatever ends the run early, and put the end into the
    record.
    """
    status = "failed"
    try:
        with disk_full_is_clear(last):
            yield
        status = ""
    except KeyboardInterrupt:
        status = "interrupted"
        _say(f"interrupted{_how_to_go_on(last, trust=trust)}")
        raise
    except DiskFullError as error:
        raise DiskFullError(f"{error}{_how_to_go_on(last, trust=trust)}") from error
    finally:
        record = last.parent.parent / RECORD_NAME
        if status and record.is_file():
            with contextlib.suppress(DiskFullError):  # the error that ends the run is said already
                RunRecord(record).finish(status)


def _how_to_go_on(last: Path, *, trust: bool) -> str:
    if not last.exists():
        return " before the first checkpoint; start again with the same command"
    try:
        epoch = load_checkpoint(last, trust=trust).get("epoch", -1)
    except WeightsError as error:
        return f"; its last checkpoint can't be gone on from: {error}"
    if epoch < 0:
        return f"; training itself was complete, its weights are whole: {last.parent}"
    trusted = " --trust" if trust else ""
    return (
        f"; {last} is whole, go on with: yolo-ema train --resume {shlex.quote(str(last))}{trusted}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
