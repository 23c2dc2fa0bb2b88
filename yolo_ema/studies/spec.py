"""What a study is: its arms, how long they train, and how they are measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.val import ValOptions

__all__ = [
    "FIXED",
    "FLAGS",
    "Arm",
    "Budget",
    "Evaluation",
    "Study",
    "content_sha256",
    "split_settings",
]

FLAGS = ("model", "imgsz", "batch", *(field.name for field in dataclasses.fields(DroneOptions)))
"""What an arm may choose of the options of ``train``; beside these it may choose Ultralytics'
settings.
"""

FIXED = {"patience": "0", "plots": "false", "val": "true", "save": "true"}
"""Every run ends when its budget does, and is validated and saved after each epoch."""

_FIRST_GUESS = 100
"""Epochs that a run limited by time plans with until its first epoch is timed."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long an arm trains: so many epochs, or until so many seconds of training are used up.

    Attributes:
        epochs: passes over the training images; None where time is what is equal.
        seconds: of training, validation not counted; a run ends after the epoch in which they are
            used up.
        clock: process (processor time of the run's process, all its threads: for shared machines)
            or wall.
    """

    epochs: int | None
    seconds: float | None = None
    clock: str = "process"

    def as_text(self) -> str:
        """Return it in words."""
        if self.epochs is not None:
            return f"{self.epochs} epochs"
        return (
            f"{self.seconds:g} seconds of "
            f"{'processor' if self.clock == 'process' else 'wall clock'} time in training"
        )


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One way to look at the images when a trained arm is measured; the fields are those of
    ``val``.
    """

    imgsz: int
    tile: str = "off"
    split: str = "val"
    overlap: float = 0.2
    whole_frame: bool | None = None
    merge: str = "nms"
    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 500

    @property
    def key(self) -> str:
        """Return what tables and records call it: ``640``, or ``640@auto`` in tiles."""
        return str(self.imgsz) if self.tile == "off" else f"{self.imgsz}@{self.tile}"

    def options(self, weights: Path, data: str, device: str) -> ValOptions:
        """Return the options of ``val``. Raises `ConfigError` where a value is out of range."""
        values = dataclasses.asdict(self) | {"imgsz": (self.imgsz,)}
        return ValOptions(weights=weights, data=data, device=device, **values)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One of the things compared.

    Attributes:
        name: what it is called.
        train: its settings: the study's, with what the arm changes.
        changed: what the arm changes.
        model: the model's name, or the path of its YAML.
        model_sha256: of the model YAML's content, so that another model of the same name is
            noticed.
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
    """A study as its YAML says it."""

    path: Path
    name: str
    question: str
    data: str
    split: str
    seeds: tuple[int, ...]
    pretrained: str
    arms: tuple[Arm, ...]
    baseline: str
    evaluations: tuple[Evaluation, ...]
    primary: str

    @property
    def budget_text(self) -> str:
        """Return the budget of a run in words: of every run, or arm by arm."""
        each = {arm.name: arm.budget.as_text() for arm in self.arms}
        same = len(set(each.values())) == 1
        return (
            self.arms[0].budget.as_text()
            if same
            else ", ".join(f"{name} {text}" for name, text in each.items())
        )

    def arm(self, name: str) -> Arm:
        """Return an arm by name. Raises `ConfigError`, naming the closest."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ConfigError(
            f"{self.path}: there is no arm "
            f"{name!r}{did_you_mean(name, [one.name for one in self.arms])}"
        )

    def starts_alike(self, arm: Arm, baseline_model_sha256: str) -> bool:
        """Say whether a run that was made beside another baseline starts as one of this study does:
        from the same new values.

        The model of a study's own baseline starts the same in every study; another's blocks take
        over what its baseline has.
        """
        own = self.arm(self.baseline).model_sha256
        return own in {baseline_model_sha256, arm.model_sha256}

    def settings(self, arm: Arm) -> dict[str, Any]:
        """Return everything that makes a trained arm what it is, but for the seed."""
        shown = Path(arm.model).name if arm.model.endswith((".yaml", ".yml")) else arm.model
        return {
            "data": self.data,
            "pretrained": self.pretrained,
            "budget": dataclasses.asdict(arm.budget),
            "train": {**arm.train, "model": shown},
            "model_sha256": arm.model_sha256,
        }

    def settings_sha256(self, arm: Arm) -> str:
        """Return the digest of `settings`: a record made under another is refused."""
        return content_sha256(self.settings(arm))

    def train_options(self, arm: Arm, seed: int, **place: Any) -> dict[str, Any]:
        """Return the values of `TrainOptions` for a run."""
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
    """Return the flags of ``train`` and Ultralytics' settings, both as `TrainOptions` takes
    them.
    """
    flags = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in train.items()
        if key in FLAGS
    }
    settings = {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in train.items()
        if key not in FLAGS
    }
    return flags, settings
