"""How long merging the boxes of tiles takes, on made-up boxes: about 10,000 of 4,000 objects in
tiles of 640 and the whole frame.

    python benchmarks/merge.py [--objects 4000] [--repeats 15] [--json]

In the same run: torchvision's NMS by class on the same boxes, which knows nothing of borders.
Milliseconds of processor time of one thread, the median and the least of the repeats: neighbours on
the machine disturb it less than the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torchvision.ops import batched_nms

from yolo_ema.options.tiles import MERGES
from yolo_ema.tiling.grid import tile_grid
from yolo_ema.tiling.merge import merge_views


def made_up(
    image_wh: tuple[int, int], objects: int, classes: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the boxes of each view, with slips of a pixel, and the views."""
    rng = np.random.default_rng(0)
    views = np.vstack([[[0, 0, *image_wh]], tile_grid(image_wh, (640, 640), 128)])
    centers, sides = rng.random((objects, 2)) * image_wh, np.exp(rng.normal(3.3, 0.5, (objects, 2)))
    kinds, scores = rng.integers(0, classes, objects), rng.random(objects)
    found = []
    for view in views:
        seen = ((centers >= view[:2]) & (centers < view[2:])).all(axis=1)
        boxes = np.column_stack((centers - sides / 2, centers + sides / 2))[seen] + rng.normal(
            0, 1, (seen.sum(), 4)
        )
        boxes = np.clip(boxes, np.tile(view[:2], 2), np.tile(view[2:], 2))
        slips = rng.normal(0, 0.05, seen.sum())
        found.append(
            np.column_stack((boxes, np.clip(scores[seen] + slips, 0, 1), kinds[seen])).astype(
                np.float32
            )
        )
    return found, views


def measured(run: Callable[[], int], repeats: int) -> dict[str, float]:
    """Return what is left, and milliseconds of processor time."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        left = run()
        times.append(1000 * (time.process_time() - start))
    return {
        "left": left,
        "median_ms": round(statistics.median(times), 1),
        "least_ms": round(min(times), 1),
    }


def main() -> None:
    """Run, print a Markdown table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for image_wh, classes in (((1920, 1080), 10), ((1920, 1080), 1), ((4000, 3000), 10)):
        found, views = made_up(image_wh, options.objects, classes)
        every = torch.from_numpy(np.concatenate(found))
        what = {"image": f"{image_wh[0]}x{image_wh[1]}", "classes": classes, "boxes": len(every)}
        for method in MERGES:
            merged = measured(
                lambda m=method, f=found, v=views, wh=image_wh: len(
                    merge_views(f, v, wh, method=m)
                ),
                options.repeats,
            )
            rows.append(what | {"merge": method} | merged)
        plain = measured(
            lambda e=every: len(batched_nms(e[:, :4], e[:, 4], e[:, 5], 0.5)), options.repeats
        )
        rows.append(what | {"merge": "torchvision's batched NMS"} | plain)
    if options.json:
        print(json.dumps(rows))
        return
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


if __name__ == "__main__":
    main()
