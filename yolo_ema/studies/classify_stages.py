"""The two stages of a run of classifiers: it is trained, then measured."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch

from yolo_ema.classify.checkpoints import load_checkpoint, load_classifier
from yolo_ema.classify.images import open_images, transform_for
from yolo_ema.classify.models import build_classifier, operation_count, parameter_count
from yolo_ema.classify.training import train
from yolo_ema.classify.validation import val
from yolo_ema.engine.setup.devices import select_device
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.training.run_record import RECORD_NAME, source_commit, versions
from yolo_ema.errors import CheckFailedError
from yolo_ema.io.atomic_files import read_json, sha256_of, write_json
from yolo_ema.options.classify import ClassifyTrainOptions
from yolo_ema.options.fields import with_tuples
from yolo_ema.studies.classify_arms import architecture_of
from yolo_ema.studies.jobs import Job
from yolo_ema.studies.spec import ClassifyEvaluation
from yolo_ema.studies.timing import median_milliseconds

_TIMED_IMAGES = 100


def train_run(job: Job) -> None:
    """Train a run from the start or from its last checkpoint; do nothing if it is trained.

    Raises:
        WeightsNotFoundError: the run has an incomplete record, and its weights are gone.
        CheckFailedError: what it shares with the baseline would start with other values.
        YoloEmaError: as `yolo_ema.classify.training.train`.
    """
    folder, last = Path(job.folder), job.weights
    job.require_weights()
    kept = {"device": job.device, "offline": job.train["offline"], "workers": _workers()}
    if last.is_file():
        if load_checkpoint(last)["epoch"] < job.budget["epochs"]:
            train(ClassifyTrainOptions(resume=last, data=job.data, **kept))
        return
    if folder.is_dir():  # ours, see Job.write, and cut off before its first checkpoint
        shutil.rmtree(folder)
    write_json(job.beside(".start.json"), _start(job))
    values = with_tuples(job.train)
    train(ClassifyTrainOptions(**{**values, **kept, "project": Path(job.train["project"])}))


def _workers() -> int:
    """Return how many processes load images: none where one thread is all there is."""
    return 0 if use_all_cores() == 1 else 2


def _start(job: Job) -> dict[str, int]:
    """Build the network and its baseline's as their trainings begin with them, and return how many
    tensors they share.
    """
    seed = job.head["seed"]
    network, baseline = (
        build_classifier(architecture_of(train, tuple(job.head["data"]["names"])), seed=seed)
        for train in (job.head["settings"]["train"], job.baseline_train)
    )
    mine, theirs = network.state_dict(), baseline.state_dict()
    shared = [name for name in mine if name in theirs and mine[name].shape == theirs[name].shape]
    different = [name for name in shared if not torch.equal(mine[name], theirs[name])]
    if different:
        raise CheckFailedError(
            f"the start is not equal: {len(different)} of {len(shared)} tensors that the network "
            f"shares with the baseline differ, {different[0]} the first"
        )
    return {"of": len(mine), "equal_to_baseline": len(shared), "own": len(mine) - len(shared)}


def measure_run(job: Job) -> None:
    """Measure a trained run at the settings that its record lacks.

    Raises:
        DataError: the record belongs to other weights.
        YoloEmaError: as `yolo_ema.classify.validation.val`.
    """
    record = job.begun_record() or _new_record(job)
    for values in job.evaluations:
        setting = ClassifyEvaluation(**values)
        if record["evaluations"].get(setting.key, {}).get("settings") == values:
            continue
        record["evaluations"][setting.key] = {
            "settings": values,
            "commit": source_commit(),
            **_measured(job, setting),
        }
        write_json(Path(job.record), record)


def _new_record(job: Job) -> dict[str, Any]:
    run = read_json(Path(job.folder) / RECORD_NAME)
    classifier = load_classifier(job.weights)
    epochs = run["epochs"]
    machine = {key: run["hardware"][key] for key in ("machine", "processor", "cores", "gpus")}
    return {
        **job.head,
        "commit": run["commit"],
        "versions": {**versions(), "timm": run["timm"]},
        "hardware": {**machine, "threads": use_all_cores()},
        "start": read_json(job.beside(".start.json")),
        "weights_sha256": sha256_of(job.weights),
        "parameters": parameter_count(classifier.network),
        "operations": operation_count(classifier.architecture, classifier.recipe.imgsz),
        "training": {
            "epochs": len(epochs),
            "process_seconds": round(sum(one["train_process_seconds"] for one in epochs), 1),
            "wall_seconds": round(sum(one["train_seconds"] for one in epochs), 1),
            "started": run["started"],
            "ended": run["ended"],
            "resumed_at_epochs": [resumed["epoch"] for resumed in run["resumed"]],
        },
        "curve": {
            name: [float(f"{one[key]:.4g}") for one in epochs]
            for name, key in {
                "top-1": "top1",
                "loss": "train_loss",
                "val loss": "val_loss",
            }.items()
        },
        "evaluations": {},
    }


def _measured(job: Job, setting: ClassifyEvaluation) -> dict[str, Any]:
    options = setting.options(job.weights, job.data, job.device)
    scores = val(dataclasses.replace(options, workers=_workers())).scores
    return {
        "classification": {"top1": scores.top1, "top5": scores.top5, "loss": round(scores.loss, 5)},
        "images": scores.images,
        "ms_per_image": _milliseconds(job, setting),
    }


def _milliseconds(job: Job, setting: ClassifyEvaluation) -> dict[str, Any]:
    """Return the median time of one image alone."""
    classifier, device = load_classifier(job.weights), select_device(job.device)
    images = open_images(job.data, setting.split, root=Path("datasets"), offline=True)
    images.transform = transform_for(classifier.recipe, is_training=False)
    network = classifier.network.to(device)
    step = max(len(images) // _TIMED_IMAGES, 1)
    inputs = [images[index][0][None].to(device) for index in range(0, len(images), step)]
    with torch.inference_mode():
        return median_milliseconds(
            lambda one: network(one).cpu(), inputs, on_cpu=device.type == "cpu", digits=3
        )
