"""From images to boxes with a network in any runtime: letterbox, network, suppression."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from yolo_ema.errors import ConfigError, DamagedWeightsError
from yolo_ema.inference.backend import Backend
from yolo_ema.inference.letterbox import Letterbox
from yolo_ema.inference.predictor import PredictorConfig, check_images
from yolo_ema.inference.suppression import centers_to_corners, select_boxes, suppress
from yolo_ema.inference.worker_pool import WorkerPool
from yolo_ema.tiling.plan import SizeFixedBy

_LARGEST_SIDE_BY_SIDE = 1280 * 1280
"""Pixels of input that an image needs; a larger one keeps every thread busy, and several at once
take memory.
"""

_Found = tuple[list[np.ndarray], dict[str, float]]


class BackendPredictor:
    """A `Predictor` on one `Backend`.

    Args:
        weights: what the network was opened from.
        format_name: its format as Ultralytics names it.
        device: where it runs.
        backend: the network.
        config: how it was opened, and the settings to begin with.
        workers: threads for several images side by side; None where they go one by one.

    Raises:
        ConfigError: the input size does not fit.
    """

    def __init__(
        self,
        weights: Path,
        format_name: str,
        device: str,
        backend: Backend,
        config: PredictorConfig,
        *,
        workers: WorkerPool | None,
    ) -> None:
        self.weights, self.format, self.device, self.backend = weights, format_name, device, backend
        self.names, self.stride, self.batched = backend.names, backend.stride, backend.batched
        self.metadata = backend.metadata
        self.object_sizes, self.plan_figures = backend.object_sizes, backend.plan_figures
        self.settings = config.settings()
        self.rectangular = config.rectangular and backend.dynamic
        self.imgsz_hw = self._input_hw(config.imgsz)
        own_hw = backend.imgsz_hw or self.imgsz_hw
        self.input_scale = max(self.imgsz_hw) / max(own_hw)
        in_file = not backend.dynamic and (config.imgsz is None or backend.imgsz_hw is not None)
        self.size_fixed_by: SizeFixedBy = (
            "file" if in_file else "" if config.imgsz is None else "imgsz"
        )
        self.seconds: dict[str, float] = {}
        self._workers = workers
        self._shared_backend: Backend | None = None  # opened when several images come at once
        self._shown_limit: int | None = None  # boxes in an answer that has NMS built in
        self._one_at_a_time = threading.Lock()  # heads and files keep what belongs to one call

    @property
    def has_builtin_nms(self) -> bool:
        """Whether the file or the head selects its boxes by itself."""
        return self.backend.has_builtin_nms

    @property
    def max_det(self) -> int:
        """Maximum boxes per image: what is set, or fewer where an exported file holds fewer."""
        stated = self.metadata.max_det if self.metadata and self.has_builtin_nms else None
        limits = [limit for limit in (stated, self._shown_limit) if limit]
        return min([self.settings.max_det, *limits])

    @property
    def precision(self) -> str:
        """Precision of the weights, and after ``in`` that of the computation where the runtime says
        that it is another.
        """
        stored, computed = self.backend.stored, self.backend.computed
        return stored if stored == computed else f"{stored} in {computed}"

    def at_once(self, image_wh: tuple[int, int], *, imgsz_hw: tuple[int, int] | None = None) -> int:
        """Return how many images share a call best: 1 where they go one by one, or in one forward
        pass.
        """
        input_hw = imgsz_hw or self.imgsz_hw
        letterbox = self._letterbox(image_wh[::-1], input_hw, smallest=self.rectangular)
        workers = self._usable_workers(letterbox)
        return workers.workers if workers else 1

    def __call__(
        self,
        images_bgr: Sequence[np.ndarray],
        *,
        max_det: int | None = None,
        imgsz_hw: tuple[int, int] | None = None,
    ) -> list[np.ndarray]:
        """Detect on images, see `Predictor`."""
        check_images(images_bgr)
        self.settings.check()
        input_hw = self._input_of_call(imgsz_hw)
        if not images_bgr:
            return []
        # Images of one shape share the smallest input; others share the full one, as in
        # Ultralytics.
        smallest = self.rectangular and len({image.shape for image in images_bgr}) == 1
        with self._one_at_a_time:
            detect = partial(self._detect, input_hw=input_hw, smallest=smallest, max_det=max_det)
            first = self._letterbox(images_bgr[0].shape[:2], input_hw, smallest=smallest)
            if len(images_bgr) > 1 and (workers := self._usable_workers(first)):
                return self._side_by_side(workers, detect, images_bgr)
            boxes, self.seconds = detect(self.backend, images_bgr)
            return boxes

    def candidates(self, image_bgr: np.ndarray) -> np.ndarray | None:
        """Return every box that the network proposes for one image, see `Predictor`."""
        return None if self.has_builtin_nms else self._proposed(image_bgr, self.imgsz_hw)[0]

    def proposals(
        self, image_bgr: np.ndarray, *, imgsz_hw: tuple[int, int] | None = None
    ) -> np.ndarray | None:
        """Return what `candidates` returns with the boxes in pixels of the image."""
        if self.has_builtin_nms:
            return None
        input_hw = self._input_of_call(imgsz_hw)
        rows, letterbox = self._proposed(image_bgr, input_hw)
        rows[:, :4] = letterbox.to_image(centers_to_corners(rows[:, :4]))
        return rows

    def _proposed(
        self, image_bgr: np.ndarray, input_hw: tuple[int, int]
    ) -> tuple[np.ndarray, Letterbox]:
        check_images([image_bgr])
        letterbox = self._letterbox(image_bgr.shape[:2], input_hw, smallest=self.rectangular)
        everything = replace(self.settings, conf=0.0)
        with self._one_at_a_time:
            inputs = self.backend.prepare([letterbox.apply(image_bgr)])
            (rows,) = self.backend(inputs, everything, everything.max_det)
        return np.array(rows, np.float32), letterbox

    def _letterbox(
        self, image_hw: tuple[int, ...], input_hw: tuple[int, int], *, smallest: bool
    ) -> Letterbox:
        height, width = image_hw
        return Letterbox.of((height, width), input_hw, self.stride if smallest else None)

    def _usable_workers(self, letterbox: Letterbox) -> WorkerPool | None:
        large = math.prod(letterbox.input_hw) > _LARGEST_SIDE_BY_SIDE
        return None if self.backend.one_pass or large else self._workers

    def _side_by_side(
        self, workers: WorkerPool, detect: Callable[..., _Found], images_bgr: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        if self._shared_backend is None:
            self._shared_backend = self.backend.shared_by(workers.workers, workers.threads_each)
        backend = self._shared_backend
        started = time.perf_counter()
        answers = workers.map(lambda image: detect(backend, [image]), images_bgr)
        passed = time.perf_counter() - started
        spent = {stage: sum(seconds[stage] for _, seconds in answers) for stage in answers[0][1]}
        self.seconds = {
            stage: passed * seconds / sum(spent.values()) for stage, seconds in spent.items()
        }
        return [rows for rows_of_images, _ in answers for rows in rows_of_images]

    def _detect(
        self,
        backend: Backend,
        images_bgr: Sequence[np.ndarray],
        *,
        input_hw: tuple[int, int],
        smallest: bool,
        max_det: int | None,
    ) -> _Found:
        """Return each image's boxes and each stage's seconds. Several threads call it at once."""
        started = time.perf_counter()
        letterboxes = [
            self._letterbox(image.shape[:2], input_hw, smallest=smallest) for image in images_bgr
        ]
        inputs = backend.prepare(
            [pad.apply(image) for pad, image in zip(letterboxes, images_bgr, strict=True)]
        )
        prepared = time.perf_counter()
        answers = backend(inputs, self.settings, max_det or self.max_det)
        inferred = time.perf_counter()
        boxes = [
            self._boxes(rows, letterbox, input_hw, backend.has_builtin_nms, max_det)
            for rows, letterbox in zip(answers, letterboxes, strict=True)
        ]
        seconds = {
            "preprocess": prepared - started,
            "inference": inferred - prepared,
            "postprocess": time.perf_counter() - inferred,
        }
        return boxes, seconds

    def _boxes(
        self,
        rows: np.ndarray,
        letterbox: Letterbox,
        input_hw: tuple[int, int],
        selected: bool,
        max_det: int | None,
    ) -> np.ndarray:
        """Return one image's boxes (N, 6) in its own pixels, by falling score."""
        if selected and self.metadata is not None:
            self._shown_limit = len(rows)  # a file always gives as many rows, the rest empty
        if selected:
            boxes = select_boxes(rows, self.settings, max_det or self.max_det)
        else:
            boxes = suppress(rows, self.settings, input_hw, max_det or self.max_det)
        if unknown := set(boxes[:, 5].astype(int).tolist()) - self.names.keys():
            raise DamagedWeightsError(
                f"{self.weights} gives class {min(unknown)}, and names the classes 0 to "
                f"{len(self.names) - 1}"
            )
        boxes[:, :4] = letterbox.to_image(boxes[:, :4])
        return boxes[np.argsort(-boxes[:, 4], kind="stable")]

    def _input_of_call(self, asked_hw: tuple[int, int] | None) -> tuple[int, int]:
        if asked_hw is None or asked_hw == self.imgsz_hw:
            return self.imgsz_hw
        return self._input_hw(asked_hw)

    def _input_hw(self, imgsz: int | tuple[int, int] | None) -> tuple[int, int]:
        """Return height and width in pixels, rounded up to multiples of the stride."""
        own_hw = self.backend.imgsz_hw
        if imgsz is None:
            return own_hw or (640, 640)
        sides = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
        height, width = (math.ceil(side / self.stride) * self.stride for side in sides)
        if own_hw and not self.backend.dynamic and (height, width) != own_hw:
            raise ConfigError(
                f"{self.weights} takes only images of {own_hw[0]}x{own_hw[1]} (height x width), "
                f"and {height}x{width} is asked for; export it again with that size, or with "
                f"--dynamic"
            )
        return height, width
