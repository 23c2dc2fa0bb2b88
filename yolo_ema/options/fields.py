"""Options that document and check themselves, and the command line made from them.

A verb's options are a frozen, keyword-only dataclass derived from `Options`, whose fields are made
with `option`. The same fields give the Python argument, the command-line flag, its help and its
default, so that there is no second list.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.io.resources import weights_path

__all__ = ["Options", "add_arguments", "option", "options_from_namespace", "parse_overrides"]

_OptionsT = TypeVar("_OptionsT", bound="Options")


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002 - argparse's own word
    metavar: str | None = None,
    choices: Sequence[str] | None = None,
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
        metavar: the placeholder in the help.
        choices: the allowed words.
        positional: an argument without a flag; a tuple type takes several.
        overrides: collects ``key=value`` words into a ``dict[str, str]``.
        alone: the value of the flag where it stands without a word; without it the flag wants one.
        repeated: a tuple of words that may hold commas: the flag is given once for each.
        weights: a path, or paths, that may also be the bare names of shipped weights.
    """
    metadata: dict[str, Any] = {
        "help": help,
        "metavar": metavar,
        "choices": choices,
        "positional": positional,
    }
    metadata |= {"overrides": overrides, "alone": alone, "repeated": repeated, "weights": weights}
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of every verb's options: checks all fields at once when made.

    Raises:
        ConfigError: on construction, naming every wrong field in one message.
    """

    def __post_init__(self) -> None:
        _name_shipped_weights(self)
        problems = [*_wrong_choices(self), *self.problems()]
        if problems:
            raise ConfigError("; ".join(problems))

    def problems(self) -> Iterator[str]:
        """Yield one sentence per wrong field: what was found, what was expected. Overridden by each
        verb.
        """
        yield from ()


def _name_shipped_weights(options: Options) -> None:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.metadata.get("weights") and value is not None:
            found = (
                tuple(map(weights_path, value)) if isinstance(value, tuple) else weights_path(value)
            )
            object.__setattr__(options, field.name, found)  # frozen for everyone else


def _wrong_choices(options: Options) -> Iterator[str]:
    for field in dataclasses.fields(options):
        choices, value = field.metadata.get("choices"), getattr(options, field.name)
        if not choices or value is None:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            if one not in choices:
                yield (
                    f"{_flag(field.name)} is {one!r}; expected one of "
                    f"{', '.join(choices)}{did_you_mean(one, choices)}"
                )


def add_arguments(parser: argparse.ArgumentParser, options: type[Options]) -> None:
    """Add one argument per field of ``options`` to ``parser``.

    A flag with several values takes them with commas (``--imgsz 384,640``), and also as several
    words where no list of positional words could be swallowed that way. Paths, which may hold
    commas, are always words.
    """
    hints = typing.get_type_hints(options)
    fields = dataclasses.fields(options)
    many_words = not any(
        field.metadata["overrides"]
        or (field.metadata["positional"] and _scalar_of(hints[field.name])[1])
        for field in fields
    )
    for field in fields:
        _add_argument(parser, field, hints[field.name], many_words=many_words)


def _add_argument(
    parser: argparse.ArgumentParser, field: dataclasses.Field[Any], hint: Any, *, many_words: bool
) -> None:
    kind, many = _scalar_of(hint)
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    text = (field.metadata["help"] + _default_note(field)).replace("%", "%%")
    if field.metadata["overrides"]:
        parser.add_argument(
            field.name, nargs="*", metavar=field.metadata["metavar"] or "key=value", help=text
        )
        return
    arguments: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
    if kind is bool:
        parser.add_argument(
            _flag(field.name), dest=field.name, action=argparse.BooleanOptionalAction, **arguments
        )
        return
    arguments |= {
        "type": kind,
        "metavar": field.metadata["metavar"],
        "choices": field.metadata["choices"],
    }
    if field.metadata["repeated"]:
        parser.add_argument(_flag(field.name), dest=field.name, action="append", **arguments)
        return
    if field.metadata["positional"]:
        arguments["nargs"] = ("+" if required else "*") if many else (None if required else "?")
        if (
            not required and not many
        ):  # argparse holds this default against the choices, so it must be the real one
            arguments["default"] = field.default
        parser.add_argument(field.name, **arguments)
        return
    if many and kind is not Path:
        # argparse would hold the whole list against the choices; the options check them one by one.
        choices = arguments.pop("choices")
        arguments |= {
            "type": _comma_separated(kind),
            "metavar": arguments["metavar"] or _many_metavar(choices, field.name),
        }
    if many and (many_words or kind is Path):
        arguments["nargs"] = "+"
    if field.metadata["alone"] is not None:
        arguments |= {"nargs": "?", "const": field.metadata["alone"]}
    parser.add_argument(_flag(field.name), dest=field.name, required=required, **arguments)


def _comma_separated(kind: Any) -> Any:
    """Return what parses ``384,640`` into a tuple of ``kind``, named as argparse's messages want
    it.
    """

    def parse(word: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in word.split(",") if part)

    parse.__name__ = f"comma-separated {kind.__name__}"
    return parse


def _many_metavar(choices: Sequence[str] | None, name: str) -> str:
    return "{" + ",".join(choices) + "}[,…]" if choices else f"{name.upper()}[,…]"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _default_note(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if (
        default is dataclasses.MISSING
        or default is None
        or default == ()
        or field.metadata["overrides"]
    ):
        return ""
    if isinstance(default, bool):
        return f" (default: {'on' if default else 'off'})"
    return f" (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"


def _scalar_of(hint: Any) -> tuple[Any, bool]:
    """Return the type to parse one word with, and whether the field takes several."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return (hint if hint in {int, float, bool, Path} else str), False


def options_from_namespace(options: type[_OptionsT], namespace: argparse.Namespace) -> _OptionsT:
    """Build ``options`` from a parsed command line. Raises `ConfigError` where a field is wrong."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        if not hasattr(namespace, field.name):
            continue
        value = getattr(namespace, field.name)
        if field.metadata["overrides"]:
            value = parse_overrides(value or [])
        elif isinstance(value, list):
            value = tuple(
                part for one in value for part in (one if isinstance(one, tuple) else (one,))
            )
        values[field.name] = value
    return options(**values)


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """Split ``["lr0=0.01", …]`` into ``{"lr0": "0.01", …}``. Raises `ConfigError` on a word without
    ``=`` or a key given twice.
    """
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"{word!r} is not understood; settings are written key=value, as in lr0=0.01"
            )
        if key in settings:
            raise ConfigError(f"the setting {key!r} is given twice")
        settings[key] = value
    return settings
