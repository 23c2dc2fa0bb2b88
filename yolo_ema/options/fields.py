"""Options that document and check themselves.

A verb's options are a frozen, keyword-only dataclass derived from `Options`, whose fields are made
with `option`. The same fields give the Python argument, the command-line flag, its help, its
default and its range, so that there is no second list; `parser` makes the command line from them.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.io.resources import weights_path

LEAST_SIDE_PX = 32
"""Shortest side of a network's input: the coarsest level has one cell then."""


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002 - argparse's own word
    metavar: str | None = None,
    choices: Sequence[str] | None = None,
    group: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    unit: str = "",
    image_size: bool = False,
    positional: bool = False,
    overrides: bool = False,
    alone: Any = None,
    repeated: bool = False,
    weights: bool = False,
) -> Any:
    """Return a dataclass field that is also a command-line argument.

    Args:
        default: the default; without one the argument must be given.
        help: one sentence with unit and range; shown by ``--help``.
        metavar: the placeholder in the help; by default the unit's word in capitals.
        choices: the allowed words.
        group: the heading in ``--help``; without it the argument stands among the general ones.
        at_least: lowest allowed number.
        at_most: highest allowed number.
        above: the number must be larger than this.
        unit: of the numbers, for the error message and the help.
        image_size: one number or height,width in pixels, each `LEAST_SIDE_PX` or more.
        positional: an argument without a flag; a tuple type takes several.
        overrides: collects ``key=value`` words into a ``dict[str, str]``.
        alone: the value of the flag when it is given without a word; without it a word is required.
        repeated: a tuple of words that may contain commas: the flag is given once for each.
        weights: a path, or paths, that may also be the bare names of shipped weights.
    """
    metadata: dict[str, Any] = {
        "help": help,
        "metavar": metavar or (unit.upper() if unit.isalpha() else None),
        "choices": choices,
        "group": group,
        "range": _Range(at_least, at_most, above, unit),
        "image_size": image_size,
        "positional": positional,
        "overrides": overrides,
        "alone": alone,
        "repeated": repeated,
        "weights": weights,
    }
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class _Range:
    """The numbers that an option allows."""

    at_least: float | None
    at_most: float | None
    above: float | None
    unit: str

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return (self.at_least, self.at_most, self.above) != (None, None, None)

    def holds(self, value: float) -> bool:
        """Say whether a number is allowed; NaN never is where there is a limit."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.above is not None:
            top = "" if self.at_most is None else f" and at most {_plain(self.at_most)}"
            return f"more than {_plain(self.above)}{top}{unit}"
        if self.at_most is None:
            return f"{_plain(self.at_least)} or more{unit}"
        return f"{_plain(self.at_least)} to {_plain(self.at_most)}{unit}"


def _plain(number: float | None) -> str:
    return f"{number:,}".replace(",", "") if isinstance(number, int) else f"{number:g}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of every verb's options: checks all fields at once when made.

    Raises:
        ConfigError: on construction, naming every wrong field in one message.
    """

    GROUPS: ClassVar[tuple[str, ...]] = ()
    """Headings of ``--help`` in their order; `option` names one of them as ``group``."""

    def __post_init__(self) -> None:
        _make_words(self)
        _make_paths(self)
        _name_shipped_weights(self)
        problems = [*_wrong_choices(self), *_out_of_range(self), *self.problems()]
        if problems:
            raise ConfigError("; ".join(problems))

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each further fault: what was found, what was expected."""
        yield from ()


def _path_fields(options: type[Options]) -> tuple[str, ...]:
    hints = typing.get_type_hints(options)
    kinds = {Path, Path | None, tuple[Path, ...]}
    return tuple(field.name for field in dataclasses.fields(options) if hints[field.name] in kinds)


def _make_paths(options: Options) -> None:
    """Take text for paths, as Python code gives it."""
    for name in _path_fields(type(options)):
        value = getattr(options, name)
        several = isinstance(value, list | tuple)
        for path in value if several else (value,):
            if path is not None and not isinstance(path, str | Path):
                raise ConfigError(f"{flag_of(name)} is {path!r}; expected a path")
        if several:
            object.__setattr__(options, name, tuple(map(Path, value)))
        elif isinstance(value, str):
            object.__setattr__(options, name, Path(value))


def _make_words(options: Options) -> None:
    """Take a list, or one text, for several words, as Python code gives them. A text is split at
    its commas where the command line does so.
    """
    hints = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if hints[field.name] != tuple[str, ...] or not isinstance(value, str | list):
            continue
        whole = field.metadata.get("positional") or field.metadata.get("repeated")
        words = [value] if whole and isinstance(value, str) else value
        words = words.split(",") if isinstance(words, str) else words
        object.__setattr__(options, field.name, tuple(words))


def _name_shipped_weights(options: Options) -> None:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.metadata.get("weights") and value is not None:
            paths = (
                tuple(map(weights_path, value)) if isinstance(value, tuple) else weights_path(value)
            )
            object.__setattr__(options, field.name, paths)  # frozen for everyone else


def _wrong_choices(options: Options) -> Iterator[str]:
    for field in dataclasses.fields(options):
        choices, value = field.metadata.get("choices"), getattr(options, field.name)
        if not choices or value is None:
            continue
        for choice in value if isinstance(value, tuple) else (value,):
            if choice not in choices:
                yield (
                    f"{flag_of(field.name)} is {choice!r}; expected one of "
                    f"{', '.join(choices)}{did_you_mean(choice, choices)}"
                )


def _out_of_range(options: Options) -> Iterator[str]:
    for field in dataclasses.fields(options):
        value, flag = getattr(options, field.name), flag_of(field.name)
        if value is None:
            continue
        if field.metadata.get("image_size"):
            sides = value if isinstance(value, tuple) else (value,)
            if len(sides) > 2 or any(side < LEAST_SIDE_PX for side in sides):
                yield (
                    f"{flag} is {','.join(map(str, sides))}; expected one number or height,width, "
                    f"each {LEAST_SIDE_PX} or more"
                )
        elif (allowed := field.metadata.get("range")) and allowed.is_limited:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not allowed.holds(value):
                yield f"{flag} is {value}; expected {allowed}"


def flag_of(name: str) -> str:
    """Return the command-line flag of a field."""
    return "--" + name.replace("_", "-")


def with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON or YAML held, with a tuple for each list, as options have it."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
