"""Which class of the weights counts as which class of a dataset: by name, never by number."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from yolo_ema.errors import ConfigError, did_you_mean

_SHOWN = 12


def map_classes(
    weights_names: Mapping[int, str], data_names: Sequence[str], pairs: Sequence[str] = ()
) -> dict[int, int]:
    """Map classes of the weights to classes of the data.

    Names are equal where they differ only in case, spaces, hyphens and underscores. Classes of the
    weights that the data does not have are left out. Several may map to one class of the data.
    Where several classes of both share a name, the first counts as the first, and so on.

    Args:
        weights_names: name by class id.
        data_names: the data's names in order of their ids.
        pairs: what the user says on top, ``name in the weights=name in the data``.

    Returns:
        Class id in the data by class id in the weights.

    Raises:
        ConfigError: a pair names an unknown class, several classes of the data share a name and the
            weights have another number of them, or, where no pairs are given, the weights lack a
            class of the data.
    """
    of_weights, of_data = _by_name(weights_names), _by_name(dict(enumerate(data_names)))
    classes: dict[int, int] = {}
    for name, numbers in of_weights.items():
        class_ids = of_data.get(name, [])
        if len(class_ids) == 1:
            classes |= dict.fromkeys(numbers, class_ids[0])
        elif len(class_ids) == len(numbers):
            classes |= dict(zip(numbers, class_ids, strict=True))
        elif class_ids:
            raise ConfigError(
                f"{len(class_ids)} classes of the data are named {data_names[class_ids[0]]!r}, and "
                f"{len(numbers)} of the weights: which is which is unclear; give each class of "
                f"the data a name of its own"
            )
    classes |= dict(_pair(pair, weights_names, data_names) for pair in pairs)
    missing = [name for class_id, name in enumerate(data_names) if class_id not in classes.values()]
    if missing and not pairs:
        raise ConfigError(
            f"the weights know {_some(list(weights_names.values()))}, but no class named "
            f"{_some(missing)}; say which count as these with --map, as in --map "
            f"{_example(weights_names, data_names, classes, missing)} (a class of the data that "
            f"stays without one counts as never found)"
        )
    return classes


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return class names that tell the classes apart: one that several share gets its number."""
    counts = Counter(names)
    return tuple(
        name if counts[name] == 1 else f"{name} (class {number})"
        for number, name in enumerate(names)
    )


def _by_name(names: Mapping[int, str]) -> dict[str, list[int]]:
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, name in names.items():
        by_name[_plain(name)].append(number)
    return by_name


def _pair(
    pair: str, weights_names: Mapping[int, str], data_names: Sequence[str]
) -> tuple[int, int]:
    source, _, target = pair.partition("=")
    numbers = [number for number, name in weights_names.items() if _plain(name) == _plain(source)]
    class_ids = [
        class_id for class_id, name in enumerate(data_names) if _plain(name) == _plain(target)
    ]
    if not numbers:
        known = list(weights_names.values())
        raise ConfigError(
            f"--map {pair}: the weights have no class {source!r}; they have "
            f"{_some(known)}{did_you_mean(source, known)}"
        )
    if not class_ids:
        raise ConfigError(
            f"--map {pair}: the data has no class {target!r}; it has "
            f"{_some(data_names)}{did_you_mean(target, data_names)}"
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
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
