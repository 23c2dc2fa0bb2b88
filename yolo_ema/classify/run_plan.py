"""What a training of a classifier does, from its options or from the checkpoint that it goes on
from, and the images that it learns from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from yolo_ema.classify.checkpoints import load_checkpoint, recipe_of
from yolo_ema.classify.images import ClassImages, open_images
from yolo_ema.classify.models import Architecture, build_classifier
from yolo_ema.classify.recipes import Recipe, recipe_for
from yolo_ema.classify.validation import check_classes, images_of_checkpoint
from yolo_ema.engine.training.run_folder import make_run_folder
from yolo_ema.errors import ConfigError, DataError
from yolo_ema.options.classify import ClassifyTrainOptions

__all__ = ["Plan", "check_same_images", "plan_run"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained, where, and the checkpoint's content that it goes on from."""

    recipe: Recipe
    attention: str
    attention_arguments: tuple[int, ...]
    seed: int
    folder: Path
    resumed: dict[str, Any] | None

    def architecture(self, classes: tuple[str, ...]) -> Architecture:
        """Return what the network is made of."""
        recipe = self.recipe
        return Architecture(
            recipe.model,
            self.attention,
            self.attention_arguments,
            classes,
            recipe.drop,
            recipe.drop_path,
        )


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
    attention = options.attention or "none"
    plan = Plan(recipe, attention, options.attention_arguments, options.seed or 0, Path(), None)
    with torch.device("meta"):  # what does not fit is said before a folder is made
        build_classifier(plan.architecture(images["train"].classes), seed=0)
    name = options.name or f"{recipe.model}-{attention}"
    return dataclasses.replace(plan, folder=make_run_folder(options.project, name)), images


def _resumed_plan(options: ClassifyTrainOptions, path: Path) -> tuple[Plan, dict[str, ClassImages]]:
    content = load_checkpoint(path)
    saved = content.get("resume")
    if not isinstance(saved, dict):
        raise ConfigError(f"{path} is for use alone; resume from the last.pt beside it")
    recipe, architecture = recipe_of(content), content["architecture"]
    if content["epoch"] >= recipe.epochs:
        raise ConfigError(f"{path}: all {recipe.epochs} epochs of this run are done")
    recipe = dataclasses.replace(recipe, data=options.data or recipe.data)
    images = {
        split: images_of_checkpoint(options, split, path, recipe.data) for split in ("train", "val")
    }
    check_classes(images["train"], tuple(architecture["classes"]), recipe.data)
    plan = Plan(
        recipe,
        architecture["attention"],
        tuple(architecture["attention_arguments"]),
        int(saved["seed"]),
        path.absolute().parent,
        content,
    )
    return plan, images


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
