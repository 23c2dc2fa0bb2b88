"""The merge of tiles' boxes, box by box, as its rules say it."""

from __future__ import annotations

import numpy as np

from yolo_ema.tiling.merge import COVERED_SHARE, JOINED_IOU


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def shared(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def iou(one, other):
    whole = area(one) + area(other) - shared(one, other)
    return shared(one, other) / whole if whole > 0 else 0.0


def clip(box, window):
    return (
        max(box[0], window[0]),
        max(box[1], window[1]),
        min(box[2], window[2]),
        min(box[3], window[3]),
    )


class Found:
    def __init__(self, row, number, view, image_wh, margin):
        self.box, self.score, self.cls = tuple(map(float, row[:4])), float(row[4]), float(row[5])
        self.number, self.view = number, view
        ends = (0, 0, *image_wh)
        self.cut = any(
            abs(side - border) <= margin and border != end
            for side, border, end in zip(self.box, view, ends, strict=True)
        )

    def key(self):
        return (-self.score, self.cls, *self.box, self.number)


def slow_merge(found, views, image_wh, *, method="nms", threshold=0.5, margin_px=2.0, max_det=None):
    """Return (M, 6) as `merge_views` does."""
    places = sorted(range(len(views)), key=lambda place: tuple(views[place]))
    boxes = [
        Found(row, n, tuple(map(float, views[p])), image_wh, margin_px)
        for n, p in enumerate(places)
        for row in found[p]
    ]
    boxes.sort(key=Found.key)

    def strangers(a, b):
        return (
            a.number != b.number
            and (method == "agnostic-nms" or a.cls == b.cls)
            and shared(a.box, b.box) > 0
        )

    def covers(cover, part):
        return strangers(cover, part) and shared(cover.box, part.box) >= COVERED_SHARE * area(
            part.box
        )

    # 1. cut boxes that a whole one covers go
    boxes = [b for b in boxes if not (b.cut and any(not k.cut and covers(k, b) for k in boxes))]
    # 2. cut boxes that agree in what both views show are one object
    joined, seen = [], set()
    for start in boxes:
        if id(start) in seen:
            continue
        group, waiting = [], [start]
        seen.add(id(start))
        while waiting:
            one = waiting.pop()
            group.append(one)
            for other in boxes:
                if id(other) in seen or not (one.cut and other.cut and strangers(one, other)):
                    continue
                window = clip(one.view, other.view)
                if iou(clip(one.box, window), clip(other.box, window)) >= JOINED_IOU:
                    seen.add(id(other))
                    waiting.append(other)
        if len(group) > 1:
            corners = list(zip(*(one.box for one in group), strict=True))
            start.box = (min(corners[0]), min(corners[1]), max(corners[2]), max(corners[3]))
            start.number = 10_000_000 + boxes.index(start)
        joined.append(start)
    boxes = sorted(joined, key=Found.key)
    # 3. cut boxes that a whole one, or a larger cut one that stays, covers go
    ranked = sorted(boxes, key=lambda b: (b.cut, -area(b.box), boxes.index(b)))
    stay = []
    for one in ranked:
        if not (one.cut and any(covers(k, one) for k in stay)):
            stay.append(one)
    boxes = [b for b in boxes if b in stay]
    # 4. NMS between views
    kept, dropped = [], {}
    for one in boxes:
        for k in kept:
            whole = area(k.box) + area(one.box) - shared(k.box, one.box)
            if method == "ios-nms":
                whole = min(area(k.box), area(one.box))
            if strangers(k, one) and shared(k.box, one.box) > threshold * whole:
                dropped.setdefault(id(k), []).append(one)
                break
        else:
            kept.append(one)
    if method == "weighted-nms":
        means = []
        for k in kept:
            group = [k, *dropped.get(id(k), [])]
            weights = np.maximum([b.score for b in group], np.finfo(np.float32).tiny)
            means.append(tuple(np.average([b.box for b in group], axis=0, weights=weights)))
        for k, mean in zip(kept, means, strict=True):
            k.box = mean
        kept.sort(key=Found.key)
    rows = [[*b.box, b.score, b.cls] for b in kept[:max_det]]
    return np.array(rows, np.float32).reshape(-1, 6)
