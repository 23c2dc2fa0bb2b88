"""The weights that Ultralytics publishes, and which of them a model starts from."""

from __future__ import annotations

import re
from pathlib import Path

from ultralytics.utils import checks, downloads

from yolo_ema.engine.models.definition import find_definition

# The families that the shipped models build on; the other assets are of other kinds or under other
# licences.
_FAMILY = re.compile(r"yolo(v5|v8|11|26)[nslmx]\d?(u|-\w[\w-]*)?\.pt")
_MODEL = re.compile(r"(yolo(?:v5|v8|11|26)[nslmx])(?:-.*)?")


def published_weights() -> tuple[str, ...]:
    """Return the names of the weights that Ultralytics publishes for the families that the shipped
    models build on.
    """
    return tuple(sorted(name for name in downloads.GITHUB_ASSETS_NAMES if _FAMILY.fullmatch(name)))


def published_name(name: str) -> str:
    """Return the name that weights are published under: YOLOv5's carry a u (``yolov5su.pt``)."""
    return checks.check_yolov5u_filename(name, verbose=False)


def default_pretrained(model: str | Path) -> str | None:
    """Return the published weights that a model starts from: ``yolo11s.pt`` for ``yolo11s-ema``,
    ``yolov5su.pt`` for YOLOv5.

    The result is a name for `resolve_pretrained`; None where the model's name tells of no such
    family.

    Raises:
        ModelError: no such model.
    """
    named = _MODEL.fullmatch(find_definition(model).stem)
    name = published_name(f"{named[1]}.pt") if named else ""
    return name if name in published_weights() else None
