"""What a run needs beyond Ultralytics' settings, as plain values that travel with them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_ema.errors import ConfigError
from yolo_ema.io.text_files import shell_words
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.train import LOGGERS

_LONGEST_COMMAND = 100_000

RUN_KEY = "yolo_ema"
"""Where they stand among Ultralytics' settings and a checkpoint's ``train_args``."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a run needs beyond Ultralytics' settings.

    Attributes:
        drone: what this project adds to dataset and loss.
        command: the command line that started the run, or resumed it.
        loggers: the chosen experiment loggers; empty for those of the user's Ultralytics settings.
        offline: forbid every download.
        trust: load weights that carry code.
        run_id: the launcher's name for a training on several processes, which its restarts share;
            empty where there is none.
    """

    drone: DroneOptions = dataclasses.field(default_factory=DroneOptions)
    command: str = ""
    loggers: tuple[str, ...] = ()
    offline: bool = False
    trust: bool = False
    run_id: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint holds them."""
        drone = {
            field.name: getattr(self.drone, field.name)
            for field in dataclasses.fields(DroneOptions)
        }
        return {**vars(self), "drone": _with(drone, tuple, list), "loggers": list(self.loggers)}

    def trusted(self, settings: Mapping[str, Any]) -> tuple[Path, ...]:
        """Return the weights files that may hold code: none unless the user said so, and then those
        that the user named, and the checkpoints of the run itself.
        """
        if not self.trust:
            return ()
        named = [settings.get(key) for key in ("model", "pretrained", "resume")]
        weights = Path(settings.get("save_dir") or "") / "weights"
        return (
            *(Path(str(file)) for file in named if str(file).lower().endswith(".pt")),
            weights / "last.pt",
            weights / "best.pt",
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSettings:
        """Undo `as_dict`, checking all of it; unknown fields are ignored.

        Raises:
            ConfigError: a value is not what `as_dict` returns.
        """
        try:
            drone = _with(_known(values.get("drone", {}), DroneOptions), list, tuple)
            run = cls(
                drone=DroneOptions(**drone),
                command=str(values.get("command", ""))[:_LONGEST_COMMAND],
                loggers=tuple(values.get("loggers", ())),
                offline=values.get("offline", False) is True,
                trust=values.get("trust", False) is True,
                run_id=str(values.get("run_id", ""))[:_LONGEST_COMMAND],
            )
        except ConfigError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"the run's {RUN_KEY!r} settings cannot be read: {error}") from error
        if unknown := [name for name in run.loggers if name not in {"none", *LOGGERS}]:
            raise ConfigError(f"the run's loggers are {', '.join(map(repr, unknown))[:200]}")
        return run


def command_line() -> str:
    """Return the command line of this process, as a shell would take it."""
    program = Path(sys.argv[0]).name
    return shell_words(
        "yolo-ema" if program in {"__main__.py", "yolo-ema"} else program, *sys.argv[1:]
    )


def _known(values: Mapping[str, Any], of: Any) -> dict[str, Any]:
    return {
        field.name: values[field.name] for field in dataclasses.fields(of) if field.name in values
    }


def _with(values: Mapping[str, Any], old: type, new: type) -> dict[str, Any]:
    return {key: new(value) if isinstance(value, old) else value for key, value in values.items()}
