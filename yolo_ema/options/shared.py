"""Options that several verbs have, stated once: the same words, ranges and defaults everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolo_ema.options.fields import option

MODEL = "model"
"""Heading of what concerns the network and its thresholds."""

MOST_SEED = 2**32 - 2**16
"""The largest seed of a training: numpy's end at 2³² - 1, and Ultralytics adds the number of the
process, of which there may be many.
"""


def imgsz_option(
    group: str | None = MODEL, *, more: str = "", default: str = "the weights' own"
) -> Any:
    """Return ``--imgsz``: one number or height,width; empty for ``default``."""
    text = f"input size in pixels, one number or height,width{more}; default: {default}"
    return option((), help=text, image_size=True, group=group)


def conf_option(default: float | None = 0.25, group: str | None = MODEL, *, more: str = "") -> Any:
    """Return ``--conf``."""
    text = f"lowest score to keep, 0 to 1{more}"
    return option(default, help=text, at_least=0, at_most=1, group=group)


def iou_option(group: str | None = MODEL, *, default: float | None = 0.7, more: str = "") -> Any:
    """Return ``--iou``."""
    text = f"NMS drops the weaker of two boxes of a class above this overlap (IoU), 0 to 1{more}"
    return option(default, help=text, at_least=0, at_most=1, group=group)


def max_det_option(default: int = 1000, group: str | None = MODEL, *, help: str) -> Any:  # noqa: A002
    """Return ``--max-det``."""
    return option(default, help=help, at_least=1, group=group)


def device_option(
    default: str = "auto",
    group: str | None = None,
    *,
    help: str = "auto, cpu, mps, cuda, or a GPU number",  # noqa: A002
) -> Any:
    """Return ``--device``."""
    return option(default, help=help, group=group, joined_by=",")


def max_pixels_option(group: str | None = None) -> Any:
    """Return ``--max-pixels``."""
    text = "refuse images with more pixels before decoding them"
    return option(350_000_000, help=text, at_least=1, group=group)


def folder_name_problems(name: str | None) -> Iterator[str]:
    """Yield that ``--name``, a run's folder, is not the name of one folder."""
    if name is not None and (not name.strip() or Path(name).name != name):
        yield (
            f"--name is {name!r}; expected the name of one folder; the folder that it is created "
            f"in goes into --project"
        )


def trust_option(help: str, group: str | None = None) -> Any:  # noqa: A002
    """Return ``--trust``."""
    return option(False, help=f"{help}; only for files you made yourself", group=group)
