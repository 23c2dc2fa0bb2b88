"""Values of options as Python code gives them, in the one form that their types have.

NumPy's numbers become Python's own, lists tuples, text paths, and paths text; what is not of its
type is named.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

_EXPECTED: dict[Any, tuple[str, str]] = {
    bool: ("True or False", "a list of True and False"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "a list of texts"),
    Path: ("a path", "a list of paths"),
}


class WrongTypeError(TypeError):
    """A value is not of its option's type; the text says what was expected."""


def scalar_of(hint: Any) -> tuple[Any, bool]:
    """Return the type of one word of a field of this type, and whether the field takes several."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        hint = next(argument for argument in typing.get_args(hint) if argument is not type(None))
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return (hint if hint in {int, float, bool, Path} else str), False


def plain_value(value: Any, hint: Any, *, joined_by: str | None = None, split: bool = True) -> Any:
    """Return a value in the form that a field of this type keeps.

    Args:
        value: what Python code gave.
        hint: the field's type.
        joined_by: of a text that may also be given as a list or a number: what joins its parts.
        split: whether one text for several words is split at its commas.

    Raises:
        WrongTypeError: the value is not of that type.
    """
    if value is None and type(None) in typing.get_args(hint):
        return None
    if typing.get_origin(hint) is dict:
        return _texts_by_key(value)
    kind, many = scalar_of(hint)
    if many:
        return _several(value, kind, split=split)
    if joined_by is not None and value is not None and not isinstance(value, str | bool):
        return joined_by.join(map(str, value)) if _is_list(value) else str(value)
    return _one(value, kind, _EXPECTED[kind][0])


def _several(value: Any, kind: Any, *, split: bool) -> tuple[Any, ...]:
    expected = _EXPECTED[kind][1]
    if kind is str and isinstance(value, Path):
        value = [value]
    elif kind is str and isinstance(value, str):
        words = value.split(",") if split else [value]
        value = [word.strip() if split else word for word in words if word.strip()]
    elif kind is not str and not _is_list(value):
        value = [value]
    if not _is_list(value):
        raise WrongTypeError(expected)
    return tuple(_one(item, kind, expected) for item in value)


def _one(value: Any, kind: Any, expected: str) -> Any:
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # a number of NumPy or PyTorch
    if kind is bool and isinstance(value, int) and value in {0, 1}:
        return bool(value)
    if kind is Path and isinstance(value, str | Path) and value != "":
        return Path(value)
    if kind is str and isinstance(value, str | Path | int) and not isinstance(value, bool):
        return str(value)
    if kind in {int, float} and isinstance(value, Real) and not isinstance(value, bool):
        if isinstance(value, Integral):
            return int(value)
        number = float(value)
        if kind is float or number.is_integer():
            return number if kind is float else int(number)
    raise WrongTypeError(expected)


def _texts_by_key(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise WrongTypeError("settings by name, as in {'lr0': 0.01}")
    return {str(key): str(setting) for key, setting in value.items()}


def _is_list(value: Any) -> bool:
    if getattr(value, "ndim", None) == 0:
        return False  # an array without axes is Iterable by its class alone
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
