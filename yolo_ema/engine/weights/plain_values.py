"""Plain values out of what a pickle held: numbers, texts, paths, tensors, lists of those."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import torch
from ultralytics.utils import IterableSimpleNamespace

from yolo_ema.engine.weights.pickle_records import SavedObject, SavedTensor

_MOST_DEPTH = 32
_MOST_VALUES = 1_000_000
_MOST_CHARACTERS = 64 << 20
"""Of all texts together: one that is repeated costs a file two bytes each time."""

_MOST_NAME_CHARACTERS = 1000


class NotPlain(Exception):  # noqa: N818 - `loading` turns it into the error that the user sees
    """A value is an object, or more than any weights need; the message is a clause."""


class _Budget:
    """What a file's values may come to, each counted as often as it stands there."""

    def __init__(self) -> None:
        self._values, self._characters = _MOST_VALUES, _MOST_CHARACTERS

    def spend(self, item: Any, depth: int) -> None:
        self._values -= 1
        if isinstance(item, str | bytes | PurePath):
            self._characters -= len(item if isinstance(item, str | bytes) else str(item))
        if min(self._values, self._characters, _MOST_DEPTH - depth) < 0:
            raise NotPlain("its values are nested or repeated beyond what weights need")


def plain_value(value: Any, tensor: Callable[[SavedTensor], torch.Tensor] | None = None) -> Any:
    """Return a copy of a value that holds nothing but plain values.

    ``tensor`` makes tensors of their notes; without it they stay notes.

    Raises:
        NotPlain: it holds an object, or comes to too many values by being repeated.
    """
    budget = _Budget()

    def copy(item: Any, depth: int) -> Any:
        budget.spend(item, depth)
        if item is None or isinstance(item, bool | float | str | bytes | PurePath):
            return item
        if isinstance(item, int):
            if abs(item) >= 1 << 63:
                raise NotPlain("it holds a whole number of more than 64 bits")
            return item
        if isinstance(item, SavedTensor):
            return tensor(item) if tensor else item
        if isinstance(item, list | tuple | set):
            return type(item)([copy(part, depth + 1) for part in item])
        if isinstance(item, dict):
            return {copy(key, depth + 1): copy(part, depth + 1) for key, part in item.items()}
        if isinstance(item, SavedObject) and item.kind.endswith(".IterableSimpleNamespace"):
            attributes = copy(item.state or {}, depth + 1)
            if not all(isinstance(key, str) for key in attributes):
                raise NotPlain("its settings have other names than texts")
            return IterableSimpleNamespace(**attributes)
        raise NotPlain(f"it holds {described(item)} where weights hold plain values")

    return copy(value, 0)


def described(value: Any) -> str:
    """Return what a value of a file is, for messages."""
    if isinstance(value, SavedObject):
        return f"an object of {value.kind[:100]}"
    name = getattr(value, "name", None)
    return f"{name[:100]!r}" if isinstance(name, str) else f"a {type(value).__name__}"


def plain_names(names: Any, class_count: int) -> dict[int, str]:
    """Return class names by class id: of a list, or of a dictionary whose keys may be texts.

    Raises:
        NotPlain: they are not names, or not as many as there are classes.
    """
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise NotPlain("it does not name its classes")
    try:
        checked = {int(class_id): str(name) for class_id, name in names.items()}
    except (TypeError, ValueError) as error:
        raise NotPlain("the ids of its classes are not whole numbers") from error
    if set(checked) != set(range(class_count)):
        raise NotPlain(f"it names {len(checked)} classes, but its head tells {class_count} apart")
    if any(len(name) > _MOST_NAME_CHARACTERS for name in checked.values()):
        raise NotPlain(f"a class has a name of more than {_MOST_NAME_CHARACTERS} characters")
    return checked


def is_number(value: Any) -> bool:
    """Say whether a value is a finite number and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
