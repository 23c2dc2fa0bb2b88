"""The share of a box that ignored regions cover, counted in pixels as VisDrone's official toolkit
counts them.

The toolkit paints the regions into a mask of the whole image and sums it with an integral image.
The painted area is a union of rectangles, so the few strips between the regions' edges give the
same whole number without touching two million pixels.
"""

from __future__ import annotations

import numpy as np


def ignored_share(
    boxes_ltwh: np.ndarray, regions_ltwh: np.ndarray, image_wh: tuple[int, int]
) -> np.ndarray:
    """Return the share of each box that ignored regions cover, by the toolkit's pixel rules.

    Regions are raised to at least 1 in each of the four numbers and cover, with 1-based pixels,
    columns left…left+width and rows top…top+height, both ends included, inside the image. Boxes are
    rounded half away from zero, raised to at least 1, and counted without their first row and
    column; their area is not clipped to the image.

    Args:
        boxes_ltwh: (N, 4) left, top, width, height in pixels.
        regions_ltwh: (R, 4) in the same form; fractions are rounded.
        image_wh: the image's width and height in pixels.

    Returns:
        (N,) float64; all zeros without regions.
    """
    if len(regions_ltwh) == 0 or len(boxes_ltwh) == 0:
        return np.zeros(len(boxes_ltwh))
    image_width, image_height = image_wh
    regions, boxes = _whole_pixels(regions_ltwh), _whole_pixels(boxes_ltwh)
    width, height = boxes[:, 2], boxes[:, 3]
    # Half-open intervals: the 1-based pixels a…b are (a-1, b].
    from_x, from_y = np.minimum(boxes[:, 0], image_width), np.minimum(boxes[:, 1], image_height)
    to_x, to_y = np.minimum(from_x + width, image_width), np.minimum(from_y + height, image_height)
    left, top = regions[:, 0] - 1, regions[:, 1] - 1
    right = np.minimum(regions[:, 0] + regions[:, 2], image_width)
    bottom = np.minimum(regions[:, 1] + regions[:, 3], image_height)

    edges_x, edges_y = np.unique(np.r_[left, right]), np.unique(np.r_[top, bottom])
    in_columns = (left[:, None] <= edges_x[:-1]) & (
        edges_x[1:] <= right[:, None]
    )  # (R, columns of cells)
    in_rows = (top[:, None] <= edges_y[:-1]) & (
        edges_y[1:] <= bottom[:, None]
    )  # (R, rows of cells)
    painted = (in_rows.astype(np.float64).T @ in_columns) > 0  # (rows, columns)
    covered_x = np.clip(
        np.minimum(to_x[:, None], edges_x[1:]) - np.maximum(from_x[:, None], edges_x[:-1]), 0, None
    )  # (N, columns)
    covered_y = np.clip(
        np.minimum(to_y[:, None], edges_y[1:]) - np.maximum(from_y[:, None], edges_y[:-1]), 0, None
    )  # (N, rows)
    return ((covered_y @ painted) * covered_x).sum(axis=1) / (width * height)


def _whole_pixels(ltwh: np.ndarray) -> np.ndarray:
    # Half away from zero and half up differ for negative numbers only, and those become 1.
    return np.maximum(np.floor(np.asarray(ltwh, dtype=np.float64) + 0.5), 1.0)
