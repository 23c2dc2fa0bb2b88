"""Classes by the names that the weights give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.options.fields import option
from yolo_ema.options.shared import MODEL


def nms_groups_option() -> Any:
    """Return ``--nms-groups``."""
    return option(
        (),
        repeated=True,
        metavar="CLASS,CLASS,…",
        help="of two boxes whose classes are in this list and that overlap by more than "
        "--group-iou only the one with the higher score stays, as in car,van,truck,bus; may be "
        "repeated",
        group=MODEL,
    )


def group_iou_option() -> Any:
    """Return ``--group-iou``."""
    return option(
        0.8, help="the overlap (IoU) for --nms-groups, 0 to 1", at_least=0, at_most=1, group=MODEL
    )


def group_problems(groups: Sequence[str]) -> list[str]:
    """Say which of ``--nms-groups`` is not a list of two classes or more."""
    return [
        f"--nms-groups is {group!r}; expected two classes or more, as in car,van"
        for group in groups
        if len([name for name in group.split(",") if name.strip()]) < 2
    ]


def nms_groups(groups: Sequence[str], names: Mapping[int, str]) -> tuple[tuple[int, ...], ...]:
    """Return the class ids of each of ``--nms-groups``.

    Raises:
        ConfigError: the weights do not know a class.
    """
    return tuple(
        tuple(ids_named([name.strip() for name in group.split(",") if name.strip()], names))
        for group in groups
    )


def ids_named(wanted: Sequence[str], names: Mapping[int, str]) -> list[int]:
    """Return the ids of every class that has one of the names.

    Args:
        wanted: the names.
        names: the classes that the weights know, by id; several may have one name.

    Raises:
        ConfigError: the weights do not know a class.
    """
    ids: dict[str, list[int]] = {}
    for class_id, name in names.items():
        ids.setdefault(name, []).append(class_id)
    unknown = [f"{name!r}{did_you_mean(name, ids)}" for name in wanted if name not in ids]
    if unknown:
        raise ConfigError(
            f"the weights know no class {', '.join(unknown)}; they know {', '.join(names.values())}"
        )
    return [class_id for name in dict.fromkeys(wanted) for class_id in ids[name]]
