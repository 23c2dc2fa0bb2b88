"""Weights and file side by side: the same images, the same preprocessing, the same thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from yolo_ema.deploy.parity.comparison import ImageComparison, Proposals, Tolerance, compare_image
from yolo_ema.deploy.parity.test_images import GateImage
from yolo_ema.engine.prediction.runtime import Runtime
from yolo_ema.errors import MachineError, YoloEmaError
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.tiled import TiledRuntime

__all__ = ["LADDER", "MOST_BOXES", "Setup", "Sides", "open_sides", "with_adjusted_input"]

MOST_BOXES = 1000
"""So many boxes an image are compared, those of the highest scores; fewer where the file says that
it holds fewer.
"""

LADDER = (0.25, 0.1, 0.05, 0.01, 0.001, 0.0)
"""The lowest score that is looked at is the first of these from which on the weights give enough
boxes.
"""

_IOU = 0.7


@dataclass(frozen=True)
class Setup:
    """What holds for all comparisons of a file.

    Attributes:
        artifact: the file or folder.
        weights: the .pt.
        facts: what the file says of itself.
        tolerance: how far a counterpart may lie.
        conf: lowest score that the file gives, where NMS is inside; None where any can be asked
            for.
        iou: NMS's threshold.
        device: where both run.
        trust: load both although they carry code.
        advance: called after each image.
    """

    artifact: Path
    weights: Path
    facts: ArtifactMetadata
    tolerance: Tolerance
    conf: float | None
    iou: float = _IOU
    device: str = "cpu"
    trust: bool = False
    advance: Callable[[], Any] = field(default=lambda: None)

    @property
    def is_float(self) -> bool:
        """Whether the file computes in float32, as far as it says."""
        return self.facts.precision in {None, "fp32"}

    @property
    def most(self) -> int:
        """The most boxes an image that are compared."""
        stated = self.facts.max_det if self.facts.nms or self.facts.nms_free else None
        return min(MOST_BOXES, stated or MOST_BOXES)

    @property
    def batch(self) -> int:
        """Images that a forward pass of a file of fixed shape takes."""
        return 1 if self.facts.dynamic else self.facts.batch


@dataclass(frozen=True)
class Sides:
    """The weights' runtime and the file's, of one input size that is always filled up: both see the
    same pixels.
    """

    setup: Setup
    reference: Runtime
    other: Runtime

    @property
    def imgsz_hw(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.other.imgsz_hw

    def scale(self, shown_hw: Sequence[int]) -> float:
        """Return how many pixels of the input a pixel of an image or tile of this height and width
        is.
        """
        return min(side / own for side, own in zip(self.imgsz_hw, shown_hw, strict=True))

    def rows(self, images: Sequence[GateImage], lowest: float) -> list[np.ndarray]:
        """Return the weights' boxes of each image, (N, 6)."""
        self.reference.conf = lowest
        return [self._timed(self.reference, [image.bgr()])[0] for image in images]

    def other_rows(
        self, images: Sequence[GateImage], lowest: float, batch: int = 1
    ) -> list[np.ndarray]:
        """Return the file's boxes of each image, (N, 6); ``batch`` images a forward pass."""
        self.other.conf = lowest
        found: list[np.ndarray] = []
        for start in range(0, len(images), batch):
            found += self._timed(
                self.other, [image.bgr() for image in images[start : start + batch]]
            )
        return found

    def compare(
        self,
        images: Sequence[GateImage],
        reference: Sequence[np.ndarray],
        other: Sequence[np.ndarray],
        lowest: float,
        *,
        ask: bool,
        tile_wh: tuple[int, int] | None = None,
    ) -> list[ImageComparison]:
        """Compare boxes image by image.

        Args:
            images: what was looked at.
            reference: the weights' boxes; those below ``lowest`` are left out.
            other: the file's.
            lowest: lowest score that counts.
            ask: whether what the networks propose before NMS may tell who is to blame.
            tile_wh: the images were looked at in tiles of this size: distances count in the input
                that saw a tile.
        """
        ask = ask and not (self.reference.chooses or self.other.chooses)
        compared = []
        for image, ours, theirs in zip(images, reference, other, strict=True):
            ours, theirs = ours[ours[:, 4] >= lowest], theirs[theirs[:, 4] >= lowest]
            # What is cut off at the most boxes that were asked for is cut at a score of its own.
            edge = max(
                [
                    lowest,
                    *(
                        float(rows[-1, 4])
                        for rows in (ours, theirs)
                        if len(rows) >= self.setup.most
                    ),
                ]
            )
            shown = image.bgr()
            proposed = (
                partial(self.tiled_proposals, image, tile_wh)
                if tile_wh
                else partial(self.proposals, shown)
            )
            compared.append(
                compare_image(
                    image.name,
                    ours,
                    theirs,
                    self.setup.tolerance,
                    scale=self.scale(tile_wh[::-1] if tile_wh else shown.shape[:2]),
                    lowest=edge,
                    proposals=proposed if ask else None,
                )
            )
        return compared

    def proposals(self, image_bgr: np.ndarray) -> Proposals:
        """Return what both networks propose for an image before NMS."""
        reference, other = self.reference.proposals(image_bgr), self._proposals_of_file(image_bgr)
        none = np.empty((0, 4 + len(self.reference.names)), np.float32)
        return Proposals(none if reference is None else reference, none if other is None else other)

    def tiled(
        self, image: GateImage, tile_wh: tuple[int, int], lowest: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what both find in an image in tiles."""
        found = []
        for runtime in (self.reference, self.other):
            runtime.conf = lowest
            limited = cast("Runtime", _Limited(runtime, self.setup.most))
            found.append(self._timed(TiledRuntime(limited, tile=tile_wh), [image.bgr()])[0])
        return found[0], found[1]

    def tiled_proposals(self, image: GateImage, tile_wh: tuple[int, int]) -> Proposals:
        """Return what both networks propose for an image in all its tiles and as a whole, before
        NMS and merging.
        """
        shown = image.bgr()
        height, width = shown.shape[:2]
        views = [
            (0, 0, width, height),
            *TiledRuntime(self.reference, tile=tile_wh).plan((width, height)).tiles_xyxy.tolist(),
        ]
        found = []
        for x1, y1, x2, y2 in views:
            both = self.proposals(np.ascontiguousarray(shown[y1:y2, x1:x2]))
            for rows in (both.reference, both.other):
                rows[:, :4] += (x1, y1, x1, y1)
            found.append(both)
        return Proposals(
            np.concatenate([one.reference for one in found]),
            np.concatenate([one.other for one in found]),
        )

    def _proposals_of_file(self, image_bgr: np.ndarray) -> np.ndarray | None:
        return _run(self.other.proposals, image_bgr)

    def _timed(
        self, runtime: Runtime | TiledRuntime, images: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        found = _run(runtime, images)
        for _ in images:
            self.setup.advance()
        return found


class _Limited:
    """A runtime that keeps no more boxes a tile than the file can hold, as `TiledRuntime` would
    have it.
    """

    def __init__(self, runtime: Runtime, most: int) -> None:
        self._runtime, self._most = runtime, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def __call__(
        self, images_bgr: Sequence[np.ndarray], *, max_det: int | None = None
    ) -> list[np.ndarray]:
        """Detect on one batch."""
        return self._runtime(images_bgr, max_det=min(max_det or self._most, self._most))


def open_sides(
    setup: Setup, imgsz_hw: tuple[int, int] | None = None, *, joined: bool = False
) -> Sides:
    """Open weights and file.

    Args:
        setup: what holds for all comparisons.
        imgsz_hw: the input of a dynamic file; None for the file's own.
        joined: images of a call go through the file in one forward pass.

    Raises:
        WeightsError: one of them cannot be used.
        MachineError: it cannot be run here.
    """
    other = _open_file(setup, imgsz_hw, joined=joined)
    reference = Runtime(
        setup.weights, imgsz=other.imgsz_hw, nms_free=setup.facts.nms_free, **_same(setup)
    )
    return Sides(setup, reference, other)


def with_adjusted_input(sides: Sides, adjust: Callable[[Any], Any]) -> Sides:
    """Return the sides with something done to the file's input, see `Runtime`. Raises as
    `open_sides` does.
    """
    return replace(
        sides,
        other=_open_file(
            sides.setup, sides.imgsz_hw if sides.setup.facts.dynamic else None, adjust=adjust
        ),
    )


def _open_file(setup: Setup, imgsz_hw: tuple[int, int] | None, **more: Any) -> Runtime:
    # Otherwise OpenVINO computes in bfloat16 where the processor can, and the file would bear the
    # blame.
    precision = "f32" if setup.is_float else "auto"
    return Runtime(setup.artifact, imgsz=imgsz_hw, precision=precision, **_same(setup), **more)


def _same(setup: Setup) -> dict[str, Any]:
    """Return what both runtimes have in common."""
    return {
        "device": setup.device,
        "rectangular": False,
        "iou": setup.iou,
        "max_det": setup.most,
        "trust": setup.trust,
    }


def _run(work: Callable[[Any], Any], images: Any) -> Any:
    """Run a network. Raises `MachineError` where its runtime cannot."""
    try:
        return work(images)
    except (YoloEmaError, MemoryError):
        raise
    except Exception as error:  # each runtime has errors of its own for a file that it cannot run
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise MachineError(f"it cannot be run here: {first}") from error
