"""How long scoring takes: all of VisDrone's val by size, 548 images with 500 detections each, on
made-up boxes.

    python benchmarks/score.py [--repeats 5] [--literal-images 4] [--json]

Compares both protocols of this project with pycocotools and faster-coco-eval (COCO's protocol
only), and with the literal form of the official protocol, which runs on a few images and is scaled
up by their number. Two processors are used at most. "CPU s" is the processor time of the fastest
repeat, which neighbours on the machine disturb less than the median of the seconds on the clock.
The table is Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.metrics.coco_figures import COCO_MAX_DETS, evaluate_coco
from yolo_ema.metrics.visdrone_protocol import evaluate_official

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "parity"))
from literal_protocol import literal_protocol

CLASS_SHARES = (
    np.array([8844, 5125, 1287, 14064, 1975, 750, 1045, 532, 251, 4886]) / 38759
)  # VisDrone val
IMAGE_WH = (1360, 765)


def made_up(images: int, detections: int, seed: int = 0) -> tuple[dict, dict, dict]:
    """Return ground truth, detections and sizes with as many objects and as crowded as VisDrone's
    val.
    """
    rng = np.random.default_rng(seed)
    truth, found = {}, {}
    for n in range(images):
        count = int(rng.integers(20, 123))
        sides = np.exp(rng.normal(3.2, 0.6, (count, 2)))
        objects = np.column_stack(
            [
                rng.random((count, 2)) * IMAGE_WH,
                sides,
                np.ones(count),
                rng.choice(10, count, p=CLASS_SHARES) + 1,
            ]
        )
        regions = np.column_stack(
            [rng.random((3, 2)) * IMAGE_WH, rng.integers(20, 200, (3, 2)), np.zeros((3, 2))]
        )
        truth[f"{n:04}"] = np.vstack([objects, regions]).round()
        rows = objects[rng.integers(0, count, detections)].copy()
        rows[:, :4] += rng.normal(0, 0.2, (detections, 4)) * rows[:, [2, 3, 2, 3]]
        rows[:, 2:4] = np.maximum(rows[:, 2:4], 1)
        loose, other = rng.random(detections) < 0.4, rng.random(detections) < 0.2
        rows[loose, :2] = rng.random((loose.sum(), 2)) * IMAGE_WH
        rows[other, 5] = rng.choice(10, other.sum(), p=CLASS_SHARES) + 1
        rows[:, 4] = np.sort(rng.beta(1, 4, detections))[::-1]
        found[f"{n:04}"] = rows
    return truth, found, dict.fromkeys(truth, IMAGE_WH)


def library(module: str, evaluator: str, truth: dict, found: dict) -> Callable[[], float]:
    """Return a function that runs a pycocotools-class library from its in-memory format to its AP
    (%).
    """
    api = (
        __import__(f"{module}.coco", fromlist=["COCO"])
        if module == "pycocotools"
        else __import__(module)
    )
    judge_class = getattr(
        __import__(f"{module}.cocoeval", fromlist=[evaluator]) if module == "pycocotools" else api,
        evaluator,
    )
    names = sorted(truth)
    objects = [(n, row) for n, name in enumerate(names) for row in truth[name] if row[4]]
    content = {
        "info": {},
        "images": [{"id": n} for n in range(len(names))],
        "categories": [{"id": k} for k in range(1, 11)],
        "annotations": [
            {
                "id": i,
                "image_id": n,
                "category_id": int(row[5]),
                "bbox": row[:4].tolist(),
                "area": row[2] * row[3],
                "iscrowd": 0,
            }
            for i, (n, row) in enumerate(objects, start=1)
        ],
    }
    rows = np.concatenate(
        [
            np.column_stack([np.full(len(found[name]), n), found[name][:, :6]])
            for n, name in enumerate(names)
        ]
    )
    table = [
        {
            "image_id": int(row[0]),
            "category_id": int(row[6]),
            "bbox": row[1:5].tolist(),
            "score": float(row[5]),
        }
        for row in rows
    ]

    def run() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            ground = api.COCO()
            ground.dataset = content
            ground.createIndex()
            judge = judge_class(ground, ground.loadRes([dict(one) for one in table]), "bbox")
            judge.params.maxDets = list(COCO_MAX_DETS)
            judge.evaluate()
            judge.accumulate()
        precision = judge.eval["precision"][:, :, :, 0, -1]
        return 100 * float(precision[precision > -1].mean())

    return run


def timed(run: Callable[[], Any], repeats: int) -> tuple[list[float], list[float], Any]:
    """Return each repeat's seconds on the clock and of processor time, and the last result."""
    seconds, processor = [], []
    for _ in range(repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        result = run()
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return seconds, processor, result


def main() -> None:
    """Run, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=548)
    parser.add_argument("--detections", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--literal-images", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    truth, found, sizes = made_up(options.images, options.detections)
    few = sorted(truth)[: options.literal_images]
    some = [{name: one[name] for name in few} for one in (truth, found, sizes)]
    runs: list[tuple[str, Callable[[], Any], int, float]] = [
        (
            "ours, official and COCO",
            lambda: (evaluate_official(truth, found, sizes), evaluate_coco(truth, found)),
            options.repeats,
            1,
        ),
        (
            "ours, official",
            lambda: evaluate_official(truth, found, sizes).official["AP"],
            options.repeats,
            1,
        ),
        ("ours, COCO", lambda: evaluate_coco(truth, found).summary["AP"], options.repeats, 1),
        (
            "faster-coco-eval",
            library("faster_coco_eval", "COCOeval_faster", truth, found),
            options.repeats,
            1,
        ),
        (
            "pycocotools",
            library("pycocotools", "COCOeval", truth, found),
            max(1, options.repeats // 2),
            1,
        ),
        (
            "literal official form, scaled up",
            lambda: literal_protocol(*some)[0]["AP"],
            1,
            options.images / len(few),
        ),
    ]
    size = (
        f"{options.images} images, {options.images * options.detections} detections, at most "
        f"two processors"
    )
    if not options.json:
        print(
            f"{size}\n\n| | median s | slowest s | CPU s | × ours | repeats | AP % "
            f"|\n|---|--:|--:|--:|--:|--:|--:|",
            flush=True,
        )
    rows: list[dict[str, Any]] = []
    for name, run, repeats, factor in runs:
        seconds, processor, result = timed(run, repeats)
        row = {
            "what": name,
            "median_s": factor * statistics.median(seconds),
            "slowest_s": factor * max(seconds),
        }
        row |= {"cpu_s": factor * min(processor), "repeats": repeats}
        row["times_ours"] = row["cpu_s"] / (rows[0] if rows else row)["cpu_s"]
        row["AP"] = result if isinstance(result, float) and factor == 1 else None
        rows.append(row)
        if not options.json:
            ap = "" if row["AP"] is None else f"{row['AP']:.4f}"
            times = (
                f"{row['median_s']:.2f} | {row['slowest_s']:.2f} | {row['cpu_s']:.2f} | "
                f"{row['times_ours']:.1f}"
            )
            print(f"| {name} | {times} | {repeats} | {ap} |", flush=True)
    if options.json:
        print(json.dumps({"what": size, "machine": platform.machine(), "rows": rows}))


if __name__ == "__main__":
    main()
