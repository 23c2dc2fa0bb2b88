"""Detection on this device with the shipped weights: half precision, tiles, a video, an export."""

from __future__ import annotations

import time
from fractions import Fraction
from importlib.util import find_spec

import av
import numpy as np
import torch

from yolo_ema.deploy.parity.box_matching import match_boxes
from yolo_ema.deploy.publish import export as export_weights
from yolo_ema.detect.detector import default_weights
from yolo_ema.detect.predictors import open_predictor
from yolo_ema.detect.run import detect
from yolo_ema.doctor.gpu.drawn import SEED, pictures
from yolo_ema.doctor.gpu.place import CannotRunError, Finding, Place
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.options.detect import DetectOptions
from yolo_ema.options.export import ExportOptions
from yolo_ema.scenes import draw_clip

_CONF = 0.1


class BoxLimits:
    """How far boxes may lie from those that they are compared with.

    Args:
        margin: boxes whose score lies nearer to the threshold may be missing.
        box_px: largest distance of a side, pixels.
        score: largest distance of a score.
    """

    def __init__(self, *, margin: float, box_px: float, score: float) -> None:
        self.margin, self.box_px, self.score = margin, box_px, score


HALF = BoxLimits(margin=0.05, box_px=2.0, score=0.05)
# bfloat16 rounds eight times as coarsely as float16.
BFLOAT16 = BoxLimits(margin=0.1, box_px=2.0, score=0.1)
TILES = BoxLimits(margin=0.02, box_px=0.5, score=0.01)
_LEAST_MATCHED = 99.0
"""Percent of the boxes that have their counterpart. NMS may settle a tie the other way."""

_PERCENTILE = 99


def compare_boxes(
    finding: Finding, reference: list[np.ndarray], candidate: list[np.ndarray], limits: BoxLimits
) -> None:
    """Note how far two sets of boxes (N, 6), an array for each image, lie apart."""
    sure = matched = 0
    sides, scores = [np.zeros(0)], [np.zeros(0)]
    for expected, actual in zip(reference, candidate, strict=True):
        pairs = match_boxes(expected, actual).pairs
        for rows, column in ((expected, 0), (actual, 1)):
            certain = np.flatnonzero(rows[:, 4] >= _CONF + limits.margin)
            sure += len(certain)
            matched += int(np.isin(certain, pairs[:, column]).sum())
        first, second = expected[pairs[:, 0]], actual[pairs[:, 1]]
        sides.append(np.abs(first[:, :4] - second[:, :4]).max(axis=1, initial=0.0))
        scores.append(np.abs(first[:, 4] - second[:, 4]))
    finding.measured["boxes"] = sum(map(len, reference))
    finding.expect(sure > 0, "no box is sure enough to be compared")
    if not sure:
        return
    share = 100 * matched / sure
    finding.measured["matched_percent"] = share
    finding.expect(
        share >= _LEAST_MATCHED,
        f"{share:.1f} % of the boxes have a counterpart; expected {_LEAST_MATCHED:g} % or more",
    )
    apart_px, apart = (
        float(np.percentile(np.concatenate(values), _PERCENTILE)) for values in (sides, scores)
    )
    finding.limit("side_difference_px", apart_px, at_most=limits.box_px, unit=" px")
    finding.limit("score_difference", apart, at_most=limits.score)


def half_boxes(place: Place) -> Finding:
    """Compare the boxes of half precision with those of float32."""
    images, finding = pictures(place, place.size(4, 2)), Finding()
    full = open_predictor(default_weights(), device=place.device, conf=_CONF)
    reference = full(images)
    finding.measured["half"] = place.size("float16", "bfloat16 by autocast")
    if place.is_gpu:
        half = open_predictor(default_weights(), device=place.device, conf=_CONF, half=True)
        candidate = half(images)
    else:  # `half` needs a GPU
        with torch.autocast("cpu", dtype=torch.bfloat16):
            candidate = full(images[:1]) + full(images[1:])
    compare_boxes(finding, reference, candidate, HALF if place.is_gpu else BFLOAT16)
    return finding


def tiles(place: Place) -> Finding:
    """Compare the boxes of tiles that go through together with those of one after the other, and
    time the former.
    """
    images, finding = pictures(place, place.size(2, 1)), Finding()
    side = place.size(640, 128)
    network = open_predictor(
        default_weights(), device=place.device, conf=_CONF, imgsz=side, rectangular=False
    )
    together = TiledPredictor(network, tile=(side, side))
    one_by_one = TiledPredictor(network, tile=(side, side), chunk=1)
    batched = together(images)
    rounds = place.size(5, 1)
    started = time.perf_counter()
    for _ in range(rounds):
        batched = together(images)
    seconds = time.perf_counter() - started
    views = len(together.views((images[0].shape[1], images[0].shape[0])))
    finding.measured["views_per_image"] = views
    finding.measured["tiles_per_second"] = rounds * len(images) * views / seconds
    compare_boxes(finding, one_by_one(images), batched, TILES)
    return finding


def video(place: Place) -> Finding:
    """Detect in a drawn video, and read back the annotated mp4: every frame, in its size."""
    finding, frames = Finding(), place.size(30, 4)
    image_wh = place.size((1920, 1080), (160, 128))
    clip = place.folder / "clip.mp4"
    with VideoWriter(clip, frame_rate=Fraction(15), image_wh=image_wh) as writer:
        for frame in draw_clip(
            SEED, frames=frames, fps=15.0, image_wh=image_wh, objects=place.size(60, 6)
        ):
            writer.write(frame.image_bgr)
    result = detect(
        DetectOptions(
            source=(str(clip),),
            weights=default_weights(),
            device=place.device,
            out=place.folder / "detected",
            imgsz=() if place.is_gpu else (128,),
        )
    )
    (summary,) = result.sources
    finding.measured["frames_per_second"] = frames / max(summary.seconds, 1e-9)
    finding.measured["objects"] = summary.objects
    finding.expect(not summary.problem, f"the video ends early: {summary.problem}")
    with av.open(str(result.paths["annotated"][0])) as container:
        sizes = [(frame.width, frame.height) for frame in container.decode(video=0)]
    finding.measured["frames"] = len(sizes)
    finding.expect(len(sizes) == frames, f"{len(sizes)} frames of {frames} are in the mp4")
    finding.expect(set(sizes) == {image_wh}, f"the mp4's frames are {set(sizes)}, not {image_wh}")
    return finding


def export(place: Place) -> Finding:
    """Export to TensorRT (TorchScript on the CPU) through the proof that the boxes stay."""
    if place.is_gpu and find_spec("tensorrt") is None:
        raise CannotRunError("TensorRT is not installed here (the package tensorrt)")
    name = place.size("engine", "torchscript")
    options = ExportOptions(
        weights=default_weights(),
        format=(name,),
        out=place.folder,
        device=place.device,
        imgsz=place.size((), (96,)),
    )
    (file,) = export_weights(options).files  # refuses what does not give the same boxes
    finding = Finding({"format": name, "bytes": file.size, "seconds_to_export": file.seconds})
    if file.parity is not None:
        finding.measured |= {
            "boxes": file.parity.matched,
            "side_difference_px": float(file.parity.box_px),
            "score_difference": float(file.parity.score),
        }
    return finding
