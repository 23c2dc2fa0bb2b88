"""What a training of a classifier does, from its options or from the checkpoint that it goes on
from, and the images that it learns from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from yolo_ema.classify.checkpoints import described, entries_fit, load_checkpoint
from yolo_ema.classify.images import ClassImages, open_images
from yolo_ema.classify.models import Architecture, build_classifier
from yolo_ema.classify.recipes import Recipe, recipe_for
from yolo_ema.classify.validation import check_classes, images_of_checkpoint
from yolo_ema.engine.training.run_folder import make_run_folder
from yolo_ema.errors import ConfigError, DataError
from yolo_ema.options.classify import ClassifyTrainOptions


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained, where, and the checkpoint's content that it goes on from."""

    recipe: Recipe
    architecture: Architecture
    seed: int
    folder: Path
    resumed: dict[str, Any] | None = None


def plan_run(options: ClassifyTrainOptions) -> tuple[Plan, dict[str, ClassImages]]:
    """Return the plan, with the folder of a new run made, and the images of train and val.

    Raises:
        YoloEmaError: see `yolo_ema.classify.training.train`.
    """
    if options.resume is not None:
        return _resumed_plan(options, options.resume)
    if options.project.exists() and not options.project.is_dir():
        raise ConfigError(
            f"--project is {options.project}, which is a file; expected a folder, or a name that "
            f"is not taken"
        )
    recipe = recipe_for(options)
    images = {
        split: open_images(recipe.data, split, root=options.data_root, offline=options.offline)
        for split in ("train", "val")
    }
    architecture = Architecture(
        recipe.model,
        "none" if options.attention is None else options.attention,
        options.attention_arguments,
        images["train"].classes,
        recipe.drop,
        recipe.drop_path,
    )
    _check_network(architecture)  # what does not fit is said before a folder is made
    name = options.name or f"{recipe.model}-{architecture.attention}"
    folder = make_run_folder(options.project, name)
    return Plan(recipe, architecture, options.seed or 0, folder), images


def _check_network(architecture: Architecture) -> None:
    with torch.device("meta"):
        build_classifier(architecture, seed=0)


def _resumed_plan(options: ClassifyTrainOptions, path: Path) -> tuple[Plan, dict[str, ClassImages]]:
    content = load_checkpoint(path)
    architecture, recipe = described(content, path)
    with entries_fit(path):
        seed = None if content["resume"] is None else int(content["resume"]["seed"])
        is_done = int(content["epoch"]) >= recipe.epochs
        _check_network(architecture)
    if seed is None:
        raise ConfigError(f"{path} is for use alone; resume from the last.pt beside it")
    if is_done:
        raise ConfigError(
            f"{path}: this run has ended after {recipe.epochs} of {recipe.epochs} epochs; to train "
            f"for more, start a new run with --epochs"
        )
    recipe = dataclasses.replace(recipe, data=options.data or recipe.data)
    images = {
        split: images_of_checkpoint(options, split, path, recipe.data) for split in ("train", "val")
    }
    check_classes(images["train"], architecture.classes, recipe.data)
    return Plan(recipe, architecture, seed, path.absolute().parent, content), images


def check_same_images(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `DataError` if a run would go on with other images than those that it began with.

    Args:
        before: what its record says of them, by split; empty where it has been lost.
        now: what is there.
    """
    for split, facts in before.items():
        if facts["sha256"] != now[split]["sha256"]:
            raise DataError(
                f"the images of {split} are not those that this run began with "
                f"({facts['images']:,} then, {now[split]['images']:,} now, by name and size); put "
                f"them back, say with --data where they are, or start a new run"
            )
