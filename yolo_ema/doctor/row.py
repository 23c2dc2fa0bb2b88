"""One line of what the doctor says, and how a question that fails becomes one."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from yolo_ema.io.machine import home_folder

_LONGEST = 200


@dataclass(frozen=True)
class Row:
    """One fact, or why it is not known.

    Attributes:
        name: what it is about.
        value: text, a number, a list of words; None where there is none.
        problem: what is wrong or missing; empty where nothing is.
        command: what puts it right; empty where nothing is to be done.
    """

    name: str
    value: Any = None
    problem: str = ""
    command: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values, all keys always there."""
        return asdict(self)

    def as_cells(self) -> tuple[str, str, str]:
        """Return name, value, and problem with its command."""
        value = ", ".join(map(str, self.value)) if isinstance(self.value, list) else self.value
        remark = self.problem + (f"; {self.command}" if self.problem and self.command else "")
        return self.name, "–" if value is None or value == "" else str(value), remark


def probed(name: str, probe: Callable[[], Sequence[Row]]) -> list[Row]:
    """Return a probe's rows; one row with the reason where it fails, whatever happens in it."""
    try:
        return list(probe())
    except Exception as error:  # a doctor that dies of what it finds is of no use
        return [Row(name, problem=private(f"{type(error).__name__}: {error}"))]


def private(text: str) -> str:
    """Return text in one line of readable length, without the user's name and home folder."""
    home = home_folder()
    line = " ".join(text.split())
    if home is not None and str(home) != "/":
        line = line.replace(str(home), "~")
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's number without a name
        user = ""
    if user and user != "root":
        line = re.sub(rf"\b{re.escape(user)}\b", "USER", line)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
