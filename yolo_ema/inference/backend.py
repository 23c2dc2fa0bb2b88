"""What runs a network: letterboxed images in, what it says about each out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from yolo_ema.errors import DamagedWeightsError
from yolo_ema.inference.file_metadata import ArtifactMetadata, checked_metadata
from yolo_ema.inference.predictor import PredictorConfig, PredictorSettings
from yolo_ema.tiling.plan import ObjectSizes
from yolo_ema.tiling.plan_figures import PlanFigures

_SELECTED_COLUMNS = 6
"""x1, y1, x2, y2, score, class id: boxes that need no NMS, as Ultralytics knows them, too."""

_UNNAMED_CLASSES = 999  # so many Ultralytics names where a file doesn't


class Backend(Protocol):
    """A network in one runtime.

    Attributes:
        names: class names by class id.
        stride: input sides are multiples of it, pixels.
        imgsz_hw: height and width of the input in pixels; of a dynamic one those to take unless
            asked otherwise. None where nothing says.
        dynamic: it takes inputs of any size.
        batched: several images can go through in one forward pass.
        one_pass: the images of a call do go through together.
        has_builtin_nms: it selects its boxes by itself.
        metadata: what an exported file says of itself; None for a ``.pt``.
        object_sizes: how large the objects were that it was trained on, where recorded.
        plan_figures: what plans gained and cost with it, where recorded.
        stored, computed: precision of the weights, and of the computation as far as the runtime
            tells: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        threads: threads on the processor over all workers; None where the runtime does not tell,
            or runs elsewhere.
    """

    names: dict[int, str]
    stride: int
    imgsz_hw: tuple[int, int] | None
    dynamic: bool
    batched: bool
    one_pass: bool
    has_builtin_nms: bool
    object_sizes: ObjectSizes | None
    plan_figures: PlanFigures | None

    @property
    def metadata(self) -> ArtifactMetadata | None: ...  # noqa: D102
    @property
    def stored(self) -> str: ...  # noqa: D102
    @property
    def computed(self) -> str: ...  # noqa: D102
    @property
    def threads(self) -> int | None: ...  # noqa: D102

    def shared_by(self, workers: int, threads_each: int) -> Backend:
        """Return the same network for several workers at once, each with so many threads."""
        ...

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[Any]:
        """Return what a call takes for letterboxed images (H, W, 3) uint8 of one shape."""
        ...

    def __call__(
        self, inputs: Sequence[Any], settings: PredictorSettings, max_det: int
    ) -> list[np.ndarray]:
        """Run the network.

        Args:
            inputs: what `prepare` returned.
            settings: what scores clearly below ``conf`` may be left out.
            max_det: maximum boxes per image that will be kept.

        Returns:
            For each image float32: candidates (N, 4 + K), center x and y, width, height in pixels
            of the input and class scores; or, with ``has_builtin_nms``, boxes (N, 6) x1, y1, x2,
            y2, score, class id.
        """
        ...


class ExportedBackend(ABC):
    """An exported file on the CPU, opened once for itself and once for several workers.

    Args:
        file: the file that the runtime reads.
        config: how it is opened.
        workers: how many threads will call at once.
        threads_each: threads that compute for each of them.
    """

    suffix: ClassVar[str]
    """Of the file inside an export's folder."""

    def __init__(
        self, file: Path, config: PredictorConfig, *, workers: int = 1, threads_each: int
    ) -> None:
        self.file, self._config = file, config
        self._workers, self._threads_each = workers, threads_each
        self.metadata: ArtifactMetadata = ArtifactMetadata()
        self.imgsz_hw: tuple[int, int] | None = None
        self.dynamic = False
        self._open()
        self.object_sizes = self.metadata.object_sizes
        self.plan_figures = self.metadata.plan_figures
        self.stride = self.metadata.stride or 32
        self.imgsz_hw = self.imgsz_hw or self.metadata.imgsz_hw
        # NMS inside a file is made for a number of images, even where their size is open.
        self._most_images = self.metadata.batch if self.metadata.nms or not self.dynamic else 0
        self.batched = self._most_images != 1
        self._padded = not self.dynamic and self.batched
        self.one_pass = self._padded or (config.batched and self.batched)

    @abstractmethod
    def _open(self) -> None:
        """Open the file: set ``dynamic``, set ``imgsz_hw`` where the file fixes it, and hand what
        is in it to `_describe`.
        """

    def _describe(self, entries: dict[str, Any], output_shape: Sequence[Any]) -> None:
        """Take a file's entries and the shape of its output, (batch, 4 + K, N) or (batch, N, 6),
        which is empty where it is not known.
        """
        self.metadata = checked_metadata(entries, self.file)
        columns = output_shape[2] if len(output_shape) == 3 else None
        self.has_builtin_nms = (
            self.metadata.nms or self.metadata.nms_free or columns == _SELECTED_COLUMNS
        )
        rows = output_shape[1] if len(output_shape) == 3 else None
        classes = rows - 4 if isinstance(rows, int) and not self.has_builtin_nms else None
        count = _UNNAMED_CLASSES if classes is None else classes
        self.names = self.metadata.names or {number: f"class{number}" for number in range(count)}
        if classes is not None:
            self._check_classes(classes)

    def _check_classes(self, count: int) -> None:
        if count != len(self.names):
            raise DamagedWeightsError(
                f"{self.file} has unusable metadata: it names {len(self.names)} classes, and the "
                f"network gives scores of {count}"
            )

    @property
    def stored(self) -> str:
        """Precision of the weights in the file, as it says."""
        return self.metadata.stored_precision

    @property
    def computed(self) -> str:
        """Precision of the computation; int8 layers stay what they are, whatever the others do."""
        hint = self._told_precision()
        return hint if hint and (self.stored, hint) != ("int8", "fp32") else self.stored

    def _told_precision(self) -> str | None:
        """Return the precision that the runtime says it computes in, where it does."""
        return None

    @property
    def threads(self) -> int:
        """Threads over all workers."""
        return self._workers * self._threads_each

    def shared_by(self, workers: int, threads_each: int) -> ExportedBackend:
        """Open the file for several workers at once, each with so many threads."""
        return type(self)(self.file, self._config, workers=workers, threads_each=threads_each)

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each image as (1, 3, H, W) float32, RGB in 0…1."""
        blobs = [cv2.dnn.blobFromImage(image, 1 / 255, swapRB=True) for image in images_bgr]
        transform = self._config.input_transform
        return [np.ascontiguousarray(transform(blob)) for blob in blobs] if transform else blobs

    @abstractmethod
    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's answer (B, 4 + K, N) or (B, N, 6) to prepared images."""

    def __call__(
        self, inputs: Sequence[np.ndarray], settings: PredictorSettings, max_det: int
    ) -> list[np.ndarray]:
        """Run the network, see `Backend`."""
        size = (self._most_images or len(inputs)) if self.one_pass else 1
        answers: list[np.ndarray] = []
        for start in range(0, len(inputs), size):
            images = inputs[start : start + size]
            answer = self.forward(self._batch_of(images, size))[: len(images)]
            answers += self._per_image(answer.astype(np.float32, copy=False))
        return answers

    def _batch_of(self, images: Sequence[np.ndarray], size: int) -> np.ndarray:
        batch = images[0] if len(images) == 1 else np.concatenate(images)
        if not self._padded or len(images) == size:
            return batch
        spare = np.zeros((size - len(images), *batch.shape[1:]), batch.dtype)
        return np.concatenate((batch, spare))

    def _per_image(self, answer: np.ndarray) -> list[np.ndarray]:
        if answer.ndim != 3:
            raise DamagedWeightsError(
                f"{self.file} gives an array of shape {answer.shape}; expected (batch, "
                f"4 + classes, boxes) or (batch, boxes, 6)"
            )
        if self.has_builtin_nms or answer.shape[2] == _SELECTED_COLUMNS:
            self.has_builtin_nms = True
            return list(answer)
        self._check_classes(answer.shape[1] - 4)
        return [image.T for image in answer]
