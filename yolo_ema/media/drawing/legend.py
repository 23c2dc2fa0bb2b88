"""The legend: how many objects of each class are in the image, in the colours of their boxes."""

from __future__ import annotations

import numpy as np

from yolo_ema.media.drawing.style import class_colour_bgr, text_mask
from yolo_ema.media.frames import FrameDetections

_SIZE_PX = 14
_MOST_ROWS = 12
_GROUND = np.array((24, 20, 18), np.float32)
_COVER = 0.78
"""How much of the image the panel covers, as a share."""
_INK = np.array((245, 245, 245), np.float32)


def draw_legend(
    canvas: np.ndarray, found: FrameDetections, scale: float
) -> tuple[int, int, int, int] | None:
    """Draw the legend into the top left corner, unless it would cover too much of a small image.

    Classes keep the order of their ids, so that rows do not move from frame to frame; if there are
    more than a dozen, the most frequent are shown.

    Returns:
        The legend's place, xyxy in pixels; None if there is none.
    """
    size_px = round(_SIZE_PX * scale)
    rows = _rows(found)
    words = [(text_mask(str(count), size_px), text_mask(name, size_px)) for _, count, name in rows]
    line_px, pad = words[0][0].shape[0] + round(3 * scale), round(8 * scale)
    number_px = max(number.shape[1] for number, _ in words)
    swatch_px = round(12 * scale)
    width = 4 * pad // 2 + swatch_px + pad + number_px + max(name.shape[1] for _, name in words)
    height = 2 * pad + line_px * len(rows) - round(3 * scale)
    if width > canvas.shape[1] * 0.4 or height > canvas.shape[0] * 0.6:
        return None
    panel = canvas[pad : pad + height, pad : pad + width]
    panel[:] = panel * (1 - _COVER) + _GROUND * _COVER
    for index, ((class_id, _, _), (number, name)) in enumerate(zip(rows, words, strict=True)):
        top = pad + index * line_px
        if class_id is not None:
            middle = top + number.shape[0] // 2
            panel[
                middle - swatch_px // 2 : middle + (swatch_px + 1) // 2, pad : pad + swatch_px
            ] = class_colour_bgr(class_id)
        number_x = pad + swatch_px + pad // 2
        _blend(panel, number, number_x + number_px - number.shape[1], top)
        _blend(panel, name, number_x + number_px + pad // 2, top)
    return (pad, pad, pad + width, pad + height)


def _rows(dets: FrameDetections) -> list[tuple[int | None, int, str]]:
    """Return class (None for totals), count and text of each row."""
    class_ids, counts = np.unique(dets.class_ids, return_counts=True)
    shown = np.sort(np.argsort(-counts, kind="stable")[:_MOST_ROWS])
    rows: list[tuple[int | None, int, str]] = [
        (None, len(dets), "object" if len(dets) == 1 else "objects")
    ]
    rows += [
        (int(class_ids[row]), int(counts[row]), dets.names[int(class_ids[row])]) for row in shown
    ]
    if rest := len(class_ids) - len(shown):
        rows.append((None, len(dets) - int(counts[shown].sum()), f"of {rest} more classes"))
    return rows


def _blend(panel: np.ndarray, mask: np.ndarray, x: int, y: int) -> None:
    part = panel[y : y + mask.shape[0], x : x + mask.shape[1]]
    part[:] = part + mask[..., None] * (_INK - part)
