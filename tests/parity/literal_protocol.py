"""VisDrone's official protocol sentence by sentence, in loops and with a painted mask: slow,
obvious, sharing no code with ours.
"""

from __future__ import annotations

import math

import numpy as np

LIMITS = (1, 10, 100, 500)


def round_half_away(value: float) -> int:
    return (
        int(math.copysign(math.floor(abs(value) + 0.5), value))
        if abs(value) != 0.49999999999999994
        else 0
    )


def drop_ignored(rows, regions, width, height):
    if not len(regions):
        return [list(row) for row in rows]
    mask = np.zeros(
        (height + 1, width + 1), dtype=np.int64
    )  # 1-based: row and column 0 stay unused
    for region in regions:
        left, top, w, h = (max(1, int(v)) for v in region[:4])
        mask[top : min(height, top + h) + 1, left : min(width, left + w) + 1] = 1
    total = mask.cumsum(axis=0).cumsum(axis=1)
    kept = []
    for row in rows:
        x, y, w, h = (max(1, round_half_away(v)) for v in row[:4])
        x, y = max(1, min(width, x)), max(1, min(height, y))
        x2, y2 = min(width, x + w), max(1, min(height, y + h))
        value = total[y, x] + total[y2, x2] - total[y, x2] - total[y2, x]
        if not value / (h * w) >= 0.5:
            kept.append(list(row))
    return kept


def overlap(det, gt, ignore):
    w = min(det[0] + det[2], gt[0] + gt[2]) - max(det[0], gt[0])
    h = min(det[1] + det[3], gt[1] + gt[3]) - max(det[1], gt[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (det[2] * det[3] if ignore else det[2] * det[3] + gt[2] * gt[3] - w * h)


def match(gts, dets, threshold):
    """Return (score, outcome) per detection: 1 true positive, 0 false positive, -1 neither."""
    dets = sorted(dets, key=lambda row: -row[4])
    gts = [(gt, False) for gt in gts if gt[4] != 0] + [(gt, True) for gt in gts if gt[4] == 0]
    taken = [False] * len(gts)
    outcomes = []
    for det in dets:
        best, best_index, outcome = threshold, None, 0
        for g, (gt, ignore) in enumerate(gts):
            if taken[g]:
                continue
            if outcome == 1 and ignore:
                break
            value = overlap(det, gt, ignore)
            if value < best:
                continue
            if ignore and outcome == -1:
                continue
            best, best_index, outcome = value, g, -1 if ignore else 1
        if outcome == 1:
            taken[best_index] = True
        outcomes.append((det[4], outcome))
    return outcomes


def area_all_points(recall, precision):
    recall, precision = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum(
        (recall[i] - recall[i - 1]) * precision[i]
        for i in range(1, len(recall))
        if recall[i] != recall[i - 1]
    )


def literal_protocol(ground_truth, detections, sizes_wh, class_count=10):
    """Return (official, macro): dictionaries of figures in percent; NaN where no class occurs."""
    names = sorted(ground_truth)
    gts, dets = {}, {}
    for name in names:
        regions = [row for row in ground_truth[name] if row[5] == 0]
        objects = [row for row in ground_truth[name] if row[5] != 0]
        gts[name] = drop_ignored(objects, regions, *sizes_wh[name])
        dets[name] = drop_ignored(detections.get(name, []), regions, *sizes_wh[name])
    ap, ar, weights = (
        np.zeros((class_count, 10)),
        np.zeros((class_count, 10, 4)),
        np.zeros(class_count),
    )
    for k in range(class_count):
        weights[k] = sum(any(row[5] == k + 1 for row in gts[name]) for name in names)
        for t in range(10):
            for m, limit in enumerate(LIMITS):
                pooled, truth_count = [], 0
                for name in names:
                    of_class = [row for row in gts[name] if row[5] == k + 1]
                    first = [row for row in dets[name][:limit] if row[5] == k + 1]
                    pooled += match(of_class, first, 0.5 + 0.05 * t)
                    truth_count += len(of_class)
                pooled.sort(key=lambda pair: -pair[0])
                tp = np.cumsum([outcome == 1 for _, outcome in pooled])
                fp = np.cumsum([outcome == 0 for _, outcome in pooled])
                recall = [int(n) / max(1, truth_count) for n in tp]
                ar[k, t, m] = 100 * max(recall, default=0.0)
                if limit == 500:
                    precision = [int(a) / max(1, int(a + b)) for a, b in zip(tp, fp, strict=True)]
                    ap[k, t] = 100 * area_all_points(recall, precision)
    return figures(ap, ar, weights), figures(ap, ar, weights > 0)


def figures(ap, ar, weights):
    classes = [k for k in range(len(weights)) for _ in range(int(weights[k]))]
    keys = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500")
    if not classes:
        return dict.fromkeys(keys)
    values = [
        ap[classes].mean(),
        ap[classes, 0].mean(),
        ap[classes, 5].mean(),
        *(ar[classes, :, m].mean() for m in range(4)),
    ]
    return dict(zip(keys, map(float, values), strict=True))
