"""What a run needs beyond Ultralytics' settings, as plain values that travel with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from yolo_ema.errors import ConfigError
from yolo_ema.options.drone import DroneOptions

__all__ = ["RUN_KEY", "RunSettings", "refuse_distillation"]

RUN_KEY = "yolo_ema"
"""Where they stand among Ultralytics' settings, in a worker's as in a checkpoint's
``train_args``.
"""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a run needs beyond Ultralytics' settings.

    Attributes:
        drone: what this project adds to dataset and loss.
        command: the command line that started the run or, where it goes on, that resumed it.
        loggers: the chosen experiment loggers; empty for those of the user's Ultralytics settings.
        offline: forbid every download.
        trust: load weights that carry code.
    """

    drone: DroneOptions = dataclasses.field(default_factory=DroneOptions)
    command: str = ""
    loggers: tuple[str, ...] = ()
    offline: bool = False
    trust: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint holds them."""
        drone = {
            field.name: getattr(self.drone, field.name)
            for field in dataclasses.fields(DroneOptions)
        }
        return {**vars(self), "drone": _with(drone, tuple, list), "loggers": list(self.loggers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSettings:
        """Undo `as_dict`; unknown fields are passed over. Raises `ConfigError` where a drone option
        is wrong.
        """
        drone = _with(_known(values.get("drone", {}), DroneOptions), list, tuple)
        rest = _known(values, cls) | {
            "drone": DroneOptions(**drone),
            "loggers": tuple(values.get("loggers", ())),
        }
        return cls(**rest)


def refuse_distillation(settings: Mapping[str, Any]) -> None:
    """Raise `ConfigError` where a teacher is named: checkpoints with one in them are not read
    without running their code.
    """
    if settings.get("distill_model"):
        raise ConfigError(
            f"distill_model={settings['distill_model']}: distillation is not supported here; leave "
            f"the setting out"
        )


def _known(values: Mapping[str, Any], of: Any) -> dict[str, Any]:
    return {
        field.name: values[field.name] for field in dataclasses.fields(of) if field.name in values
    }


def _with(values: Mapping[str, Any], old: type, new: type) -> dict[str, Any]:
    return {key: new(value) if isinstance(value, old) else value for key, value in values.items()}
