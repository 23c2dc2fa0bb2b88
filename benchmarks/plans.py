"""How long the plans of `--tile auto` take, by frame size: the default against tiles.

    python benchmarks/plans.py --weights yolo11n-ema-visdrone.onnx [--sizes 1280x720 1920x1080]
    [--also 1600 …] [--rounds 7] [--json]

Drawn frames of each size go through each plan in turns, as footage (several frames at a time, side
by side where the runtime has workers for it, as `detect` takes clips and folders) and one by one
(as live sources). The table gives the median milliseconds a frame, and the median of the rounds'
ratios of tiles to the default: how many times as fast the default is. Images are decoded before.
Each weights file deserves a process of its own, since runtimes keep threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yolo_ema.detect.detector import Detector
from yolo_ema.evaluate.protocol_facts import network_pixels
from yolo_ema.scenes.scene import draw_scene

FRAMES = 4
DEFAULT, TILES = "default", "tiles and whole"


def plans_of(weights: str, also: Sequence[int]) -> dict[str, Detector]:
    """Return a detector for each plan; the thresholds are those of the default, so that all that
    differs is the way of the pixels.
    """
    default = Detector(weights, device="cpu")
    same: dict[str, Any] = {"device": "cpu", "conf": default.conf, "iou": default.iou}
    own = default.predictor.imgsz_hw
    return {
        DEFAULT: default,
        TILES: Detector(weights, imgsz=own, tile="auto", **same),
        **{
            f"whole at {max(side)}": Detector(weights, imgsz=side, tile="off", **same)
            for side in (own, *((side, side) for side in also))
        },
    }


def milliseconds(pass_over: Callable[[], object]) -> float:
    """Return how long one pass over the frames takes, by frame."""
    start = time.perf_counter()
    pass_over()
    return 1000 * (time.perf_counter() - start) / FRAMES


def timed(
    detectors: dict[str, Detector], frames: Sequence[np.ndarray], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Return the milliseconds a frame of every round, by way and plan."""
    ways: dict[str, Callable[[Detector], object]] = {
        "footage": lambda detector: detector.detections(list(frames)),
        "one by one": lambda detector: [detector.detections(frame) for frame in frames],
    }
    taken: dict[str, dict[str, list[float]]] = {
        way: {name: [] for name in detectors} for way in ways
    }
    for number in range(rounds + 1):  # the first warms up
        for way, run in ways.items():
            for name, detector in detectors.items():
                passed = milliseconds(lambda run=run, detector=detector: run(detector))  # type: ignore[misc]
                if number:
                    taken[way][name].append(passed)
    return taken


def rows_of(
    detectors: dict[str, Detector], sizes: Sequence[tuple[int, ...]], rounds: int
) -> list[dict[str, Any]]:
    """Return a row for each frame size, way and plan."""
    rows = []
    for width, height in sizes:
        frames = [draw_scene(seed, image_wh=(width, height)).image_bgr for seed in range(FRAMES)]
        for way, by_plan in timed(detectors, frames, rounds).items():
            for name, taken in by_plan.items():
                ratios = [other / own for own, other in zip(taken, by_plan[TILES], strict=True)]
                rows.append(
                    {
                        "frame": f"{width}x{height}",
                        "way": way,
                        "plan": name,
                        "megapixels": network_pixels(detectors[name].predictor, (width, height))
                        / 1e6,
                        "ms": statistics.median(taken),
                        "times_as_fast_as_tiles": statistics.median(ratios),
                    }
                )
    return rows


def main() -> None:
    """Run, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--sizes", nargs="+", default=["1280x720", "1920x1080"])
    parser.add_argument("--also", nargs="+", type=int, default=[], help="further input sizes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes]
    rows = rows_of(plans_of(options.weights, options.also), sizes, options.rounds)
    if options.json:
        print(json.dumps(rows))
        return
    print("| frame | frames come | plan | megapixels | ms a frame | times as fast as tiles |")
    print("|---|---|---|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['frame']} | {row['way']} | {row['plan']} | {row['megapixels']:.2f} | "
            f"{row['ms']:.0f} | {row['times_as_fast_as_tiles']:.2f} |"
        )


if __name__ == "__main__":
    main()
