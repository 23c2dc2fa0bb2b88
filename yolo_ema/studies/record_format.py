"""What a run's record must hold for its figures to be compared, and where the figures stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

_PLACES = {
    "detect": {
        "official AP": ("official", "AP"),
        "official AP50": ("official", "AP50"),
        "official AR500": ("official", "AR500"),
        "COCO AP": ("coco", "AP"),
        "COCO AP50": ("coco", "AP50"),
        "COCO AP small": ("coco", "AP_small"),
    },
    "classify": {
        "top-1": ("classification", "top1"),
        "top-5": ("classification", "top5"),
    },
}

FIGURE_NAMES = {task: tuple(places) for task, places in _PLACES.items()}
"""By task, the figures that a study compares, by their names in tables; the first is the usual
one.
"""


def figure(evaluation: Mapping[str, Any], name: str) -> float | None:
    """Return a figure in percent; None where it is undefined, as AP is without objects."""
    protocol, key = next(places[name] for places in _PLACES.values() if name in places)
    value: float | None = evaluation[protocol][key]
    return value


class _Shape(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="allow")


class _Split(_Shape):
    images: int
    sha256: str


class _Data(_Shape):
    __pydantic_extra__: dict[str, _Split]
    name: str
    names: list[str]
    train: _Split
    val: _Split


class _Pretrained(_Shape):
    sha256: str | None


class _Training(_Shape):
    epochs: int
    process_seconds: float
    wall_seconds: float


class _Milliseconds(_Shape):
    wall: float
    process: float
    clock: Literal["wall", "process"]


class _Official(_Shape):
    AP: float | None
    AP50: float | None
    AR500: float | None


class _Coco(_Shape):
    AP: float | None
    AP50: float | None
    AP_small: float | None


class _Classification(_Shape):
    top1: float
    top5: float | None


class _Curve(_Shape):
    __pydantic_extra__: dict[str, list[float | None]]


class _DetectCurve(_Curve):
    ap: list[float | None] = pydantic.Field(alias="AP (Ultralytics)")


class _ClassifyCurve(_Curve):
    top1: list[float | None] = pydantic.Field(alias="top-1")


class _Evaluation(_Shape):
    settings: dict[str, Any]
    commit: str | None
    ms_per_image: _Milliseconds


class _DetectEvaluation(_Evaluation):
    official: _Official
    coco: _Coco
    operations: int | None = None  # older records lack it


class _ClassifyEvaluation(_Evaluation):
    classification: _Classification


class _Record(_Shape):
    study: str
    arm: str
    seed: int
    settings_sha256: str
    settings: dict[str, Any]
    data: _Data
    pretrained: _Pretrained
    baseline_model_sha256: str
    commit: str | None
    versions: dict[str, str]
    hardware: dict[str, Any]
    weights_sha256: str
    training: _Training


class _DetectRecord(_Record):
    parameters: int | None = None
    curve: _DetectCurve
    evaluations: dict[str, _DetectEvaluation]


class _ClassifyRecord(_Record):
    task: Literal["classify"]
    parameters: int
    operations: int
    curve: _ClassifyCurve
    evaluations: dict[str, _ClassifyEvaluation]


def record_problems(content: object) -> list[str]:
    """Return what keeps a JSON file's content from being a run's record, each with its place; empty
    where it is one.
    """
    is_classifier = isinstance(content, dict) and content.get("task") == "classify"
    try:
        (_ClassifyRecord if is_classifier else _DetectRecord).model_validate(content)
    except pydantic.ValidationError as error:
        return [
            # The class's name says nothing to whoever reads the file.
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: "
            f"{fault['msg'].partition(' or instance of')[0].lower()}"
            for fault in error.errors(include_url=False)
        ]
    return []
