"""The two stages of a study's run: it is trained, then measured at each of the study's settings."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from yolo_ema.engine.data.split_files import split_images
from yolo_ema.engine.models.catalog import forward_cost
from yolo_ema.engine.setup.devices import select_device
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.training.run_record import RECORD_NAME, source_commit, versions
from yolo_ema.engine.training.train import train
from yolo_ema.engine.training.training_budget import TrainingBudget
from yolo_ema.engine.weights.checkpoints import strip_checkpoint
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.engine.weights.paired_start import PairedStart
from yolo_ema.evaluate.validation import open_for_scoring, validate
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.options.fields import with_tuples
from yolo_ema.options.train import TrainOptions
from yolo_ema.options.val import ValOptions
from yolo_ema.studies.jobs import Job
from yolo_ema.studies.spec import Evaluation
from yolo_ema.studies.timing import median_milliseconds

_TIMED_IMAGES = 8
_CURVE = {
    "AP (Ultralytics)": "metrics/mAP50-95(B)",
    "box loss": "train/box_loss",
    "class loss": "train/cls_loss",
    "val box loss": "val/box_loss",
    "val class loss": "val/cls_loss",
}


def train_run(job: Job) -> None:
    """Train a run from the start or from its last checkpoint; do nothing if it is trained.

    Raises:
        WeightsNotFoundError: the run has an incomplete record, and its weights are gone; training
            again would give others.
        YoloEmaError: as `yolo_ema.engine.training.train.train`.
    """
    folder, last = Path(job.folder), job.weights
    job.require_weights()
    clock = TrainingBudget(
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
    if checkpoint["epoch"] + 1 >= checkpoint["train_args"]["epochs"]:
        strip_checkpoint(last)  # cut off after the last epoch, before it was stripped
        return
    kept = {key: job.train[key] for key in ("data", "device", "offline")}
    train(TrainOptions(resume=str(last), **kept), callbacks=clock.callbacks())


def _train_anew(job: Job, clock: TrainingBudget) -> None:
    start = PairedStart(job.baseline_model)
    values = with_tuples(job.train)
    options = TrainOptions(**{**values, "project": Path(job.train["project"])})

    def begin(trainer: Any) -> None:
        start(trainer)
        first = trainer.optimizer.param_groups[0]  # what Ultralytics' own choice came to
        optimizer = {
            "name": type(trainer.optimizer).__name__,
            "lr": first.get("initial_lr", first["lr"]),
        }
        write_json(job.beside(".start.json"), {**start.facts, "optimizer": optimizer})

    train(options, callbacks={**clock.callbacks(), "on_pretrain_routine_end": begin})


def measure_run(job: Job) -> None:
    """Measure a trained run at the settings that its record lacks; the record is written anew after
    each.

    Raises:
        DataError: the record belongs to other weights.
        YoloEmaError: as `yolo_ema.evaluate.validation.validate`.
    """
    path, weights = Path(job.record), job.weights
    record = job.begun_record() or _new_record(job, weights)
    for values in job.evaluations:
        setting = Evaluation(**values)
        if record["evaluations"].get(setting.key, {}).get("settings") == values:
            continue
        print(f"measuring at {setting.key}", file=sys.stderr)  # noqa: T201 - into the run's log
        record["evaluations"][setting.key] = {
            "settings": values,
            "commit": source_commit(),
            **_measured(setting.options(weights, job.data, job.device)),
        }
        write_json(path, record)


def _new_record(job: Job, weights: Path) -> dict[str, Any]:
    run = read_json(Path(job.folder) / RECORD_NAME)
    epochs = read_json(job.beside(".clock.json"))["epochs"]
    model = load_model(weights).model
    machine = {key: run["hardware"][key] for key in ("machine", "processor", "cores", "gpus")}
    with_validation = sum(epoch.get("all_process", epoch["train_process"]) for epoch in epochs)
    return {
        **job.head,
        "commit": run["commit"],
        "versions": versions(),
        "hardware": {**machine, "threads": use_all_cores()},
        "start": read_json(job.beside(".start.json")),
        "weights_sha256": sha256_of(weights),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training": {
            "epochs": len(epochs),
            "process_seconds": round(sum(epoch["train_process"] for epoch in epochs), 1),
            "wall_seconds": round(sum(epoch["train_wall"] for epoch in epochs), 1),
            "process_seconds_with_validation": round(with_validation, 1),
            "started": run["started"],
            "ended": run["ended"],
            "resumed_at_epochs": [resumed["epoch"] for resumed in run["resumed"]],
        },
        "curve": {
            name: [
                None if epoch.get(key) is None else float(f"{epoch[key]:.4g}")
                for epoch in run["epochs"]
            ]
            for name, key in _CURVE.items()
        },
        "evaluations": {},
    }


def _measured(options: ValOptions) -> dict[str, Any]:
    result = validate(options)
    scores = result.scorecard.as_json()
    per_class = {
        name: {
            "official AP": _rounded(figures["official"]["AP"]),
            "official AP50": _rounded(figures["official"]["AP50"]),
            "COCO AP": _rounded(figures["coco"]["AP"]),
            "objects": figures["objects"]["official"],
        }
        for name, figures in scores["per_class"].items()
    }
    return {
        **{
            protocol: {name: _rounded(value) for name, value in scores[protocol].items()}
            for protocol in ("official", "official_macro", "coco")
        },
        "per_class": per_class,
        "images": scores["protocol"]["images"],
        "images_at_limit": len(result.images_at_limit),
        "operations": _operations(options),
        "ms_per_image": _milliseconds(options),
    }


def _operations(options: ValOptions) -> int:
    layers = load_model(options.weights).model.model
    return forward_cost(layers.to("meta"), options.imgsz[0])[0]


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 3)


def _milliseconds(options: ValOptions) -> dict[str, Any]:
    """Return the median time per image, without reading the file; the images are spread over the
    split.
    """
    runtime = open_for_scoring(options)
    paths = split_images(Path(options.data), options.split)
    chosen = [
        paths[round(place * (len(paths) - 1) / max(_TIMED_IMAGES - 1, 1))]
        for place in range(_TIMED_IMAGES)
    ]
    images = [[read_image(path)] for path in dict.fromkeys(chosen)]
    on_cpu = select_device(options.device).type == "cpu"
    return median_milliseconds(runtime, images, on_cpu=on_cpu, digits=1)
