"""Normalised Wasserstein distance of boxes, for objects of a few pixels.

Wang, Xu, Yang, Yu: A Normalized Gaussian Wasserstein Distance for Tiny Object Detection, 2021,
https://arxiv.org/abs/2110.13389. A box is taken as the Gaussian with its centre as mean and
(w/2, h/2) as standard deviations. The squared 2-Wasserstein distance of two such Gaussians is the
squared Euclidean distance of their (cx, cy, w/2, h/2), and NWD = exp(-sqrt(W²)/C). Unlike IoU it
falls smoothly for boxes that no longer overlap, and an offset of one pixel costs a small box no
more than a large one.

What differs from the paper, which replaces IoU by it: here it is mixed with IoU, so that its share
can be tuned. The paper's C is the mean size of the dataset's objects in pixels; here it is a
constant in pixels of the network's input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.tal import TaskAlignedAssigner

SIZE_PX = 12.8
"""The constant C, in pixels of the network's input."""

_EPSILON = 1e-7  # keeps the root's gradient finite where both boxes are the same


def normalised_wasserstein(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor) -> Tensor:
    """Return the normalised Wasserstein similarity of boxes, pair by pair.

    Args:
        boxes1_xyxy: (..., 4) x1 y1 x2 y2 in pixels.
        boxes2_xyxy: the same shape.

    Returns:
        (...,) float32 in (0, 1]; 1 for equal boxes.
    """
    difference = boxes1_xyxy.float() - boxes2_xyxy.float()
    # Differences of the corners: (dx1, dy1), (dx2, dy2).
    first, second = difference.split(2, dim=-1)
    centre, half_side = (first + second) / 2, (second - first) / 2
    squared = centre.square().sum(-1) + half_side.square().sum(-1)
    return torch.exp(-(squared + _EPSILON).sqrt() / SIZE_PX)


class WassersteinAssigner(TaskAlignedAssigner):
    """Task-aligned assignment whose overlap is ``(1 - share)`` CIoU plus ``share`` NWD.

    Args:
        share: 0 to 1; with 0 it is Ultralytics' own assignment.
        arguments: those of `TaskAlignedAssigner`.
    """

    def __init__(self, *, share: float, **arguments: object) -> None:
        super().__init__(**arguments)
        self.share = share

    def iou_calculation(self, gt_bboxes: Tensor, pd_bboxes: Tensor) -> Tensor:
        """Return the overlap of each pair, (N,) from 0 to 1, of boxes (N, 4) x1 y1 x2 y2 in
        pixels.
        """
        overlap = super().iou_calculation(gt_bboxes, pd_bboxes)
        if not self.share:
            return overlap
        return torch.lerp(
            overlap, normalised_wasserstein(gt_bboxes, pd_bboxes).to(overlap.dtype), self.share
        )


class WassersteinBboxLoss(BboxLoss):
    """Box loss whose overlap term is ``(1 - share)`` (1 - CIoU) plus ``share`` (1 - NWD); the
    distance term is Ultralytics' own.
    """

    def __init__(self, reg_max: int, *, share: float) -> None:
        super().__init__(reg_max)
        self.share = share

    def forward(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """Return both losses, of the arguments of `BboxLoss.forward`."""
        overlap_loss, distance_loss = super().forward(*arguments)
        _, pred_bboxes, _, target_bboxes, target_scores, target_scores_sum = arguments[:6]
        fg_mask, _, stride = arguments[6:]
        where = fg_mask.nonzero(as_tuple=True)
        # Boxes come in cells of their level, perhaps in half precision, which is too coarse for
        # pixels.
        cell_px = stride[where[1]].float()
        similarity = normalised_wasserstein(
            pred_bboxes[where].float() * cell_px, target_bboxes[where].float() * cell_px
        )
        weight = target_scores[where].sum(-1)
        wasserstein_loss = ((1.0 - similarity) * weight).sum() / target_scores_sum
        return torch.lerp(
            overlap_loss, wasserstein_loss.to(overlap_loss.dtype), self.share
        ), distance_loss
