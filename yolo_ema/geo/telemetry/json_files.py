"""JSON with telemetry, and numbers that are numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from yolo_ema.errors import TelemetryError
from yolo_ema.io.text_files import decode_text


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        TelemetryError: it is not JSON.
    """
    try:
        return json.loads(decode_text(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise TelemetryError(f"it is not JSON: {error}") from error


def finite(value: Any, what: str) -> float:
    """Return a number that a file must have there.

    Raises:
        TelemetryError: it is none, or not finite.
    """
    try:
        plain = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        plain = math.nan
    if not math.isfinite(plain):
        raise TelemetryError(f"{what} is {value!r}; expected a number")
    return plain
