"""From the boxes of overlapping views of one image, tiles and the whole frame, to one set of boxes.

A view's own boxes have been through NMS, so only boxes of different views are held against each
other. First come the boxes that a tile's border cuts: one is dropped where a box of another view
covers it; of the others, those that are parts of one object are joined. Then NMS between views. All
of it follows total orders, by score and by coordinates, so that neither the order of the views nor
that of their boxes changes anything in what comes out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from yolo_ema.boxes import box_areas, box_iou
from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.options.tiles import MERGES

COVERED_SHARE = 0.7
"""Share of a cut box's area that must lie inside another view's box for that one to cover it."""

JOINED_IOU = 0.5
"""IoU from which two cut boxes, each clipped to what both views show, are parts of one object."""

_PAIRS_A_BLOCK = 1_000_000  # bounds the memory
_BAND_OF_HEIGHTS = 2  # a band is that many times as high as the median box,
_MOST_BANDS = 256  # and no lower than this part of the image


@dataclasses.dataclass(frozen=True)
class _Boxes:
    """Boxes of one image in total order.

    Attributes:
        xyxy: (N, 4) float64, pixels.
        scores: (N,), falling.
        classes: (N,) class ids.
        groups: (N,) only boxes of one group are held against each other.
        views: (N,) which view each was found in.
        cut: (N,) whether a border of its view cuts it.
    """

    xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    groups: np.ndarray
    views: np.ndarray
    cut: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: np.ndarray | slice) -> _Boxes:
        """Return the chosen boxes: a mask, indices or a slice."""
        return _Boxes(
            *(
                getattr(self, name)[chosen]
                for name in ("xyxy", "scores", "classes", "groups", "views", "cut")
            )
        )

    def ordered(self) -> _Boxes:
        """Return them by falling score, ties by class, coordinates and view."""
        order = np.argsort(-self.scores, kind="stable")
        if (np.diff(self.scores[order]) == 0).any():
            order = np.lexsort((self.views, *self.xyxy.T[::-1], self.classes, -self.scores))
        return self.take(order)


def merge_views(
    found: Sequence[np.ndarray],
    views_xyxy: np.ndarray,
    image_wh: tuple[int, int],
    *,
    method: str = "nms",
    threshold: float = 0.5,
    margin_px: float = 2.0,
    max_det: int | None = None,
) -> np.ndarray:
    """Merge the boxes that were found in several views of one image.

    Args:
        found: for each view (N, 6) x1, y1, x2, y2 in pixels of the image, score, class id; any
            order.
        views_xyxy: (V, 4) which part of the image each view shows, pixels.
        image_wh: the image's width and height in pixels; its own border cuts nothing.
        method: ``nms``: of two boxes of one class that overlap, the one of higher score stays.
            ``agnostic-nms``: of any class. ``ios-nms``: overlap is the intersection's share of the
                smaller box, in place of IoU. ``weighted-nms``: a box that
            stays becomes the mean, weighted by score, of itself and those that it drops.
        threshold: overlap above which the weaker of two boxes of different views is dropped, 0…1.
        margin_px: how close to a tile's border a box is cut by it, pixels.
        max_det: the most boxes, those of the highest scores; None for all.

    Returns:
        (M, 6) float32, sorted by falling score, ties by class and coordinates.

    Raises:
        ConfigError: an unknown method.
    """
    if method not in MERGES:
        raise ConfigError(
            f"merge is {method!r}; expected one of {', '.join(MERGES)}"
            f"{did_you_mean(method, MERGES)}"
        )
    views = np.asarray(views_xyxy, dtype=np.float64).reshape(-1, 4)
    places = np.lexsort(views.T[::-1])  # views are numbered by where they lie, not by their order
    views = views[places]
    boxes = _gathered([found[index] for index in places], views, image_wh, margin_px)
    if method == "agnostic-nms":
        boxes = dataclasses.replace(boxes, groups=np.zeros(len(boxes)))
    merged = _merged(_parts_joined(boxes, views), threshold, method).take(slice(max_det))
    return np.column_stack((merged.xyxy, merged.scores, merged.classes)).astype(np.float32)


def clusters(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Return (N,) for each box (N, 4) the number of the first box that it is connected to through
    boxes that overlap.
    """
    count = len(boxes_xyxy)
    alike, apart = np.zeros(count), np.arange(count)
    boxes = _Boxes(boxes_xyxy.astype(np.float64), alike, alike, alike, apart, alike > 0)
    first, second, _ = _overlaps(boxes)
    return _leaders(count, first, second)


