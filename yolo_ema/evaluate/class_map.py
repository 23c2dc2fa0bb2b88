"""Which class of the weights counts as which class of a dataset: by name, never by number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from yolo_ema.errors import ConfigError, did_you_mean

__all__ = ["map_classes"]

_SHOWN = 12


def map_classes(
    weights_names: Mapping[int, str], data_names: Sequence[str], pairs: Sequence[str] = ()
) -> dict[int, int]:
    """Map classes of the weights to classes of the data.

    Names are equal where they differ only in case, spaces, hyphens and underscores. Classes of the
    weights that the data does not have are left out. Several may map to one class of the data.

    Args:
        weights_names: name by class id.
        data_names: the data's names in order of their ids.
        pairs: what the user says on top, ``name in the weights=name in the data``.

    Returns:
        Class id in the data by class id in the weights.

    Raises:
        ConfigError: a pair names an unknown class, or, where no pairs are given, the weights lack a
            class of the data.
    """
    by_name = {_plain(name): class_id for class_id, name in enumerate(data_names)}
    classes = {
        number: by_name[_plain(name)]
        for number, name in weights_names.items()
        if _plain(name) in by_name
    }
    classes |= dict(_pair(pair, weights_names, data_names) for pair in pairs)
    missing = [name for class_id, name in enumerate(data_names) if class_id not in classes.values()]
    if missing and not pairs:
        raise ConfigError(
            f"the weights know {_some(list(weights_names.values()))}, but no class named "
            f"{_some(missing)}; say which count "
            f"as these with --map, as in --map "
            f"{_example(weights_names, data_names, classes, missing)} (a class of the data that "
            "stays without one counts as never found)"
        )
    return classes


def _pair(
    pair: str, weights_names: Mapping[int, str], data_names: Sequence[str]
) -> tuple[int, int]:
    theirs, _, ours = pair.partition("=")
    numbers = [number for number, name in weights_names.items() if _plain(name) == _plain(theirs)]
    class_ids = [
        class_id for class_id, name in enumerate(data_names) if _plain(name) == _plain(ours)
    ]
    if not numbers:
        known = list(weights_names.values())
        raise ConfigError(
            f"--map {pair}: the weights have no class {theirs!r}; they have "
            f"{_some(known)}{did_you_mean(theirs, known)}"
        )
    if not class_ids:
        raise ConfigError(
            f"--map {pair}: the data has no class {ours!r}; it has "
            f"{_some(data_names)}{did_you_mean(ours, data_names)}"
        )
    return numbers[0], class_ids[0]


def _example(
    weights_names: Mapping[int, str],
    data_names: Sequence[str],
    classes: Mapping[int, int],
    missing: Sequence[str],
) -> str:
    """Return a pair that might be meant: an unused class of the weights for a missing one, else one
    that fits already.
    """
    if "person" in weights_names.values() and "pedestrian" in missing:
        return "person=pedestrian"
    unused = [name for number, name in weights_names.items() if number not in classes]
    if unused:
        return f"{unused[0]}={missing[0]}"
    number = next(iter(classes))
    return f"{weights_names[number]}={data_names[classes[number]]}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
