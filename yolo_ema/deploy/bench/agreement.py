"""How far a runtime's boxes lie from those of the weights at the same input size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yolo_ema.deploy.parity.comparison import Tolerance, compare_image
from yolo_ema.options.export import ExportOptions

__all__ = ["EXACT", "BoxAgreement", "box_agreement"]

EXACT = Tolerance(px=ExportOptions.tolerance_px, score=ExportOptions.tolerance_score)
"""How far the boxes of a float32 file may lie from those of its weights to be called the same: the
proof's own default.
"""

_FEW = 0.02
"""Share of the boxes that may be unmatched or ties: where two networks differ in the last digit NMS
rarely breaks a tie so.
"""


@dataclass(frozen=True)
class BoxAgreement:
    """How the boxes of a runtime compare with those of the weights.

    Attributes:
        boxes: of the weights, over all images.
        unmatched: boxes on either side without a counterpart of the same class at the same place.
        ties: boxes that NMS chose differently among proposals that are alike, or that score as good
            as the lowest score that counts; neither among the unmatched nor in the differences.
            Told apart only where both sides are float32.
        box_px: largest difference of a side, in pixels of the network's input.
        score: largest difference of a score, 0…1.
        score_share: the same as a share of the score.
    """

    boxes: int
    unmatched: int
    ties: int
    box_px: float
    score: float
    score_share: float

    @property
    def same(self) -> bool:
        """Whether these are the boxes of the weights but for rounding."""
        few = self.unmatched + self.ties <= _FEW * self.boxes
        return (
            self.boxes > 0 and few and self.box_px <= EXACT.px and self.score_share <= EXACT.score
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {**asdict(self), "same": self.same}


def box_agreement(
    reference: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    sizes_hw: Sequence[Sequence[int]],
    input_hw: Sequence[int],
    *,
    conf: float,
    lossy: bool = False,
) -> BoxAgreement:
    """Compare boxes image by image.

    Args:
        reference: of each image (N, 6) the weights' boxes: x1, y1, x2, y2 in pixels of the image,
            score, class id.
        other: likewise the runtime's.
        sizes_hw: height and width of each image in pixels.
        input_hw: height and width of the network's input in pixels.
        conf: the lowest score that was asked for.
        lossy: the runtime stores or computes in less than float32: its differences are its own, and
            none is excused.
    """
    found = [
        compare_image(
            "",
            first,
            second,
            EXACT,
            scale=min(input_hw[0] / size[0], input_hw[1] / size[1]),
            lowest=conf,
        )
        for first, second, size in zip(reference, other, sizes_hw, strict=True)
    ]
    boxes = sum(map(len, reference))
    ties = sum(one.ties for one in found)
    if lossy or ties > _FEW * boxes:  # so many are no ties
        pairs = sum(len(one.px) for one in found)
        return BoxAgreement(
            boxes,
            unmatched=boxes + sum(map(len, other)) - 2 * pairs,
            ties=0,
            box_px=max((float(one.px.max(initial=0.0)) for one in found), default=0.0),
            score=max((float(np.abs(one.scores).max(initial=0.0)) for one in found), default=0.0),
            score_share=max((float(one.shares.max(initial=0.0)) for one in found), default=0.0),
        )
    return BoxAgreement(
        boxes,
        unmatched=sum(len(one.lost) + len(one.extra) + 2 * len(one.renamed) for one in found),
        ties=ties,
        box_px=max((one.box_px for one in found), default=0.0),
        score=max((one.score for one in found), default=0.0),
        score_share=max((one.score_share for one in found), default=0.0),
    )
