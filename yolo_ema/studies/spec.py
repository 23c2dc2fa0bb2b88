"""What a study is: its arms, how long they train, and how they are measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.options.classify import ClassifyValOptions
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.val import ValOptions

Task = Literal["detect", "classify"]

SPLITS = ("train", "val", "test")

FLAGS = ("model", "imgsz", "batch", *(field.name for field in dataclasses.fields(DroneOptions)))
"""The options of ``train`` that an arm may set; beside these it may set Ultralytics' settings."""

FIXED = {"patience": "0", "plots": "false", "val": "true", "save": "true"}
"""Every run ends when its budget does, and is validated and saved after each epoch."""

_FIRST_GUESS = 100
"""Epochs that a run limited by time plans for until its first epoch has been timed."""

Text = Annotated[
    str,
    pydantic.Field(pattern=r"\S", description="text, in quotes where YAML reads something else"),
    pydantic.AfterValidator(lambda text: " ".join(text.split())),
]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False, description="a number")]


class Checked(pydantic.BaseModel):
    """Base of what a study file holds; a field's description says what it expects."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True)


class Budget(Checked):
    """How long an arm trains: a number of epochs, or until its seconds of training are used up.

    Attributes:
        epochs: passes over the training images; None where the time is given.
        seconds: training time, validation not counted; the run ends after the epoch in which it is
            used up.
        clock: process (processor time of all threads of the run's process, for shared machines) or
            wall.
    """

    epochs: Annotated[int, pydantic.Field(ge=1)] | None = pydantic.Field(
        default=None, description="a whole number from 1"
    )
    # An int stays one: the digest of a study's settings holds it.
    seconds: Annotated[int | float, pydantic.Field(gt=0, allow_inf_nan=False)] | None = (
        pydantic.Field(default=None, description="a number above 0")
    )
    clock: Literal["process", "wall"] = pydantic.Field(
        default="process", description="process or wall"
    )

    def as_text(self) -> str:
        """Return it in words."""
        if self.epochs is not None:
            return f"{self.epochs} epoch{'s' * (self.epochs != 1)}"
        clock = "processor" if self.clock == "process" else "wall clock"
        return f"{self.seconds:g} seconds of {clock} time in training"


class Evaluation(Checked):
    """One setting that trained arms are measured at; the fields are those of ``val``."""

    imgsz: int = pydantic.Field(ge=32, description="a whole number from 32")
    tile: str = pydantic.Field(default="off", description="off, auto or WIDTHxHEIGHT")
    split: str = "val"
    overlap: Number = 0.2
    whole_frame: bool | None = pydantic.Field(default=None, description="true or false")
    merge: Text = "nms"
    conf: Number = 0.001
    iou: Number = 0.7
    max_det: int = pydantic.Field(default=500, description="a whole number")

    @property
    def key(self) -> str:
        """Return its name in tables and records: ``640``, or ``640@auto`` in tiles."""
        return str(self.imgsz) if self.tile == "off" else f"{self.imgsz}@{self.tile}"

    def options(self, weights: Path, data: str, device: str) -> ValOptions:
        """Return the options of ``val``. Raises `ConfigError` where a value is out of range."""
        values = self.model_dump() | {"imgsz": (self.imgsz,)}
        return ValOptions(weights=weights, data=data, device=device, **values)


class ClassifyEvaluation(Checked):
    """How trained classifiers are measured: at the size that all were trained with."""

    imgsz: int
    split: str = "val"

    tile: ClassVar[str] = "off"

    @property
    def key(self) -> str:
        """Return its name in tables and records."""
        return str(self.imgsz)

    def options(self, weights: Path, data: str, device: str) -> ClassifyValOptions:
        """Return the options of ``classify val``."""
        return ClassifyValOptions(weights=weights, data=data, split=self.split, device=device)


Setting = Evaluation | ClassifyEvaluation
"""What an arm is measured at, by the study's task."""


class Published(Checked):
    """Figures that others have published, for a column of their own.

    Attributes:
        source: whose they are, and in which terms.
        budget: what they were made with.
        figures: arm → what its cell says.
    """

    source: Text
    budget: Text
    figures: dict[str, Text] = pydantic.Field(
        description="text by arm, in quotes where YAML reads a number, as in {none: '77.26'}"
    )


@dataclasses.dataclass(frozen=True)
class Arm:
    """One of the variants compared.

    Attributes:
        name: its name.
        train: its settings: the study's, with what the arm changes.
        changed: what the arm changes.
        model: the model's name, or the path of its YAML.
        model_sha256: of the model YAML's content, or of what a classifier is made of, so that
            another model of the same name is noticed.
        budget: how long it trains.
    """

    name: str
    train: Mapping[str, Any]
    changed: Mapping[str, Any]
    model: str
    model_sha256: str
    budget: Budget


@dataclasses.dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Attributes:
        path: the file.
        records: relative to it, the folder of the records of this study and of those whose runs may
            stand for its own, each in a folder of its name.
        published: figures of others to show beside its own.
        candidate: the arm that is compared with every other one, not with the baseline alone.
    """

    path: Path
    name: str
    question: str
    data: str
    split: str
    seeds: tuple[int, ...]
    pretrained: str
    arms: tuple[Arm, ...]
    baseline: str
    evaluations: tuple[Setting, ...]
    primary: str
    task: Task = "detect"
    records: str = "records"
    published: Published | None = None
    candidate: str | None = None

    @property
    def records_folder(self) -> Path:
        """Return the folder of its records."""
        return self.path.parent / self.records / self.name

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Return arm and seed of every run, seed by seed, so that whole pairs come early."""
        return [(arm.name, seed) for seed in self.seeds for arm in self.arms]

    @property
    def budget_text(self) -> str:
        """Return the budget of a run in words: of every run, or arm by arm."""
        texts = {arm.name: arm.budget.as_text() for arm in self.arms}
        if len(set(texts.values())) == 1:
            return self.arms[0].budget.as_text()
        return ", ".join(f"{name} {text}" for name, text in texts.items())

    def arm(self, name: str) -> Arm:
        """Return an arm by name. Raises `ConfigError`, naming the closest."""
        arms = {arm.name: arm for arm in self.arms}
        if name not in arms:
            raise ConfigError(f"{self.path} has no arm {name!r}{did_you_mean(name, list(arms))}")
        return arms[name]

    def starts_alike(self, arm: Arm, baseline_model_sha256: str) -> bool:
        """Say whether a run that was made beside another baseline starts from the same new values
        as one of this study.

        The model of a study's own baseline starts the same in every study; another's blocks take
        over what its baseline has.
        """
        own = self.arm(self.baseline).model_sha256
        return own in {baseline_model_sha256, arm.model_sha256}

    def settings(self, arm: Arm) -> dict[str, Any]:
        """Return everything that defines a trained arm, except the seed."""
        shown = Path(arm.model).name if arm.model.endswith((".yaml", ".yml")) else arm.model
        return {
            "data": self.data,
            "pretrained": self.pretrained,
            "budget": arm.budget.model_dump(),
            "train": {**arm.train, "model": shown},
            "model_sha256": arm.model_sha256,
        }

    def settings_sha256(self, arm: Arm) -> str:
        """Return the digest of `settings`: a record made under another one is refused."""
        return content_sha256(self.settings(arm))

    def train_options(self, arm: Arm, seed: int, **place: Any) -> dict[str, Any]:
        """Return the values of `TrainOptions`, or of `ClassifyTrainOptions`, for a run."""
        if self.task == "classify":
            given = {key: value for key, value in arm.train.items() if key != "recipe"}
            return {**given, "epochs": arm.budget.epochs, "seed": seed, **place}
        flags, settings = split_settings(arm.train)
        return {
            **flags,
            "model": arm.model,
            "epochs": arm.budget.epochs or _FIRST_GUESS,
            "seed": seed,
            "loggers": ("none",),
            "settings": {**settings, **FIXED},
            **place,
        }


def content_sha256(content: Any) -> str:
    """Return a digest of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def split_settings(train: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Split an arm's settings into flags of ``train`` and Ultralytics' settings, both as
    `TrainOptions` takes them.
    """
    flags, settings = {}, {}
    for key, value in train.items():
        if key in FLAGS:
            flags[key] = tuple(value) if isinstance(value, list) else value
        else:
            settings[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return flags, settings