def _gathered(
    view_rows: Sequence[np.ndarray], views: np.ndarray, image_wh: tuple[int, int], margin_px: float
) -> _Boxes:
    """Return the boxes of all views in total order; cut is what lies on a border of its view that
    is not the image's.
    """
    rows = np.concatenate([np.empty((0, 6)), *view_rows]).astype(np.float64)
    view = np.repeat(np.arange(len(view_rows)), [len(rows_of_view) for rows_of_view in view_rows])
    borders = np.column_stack((views[:, :2] > 0, views[:, 2:] < np.asarray(image_wh)))
    near = np.abs(rows[:, :4] - views[view]) <= margin_px
    return _Boxes(
        rows[:, :4], rows[:, 4], rows[:, 5], rows[:, 5], view, (near & borders[view]).any(axis=1)
    ).ordered()


def _parts_joined(boxes: _Boxes, views: np.ndarray) -> _Boxes:
    """Drop the cut boxes that a whole one covers; of the others, join those that agree in what both
    views show.
    """
    if not boxes.cut.any():
        return boxes
    first, second, shared = _overlaps(boxes)
    areas, cut = box_areas(boxes.xyxy), boxes.cut
    kept = np.ones(len(boxes), dtype=bool)
    for part, cover in ((first, second), (second, first)):
        kept[part[cut[part] & ~cut[cover] & (shared >= COVERED_SHARE * areas[part])]] = False
    parts = kept[first] & kept[second] & cut[first] & cut[second]
    first, second = first[parts], second[parts]
    view, other = views[boxes.views[first]], views[boxes.views[second]]
    window = np.column_stack(
        (np.maximum(view[:, :2], other[:, :2]), np.minimum(view[:, 2:], other[:, 2:]))
    )
    agree = (
        box_iou(_clipped(boxes.xyxy[first], window), _clipped(boxes.xyxy[second], window))
        >= JOINED_IOU
    )
    return _joined(boxes, kept, first[agree], second[agree])


def _joined(boxes: _Boxes, kept: np.ndarray, first: np.ndarray, second: np.ndarray) -> _Boxes:
    """Return the kept boxes; of those that hang together by pairs, the one of the highest score,
    grown around all of them.
    """
    if not len(first):
        return boxes.take(kept)
    leaders = _leaders(len(boxes), first, second)
    xyxy, views = boxes.xyxy.copy(), boxes.views.copy()
    for side, outermost in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        outermost.at(xyxy[:, side], leaders, boxes.xyxy[:, side])
    # What is joined belongs to no single view.
    views[leaders[first]] = boxes.views.max(initial=0) + 1 + leaders[first]
    kept = kept & (leaders == np.arange(len(boxes)))
    return dataclasses.replace(boxes, xyxy=xyxy, views=views).take(kept).ordered()


def _merged(boxes: _Boxes, threshold: float, method: str) -> _Boxes:
    """Drop the cut boxes that another covers, then apply NMS between views."""
    first, second, shared = _overlaps(boxes)
    areas = box_areas(boxes.xyxy)
    kept = _uncovered(boxes, areas, first, second, shared)
    left = kept[first] & kept[second]
    first, second, shared = first[left], second[left], shared[left]
    whole = (
        np.minimum(areas[first], areas[second])
        if method == "ios-nms"
        else areas[first] + areas[second] - shared
    )
    joined = shared > threshold * whole
    first, second = first[joined], second[joined]
    kept &= _first_come(len(boxes), first, second)
    if method != "weighted-nms":
        return boxes.take(kept)
    return dataclasses.replace(boxes, xyxy=_means(boxes, kept, first, second)).take(kept).ordered()


def _uncovered(
    boxes: _Boxes, areas: np.ndarray, first: np.ndarray, second: np.ndarray, shared: np.ndarray
) -> np.ndarray:
    """Return which boxes stay when cut ones go that a whole one, or a larger cut one that stays,
    covers.
    """
    rank = np.empty(len(boxes), dtype=np.int64)  # no two boxes share one
    rank[np.lexsort((np.arange(len(boxes)), -areas, boxes.cut))] = np.arange(len(boxes))
    swap = rank[first] > rank[second]
    cover, part = np.where(swap, second, first), np.where(swap, first, second)
    covered = boxes.cut[part] & (shared >= COVERED_SHARE * areas[part])
    return _first_come(len(boxes), cover[covered], part[covered])


