"""Whether boxes differ only because of decisions that were too close to call.

NMS and the merging of tiles are our own code, the same for weights and file, and a function of what
the network says alone. So a difference in the boxes is a tie if three things hold, for every view
of the image (the tiles, the whole):

* both networks were shown the same pixels;
* what they said agrees, proposal by proposal, within the tolerance;
* the weights' path, given what the file's network said, ends in exactly the file's boxes.

Then some score or overlap lay closer to a threshold, or to another score, than the two networks lie
apart, and nothing else differs. Otherwise no difference is excused.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from yolo_ema.deploy.parity.box_matching import match_boxes
from yolo_ema.deploy.parity.comparison import Tolerance, as_shares
from yolo_ema.inference.backend import Backend
from yolo_ema.inference.predictor import PredictorSettings
from yolo_ema.inference.suppression import centers_to_corners


@dataclass
class Recording:
    """What a network said.

    Attributes:
        answers: (N, 4 + K) candidates or (N, 6) boxes, see `Backend`, by the pixels that the
            network was shown.
        on: whether more is recorded.
    """

    answers: dict[bytes, np.ndarray] = field(default_factory=dict)
    on: bool = True

    def stop(self) -> None:
        """Record no more, and forget."""
        self.on = False
        self.answers.clear()


class Recorder:
    """A `Backend` around another one that records what the network says.

    Args:
        backend: the network.
        recording: where to.
    """

    def __init__(self, backend: Backend, recording: Recording | None = None) -> None:
        self._backend = backend
        self.recording = recording or Recording()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the network."""
        if name.startswith("_"):
            raise AttributeError(f"a Recorder has no attribute {name!r}")
        return getattr(self._backend, name)

    def in_one_pass(self) -> Recorder:
        """Return one that takes the images of a call in one forward pass."""
        backend: Any = copy.copy(self._backend)
        backend.one_pass = True
        return Recorder(backend, self.recording)

    def shared_by(self, workers: int, threads_each: int) -> Recorder:
        """Return the same network for several workers, recorded in the same place."""
        return Recorder(self._backend.shared_by(workers, threads_each), self.recording)

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[Any]:
        """Return what a call takes, and which pixels those are."""
        return [([_pixels(image) for image in images_bgr], self._backend.prepare(images_bgr))]

    def __call__(
        self, inputs: Sequence[Any], settings: PredictorSettings, max_det: int
    ) -> list[np.ndarray]:
        """Run the network, and record all that it says, however low it scores."""
        ((pixels, prepared),) = inputs
        if not self.recording.on:
            return self._backend(prepared, settings, max_det)
        rows = self._backend(prepared, replace(settings, conf=0.0), max_det)
        self.recording.answers.update(zip(pixels, map(np.array, rows), strict=True))
        return rows


class Replay:
    """A `Backend` that says again what was recorded.

    Args:
        backend: the network whose place it takes.
        recording: what to say.

    Attributes:
        shown: the pixels that it was asked about, in order.
        unknown: whether any of them were never recorded; those answers are empty.
    """

    one_pass = True

    def __init__(self, backend: Backend, recording: Recording) -> None:
        self._backend, self._answers = backend, recording.answers
        self.shown: list[bytes] = []
        self.unknown = False

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the network."""
        if name.startswith("_"):
            raise AttributeError(f"a Replay has no attribute {name!r}")
        return getattr(self._backend, name)

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[bytes]:
        """Return which pixels these are."""
        return [_pixels(image) for image in images_bgr]

    def __call__(
        self, inputs: Sequence[bytes], settings: PredictorSettings, max_det: int
    ) -> list[np.ndarray]:
        """Return what was said about these pixels."""
        self.shown += inputs
        self.unknown |= any(pixels not in self._answers for pixels in inputs)
        columns = 6 if self._backend.has_builtin_nms else 4 + len(self._backend.names)
        nothing = np.empty((0, columns), np.float32)
        return [self._answers.get(pixels, nothing) for pixels in inputs]


def answers_agree(
    reference: np.ndarray,
    candidate: np.ndarray,
    tolerance: Tolerance,
    lowest: float,
    *,
    selected: bool,
) -> bool:
    """Say whether two networks say the same about a view.

    Args:
        reference: (N, 4 + K) candidates or (N, 6) boxes, see `Backend`, of the weights.
        candidate: the file's.
        tolerance: how far they may lie apart.
        lowest: what scores no more on either side has no part in the boxes.
        selected: they are boxes, in any order; candidates are compared place by place.
    """
    if selected:
        reference, candidate = (rows[rows[:, 4] > lowest, :6] for rows in (reference, candidate))
        pairs = match_boxes(reference, candidate).pairs
        if not len(reference) == len(candidate) == len(pairs):
            return False
        reference, candidate = reference[pairs[:, 0], :5], candidate[pairs[:, 1], :5]
    else:
        if reference.shape != candidate.shape:
            return False
        scores = np.maximum(reference[:, 4:], candidate[:, 4:]).max(axis=1, initial=-np.inf)
        counts = ~(scores <= lowest)  # NaN counts: it agrees with nothing
        reference, candidate = (_corners(rows[counts]) for rows in (reference, candidate))
    difference = np.abs(reference.astype(np.float64) - candidate)
    near = (difference[:, :4] <= tolerance.px) & np.isfinite(difference[:, :4])
    similar = as_shares(difference[:, 4:], reference[:, 4:]) <= tolerance.score
    return bool(near.all() and similar.all())


def _corners(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([centers_to_corners(rows[:, :4]), rows[:, 4:]], axis=1)


def _pixels(image_bgr: np.ndarray) -> bytes:
    """Return what tells a letterboxed image from any other."""
    shape = repr(image_bgr.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(image_bgr).tobytes()).digest()
