"""See what weights still find at dusk, at night, in haze and in portrait: ``python
scripts/condition_table.py flight.mp4 --weights best.onnx --out pictures``.

Frames of the footage are changed as the light or the camera could have. What is found in them is
held against what is found in the unchanged frames at the first threshold: how many of those boxes
are found again (same class, IoU of 0.5 or more, one to one), and how many other boxes there are.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from yolo_ema import Detector
from yolo_ema.boxes import box_iou
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.text_table import text_table

LEAST_IOU = 0.5


def darkened(gain: float, noise: float, gamma: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Return a change that darkens by gamma and gain, with noise of a deviation of 0 to 255."""

    def change(image: np.ndarray) -> np.ndarray:
        dark = 255 * gain * (image / 255.0) ** gamma
        dark += np.random.default_rng(0).normal(0, noise, image.shape)
        return np.clip(dark, 0, 255).round().astype(np.uint8)

    return change


def hazy(image: np.ndarray) -> np.ndarray:
    """Return the image with a third of its contrast, before a bright grey."""
    return np.clip(0.35 * image + 0.65 * 200, 0, 255).round().astype(np.uint8)


TURNED = "upright: turned by a quarter"
CONDITIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "unchanged": lambda image: image,
    "dusk: 0.45 times as bright, noise of 4 of 255": darkened(0.45, 4),
    "night: gamma 1.6, 0.3 times as bright, noise of 6": darkened(0.3, 6, 1.6),
    "haze: contrast 0.35 before a bright grey": hazy,
    TURNED: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
}


def frames_of(source: str, number: int) -> Iterator[np.ndarray]:
    """Yield frames that are spread evenly over a video."""
    video = cv2.VideoCapture(source)
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if count < number:
        raise SystemExit(f"{source} has {count} frames, expected a video of at least {number}")
    wanted = set(np.linspace(0, count - 1, number).round().astype(int).tolist())
    for index in range(count):
        read, image = video.read()
        if read and index in wanted:
            yield image


def turned_back(boxes_xyxy: np.ndarray, height: int) -> np.ndarray:
    """Return boxes of a frame that was turned clockwise in the coordinates of the frame before,
    whose height in pixels is given.
    """
    x1, y1, x2, y2 = boxes_xyxy.T
    return np.stack((y1, height - x2, y2, height - x1), axis=1)


def found_again(known, boxes_xyxy: np.ndarray, class_ids: np.ndarray) -> int:
    """Return how many of the known boxes are among others, one to one."""
    fits = box_iou(known.boxes_xyxy[:, None], boxes_xyxy[None]) >= LEAST_IOU
    fits &= known.class_ids[:, None] == class_ids
    return int(fits[linear_sum_assignment(fits, maximize=True)].sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a video")
    parser.add_argument("--weights", help="default: the shipped ones")
    parser.add_argument("--frames", type=int, default=8, help="how many frames of it")
    parser.add_argument("--conf", type=float, nargs="+", default=[0.25, 0.1])
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    detector = Detector(given.weights, conf=given.conf[0], device="cpu")
    images = list(frames_of(given.source, given.frames))
    known = detector.detections(images)
    rows = [["found, others", *(f"conf {conf:g}" for conf in given.conf)]]
    for name, change in CONDITIONS.items():
        changed, cells = [change(image) for image in images], []
        for conf in given.conf:
            detector.conf = conf
            again, total = 0, 0
            for image, before, after in zip(
                images, known, detector.detections(changed), strict=True
            ):
                boxes = after.boxes_xyxy
                boxes = turned_back(boxes, image.shape[0]) if name == TURNED else boxes
                again += found_again(before, boxes, after.class_ids)
                total += len(boxes)
            cells.append(f"{again}, {total - again}")
        cv2.imwrite(
            str(given.out / f"{name.partition(':')[0]}.png"),
            draw_detections(detector.detections(changed)[0]),
        )
        rows.append([name, *cells])
    print(*text_table(rows), sep="\n")
