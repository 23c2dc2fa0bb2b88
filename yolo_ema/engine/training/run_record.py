"""What a run leaves beside its weights: the record of how it was made, on what, and how it went,
whole at every moment; the data YAML; the table of its epochs.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import importlib.util
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import distributed as dist
from ultralytics.utils import LOGGER

from yolo_ema import _version
from yolo_ema.engine.data.split_facts import is_same_split
from yolo_ema.engine.data.split_files import data_fingerprint
from yolo_ema.engine.training.run_folder import discard_former_run
from yolo_ema.engine.training.run_settings import RUN_KEY
from yolo_ema.io.atomic_files import read_json, write_json, write_text
from yolo_ema.io.machine import processor_name

RECORD_NAME = "run.json"
_PACKAGES = ("ultralytics", "torch", "torchvision", "numpy", "opencv-python", "albumentations")
_MODULES = {"opencv-python": "cv2"}


class RunRecord:
    """``run.json`` in a run's folder, beside its ``weights`` folder.

    Args:
        path: the file; one that exists is continued.

    Attributes:
        content: what the file holds: command, settings, drone, versions, commit, seed, data,
            hardware, started, resumed, epochs, …
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = read_json(path) if path.is_file() else {}

    def start(self, **facts: Any) -> None:
        """Write what is known at the start of a new run."""
        self.content = {
            "status": "running",
            **facts,
            "versions": versions(),
            "commit": source_commit(),
            "hardware": hardware(),
            "started": _now(),
            "ended": None,
            "resumed": [],
            "epochs": [],
            "final": {},
        }
        self._write()

    def resume(
        self, *, command: str, epoch: int, processes: Mapping[str, Any], data: Mapping[str, Any]
    ) -> None:
        """Write that the run is resumed at ``epoch`` (1-based); what was recorded from there on is
        dropped. Data that is not what it was is warned of; the record keeps both descriptions.
        """
        self.content["epochs"] = [
            entry for entry in self.content.get("epochs", []) if entry["epoch"] < epoch
        ]
        now_with = {
            "command": command,
            "commit": source_commit(),
            "versions": versions(),
            "hardware": hardware(),
        }
        before = self.content.get("data", {})
        if changes := _data_changes(before, data):
            now_with["data_before"] = before
            LOGGER.warning(f"the data is not what this run began with: {'; '.join(changes)}")
        self.content.setdefault("resumed", []).append({"at": _now(), "epoch": epoch, **now_with})
        self.content |= {"status": "running", "ended": None}
        self.content |= {"processes": dict(processes), "data": dict(data)}
        self._write()

    def add_epoch(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Add an epoch (1-based) and its metrics; what is not a finite number becomes null."""
        self.content["epochs"].append({"epoch": epoch, **plain_numbers(metrics)})
        self._write()

    def finish(self, status: str, final: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Write how the run ended: ``finished``, ``interrupted`` or ``failed``, the best
        checkpoint's metrics, and more facts.
        """
        self.content |= {"status": status, "ended": _now(), **facts}
        if final is not None:
            self.content["final"] = plain_numbers(final)
        self._write()

    def _write(self) -> None:
        write_json(self.path, self.content)


def begin_records(trainer: Any) -> None:
    """Begin a run's record, or continue it and the table of its epochs where the run is resumed.

    A new run begins here, with all checked and read: what another left in its folder goes, but for
    the weights that a caller of the trainer named.
    """
    record, epochs = trainer.record, trainer.start_epoch
    if trainer.resume:
        trim_epochs_table(trainer.csv, epochs)
    if trainer.resume and record.content:
        record.resume(
            command=trainer.run_settings.command,
            epoch=epochs + 1,
            processes=_processes_of(trainer),
            data=_data_facts(trainer),
        )
    else:
        facts = _facts_of_run(trainer)
        if not trainer.resume:
            named = (str(trainer.args.model), str(trainer.args.pretrained))
            discard_former_run(record.path.parent, keep=map(Path, named))
        record.start(**facts)


def _facts_of_run(trainer: Any) -> dict[str, Any]:
    """Return what the record says of a run that starts."""
    args, run_settings = trainer.args, trainer.run_settings
    return {
        "command": run_settings.command,
        "processes": _processes_of(trainer),
        "model": str(args.model),
        "seed": args.seed,
        "settings": {key: value for key, value in vars(args).items() if key != RUN_KEY},
        "drone": run_settings.as_dict()["drone"],
        "loggers": list(trainer.loggers),
        "transfer": _transfer_facts(trainer),
        "data": _data_facts(trainer),
    }


def _data_facts(trainer: Any) -> dict[str, Any]:
    """Return what the record says of the data; a test split that cannot be read is logged, since
    training does not need it.
    """
    fingerprint = data_fingerprint(trainer.args.data)
    if "test" in trainer.data and "test" not in fingerprint["splits"]:
        LOGGER.warning(
            f"the test split {', '.join(trainer.data['test'])} cannot be read; training does not "
            f"need it"
        )
    datasets = {"train": trainer.train_loader.dataset, "val": trainer.test_loader.dataset}
    return {
        "yaml": str(trainer.args.data),
        **fingerprint,
        "left_out": {split: len(data.problems) for split, data in datasets.items()},
        "left_out_by_reason": {split: data.left_out for split, data in datasets.items()},
    }


def _data_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say which of the splits that training reads changed; nothing where nothing was recorded."""
    changes = []
    for split in ("train", "val"):
        was, now = (data.get("splits", {}).get(split) for data in (before, after))
        if was and now and not is_same_split(was, now):
            counts = [f"{one['images']} images" for one in (was, now)]
            what = (
                "other files, labels or ignored regions"
                if len(set(counts)) == 1
                else f"it had {counts[0]}"
            )
            changes.append(f"{split} has {counts[1]}, {what}")
    return changes


def _processes_of(trainer: Any) -> dict[str, Any]:
    """Return how many processes train, how they talk to each other, and their launcher's name for
    the whole.
    """
    count = max(trainer.world_size, 1)
    return {
        "count": count,
        "backend": dist.get_backend() if count > 1 and dist.is_initialized() else None,
        "run_id": trainer.run_settings.run_id or None,
    }


def _transfer_facts(trainer: Any) -> dict[str, Any] | None:
    if trainer.transfer is None:
        return None
    weights, facts = trainer.args.pretrained, trainer.transfer.as_json()
    by_name = ("class_rows_by_name", "classes")
    return {
        "tensors": facts["transferred"],
        "of": facts["total"],
        "from": str(weights if isinstance(weights, str | Path) else trainer.args.model),
        "new": facts["new"],
        **{key: facts[key] for key in by_name if key in facts},
    }


def write_data_yaml(file: Path, data: Mapping[str, Any]) -> None:
    """Write a data YAML with absolute paths into the run's folder: the last validation reads it,
    and it documents the run.
    """
    keys = ("train", "val", "test", "names", "nc", "channels", "kpt_shape")
    content = {"path": str(data["path"])} | {key: data[key] for key in keys if key in data}
    write_text(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def trim_epochs_table(csv: Path, epochs: int) -> None:
    """Drop the rows of epochs that are done again: the run was cut off between writing a row and
    the checkpoint; and rows that cannot be read, as a power cut leaves them. A file without a
    heading goes: a new one is begun.
    """
    if not csv.is_file():
        return
    header, *rows = csv.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    if not header.startswith("epoch"):
        csv.unlink()
        return
    kept = [row for row in rows if 0 < _epoch_of(row) <= epochs]
    write_text(csv, "\n".join([header, *kept]) + "\n")


def _epoch_of(row: str) -> float:
    try:
        return float(row.partition(",")[0])
    except ValueError:
        return 0.0


def plain_numbers(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return metrics as JSON can hold them."""
    numbers = {key: float(value) for key, value in metrics.items()}
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python, this project and what its results depend on."""
    installed = {"python": platform.python_version(), "yolo-ema": _version.__version__}
    for name in _PACKAGES:
        if importlib.util.find_spec(_MODULES.get(name, name)):
            installed[name] = importlib.metadata.version(name)
    if torch.version.cuda:
        installed["cuda"] = torch.version.cuda
    return installed


def source_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, ``-dirty`` where files differ;
    None outside a checkout.
    """
    checkout = Path(_version.__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    command = [
        "git",
        "-C",
        str(checkout),
        "describe",
        "--always",
        "--abbrev=40",
        "--exclude=*",
        "--dirty",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def hardware() -> dict[str, Any]:
    """Return what the run computes on: processor, cores that this process may use, and GPUs with
    their memory.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        gpus.append({"name": properties.name, "memory_gb": round(properties.total_memory / 1e9, 1)})
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": cores,
        "gpus": gpus,
    }
