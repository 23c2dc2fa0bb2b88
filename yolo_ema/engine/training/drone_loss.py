"""Ultralytics' detection loss, with ignored regions left out and, where asked for, a share of
Wasserstein distance.

In an ignored region objects are not labelled, so an anchor there that no label claims must not
learn "background". Its class loss is left out; box and distance loss never touch unassigned anchors
anyway. Anchors that a label claims keep their loss, inside a region too, and so does every anchor
outside: the sum is divided by the assigned scores alone, so that leaving terms out changes no other
gradient by a single bit.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.tal import TaskAlignedAssigner
from ultralytics.utils.torch_utils import unwrap_model

from yolo_ema.engine.training.wasserstein import WassersteinAssigner, WassersteinBboxLoss
from yolo_ema.errors import ModelError
from yolo_ema.options.drone import DroneOptions


def attach_drone_loss(model: nn.Module, drone: DroneOptions) -> None:
    """Make ``model.loss`` leave out ignored regions and use the share of Wasserstein distance that
    ``drone`` asks for.

    Call it when everything that the loss reads is in place (class weights), and when Ultralytics,
    resuming, has made its own loss: after `BaseTrainer._setup_train`, for the trained model and for
    its moving average, which gives the validation loss. An existing loss passes on how far its
    schedule has come. Ultralytics removes the criterion from what it saves, so that no
    class of ours gets into the checkpoint this way.

    Args:
        model: a detection model, perhaps wrapped for several GPUs or compiled.
        drone: with ``mask_ignored`` off and ``nwd`` 0, the model is left as it is.

    Raises:
        ModelError: the model's loss is not that of detection.
    """
    if not drone.mask_ignored and not drone.nwd:
        return
    model = unwrap_model(model)
    if getattr(type(model), "init_criterion", None) is not DetectionModel.init_criterion:
        raise ModelError(
            f"--mask-ignored and --nwd need a detection model with YOLO's Detect head; found "
            f"{type(model).__name__}"
        )
    before = getattr(model, "criterion", None)
    loss = functools.partial(DroneDetectionLoss, drone=drone)
    end_to_end = getattr(model.model[-1], "one2one_cv2", None) is not None
    model.criterion = E2ELoss(model, loss_fn=loss) if end_to_end else loss(model)
    if end_to_end and isinstance(before, E2ELoss):
        for name in ("updates", "o2m", "o2o"):
            setattr(model.criterion, name, getattr(before, name))


class DroneDetectionLoss(v8DetectionLoss):
    """The loss of one branch of a detection head; reads ``ignored_xyxy`` and ``ignored_batch_idx``
    of the batch where they are.

    Args:
        model: the detection model.
        tal_topk: anchors a label may claim.
        tal_topk2: those that it keeps; as many where None.
        drone: whether regions are left out, and the share of Wasserstein distance.
    """

    assigner: TaskAlignedAssigner

    def __init__(
        self,
        model: nn.Module,
        tal_topk: int = 10,
        tal_topk2: int | None = None,
        *,
        drone: DroneOptions,
    ) -> None:
        super().__init__(model, tal_topk, tal_topk2)
        self.mask_ignored = drone.mask_ignored
        plain = self.assigner
        self.assigner = _RememberingAssigner(
            share=drone.nwd,
            topk=plain.topk,
            topk2=plain.topk2,
            num_classes=plain.num_classes,
            alpha=plain.alpha,
            beta=plain.beta,
            stride=plain.stride,
            eps=plain.eps,
        )
        self.bce = _PartialClassLoss(self.assigner)
        if drone.nwd:
            self.bbox_loss = WassersteinBboxLoss(self.reg_max, share=drone.nwd).to(self.device)

    def get_assigned_targets_and_loss(
        self, preds: dict[str, Tensor], batch: dict[str, Any], **assign_kwargs: Any
    ) -> tuple:
        """Return what Ultralytics' loss returns, with unassigned anchors in ignored regions left
        out of the class loss.
        """
        regions = batch.get("ignored_xyxy") if self.mask_ignored else None
        if regions is not None and len(regions):
            shapes_hw = [tuple(level.shape[2:]) for level in preds["feats"]]
            self.bce.inside = anchors_in_regions(
                regions.to(self.device),
                batch["ignored_batch_idx"].to(self.device),
                shapes_hw,
                preds["scores"].shape[0],
            )
        try:
            return super().get_assigned_targets_and_loss(preds, batch, **assign_kwargs)
        finally:
            self.bce.inside = self.assigner.assigned = None


class _RememberingAssigner(WassersteinAssigner):
    """Keeps which anchors were assigned until the class loss, in the same call, asks for it."""

    assigned: Tensor | None = None  # B, A of bool

    def forward(self, *args: Any, **extra: Any) -> tuple[Tensor, ...]:
        result = super().forward(*args, **extra)
        self.assigned = result[3]
        return result


class _PartialClassLoss(nn.BCEWithLogitsLoss):
    """Binary cross-entropy of each score, zero for unassigned anchors inside ignored regions."""

    def __init__(self, assigner: _RememberingAssigner) -> None:
        super().__init__(reduction="none")
        self.assigner = assigner
        self.inside: Tensor | None = None  # B, A of bool

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        loss = super().forward(scores, targets)  # B, A, K
        if self.inside is None or self.assigner.assigned is None:
            return loss
        left_out = self.inside & ~self.assigner.assigned
        return loss.masked_fill(left_out.unsqueeze(-1), 0.0)


@torch.no_grad()
def anchors_in_regions(
    regions_xyxy: Tensor, batch_idx: Tensor, shapes_hw: list[tuple[int, int]], batch_size: int
) -> Tensor:
    """Return which anchors are centred in an ignored region, border included.

    Args:
        regions_xyxy: (R, 4) x1 y1 x2 y2 as shares of the network's input.
        batch_idx: (R,) the image of each region.
        shapes_hw: height and width of each level's map, in the order of the head.
        batch_size: B.

    Returns:
        (B, A) bool; anchors in the order of the head: level by level, row by row.
    """
    regions, order = regions_xyxy.float(), batch_idx.long()
    counts = torch.bincount(order, minlength=batch_size)
    # Place of each region among those of its image, so that all images can be handled in one
    # product.
    by_image = torch.argsort(order, stable=True)
    place = torch.empty_like(order)
    place[by_image] = (
        torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[order[by_image]]
    )
    padded = regions.new_zeros(batch_size, int(counts.max()), 4)
    padded[..., :2] = 2.0  # a place without a region holds nothing
    padded[order, place] = regions
    x1, y1, x2, y2 = padded.unsqueeze(-1).unbind(2)  # B, R, 1 each
    levels = []
    for height, width in shapes_hw:
        centres_x = (torch.arange(width, device=regions.device) + 0.5) / width
        centres_y = (torch.arange(height, device=regions.device) + 0.5) / height
        columns = ((centres_x >= x1) & (centres_x <= x2)).to(torch.float32)  # B, R, W
        rows = ((centres_y >= y1) & (centres_y <= y2)).to(torch.float32)  # B, R, H
        levels.append((torch.einsum("brh,brw->bhw", rows, columns) > 0).flatten(1))  # B, H*W
    return torch.cat(levels, dim=1)
