"""A font for Ultralytics' plots, so that it doesn't download Arial: matplotlib's own DejaVu Sans
under the names it looks for.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from ultralytics.utils import USER_CONFIG_DIR

from yolo_ema.io.atomic_files import write_bytes


def place_fonts() -> None:
    """Put the font into Ultralytics' settings folder where it is missing there."""
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        target = Path(USER_CONFIG_DIR) / name
        if not target.exists():
            write_bytes(target, font.read_bytes())
