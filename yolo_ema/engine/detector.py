"""`Detector`: boxes from arrays, files, folders and videos, as Ultralytics `Results`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from ultralytics.engine.results import Results

from yolo_ema.engine.runtime import Runtime
from yolo_ema.errors import ConfigError, SourceError, WeightsNotFoundError, did_you_mean
from yolo_ema.footage.frames import Frame, FrameDetections
from yolo_ema.footage.sources import open_sources
from yolo_ema.image_header import LARGEST_PIXELS
from yolo_ema.resources import weights_dir

__all__ = ["DEFAULT_WEIGHTS", "Detector", "default_weights"]

DEFAULT_WEIGHTS = "yolo11n-ema-visdrone.pt"

Image = np.ndarray | str | Path


def default_weights() -> Path:
    """Return the shipped weights. Raises `WeightsNotFoundError` where none are shipped."""
    path = weights_dir() / DEFAULT_WEIGHTS
    if not path.is_file():
        raise WeightsNotFoundError(
            f"no weights are given, and {DEFAULT_WEIGHTS} is not installed; train some with 'yolo-ema train', "
            "then name them with --weights"
        )
    return path


class Detector:
    """Finds objects in drone footage.

    Example:
        >>> detector = Detector("best.pt")
        >>> results = detector.detect("junction.jpg")
        >>> results.boxes.xyxy, results.boxes.conf, results.boxes.cls
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        imgsz: int | tuple[int, int] | None = None,
        conf: float = 0.25,
        iou: float = 0.7,
        max_det: int = 1000,
        classes: Sequence[str] = (),
        device: str = "auto",
        half: bool = False,
        max_pixels: int = LARGEST_PIXELS,
        trust: bool = False,
    ) -> None:
        """Load the weights.

        Args:
            weights: a ``.pt`` or an exported file; None takes the shipped ones.
            imgsz: input size in pixels, one number or (height, width); None takes the weights' own.
            conf: lowest score that counts, 0…1.
            iou: overlap above which the weaker of two boxes of a class is dropped, 0…1.
            max_det: most objects an image.
            classes: only these classes, by name; empty for all.
            device: ``auto``, ``cpu``, ``cuda`` or a GPU's number.
            half: half precision, on a GPU.
            max_pixels: refuse images with more pixels before decoding them.
            trust: load a ``.pt`` although it carries code.

        Raises:
            WeightsError: the weights are missing, damaged, foreign, or carry code.
            ConfigError: a class that the weights do not know.
        """
        self.weights = Path(weights) if weights is not None else default_weights()
        self.max_pixels = max_pixels
        self.runtime = Runtime(
            self.weights, device=device, imgsz=imgsz, half=half, conf=conf, iou=iou, max_det=max_det, trust=trust
        )
        self.runtime.classes = _ids_of(classes, self.names)

    @property
    def max_det(self) -> int:
        """The most objects an image; fewer than asked for where an exported file holds fewer, which its first frame shows."""
        return self.runtime.max_det

    @property
    def names(self) -> dict[int, str]:
        """The classes of the weights."""
        return self.runtime.names

    def detect(self, image: Image | Sequence[Image]) -> Results | list[Results]:
        """Detect on an array, (H, W, 3) uint8 BGR, a path, or a list of these; a list gives a list.

        Raises:
            SourceError: an image cannot be read, or an array has another shape or type.
        """
        if isinstance(image, np.ndarray | str | Path):
            return self._results(self.detect_frames([_frame_of(image, self.max_pixels)])[0])
        return [self._results(self.detect_frames([_frame_of(one, self.max_pixels)])[0]) for one in image]

    def stream(self, source: str | Path | Sequence[str | Path]) -> Iterator[Results]:
        """Yield one result a frame of images, videos, folders or patterns; memory holds one frame.

        Raises:
            SourceError: a source cannot be opened or read.
        """
        sources = [source] if isinstance(source, str | Path) else source
        for one in open_sources([str(path) for path in sources], max_pixels=self.max_pixels):
            for frame in one.open():
                yield self._results(self.detect_frames([frame])[0])

    def detect_frames(self, frames: Sequence[Frame]) -> list[FrameDetections]:
        """Detect on frames as one batch; the arrays that the sinks write."""
        boxes = self.runtime([frame.image_bgr for frame in frames])
        return [self._found(frame, rows) for frame, rows in zip(frames, boxes, strict=True)]

    def _found(self, frame: Frame, rows: np.ndarray) -> FrameDetections:
        return FrameDetections(frame, rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), self.names)

    def _results(self, found: FrameDetections) -> Results:
        rows = np.concatenate([found.boxes_xyxy, found.scores[:, None], found.class_ids[:, None]], axis=1).astype(np.float32)
        return Results(orig_img=found.frame.image_bgr, path=found.frame.source, names=found.names, boxes=torch.from_numpy(rows))


def _frame_of(image: Image, max_pixels: int) -> Frame:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise SourceError(
                f"an array of shape {image.shape} and type {image.dtype} is given; expected (H, W, 3) uint8 in BGR order"
            )
        return Frame(image, "array", 0, 0.0)
    sources = open_sources([str(image)], max_pixels=max_pixels)
    if len(sources) != 1 or sources[0].is_video:
        raise SourceError(f"{image} is not one image; use Detector.stream for folders, patterns and videos")
    return next(iter(sources[0].open()))


def _ids_of(classes: Sequence[str], names: dict[int, str]) -> list[int] | None:
    """Return the ids of class names; None where all are wanted."""
    if not classes:
        return None
    ids = {name: class_id for class_id, name in names.items()}
    unknown = [f"{name!r}{did_you_mean(name, ids)}" for name in classes if name not in ids]
    if unknown:
        raise ConfigError(f"the weights know no class {', '.join(unknown)}; they know {', '.join(names.values())}")
    return [ids[name] for name in classes]
