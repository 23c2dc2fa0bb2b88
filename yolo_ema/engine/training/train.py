"""``yolo-ema train``: plans the run, trains, names the next command, however it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import distributed as dist
from ultralytics.utils import LOCAL_RANK, RANK, WORLD_SIZE

from yolo_ema.engine.setup.environment import log_to_stderr
from yolo_ema.engine.training.agreement import (
    check_same_data,
    check_same_start,
    own_device,
    own_facts,
)
from yolo_ema.engine.training.launch import Launch, launch_of
from yolo_ema.engine.training.process_group import from_first, join
from yolo_ema.engine.training.run_folder import open_run_folder
from yolo_ema.engine.training.run_plan import plan_run
from yolo_ema.engine.training.run_record import RECORD_NAME, RunRecord
from yolo_ema.engine.training.run_settings import RUN_KEY
from yolo_ema.engine.training.shared_failures import SharedFailures
from yolo_ema.engine.training.trainer import EmaTrainer
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.errors import (
    ConfigError,
    DeviceMemoryError,
    DiskFullError,
    MachineError,
    SourceError,
    WeightsError,
)
from yolo_ema.io.atomic_files import disk_full_is_clear, read_json
from yolo_ema.io.text_files import say, shell_words
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
        transfer: how many tensors the first weights gave; None where there were none.
        left_out: for each split, how many images and label rows were left out, by reason.
        is_told: whether this process prints it: of several that train together, the first one.
    """

    best: Path
    last: Path
    record: Path
    metrics: dict[str, float | None]
    transfer: dict[str, Any] | None
    left_out: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    is_told: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the result for machines."""
        paths = {name: str(getattr(self, name)) for name in ("best", "last", "record")}
        results = {"metrics": self.metrics, "transfer": self.transfer, "left_out": self.left_out}
        return {**paths, **results}

    def as_text(self) -> str:
        """Return the result and what to do next."""
        weights = shell_words(_shown(self.best))
        figures = ", ".join(
            f"{name} {value:.1f} %" for name, value in self.metrics.items() if value is not None
        )
        lines = [
            f"best weights   {_shown(self.best)}",
            f"run record     {_shown(self.record)}",
            f"on val         {figures} (Ultralytics' own figures)",
        ]
        if first := self.transfer:
            lines.append(
                f"weights        {first['tensors']} of {first['of']} tensors from {first['from']}"
            )
        for split, reasons in self.left_out.items():
            if reasons:
                counts = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
                lines.append(f"left out       of {split}: {counts}")
        lines += [
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
    """Train a model, or resume a run that was cut off.

    Args:
        options: the training options.
        callbacks: functions for Ultralytics' trainer to call, by its event names
            (``on_train_epoch_end``); on one device only.

    Raises:
        ConfigError: an option or a setting is wrong, the run to resume is finished, or another
            process trains in its folder.
        ModelError: the model's name or YAML is wrong.
        DataError: the dataset is missing or wrong.
        WeightsError: weights are missing, unsafe, damaged, or fit too little.
        OfflineError: a download would be needed.
        SourceError: an image that was sound when training started cannot be read any more.
        DiskFullError: the disk is full; the last checkpoint is intact.
        DeviceMemoryError: the GPU or the machine has too little memory.
        MachineError: the device is not available, or a process for a GPU or images failed.

    Examples:
        >>> from yolo_ema import TrainOptions, train
        >>> options = TrainOptions(
        ...     data="scenes", model="yolo11n-ema", pretrained="none", imgsz=64, epochs=1, batch=4,
        ...     device="cpu", settings={"plots": "false"},
        ... )
        >>> train(options).best.name
        'best.pt'
    """
    with log_to_stderr():
        launch = launch_of(os.environ, has_group=dist.is_initialized())
        if launch is None:
            return _run(plan_run(options), callbacks)
        return train_together(options, launch, callbacks)


def train_together(
    options: TrainOptions,
    launch: Launch,
    callbacks: Mapping[str, Callable[[Any], None]] | None = None,
) -> TrainResult:
    """Train as one of several processes that a launcher has started.

    The first one plans the run, fetches the data and makes the run's folder while the others wait.

    Raises:
        YoloEmaError: see `train`; in every process, whichever it happened in.
    """
    if (launch.rank, launch.world_size, launch.local_rank) != (RANK, WORLD_SIZE, LOCAL_RANK):
        raise ConfigError(
            "Ultralytics was imported before RANK, WORLD_SIZE and LOCAL_RANK were set, and reads "
            "them once; import it, and what imports it, in the function that trains"
        )
    restarts = [launch.restarts]

    def agree(facts: list[dict[str, Any]]) -> None:
        check_same_start(facts)
        restarts.extend(fact["restarts"] for fact in facts)

    with join(launch, lambda: own_facts(options, launch), agree) as failures:
        latest = dataclasses.replace(launch, restarts=max(restarts))
        overrides = from_first(lambda: plan_run(options, latest))
        check_same_data(overrides["data"], launch)
        overrides["device"] = own_device(options.device, launch)
        if options.workers is not None:
            overrides["workers"] = options.workers
        return _run(overrides, callbacks, launch, failures)


def _run(
    overrides: dict[str, Any],
    callbacks: Mapping[str, Callable[[Any], None]] | None = None,
    launch: Launch | None = None,
    failures: SharedFailures | None = None,
) -> TrainResult:
    folder = Path(overrides["save_dir"])
    last = folder / "weights" / "last.pt"
    is_new = not overrides.get("resume")
    replaces = is_new and bool(overrides.get("exist_ok"))
    trust = overrides[RUN_KEY]["trust"]

    def end() -> str:
        _record_end(last, "failed")
        return _how_to_resume(last, trust=trust, several=True)

    # each GPU is a process
    processes = launch.world_size if launch else len(str(overrides.get("device")).split(","))
    ends = {"trust": trust, "several": launch is not None, "processes": processes}

    with contextlib.ExitStack() as stack:
        if launch is None or launch.is_first:
            stack.enter_context(open_run_folder(folder, is_new=is_new and not replaces))
            stack.enter_context(_ending_well(last, **ends, replaces=replaces))
        if launch and failures:
            failures.before_exit = end if launch.is_first else str
            stack.enter_context(failures.told())
        trainer = EmaTrainer(overrides=overrides)
        for moment, callback in (callbacks or {}).items():
            trainer.add_callback(moment, callback)
        trainer.train()
    result: TrainResult = from_first(lambda: _result(folder))
    return dataclasses.replace(result, is_told=launch is None or launch.is_first)


def _result(folder: Path) -> TrainResult:
    content = read_json(folder / RECORD_NAME)
    final = {
        name.removeprefix("metrics/").removesuffix("(B)"): value
        for name, value in content["final"].items()
        if name.startswith("metrics/")
    }
    metrics = {name: None if value is None else 100 * value for name, value in final.items()}
    best, last = folder / "weights" / "best.pt", folder / "weights" / "last.pt"
    return TrainResult(
        best if best.exists() else last,
        last,
        folder / RECORD_NAME,
        metrics,
        content.get("transfer"),
        content.get("data", {}).get("left_out_by_reason", {}),
    )


@contextlib.contextmanager
def _ending_well(
    last: Path,
    *,
    trust: bool = False,
    several: bool = False,
    processes: int = 1,
    replaces: bool = False,
) -> Iterator[None]:
    """Whatever ends a run early, name the command that resumes it, and record the end.

    Args:
        last: the run's last checkpoint, whether or not there is one.
        trust: it may hold code.
        several: a launcher started this process and others.
        processes: how many share a batch.
        replaces: until the run begins, record and checkpoint are those of a former one.
    """
    status = "failed"
    record = last.parent.parent / RECORD_NAME
    former = record.read_bytes() if replaces and record.is_file() else b""

    def has_begun() -> bool:
        return not replaces or (record.is_file() and record.read_bytes() != former)

    def advice(shared_by: int | None = None) -> str:
        checkpoint = last if has_begun() else None
        return _how_to_resume(checkpoint, trust=trust, several=several, shared_by=shared_by)

    try:
        with disk_full_is_clear(last):
            yield
        status = ""
    except KeyboardInterrupt:
        status = "interrupted"
        say(f"interrupted{advice()}")
        raise
    except (MachineError, SourceError) as error:
        if not isinstance(error, DiskFullError) and not (last.exists() and has_begun()):
            raise
        shared_by = processes if isinstance(error, DeviceMemoryError) else None
        raise type(error)(f"{error}{advice(shared_by)}") from error
    finally:
        if status and has_begun():
            _record_end(last, status)


def _record_end(last: Path, status: str) -> None:
    record = last.parent.parent / RECORD_NAME
    if record.is_file():
        with contextlib.suppress(DiskFullError):  # the error that ends the run is said already
            RunRecord(record).finish(status)


def _how_to_resume(
    last: Path | None, *, trust: bool, several: bool, shared_by: int | None = None
) -> str:
    """Say what a run's last checkpoint, if it has one, is good for: resuming, with about half the
    batch where ``shared_by`` says how many processes share it.
    """
    if last is None or not last.exists():
        return " before the first checkpoint; start again with the same command"
    try:
        checkpoint = load_checkpoint(last, trust=trust)
    except WeightsError as error:
        return f"; its last checkpoint cannot be resumed: {error}"
    if checkpoint.get("epoch", -1) < 0:
        return f"; training itself was complete, its weights are whole: {last.parent}"
    more = " --trust" if trust else ""
    batch = (checkpoint.get("train_args") or {}).get("batch")
    if shared_by and isinstance(batch, int) and batch >= 2 * shared_by:
        more += f" --batch {batch // 2 // shared_by * shared_by}"
    program = "torchrun … -m yolo_ema" if several else "yolo-ema"
    return f"; {last} is whole, resume it: {program} train --resume {shell_words(str(last))}{more}"
