"""The arms of a study of detectors: settings of ``train`` and of Ultralytics."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from yolo_ema.engine.models.definition import find_definition
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.setup.ultralytics_settings import parse_settings, training_settings
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.engine.weights.transfer import transfer_weights
from yolo_ema.errors import ConfigError, ModelError, TransferError
from yolo_ema.io.yaml_files import YamlFileError, read_yaml
from yolo_ema.options.train import TrainOptions
from yolo_ema.studies.spec import (
    FIXED,
    FLAGS,
    Arm,
    Budget,
    Checked,
    Study,
    content_sha256,
    split_settings,
)
from yolo_ema.studies.spec_checks import checked

_ELSEWHERE = {
    "seed": "seeds",
    "seeds": "seeds",
    "epochs": "budget",
    "time": "budget",
    "pretrained": "pretrained",
    "data": "data",
    "split": "split",
}
_STUDYS_OWN = {
    *FIXED,
    *("project", "name", "resume", "offline", "trust", "loggers", "settings", "preset"),
    *("device", "workers", "exist_ok"),
}
_KINDS = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (Annotated[float, pydantic.Field(allow_inf_nan=False)], "a number"),
    str: (str, "text, in quotes where YAML reads something else"),
    tuple: (list[str], "a list of words"),
}
"""For the type of an option of ``train``: what its value in the file must be, and how to say so."""


def read_arm(
    name: str,
    train: dict[str, Any],
    changed: dict[str, Any],
    folder: Path,
    problems: list[str],
    *,
    budget: Budget,
) -> Arm | None:
    """Return an arm, or None where something is wrong, which ``problems`` then names.

    ``train`` holds the study's settings with ``changed``; the model's path is relative to
    ``folder``.
    """
    missing = [key for key in ("model", "imgsz", "batch") if key not in train]
    if missing:
        problems.append(f"the arm {name!r}: neither it nor train gives {', '.join(missing)}")
        return None
    flags, settings = split_settings(train)
    try:
        TrainOptions(**flags)
        parse_settings(settings)
    except ConfigError as error:
        problems.append(f"the arm {name!r}: {error}")
    model = train["model"]
    if "/" in model:
        model = str(folder / model)
    try:
        definition = find_definition(model)
        digest = content_sha256(read_yaml(definition.path))
    except (ModelError, YamlFileError) as error:
        place = f"{definition.path} " if isinstance(error, YamlFileError) else ""
        problems.append(f"the arm {name!r}: {place}{error}")
        return None
    return Arm(name, train, changed, model, digest, budget)


def check_start(study: Study, weights: Path | None, class_count: int) -> None:
    """Build every arm's model once, and carry the first weights over to it as its runs will.

    Raises:
        WeightsError: the weights are not a detector's, cannot be loaded, or fit an arm too little.
        ModelError: an arm's model cannot be built.
    """
    source = load_model(weights).model if weights else None
    for model in dict.fromkeys(arm.model for arm in study.arms):
        arms = ", ".join(repr(arm.name) for arm in study.arms if arm.model == model)
        try:
            network = build_model(model, class_count)
            if source is not None:
                transfer_weights(source, network)
        except (ModelError, TransferError) as error:
            with_weights = f" with {weights}" if isinstance(error, TransferError) else ""
            raise type(error)(f"{study.path}: the arm {arms}{with_weights}: {error}") from error


def setting_problems(settings: Mapping[Any, Any], where: str) -> Iterator[str]:
    """Yield what is wrong with settings of ``train`` or of an arm; ``where`` begins a message."""
    wanted = {}
    for key, value in settings.items():
        if key in _ELSEWHERE:
            place = _ELSEWHERE[key]
            yield f"{where}{key!r} is the same for all arms and belongs to the study's {place}"
        elif key in _STUDYS_OWN:
            yield f"{where}{key!r} is set by the study itself"
        else:
            wanted[str(key)] = value
    problems: list[str] = []
    checked(_train_settings(), wanted, where, problems, noun="training setting")
    yield from problems


@functools.cache
def _train_settings() -> type[pydantic.BaseModel]:
    """Return the model of what ``train`` and an arm may hold."""
    fields: dict[str, Any] = {
        key: (
            str | int | float | bool,
            pydantic.Field(None, description="a number, a word, true or false"),
        )
        for key in training_settings()
        if key not in {*_ELSEWHERE, *_STUDYS_OWN}
    }
    for key, hint in typing.get_type_hints(TrainOptions).items():
        if key in FLAGS:
            kind = next(kind for kind in (*typing.get_args(hint), hint) if kind is not type(None))
            kind, expected = _KINDS[tuple if typing.get_origin(hint) is tuple else kind]
            fields[key] = (kind, pydantic.Field(None, description=expected))
    flags_first = dict(sorted(fields.items(), key=lambda item: item[0] not in FLAGS))
    return pydantic.create_model("_TrainSettings", __base__=Checked, **flags_first)
