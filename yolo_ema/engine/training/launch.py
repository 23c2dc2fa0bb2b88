"""Whether this process is one of several that train together: what torchrun or Ray Train has set.

Ultralytics reads the same variables when it is imported, and fails there on what is not a number;
so importing this package checks them first.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping

from yolo_ema.errors import ConfigError

_LOG = logging.getLogger(__name__)

_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_RANKS = ("RANK", "LOCAL_RANK")
_MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")
_UNSET = "env " + " ".join(f"-u {name}" for name in (*_NUMBERS, *_MEETING_POINT))


@dataclasses.dataclass(frozen=True)
class Launch:
    """This process's place among those that train together.

    Attributes:
        rank: its number among all, from 0; the first one alone writes the run's folder.
        local_rank: its number on its node, from 0.
        world_size: how many there are, 2 or more.
        local_world_size: how many of them are on this node; None where the launcher does not say.
        run_id: the launcher's name for the whole, the same after a restart; None where it has none.
        restarts: how often the launcher has started its processes again.
        command: what the run's record names as its command; empty for this process's own.
    """

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int | None = None
    run_id: str | None = None
    restarts: int = 0
    command: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prepares, writes and prints."""
        return self.rank == 0


def launch_of(environment: Mapping[str, str], *, has_group: bool = False) -> Launch | None:
    """Return this process's place in a training on several processes; None for one by itself.

    ``environment`` has the variables that torchrun documents. Where the process group is there
    already, nobody needs to be met.

    Raises:
        ConfigError: a variable is not a number, or they do not belong together.
    """
    number, shown = _numbers(environment)
    world_size = number.get("WORLD_SIZE", 1)
    ranks = {name: number[name] for name in _RANKS if name in number}
    if not _says_several(number):
        if world_size > 1 or any(ranks.values()):
            _LOG.warning("%s of another program's training is ignored: one process", shown)
        return None
    needed = ("RANK", "LOCAL_RANK", *(() if has_group else _MEETING_POINT))
    if missing := [name for name in needed if not environment.get(name)]:
        raise ConfigError(
            f"{shown} in the environment says that several processes train together, but "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, so they "
            f"cannot meet; start them with torchrun, or, to train in one process: {_UNSET} "
            f"yolo-ema train …"
        )
    local_size = number.get("LOCAL_WORLD_SIZE")
    if ranks["RANK"] >= world_size or ranks["LOCAL_RANK"] >= (local_size or world_size):
        raise ConfigError(f"{shown} in the environment contradict each other: ranks count from 0")
    return Launch(
        ranks["RANK"],
        ranks["LOCAL_RANK"],
        world_size,
        local_size,
        environment.get("TORCHELASTIC_RUN_ID"),
        int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")),
    )


def require_one_process(verb: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to be one of several processes that a launcher has started: of the verbs ``train``
    alone shares its work among them, any other would do all of it in each.

    Raises:
        ConfigError: a launcher has started several, or a variable is not a number.
    """
    number, shown = _numbers(environment)
    if _says_several(number):
        raise ConfigError(
            f"{shown} in the environment says that several processes train together; yolo-ema "
            f"{verb} runs in one, started without torchrun: {_UNSET} yolo-ema {verb} …"
        )


def _numbers(environment: Mapping[str, str]) -> tuple[dict[str, int], str]:
    """Return the variables that are numbers, and how a message shows them."""
    check_variables(environment)
    number = {name: int(environment[name]) for name in _NUMBERS if name in environment}
    return number, ", ".join(f"{name}={value}" for name, value in number.items())


def _says_several(number: Mapping[str, int]) -> bool:
    return number.get("WORLD_SIZE", 1) > 1 and any(name in number for name in _RANKS)


def check_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Check that the variables of a launcher are numbers, where they are set.

    Raises:
        ConfigError: one is not.
    """
    for name in _NUMBERS:
        value = environment.get(name)
        if value is not None and not (value.isascii() and value.isdecimal()):
            raise ConfigError(
                f"{name} is {value!r} in the environment; expected a number, as torchrun sets it. "
                f"To run in one process: {_UNSET} yolo-ema …"
            )
