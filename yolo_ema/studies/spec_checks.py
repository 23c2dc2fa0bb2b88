"""How what a study's file holds is checked, so that everything wrong with it is named at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from yolo_ema.errors import did_you_mean

_Model = TypeVar("_Model", bound=pydantic.BaseModel)


def checked(
    model: type[_Model],
    values: Mapping[Any, Any],
    where: str,
    problems: list[str],
    *,
    noun: str = "entry",
) -> _Model | None:
    """Return ``values`` as a model; None where something is wrong, which ``problems`` then names.

    Args:
        model: the model.
        values: what the file holds.
        where: the place in the file, as the message begins.
        problems: each wrong value is added once.
        noun: what a key is called.
    """
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            key = fault["loc"][0]
            if fault["type"] == "missing":
                text = f"{key!r} is missing"
            elif key not in model.model_fields:
                hint = did_you_mean(str(key), model.model_fields)
                text = f"there is no {noun} {key!r}{hint}"
            else:
                expected = model.model_fields[str(key)].description
                text = f"{key} is {shown(values[key])}; expected {expected}"
            if where + text not in problems:
                problems.append(where + text)
    return None


def shown(value: Any) -> str:
    """Return a value as a message has it: a long one is cut."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