def _means(boxes: _Boxes, kept: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (N, 4): for each box that stays the mean, weighted by score, of itself and those that
    it drops; a dropped box counts for the strongest one that drops it.
    """
    owners = np.arange(len(boxes))
    drops = kept[first]  # nobody who stays is second to one who does
    np.minimum.at(owners, second[drops], first[drops])
    weights = np.maximum(boxes.scores, np.finfo(np.float32).tiny)
    sums = np.column_stack(
        [np.bincount(owners, weights * column, minlength=len(boxes)) for column in boxes.xyxy.T]
    )
    total = np.bincount(owners, weights, minlength=len(boxes))
    return sums / np.where(kept, total, 1)[:, None]


def _overlaps(boxes: _Boxes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of boxes of one group and different views that overlap, and the areas that
    they share.

    The image is laid out in bands, one beside the other, group by group. Sorted from left to right
    there, a box can only overlap those that begin before it ends. A pair that shares several bands
    counts in the first of them.
    """
    if len(boxes) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    x1, y1, x2, y2 = boxes.xyxy.T
    top = y1.min()
    height = max(
        _BAND_OF_HEIGHTS * float(np.median(y2 - y1)), float(y2.max() - top) / _MOST_BANDS, 1.0
    )
    low, high = ((y - top) // height for y in (y1, y2))
    spans = np.maximum(high - low, 0).astype(np.int64) + 1
    box = np.repeat(np.arange(len(boxes)), spans)
    band = low[box] + _counted(spans)
    lane = np.unique(boxes.groups, return_inverse=True)[1][box] * (_MOST_BANDS + 2) + band
    begin = lane * (x2.max() - x1.min() + 1) + x1[box]
    order = np.argsort(begin, kind="stable")
    box, band, begin = box[order], band[order], begin[order]
    counts = np.searchsorted(begin, begin + (x2 - x1)[box], side="left") - np.arange(len(box)) - 1
    counts = np.maximum(counts, 0)
    columns = [np.ascontiguousarray(column[box]) for column in (*boxes.xyxy.T, boxes.views, low)]
    pairs = [_pairs_of(columns, band, counts, start, stop) for start, stop in _blocks(counts)]
    first, second, shared = (np.concatenate(column) for column in zip(*pairs, strict=True))
    first, second = box[first], box[second]
    return np.minimum(first, second), np.maximum(first, second), shared


def _counted(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, … for each count, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _blocks(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield ranges of boxes with about as many pairs each."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _PAIRS_A_BLOCK, side="right")))
        yield start, stop
        start = stop


def _pairs_of(
    columns: Sequence[np.ndarray], band: np.ndarray, counts: np.ndarray, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the overlapping pairs of entries ``start`` to ``stop`` with those that follow them,
    and the areas they share.
    """
    x1, y1, x2, y2, views, low = columns
    first = np.repeat(np.arange(start, stop), counts[start:stop])
    second = first + 1 + _counted(counts[start:stop])
    # The test that most pairs fail comes first.
    meet = np.minimum(y2[first], y2[second]) > np.maximum(y1[first], y1[second])
    first, second = first[meet], second[meet]
    meet = (views[first] != views[second]) & (np.maximum(low[first], low[second]) == band[first])
    first, second = first[meet], second[meet]
    width = np.minimum(x2[first], x2[second]) - np.maximum(x1[first], x1[second])
    height = np.minimum(y2[first], y2[second]) - np.maximum(y1[first], y1[second])
    meet = width > 0  # a box without width begins and ends at once
    return first[meet], second[meet], (width * height)[meet]


def _first_come(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return which boxes stay when each, in order, is dropped where one that stays is paired with
    it as ``first``.

    The same as going through the boxes one by one, but in rounds: whoever nobody undecided stands
    before stays, and drops those that it stands before. ``first`` stands before ``second`` in some
    total order.
    """
    kept, decided = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    while len(first):
        waits = np.zeros(count, dtype=bool)
        waits[second] = True
        stays = ~waits[first]
        kept[second[stays]] = False
        decided[first[stays]] = decided[second[stays]] = True
        open_pairs = ~(decided[first] | decided[second])
        first, second = first[open_pairs], second[open_pairs]
    return kept


def _leaders(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return for each box the first one, by number, of those that hang together with it by
    pairs.
    """
    leaders = np.arange(count)
    while True:
        least = np.minimum(leaders[first], leaders[second])
        before = leaders.copy()
        np.minimum.at(leaders, first, least)
        np.minimum.at(leaders, second, least)
        if np.array_equal(before, leaders):
            return leaders


def _clipped(xyxy: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.column_stack(
        (np.maximum(xyxy[:, :2], window[:, :2]), np.minimum(xyxy[:, 2:], window[:, 2:]))
    )
