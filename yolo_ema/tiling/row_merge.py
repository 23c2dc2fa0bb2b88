"""`merge_views`, for images of any size: row of tiles by row, in the memory of a few rows.

What overlaps nothing that is still to come cannot be changed by it. So boxes are merged as soon as
the next row of tiles begins below everything that they hang together with; the others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from yolo_ema.tiling.merge import clusters

Found = Sequence[tuple[Sequence[float], np.ndarray]]
"""Of each view of a row: its x1, y1, x2, y2 in pixels, and its boxes (N, 6)."""


def merge_by_rows(
    rows: Iterable[tuple[float, Found]],
    merge: Callable[[list[np.ndarray], np.ndarray], np.ndarray],
    *,
    margin_px: float = 2.0,
) -> Iterator[np.ndarray]:
    """Yield the boxes that ``merge`` gives for all views together, a part at a time.

    Args:
        rows: from the top down, the views of each row of tiles with their boxes x1, y1, x2, y2 in
            pixels of the image, score, class id; and the first pixel row of all views to come.
        merge: from the boxes of views and the views (V, 4) to boxes (M, 6); it holds only boxes
            against each other that overlap.
        margin_px: as of `merge_views`.

    Yields:
        (M, 6) with M above 0: in any one array by falling score.
    """
    boxes, views = np.empty((0, 6), np.float32), np.empty((0, 4))
    for next_y1, view_rows in rows:
        sizes = [len(rows_of_view) for _, rows_of_view in view_rows]
        boxes = np.concatenate([boxes, *(rows_of_view for _, rows_of_view in view_rows)])
        new = np.array([view for view, _ in view_rows], float).reshape(-1, 4)
        views = np.concatenate([views, np.repeat(new, sizes, axis=0)])
        done = _settled(boxes[:, :4].astype(float), views, next_y1, margin_px)
        if done.any():
            yield _merged(boxes[done], views[done], merge)
        boxes, views = boxes[~done], views[~done]


def _settled(xyxy: np.ndarray, views: np.ndarray, next_y1: float, margin_px: float) -> np.ndarray:
    """Return (N,) which boxes hang together with none that reaches below ``next_y1``, and with none
    that may grow around a part to come.
    """
    cut = (np.abs(xyxy - views) <= margin_px).any(axis=1)
    labels = clusters(xyxy)
    while True:
        # Joined parts of an object become one box around all of them, which may meet others.
        hulls = _hulls(xyxy, labels, cut)
        wider = clusters(hulls)
        if np.array_equal(labels, wider):
            break
        labels = wider
    bottoms = np.full(len(xyxy), -np.inf)
    np.maximum.at(bottoms, labels, hulls[:, 3])
    bottom = bottoms[labels]
    growing = cut & (bottom > next_y1)  # to any width, but not upwards
    return bottom <= hulls[growing, 1].min(initial=next_y1)


def _hulls(xyxy: np.ndarray, labels: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Return the boxes, those that are cut grown around all cut ones of their cluster."""
    hulls = xyxy.copy()
    for side, outermost, start in (
        (0, np.minimum, np.inf),
        (1, np.minimum, np.inf),
        (2, np.maximum, -np.inf),
        (3, np.maximum, -np.inf),
    ):
        ends = np.full(len(xyxy), start)
        outermost.at(ends, labels[cut], xyxy[cut, side])
        hulls[cut, side] = ends[labels[cut]]
    return hulls


def _merged(
    boxes: np.ndarray,
    views: np.ndarray,
    merge: Callable[[list[np.ndarray], np.ndarray], np.ndarray],
) -> np.ndarray:
    different, view = np.unique(views, axis=0, return_inverse=True)
    view = view.reshape(-1)
    return merge([boxes[view == number] for number in range(len(different))], different)
