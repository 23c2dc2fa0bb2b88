"""See what weights find in footage by each plan: ``python scripts/plan_pictures.py flight.mp4
--weights best.onnx --start 2 --end 3 --vid-stride 5 --out pictures``.

For each plan it writes the annotated frames and says in a table how many boxes there are, how large
they are and how many vehicles are marked twice, so that new weights can be held against old ones on
the same frames.
"""

import argparse
from collections import Counter
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from yolo_ema import Detector
from yolo_ema.boxes import box_iou
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.text_table import text_table

PLANS = {
    "whole": {"tile": "off"},
    "auto": {"tile": "auto"},
    "tiles-640": {"tile": "640x640"},
    "tiles-320": {"tile": "320x320"},
}
VEHICLES = ("car", "van", "truck", "bus")
TWICE_IOU = 0.6
LARGE_SHARE = 0.25  # of the frame's longer side


def doubles(found) -> int:
    """Return how many boxes of vehicles lie on a box of another class of vehicle."""
    is_vehicle = np.isin([found.names[number] for number in found.class_ids], VEHICLES)
    boxes, classes = found.boxes_xyxy[is_vehicle], found.class_ids[is_vehicle]
    if not len(boxes):
        return 0
    overlaps = box_iou(boxes[:, None], boxes[None]) > TWICE_IOU
    return int(np.triu(overlaps & (classes[:, None] != classes)).sum())


def inside(found, region) -> int:
    """Return how many centres of boxes lie in a region, x1 y1 x2 y2 in shares of the frame."""
    centres = (found.boxes_xyxy[:, :2] + found.boxes_xyxy[:, 2:]) / 2 / found.frame.image_wh
    return int(((centres >= region[:2]) & (centres <= region[2:])).all(axis=1).sum())


def row_of(plan: str, detector: Detector, source: str, out: Path, region) -> list[str]:
    """Return a plan's row of the table, and write its pictures."""
    frames, counts, sides, twice, large, in_region = 0, Counter(), [], 0, 0, 0
    for found in detector.stream_detections(source):
        frames += 1
        counts.update(found.names[number] for number in found.class_ids)
        boxes = found.boxes_xyxy
        sides += np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).tolist()
        longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        large += int((longest > LARGE_SHARE * max(found.frame.image_wh)).sum())
        twice += doubles(found)
        in_region += inside(found, region)
        name = f"{Path(source).stem}-{plan}-{found.frame.index:06d}.png"
        cv2.imwrite(str(out / name), draw_detections(found))
    per_frame = [
        f"{number / frames:.1f}" for number in (sum(counts.values()), in_region, twice, large)
    ]
    common = ", ".join(f"{name} {number / frames:.1f}" for name, number in counts.most_common(4))
    return [plan, *per_frame, f"{median(sides):.0f}" if sides else "–", common]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="+", help="images or videos")
    parser.add_argument("--weights", help="default: the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=list(PLANS))
    parser.add_argument("--conf", type=float, help="default: as detect's")
    parser.add_argument("--start", type=float, default=0.0, help="seconds")
    parser.add_argument("--end", type=float, help="seconds")
    parser.add_argument("--vid-stride", type=int, default=25, help="every N-th frame")
    parser.add_argument(
        "--region",
        type=lambda text: np.array([float(part) for part in text.split(",")]),
        default=np.array([0.0, 0.0, 1.0, 1.0]),
        help="x1,y1,x2,y2 in shares of the frame, such as a road: boxes with their centre there",
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = {"start": given.start, "end": given.end, "vid_stride": given.vid_stride}
    settings |= {} if given.conf is None else {"conf": given.conf}
    head = [
        "plan",
        "boxes a frame",
        "in region",
        "twice",
        "large",
        "median side, px",
        "most frequent",
    ]
    for source in given.source:
        rows = [head]
        for plan in given.plans:
            detector = Detector(given.weights, **PLANS[plan], **settings)
            rows.append(row_of(plan, detector, source, given.out, given.region))
        print(source, *text_table(rows), sep="\n")
