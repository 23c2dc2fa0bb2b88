"""What leaving out tiles that seem empty would save and cost, on images in VisDrone's layout.

    python benchmarks/skipping.py --weights best.pt --data VisDrone2019-DET-val [--images 97]
    [--video FILE …] [--json]

The scout is the pass over the whole frame: a tile is left out where that pass finds nothing with
its centre in it and at least so high a score. The scores are the official protocol's, in percent,
on tiles of 640 with 0.2 overlap besides the whole frame. With --video it also says how many tiles
stand still from one frame to the next: no pixel of the blurred grey image changes by more than 12
of 255.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.inference.predictor import Predictor
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.metrics.visdrone_protocol import evaluate_official
from yolo_ema.tiling.merge import merge_views
from yolo_ema.tiling.plan import plan_tiles
from yolo_ema.visdrone.annotations import read_annotations

SIDE, OVERLAP, MOST, CONF = 640, 0.2, 500, 0.01
SCOUT_SCORES = (0.01, 0.03, 0.1, 0.25)
STILL_FRAMES, STILL_CHANGE = 40, 12


def views_of(
    runtime: Predictor, image: np.ndarray
) -> tuple[dict[tuple[int, ...], np.ndarray], Any]:
    """Return what each tile, and last the whole frame, finds in pixels of the image."""
    height, width = image.shape[:2]
    plan = plan_tiles(
        (width, height), (SIDE, SIDE), tile=(SIDE, SIDE), overlap=OVERLAP, whole_frame=True
    )
    found = {}
    for x1, y1, x2, y2 in [*plan.tiles_xyxy.tolist(), (0, 0, width, height)]:
        rows = runtime([image[y1:y2, x1:x2]], max_det=30_000)[0]
        found[x1, y1, x2, y2] = rows + np.array([x1, y1, x1, y1, 0, 0], np.float32)
    return found, plan


def merged(
    found: dict[tuple[int, ...], np.ndarray], plan: Any, image_wh: tuple[int, int]
) -> np.ndarray:
    """Return an image's detections as rows of the protocol."""
    frame = (0, 0, *image_wh)
    long = (found[frame][:, 2:4] - found[frame][:, :2] > plan.overlap_px).any(axis=1)
    views = found | {frame: found[frame][long]}
    rows = merge_views(
        list(views.values()),
        np.array(list(views)),
        image_wh,
        method="nms",
        threshold=0.5,
        margin_px=2.0,
        max_det=MOST,
    )
    return np.column_stack(
        [rows[:, :2], rows[:, 2:4] - rows[:, :2], rows[:, 4], rows[:, 5] + 1]
    ).astype(np.float64)


def scouted(weights: Path, data: Path, images: int) -> list[dict[str, Any]]:
    """Return tiles left out and scores, without a scout and with it at each score."""
    runtime = open_predictor(weights, device="cpu", imgsz=SIDE, conf=CONF, max_det=MOST, trust=True)
    truth: dict[str, np.ndarray] = {}
    sizes: dict[str, tuple[int, int]] = {}
    kept: dict[float, dict[str, np.ndarray]] = {score: {} for score in (0.0, *SCOUT_SCORES)}
    left_out, tiles = dict.fromkeys(kept, 0), 0
    for path in sorted((data / "images").glob("*.jpg"))[:images]:
        image = cv2.imread(str(path))
        name, wh = path.stem, (image.shape[1], image.shape[0])
        rows = read_annotations(data / "annotations" / f"{name}.txt")
        truth[name], sizes[name] = np.column_stack([rows.boxes_ltwh, rows.score, rows.category]), wh
        found, plan = views_of(runtime, image)
        tiles += len(plan.tiles_xyxy)
        scout = found[(0, 0, *wh)]
        centers = (scout[:, :2] + scout[:, 2:4]) / 2
        for score in kept:
            views = dict(found)
            for tile in map(tuple, plan.tiles_xyxy.tolist()) if score else ():
                inside = ((centers >= tile[:2]) & (centers < tile[2:])).all(axis=1)
                if not (inside & (scout[:, 4] >= score)).any():
                    views[tile] = scout[:0]
                    left_out[score] += 1
            kept[score][name] = merged(views, plan, wh)
    results = []
    for score, detections in kept.items():
        official = evaluate_official(truth, detections, sizes).official
        results.append(
            {"scout": score or None, "left_out": left_out[score], "tiles": tiles}
            | {k: official[k] for k in ("AP", "AP50")}
        )
    return results


def still(video: Path) -> dict[str, Any]:
    """Return how many tiles of a video's first frames stand still."""
    before, count, tiles = None, 0, 0
    for number, frame in enumerate(open_sources([str(video)])[0].open()):
        if number == STILL_FRAMES:
            break
        grey = cv2.GaussianBlur(cv2.cvtColor(frame.image_bgr, cv2.COLOR_BGR2GRAY), (5, 5), 0)
        if before is not None:
            for x1, y1, x2, y2 in plan_tiles(
                frame.image_wh, (SIDE, SIDE), tile=(SIDE, SIDE), overlap=OVERLAP
            ).tiles_xyxy.tolist():
                tiles += 1
                count += int(
                    cv2.absdiff(grey[y1:y2, x1:x2], before[y1:y2, x1:x2]).max() <= STILL_CHANGE
                )
        before = grey
    return {"video": video.name, "still": count, "tiles": tiles}


def main() -> None:
    """Run, print two tables or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int)
    parser.add_argument("--video", type=Path, nargs="+", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {
        "scout": scouted(options.weights, options.data, options.images),
        "still": [still(one) for one in options.video],
    }
    if options.json:
        print(json.dumps(found))
        return
    print("| scout's score | tiles left out | AP | AP50 |\n|--:|--:|--:|--:|")
    for row in found["scout"]:
        print(
            f"| {row['scout'] or 'none'} | {row['left_out']} of {row['tiles']} | {row['AP']:.2f} | "
            f"{row['AP50']:.2f} |"
        )
    for row in found["still"]:
        print(f"{row['video']}: {row['still']} of {row['tiles']} tiles stand still")


if __name__ == "__main__":
    main()
