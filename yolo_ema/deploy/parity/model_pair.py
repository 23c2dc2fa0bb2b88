"""The weights and their exported file, opened once each: same images, preprocessing, thresholds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from yolo_ema.deploy.parity.comparison import ImageComparison, Tolerance, compare_image
from yolo_ema.deploy.parity.proof_images import ProofImage
from yolo_ema.deploy.parity.replay import Recorder, Replay, answers_agree
from yolo_ema.engine.prediction.torch_predictor import TorchPredictor, open_predictor
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.errors import MachineError, YoloEmaError, first_line
from yolo_ema.inference.backend import Backend
from yolo_ema.inference.backend_predictor import BackendPredictor
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.predictor import Predictor, PredictorConfig
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.options.val import ValOptions

MAX_BOXES = 1000
"""Boxes per image that are compared, the best; fewer if the file says it holds fewer."""

SCORE_THRESHOLDS = (0.25, 0.1, 0.05, 0.01, 0.001, 0.0)
"""Boxes are compared from the first of these scores on that gives enough of them."""

DEFAULT_CONF, DEFAULT_IOU = 0.25, 0.7

_Predictor = TypeVar("_Predictor", bound=BackendPredictor)


@dataclass(frozen=True)
class ParitySetup:
    """What holds for all comparisons of a file.

    Attributes:
        artifact: the file or folder.
        weights: the .pt.
        loaded: the model in it.
        metadata: what the file says of itself.
        tolerance: how far a counterpart may differ.
        device: where both run.
        trust: run the file although its format is a program; says nothing of the weights.
        advance: called after each image.
    """

    artifact: Path
    weights: Path
    loaded: LoadedModel
    metadata: ArtifactMetadata
    tolerance: Tolerance
    device: str = "cpu"
    trust: bool = False
    advance: Callable[[], Any] = field(default=lambda: None)

    @property
    def is_float(self) -> bool:
        """Whether the file computes in float32, as far as it says."""
        return self.metadata.precision in {None, "fp32"}

    @property
    def conf(self) -> float | None:
        """Lowest score that the file gives if NMS is inside; None if any can be asked for."""
        if not self.metadata.nms:
            return None
        return DEFAULT_CONF if self.metadata.conf is None else self.metadata.conf

    @property
    def max_boxes(self) -> int:
        """Maximum number of boxes per image that are compared."""
        selects = self.metadata.nms or self.metadata.nms_free
        return min(MAX_BOXES, (self.metadata.max_det if selects else None) or MAX_BOXES)

    @property
    def batch(self) -> int:
        """Images per forward pass of a file of fixed shape; 1 for a dynamic one."""
        return 1 if self.metadata.dynamic else self.metadata.batch

    @property
    def config(self) -> PredictorConfig:
        """How both are opened: with one input size that is always filled."""
        stated = self.metadata.iou if self.metadata.nms else None
        return PredictorConfig(
            device=self.device,
            rectangular=False,
            iou=DEFAULT_IOU if stated is None else stated,
            max_det=self.max_boxes,
        )


@dataclass(frozen=True)
class ModelPair:
    """The weights and their exported file, at one input size that is always filled: both see the
    same pixels.
    """

    setup: ParitySetup
    reference: BackendPredictor
    candidate: BackendPredictor

    @property
    def imgsz_hw(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.candidate.imgsz_hw

    def scale(self, shown_hw: Sequence[int]) -> float:
        """Return how many pixels of the input one pixel of an image or tile of ``shown_hw`` pixels
        is.
        """
        return min(side / shown for side, shown in zip(self.imgsz_hw, shown_hw, strict=True))

    def at_size(self, imgsz_hw: tuple[int, int]) -> ModelPair:
        """Return the pair with another input size, of a dynamic file."""
        reference, candidate = _variant(self.reference), _variant(self.candidate)
        reference.imgsz_hw = candidate.imgsz_hw = imgsz_hw
        return replace(self, reference=reference, candidate=candidate)

    def in_batches(self) -> ModelPair:
        """Return the pair with the images of a call in one forward pass through the file."""
        candidate = _variant(self.candidate)
        candidate.backend = cast("Backend", _recorder(candidate).in_one_pass())
        return replace(self, candidate=candidate)

    def for_scoring(self, predictor: BackendPredictor, options: ValOptions) -> BackendPredictor:
        """Return one of the two with the thresholds that ``val`` scores by; a whole dataset is not
        recorded.
        """
        _recorder(predictor).recording.stop()
        variant = _variant(predictor)
        variant.settings.conf, variant.settings.max_det = options.conf, options.max_det
        variant.settings.multi_label = True
        return variant

    def with_input_transform(self, transform: Callable[[np.ndarray], np.ndarray]) -> ModelPair:
        """Return the pair with a change to the file's input, see `PredictorConfig`. The file is
        opened again for it.

        Raises:
            MachineError: it cannot be run so.
        """
        size = self.imgsz_hw if self.setup.metadata.dynamic else None
        candidate = _open_candidate(self.setup, imgsz=size, input_transform=transform)
        return replace(self, candidate=candidate)

    def reference_rows(self, images: Sequence[ProofImage], lowest: float) -> list[np.ndarray]:
        """Return the weights' boxes of each image, (N, 6)."""
        self.reference.settings.conf = lowest
        return [self._timed(self.reference, [image.bgr()])[0] for image in images]

    def candidate_rows(
        self, images: Sequence[ProofImage], lowest: float, batch: int = 1
    ) -> list[np.ndarray]:
        """Return the file's boxes of each image, (N, 6), with ``batch`` images per call."""
        self.candidate.settings.conf = lowest
        rows: list[np.ndarray] = []
        for start in range(0, len(images), batch):
            group = [image.bgr() for image in images[start : start + batch]]
            rows += self._timed(self.candidate, group)
        return rows

    def compare(
        self,
        images: Sequence[ProofImage],
        reference: Sequence[np.ndarray],
        candidate: Sequence[np.ndarray],
        lowest: float,
        *,
        guess: bool | None = None,
        tile_wh: tuple[int, int] | None = None,
    ) -> list[ImageComparison]:
        """Compare boxes image by image.

        Args:
            images: the images.
            reference: the weights' boxes; those below ``lowest`` are left out.
            candidate: the file's, of the last time that it saw the images.
            lowest: lowest score that counts.
            guess: whether ties that are not proven may be guessed; None: only if NMS is built in,
                so that it cannot be replayed.
            tile_wh: the boxes come from tiles of this size: distances are in the tile's input.
        """
        if guess is None:
            guess = self.reference.has_builtin_nms or self.candidate.has_builtin_nms
        compared = []
        for image, ref, cand in zip(images, reference, candidate, strict=True):
            rows = ref[ref[:, 4] >= lowest], cand[cand[:, 4] >= lowest]
            # A list cut off at the maximum number of boxes ends at a score of its own.
            full = [float(kept[-1, 4]) for kept in rows if len(kept) >= self.setup.max_boxes]
            compared.append(
                compare_image(
                    image.name,
                    *rows,
                    self.setup.tolerance,
                    scale=self.scale(tile_wh[::-1] if tile_wh else image.bgr().shape[:2]),
                    lowest=max([lowest, *full]),
                    proven_tie=partial(self._is_tie, image, rows[1], lowest, tile_wh),
                    guess=guess,
                )
            )
        return compared

    def _is_tie(
        self,
        image: ProofImage,
        candidate: np.ndarray,
        lowest: float,
        tile_wh: tuple[int, int] | None,
        tolerance: Tolerance,
    ) -> bool:
        """Say whether the file's boxes of an image can differ from the weights' by ties alone, see
        `replay`.
        """
        selected = self.candidate.has_builtin_nms
        comparable = self.reference.names.keys() == self.candidate.names.keys()
        if not comparable or self.reference.has_builtin_nms != selected:
            return False
        ref, cand = (_recorder(model).recording for model in (self.reference, self.candidate))
        weights, replay = _variant(self.reference), Replay(self.reference.backend, cand)
        weights.backend, weights.settings.conf = cast("Backend", replay), lowest
        detect = self._in_tiles(weights, tile_wh) if tile_wh else weights
        (rows,) = detect([image.bgr()])
        return (
            np.array_equal(rows[rows[:, 4] >= lowest], candidate)
            and not replay.unknown
            and all(
                pixels in ref.answers
                and answers_agree(
                    ref.answers[pixels],
                    cand.answers[pixels],
                    tolerance,
                    lowest,
                    selected=selected,
                )
                for pixels in replay.shown
            )
        )

    def proposals(self, image_bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what weights and file propose for an image before NMS, each (N, 4 + K): x1, y1,
        x2, y2 in pixels of the image, then K class scores.
        """
        reference = self.reference.proposals(image_bgr)
        candidate = _run(self.candidate.proposals, image_bgr)
        none = np.empty((0, 4 + len(self.reference.names)), np.float32)
        return none if reference is None else reference, none if candidate is None else candidate

    def tiled(
        self, image: ProofImage, tile_wh: tuple[int, int], lowest: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes that both give for an image in tiles."""
        rows = []
        for predictor in (self.reference, self.candidate):
            predictor.settings.conf = lowest
            rows.append(self._timed(self._in_tiles(predictor, tile_wh), [image.bgr()])[0])
        return rows[0], rows[1]

    def _in_tiles(self, predictor: BackendPredictor, tile_wh: tuple[int, int]) -> TiledPredictor:
        limited = cast("Predictor", _Limited(predictor, self.setup.max_boxes))
        return TiledPredictor(limited, tile=tile_wh)

    def _timed(
        self, predictor: Callable[..., list[np.ndarray]], images: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        rows: list[np.ndarray] = _run(predictor, images)
        for _ in images:
            self.setup.advance()
        return rows


class _Limited:
    """A predictor that keeps no more boxes per tile than the file can hold."""

    def __init__(self, predictor: BackendPredictor, max_boxes: int) -> None:
        self._predictor, self._max_boxes = predictor, max_boxes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def __call__(
        self, images_bgr: Sequence[np.ndarray], *, max_det: int | None = None, **size: Any
    ) -> list[np.ndarray]:
        """Detect on one batch."""
        limit = min(max_det or self._max_boxes, self._max_boxes)
        return self._predictor(images_bgr, max_det=limit, **size)


def open_pair(setup: ParitySetup) -> ModelPair:
    """Open the file, and run the weights at its input size.

    Raises:
        WeightsError: one of them cannot be used.
        MachineError: it cannot be run here.
    """
    candidate = _open_candidate(setup)
    config = replace(setup.config, imgsz=candidate.imgsz_hw, nms_free=setup.metadata.nms_free)
    # A copy, since opening fuses layers, and the export may continue with another format.
    loaded = replace(setup.loaded, model=copy.deepcopy(setup.loaded.model))
    reference = _recorded(TorchPredictor(setup.weights, config, loaded=loaded))
    return ModelPair(setup, reference, candidate)


def _open_candidate(setup: ParitySetup, **changes: Any) -> BackendPredictor:
    # Otherwise OpenVINO computes in bfloat16 where the processor can, and the file would be blamed.
    precision = "f32" if setup.is_float else "auto"
    return _recorded(
        open_predictor(
            setup.artifact, setup.config, precision=precision, trust=setup.trust, **changes
        )
    )


def _recorded(predictor: _Predictor) -> _Predictor:
    """Return a predictor whose network's answers are recorded from now on."""
    predictor.backend = cast("Backend", Recorder(predictor.backend))
    return predictor


def _recorder(predictor: BackendPredictor) -> Recorder:
    return cast("Recorder", predictor.backend)


def _variant(predictor: BackendPredictor) -> BackendPredictor:
    """Return a predictor on the same open network, with settings of its own."""
    variant = copy.copy(predictor)
    variant.settings = replace(predictor.settings)
    return variant


def _run(work: Callable[[Any], Any], images: Any) -> Any:
    """Run a network. Raises `MachineError` if its runtime cannot."""
    try:
        return work(images)
    except (YoloEmaError, MemoryError):
        raise
    except Exception as error:  # each runtime has errors of its own for a file that it cannot run
        raise MachineError(f"it cannot be run here: {first_line(error)}") from error
