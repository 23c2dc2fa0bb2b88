"""Options that document and check themselves.

A verb's options are a frozen, keyword-only dataclass derived from `Options`, whose fields are made
with `option`. The same fields give the Python argument, the command-line flag, its help, its
default and its range, so that there is no second list; `parser` makes the command line from them.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.io.resources import weights_path
from yolo_ema.options.values import WrongTypeError, plain_value

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
    joined_by: str | None = None,
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
        joined_by: a text that Python code may give as a number or a list, whose parts this joins.
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
        "joined_by": joined_by,
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
        ConfigError: on construction, naming every field of a wrong type in one message; or else
            every other fault.
    """

    GROUPS: ClassVar[tuple[str, ...]] = ()
    """Headings of ``--help`` in their order; `option` names one of them as ``group``."""

    def __post_init__(self) -> None:
        if wrong := list(_take_plain_values(self)):
            raise ConfigError("; ".join(wrong))
        _name_shipped_weights(self)
        problems = [*_wrong_choices(self), *_out_of_range(self), *self.problems()]
        if problems:
            raise ConfigError("; ".join(problems))

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each further fault: what was found, what was expected."""
        yield from ()


def _take_plain_values(options: Options) -> Iterator[str]:
    """Give every field the one form that its type has, and yield what is of another type."""
    hints = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value, given = getattr(options, field.name), field.metadata
        if value is True and given["alone"] is not None:
            value = given["alone"]
        if value is None and field.default == ():
            value = ()
        try:
            plain = plain_value(
                value,
                hints[field.name],
                joined_by=given["joined_by"],
                split=not (given["positional"] or given["repeated"]),
            )
        except WrongTypeError as error:
            yield f"{flag_of(field.name)} is {value!r}; expected {_expected(field, str(error))}"
        else:
            object.__setattr__(options, field.name, plain)  # frozen for everyone else


def _expected(field: dataclasses.Field[Any], kind: str) -> str:
    if field.metadata["image_size"]:
        return "one whole number of pixels, or height and width"
    if choices := field.metadata["choices"]:
        return f"one of {', '.join(choices)}"
    allowed = field.metadata["range"]
    return f"{kind}, {allowed}" if allowed.is_limited else kind


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
        elif (allowed := field.metadata.get("range")) and not allowed.holds(value):
            yield f"{flag} is {value}; expected {allowed}"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{flag} is {value}; expected a finite number"


def flag_of(name: str) -> str:
    """Return the command-line flag of a field."""
    return "--" + name.replace("_", "-")


def with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON or YAML held, with a tuple for each list, as options have it."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
