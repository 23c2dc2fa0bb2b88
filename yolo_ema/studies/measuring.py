"""Measures a trained run at each of its study's settings and writes its record."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_ema.engine.data.datasets import split_images
from yolo_ema.engine.prediction.runtime import select_device
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.training.run_record import RECORD_NAME, source_commit, versions
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import DataError
from yolo_ema.evaluate.validation import open_runtime, validate
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json
from yolo_ema.media.sources.image_files import read_image
from yolo_ema.options.val import ValOptions
from yolo_ema.studies.jobs import Job, weights_of
from yolo_ema.studies.runs import start_facts
from yolo_ema.studies.spec import Evaluation

__all__ = ["measure_run"]

_TIMED_IMAGES = 8
_ROUNDS = 3
_CURVE = {
    "AP (Ultralytics)": "metrics/mAP50-95(B)",
    "box loss": "train/box_loss",
    "class loss": "train/cls_loss",
    "val box loss": "val/box_loss",
    "val class loss": "val/cls_loss",
}


def measure_run(job: Job) -> None:
    """Measure a trained run at the settings that its record lacks. The record is written anew after
    each.

    Raises:
        DataError: the record is of other weights.
        YoloEmaError: as `yolo_ema.evaluate.validation.validate`.
    """
    path, weights = Path(job.record), weights_of(Path(job.folder))
    record = read_json(path) if path.is_file() else _new_record(job, weights)
    if record["weights_sha256"] != (found := sha256_of(weights)):
        raise DataError(
            f"{path} was measured with other weights than {weights} (SHA-256 "
            f"{record['weights_sha256']}, and {found}); figures of "
            "two trainings don't mix: move one of the two away"
        )
    for values in job.evaluations:
        setting = Evaluation(**values)
        if record["evaluations"].get(setting.key, {}).get("settings") == values:
            continue
        print(f"measuring at {setting.key}", file=sys.stderr)  # noqa: T201 - into the run's log
        options = setting.options(weights, job.data, job.device)
        record["evaluations"][setting.key] = {
            "settings": values,
            "commit": source_commit(),
            **_measured(options),
        }
        write_json(path, record)


def _new_record(job: Job, weights: Path) -> dict[str, Any]:
    run = read_json(Path(job.folder) / RECORD_NAME)
    epochs = read_json(job.beside(".clock.json"))["epochs"]
    model = load_model(weights).model
    machine = {key: run["hardware"][key] for key in ("machine", "processor", "cores", "gpus")}
    return {
        **job.head,
        "commit": run["commit"],
        "versions": versions(),
        "hardware": {**machine, "threads": use_all_cores()},
        "start": start_facts(job),
        "weights_sha256": sha256_of(weights),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training": {
            "epochs": len(epochs),
            "process_seconds": round(sum(one["train_process"] for one in epochs), 1),
            "wall_seconds": round(sum(one["train_wall"] for one in epochs), 1),
            "process_seconds_with_validation": round(
                sum(one.get("all_process", one["train_process"]) for one in epochs), 1
            ),
            "started": run["started"],
            "ended": run["ended"],
            "resumed_at_epochs": [one["epoch"] for one in run["resumed"]],
        },
        "curve": {
            name: [_rounded(one.get(key)) for one in run["epochs"]] for name, key in _CURVE.items()
        },
        "evaluations": {},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _measured(options: ValOptions) -> dict[str, Any]:
    result = validate(options)
    found = result.scorecard.as_json()
    per_class = {
        name: {
            "official AP": _percent(one["official"]["AP"]),
            "official AP50": _percent(one["official"]["AP50"]),
            "COCO AP": _percent(one["coco"]["AP"]),
            "objects": one["objects"]["official"],
        }
        for name, one in found["per_class"].items()
    }
    return {
        "official": _percents(found["official"]),
        "official_macro": _percents(found["official_macro"]),
        "coco": _percents(found["coco"]),
        "per_class": per_class,
        "images": found["protocol"]["images"],
        "images_at_limit": len(result.images_at_limit),
        "ms_per_image": _milliseconds(options),
    }


def _percents(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: _percent(value) for name, value in figures.items()}


def _percent(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _milliseconds(options: ValOptions) -> dict[str, Any]:
    """Return the median time an image takes, without reading it, by the wall clock and in processor
    time of this process.

    Which of the two clocks counts is said, too: processor time shows nothing of a GPU's work, and
    on a CPU it is what a machine that others share disturbs least. Images are spread over the
    split, each is looked at several times, and the first round, which warms up, does not count.
    """
    runtime = open_runtime(options)
    images = split_images(Path(options.data), options.split)
    chosen = [
        images[round(place * (len(images) - 1) / max(_TIMED_IMAGES - 1, 1))]
        for place in range(_TIMED_IMAGES)
    ]
    pictures = [read_image(path) for path in dict.fromkeys(chosen)]
    wall, process = [], []
    for turn in range(_ROUNDS + 1):
        for picture in pictures:
            began, began_process = time.perf_counter(), time.process_time()
            runtime([picture])
            if turn:
                wall.append(1000 * (time.perf_counter() - began))
                process.append(1000 * (time.process_time() - began_process))
    clock = "process" if select_device(options.device).type == "cpu" else "wall"
    shown = {
        "wall": round(statistics.median(wall), 1),
        "process": round(statistics.median(process), 1),
        "clock": clock,
    }
    return {**shown, "load": round(os.getloadavg()[0], 1)} if hasattr(os, "getloadavg") else shown
