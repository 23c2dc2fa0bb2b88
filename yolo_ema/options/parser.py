"""The command line, made from the options of every verb."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.options.fields import Options, flag_of
from yolo_ema.options.values import scalar_of

_OptionsT = TypeVar("_OptionsT", bound=Options)


@dataclasses.dataclass(frozen=True)
class Verb:
    """One command: its words, where its options and its function stand, and examples for
    ``--help``.

    The function takes the options and returns a result with ``as_json() -> dict`` and ``as_text()
    -> str``.
    """

    words: str
    summary: str
    options: str
    run: str
    examples: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    """Names the closest verb or flag when one is mistyped."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, with the closest known word, and exit with 2."""
        known = [flag for action in self._actions for flag in action.option_strings]
        known += [str(word) for action in self._actions for word in action.choices or ()]
        mistyped = re.search(r"invalid choice: '([^']+)'|unrecognized arguments: (\S+)", message)
        hint = (
            did_you_mean((mistyped[1] or mistyped[2]).partition("=")[0], known) if mistyped else ""
        )
        super().error(message + hint)


def build_parser(
    verbs: Sequence[Verb], words: Sequence[str], version: str, *, families: Mapping[str, str]
) -> _Parser:
    """Build the parser of the whole command line.

    Only the verb that ``words`` call imports its options, so that ``--help`` answers at once.

    Args:
        verbs: all verbs; one of two words, as ``data prepare``, belongs to the family of the first.
        words: the command line.
        version: for ``--version``.
        families: what each family is for.
    """
    parser = _Parser(
        prog="yolo-ema", description="Drone-view object detection: YOLO with EMA attention."
    )
    parser.add_argument("--version", action="version", version=f"yolo-ema {version}")
    top = parser.add_subparsers(metavar="VERB", required=True)
    parsers: dict[str, Any] = {"": top}
    called = " ".join(words[:2])
    for verb in verbs:
        family, _, name = verb.words.rpartition(" ")
        if family not in parsers:
            parsers[family] = top.add_parser(
                family, help=f"{families[family]}: see 'yolo-ema {family} --help'"
            ).add_subparsers(metavar="VERB", required=True)
        _add_verb(parsers[family], name, verb, is_called=called.startswith(verb.words))
    return parser


def _add_verb(family: Any, name: str, verb: Verb, *, is_called: bool) -> None:
    sub = family.add_parser(
        name,
        help=verb.summary,
        description=verb.summary[0].upper() + verb.summary[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  yolo-ema {example}" for example in verb.examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if is_called:
        options = resolve(verb.options)
        sub.usage = f"%(prog)s [options] {_positional_words(options)}".rstrip()
        add_arguments(sub, options)
    sub.add_argument(
        "--json", action="store_true", help="print the result as JSON on stdout, for machines"
    )
    sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    sub.set_defaults(verb=verb, parser=sub)


def _positional_words(options: type[Options]) -> str:
    """Return the arguments without a flag and the required flags, for the usage line."""
    words = []
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        required = _is_required(field)
        if field.metadata["overrides"]:
            words.append("[key=value …]")
        elif field.metadata["positional"]:
            word = field.name.upper() + (" …" if scalar_of(hints[field.name])[1] else "")
            words.append(word if required else f"[{word}]")
        elif required:
            words.insert(
                0, f"{flag_of(field.name)} {field.metadata['metavar'] or field.name.upper()}"
            )
    return " ".join(words)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def resolve(reference: str) -> Any:
    """Return what ``module:name`` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


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
        or (field.metadata["positional"] and scalar_of(hints[field.name])[1])
        for field in fields
    )
    groups: dict[str | None, Any] = {None: parser}
    headings = [None, *options.GROUPS]
    for field in sorted(fields, key=lambda field: headings.index(field.metadata["group"])):
        name = field.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        _add_argument(groups[name], field, hints[field.name], many_words=many_words)


def _add_argument(
    parser: argparse._ActionsContainer,
    field: dataclasses.Field[Any],
    hint: Any,
    *,
    many_words: bool,
) -> None:
    kind, many = scalar_of(hint)
    required = _is_required(field)
    text = (field.metadata["help"] + _default_note(field)).replace("%", "%%")
    if field.metadata["overrides"]:
        parser.add_argument(
            field.name, nargs="*", metavar=field.metadata["metavar"] or "key=value", help=text
        )
        return
    arguments: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
    if kind is bool:
        parser.add_argument(
            flag_of(field.name), dest=field.name, action=argparse.BooleanOptionalAction, **arguments
        )
        return
    arguments |= {
        "type": _path if kind is Path else kind,
        "metavar": field.metadata["metavar"],
        "choices": field.metadata["choices"],
    }
    if field.metadata["repeated"]:
        parser.add_argument(flag_of(field.name), dest=field.name, action="append", **arguments)
        return
    if field.metadata["positional"]:
        arguments["nargs"] = ("+" if required else "*") if many else (None if required else "?")
        # argparse holds this default against the choices, so it must be the real one
        if not required and not many:
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
    parser.add_argument(flag_of(field.name), dest=field.name, required=required, **arguments)


def _path(word: str) -> Path:
    """Return a path; an empty word, as of a variable that is not set, is none."""
    if not word:
        raise argparse.ArgumentTypeError("expected a path, got an empty word")
    return Path(word)


def _comma_separated(kind: Any) -> Any:
    """Return what parses ``384,640`` into a tuple of ``kind``, named as argparse's messages want
    it.
    """

    def parse(word: str) -> tuple[Any, ...]:
        return tuple(kind(part.strip()) for part in word.split(",") if part.strip())

    parse.__name__ = f"comma-separated {kind.__name__}"
    return parse


def _many_metavar(choices: Sequence[str] | None, name: str) -> str:
    return "{" + ",".join(choices) + "}[,…]" if choices else f"{name.upper()}[,…]"


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
    return f" (default: {','.join(map(str, default)) if isinstance(default, tuple) else default})"


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
                part for item in value for part in (item if isinstance(item, tuple) else (item,))
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
