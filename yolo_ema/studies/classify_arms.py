"""The arms of a study of classifiers: settings of ``classify train``, and the images they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic
import torch

from yolo_ema.classify.images import open_images
from yolo_ema.classify.models import MODELS, Architecture, build_classifier
from yolo_ema.classify.recipes import recipe_for
from yolo_ema.errors import ConfigError, ModelError, did_you_mean
from yolo_ema.nn.attention.catalog import attention
from yolo_ema.options.ablate import AblateOptions
from yolo_ema.options.classify import ClassifyTrainOptions
from yolo_ema.options.fields import with_tuples
from yolo_ema.studies.spec import Arm, Budget, Checked, Study, Text, content_sha256
from yolo_ema.studies.spec_checks import checked

_ELSEWHERE = {"seed": "seeds", "epochs": "budget", "data": "data"}
"""Settings that all arms share, and where they stand."""

_SHARED = ("preset", "imgsz")
"""Settings of ``train`` that no arm can change."""


class _Settings(Checked):
    """What ``train`` and an arm may hold."""

    preset: Text | None = pydantic.Field(None, description="a recipe's name")
    model: Text | None = pydantic.Field(None, description="a classifier's name")
    attention: Text | None = pydantic.Field(None, description="an attention block's name")
    attention_arguments: list[int] | None = pydantic.Field(
        None, description="a list of whole numbers, as in [32]"
    )
    imgsz: int | None = pydantic.Field(None, description="a whole number")
    batch: int | None = pydantic.Field(None, description="a whole number")
    lr: float | None = pydantic.Field(None, description="a number", allow_inf_nan=False)


def setting_problems(settings: Mapping[Any, Any], where: str) -> Iterator[str]:
    """Yield what is wrong with settings of ``train`` or of an arm; ``where`` begins a message."""
    for key, place in _ELSEWHERE.items():
        if key in settings:
            yield f"{where}{key!r} is the same for all arms and belongs to the study's {place}"
    problems: list[str] = []
    wanted = {str(key): value for key, value in settings.items() if key not in _ELSEWHERE}
    checked(_Settings, wanted, where, problems, noun="training setting")
    yield from problems


def read_arm(
    name: str,
    train: dict[str, Any],
    changed: dict[str, Any],
    folder: Path,
    problems: list[str],
    *,
    budget: Budget,
) -> Arm | None:
    """Return an arm, or None where something is wrong, which ``problems`` then names; see
    `yolo_ema.studies.detect_arms.read_arm`.

    Its settings hold the whole recipe, so that a record tells by which one its run was made.
    """
    place = f"the arm {name!r}: "
    problems += [
        f"{place}{key!r} is the same for all arms and belongs to the study's train"
        for key in _SHARED
        if key in changed
    ]
    if budget.epochs is None:
        problems.append(f"{place}a classifier's budget is a number of epochs, as in {{epochs: 40}}")
        return None
    try:
        options = ClassifyTrainOptions(**with_tuples(train), epochs=budget.epochs)
        recipe = recipe_for(options)
        block = attention(options.attention or "none")
    except (ConfigError, ModelError) as error:
        problems.append(f"{place}{error}")
        return None
    if recipe.model not in MODELS:
        hint = did_you_mean(recipe.model, MODELS) or f"; there are {', '.join(MODELS)}"
        problems.append(f"{place}no classifier is named {recipe.model!r}{hint}")
        return None
    network = {
        "model": recipe.model,
        "attention": block.name,
        "block": block.block,
        "arguments": list(options.attention_arguments or block.arguments),
    }
    plain = {key: value for key, value in recipe.as_plain().items() if key != "data"}
    settings = {**train, "recipe": plain}
    return Arm(name, settings, changed, recipe.model, content_sha256(network), budget)


def find_classes(study: Study, options: AblateOptions) -> tuple[str, dict[str, Any]]:
    """Return a classifiers' dataset and its fingerprint, and have every arm's network built once,
    without values.

    Raises:
        ConfigError: an attention block does not fit its network, or first weights are given.
        DataError: the images are missing or wrong.
        OfflineError: they would have to be fetched.
    """
    if options.pretrained:
        raise ConfigError(
            f"--pretrained is given, and {study.path} is a study of classifiers, which start from "
            f"random values; leave it out"
        )
    given = options.data or study.data
    dataset = str(Path(given).absolute()) if Path(given).is_dir() else given
    images = {
        split: open_images(dataset, split, root=Path("datasets"), offline=options.offline)
        for split in ("train", "val")
    }
    classes = images["train"].classes
    problems = [problem for arm in study.arms if (problem := _misfit(arm, classes))]
    if problems:
        raise ConfigError(f"{study.path}: {'; '.join(problems)}")
    facts = {split: one.facts() for split, one in images.items()}
    splits = {
        split: {key: one[key] for key in ("images", "sha256")} for split, one in facts.items()
    }
    return dataset, {"names": classes, "splits": splits}


def _misfit(arm: Arm, classes: tuple[str, ...]) -> str | None:
    """Return why an arm's attention does not fit its network; None where it does."""
    try:
        with torch.device("meta"):
            build_classifier(architecture_of(arm.train, classes), seed=0)
    except ConfigError as error:
        return f"the arm {arm.name!r}: {error}"
    return None


def architecture_of(train: Mapping[str, Any], classes: tuple[str, ...]) -> Architecture:
    """Return what an arm's classifier is made of."""
    recipe = train["recipe"]
    return Architecture(
        recipe["model"],
        train.get("attention", "none"),
        tuple(train.get("attention_arguments", ())),
        classes,
        recipe["drop"],
        recipe["drop_path"],
    )
