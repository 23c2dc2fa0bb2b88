"""Result files in VisDrone's submission format: one text file per image, with rows of
``left,top,width,height,score,category,-1,-1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yolo_ema.io.atomic_files import write_text

BOX_DECIMALS = 2
SCORE_DECIMALS = 6


def rounded(rows: np.ndarray) -> np.ndarray:
    """Return detections as a submission file holds them: boxes to a hundredth of a pixel, scores to
    six digits.

    Args:
        rows: (M, 6) left, top, width, height in pixels, score, category.
    """
    rows = np.array(rows, dtype=np.float64).reshape(-1, 6)
    rows[:, :4] = rows[:, :4].round(BOX_DECIMALS)
    rows[:, 4] = rows[:, 4].round(SCORE_DECIMALS)
    return rows


def write_submission(folder: Path, detections: Mapping[str, np.ndarray]) -> None:
    """Write ``folder/<image>.txt`` for each image, rows by falling score; an image without
    detections gets an empty file.

    Args:
        folder: created if missing; files of the same names are replaced.
        detections: for each image (M, 6) left, top, width, height in pixels, score, category.
    """
    for name, rows in detections.items():
        ordered = rows[np.argsort(-rows[:, 4], kind="stable")] if len(rows) else rows
        write_text(folder / f"{name}.txt", "".join(map(_line, ordered.tolist())))


def _line(row: list[float]) -> str:
    left, top, width, height, score, category = row
    return f"{left:.2f},{top:.2f},{width:.2f},{height:.2f},{score:.6f},{int(category)},-1,-1\n"
