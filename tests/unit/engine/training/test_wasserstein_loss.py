"""The share of Wasserstein distance in assignment and box loss, against forms written out box by
box.
"""

from __future__ import annotations

import math

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported
from yolo_ema.engine.training.drone_loss import attach_drone_loss
from yolo_ema.engine.training.wasserstein import SIZE_PX, WassersteinAssigner, WassersteinBboxLoss
from yolo_ema.options.drone import DroneOptions


def nwd_slowly(one: list[float], other: list[float]) -> float:
    """From the paper: boxes as Gaussians with their centre as mean and half sides as standard
    deviations.
    """

    def gaussian(box):
        x1, y1, x2, y2 = box
        return ((x1 + x2) / 2, (y1 + y2) / 2), ((x2 - x1) / 2, (y2 - y1) / 2)

    (mean1, deviation1), (mean2, deviation2) = gaussian(one), gaussian(other)
    squared = sum(
        (a - b) ** 2 for a, b in zip((*mean1, *deviation1), (*mean2, *deviation2), strict=True)
    )
    return math.exp(-math.sqrt(squared) / SIZE_PX)


def random_boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    corners = torch.rand(count, 2, generator=generator) * 60
    return torch.cat((corners, corners + 2 + torch.rand(count, 2, generator=generator) * 20), 1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_assigners_overlap_is_the_blend(share):
    generator = torch.Generator().manual_seed(0)
    truth, found = random_boxes(50, generator), random_boxes(50, generator)
    assigner = WassersteinAssigner(share=share, num_classes=3)
    overlap = assigner.iou_calculation(truth, found)
    ciou = bbox_iou(truth, found, xywh=False, CIoU=True).squeeze(-1).clamp(0)
    expected = [
        (1 - share) * float(c) + share * nwd_slowly(a, b)
        for c, a, b in zip(ciou, truth.tolist(), found.tolist(), strict=True)
    ]
    assert torch.allclose(overlap, torch.tensor(expected), atol=1e-5)


def assignment_case():
    """One small object of 6 pixels between four anchors whose boxes all miss it, and a far
    anchor.
    """
    anchors = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0], [100.0, 100.0]])
    boxes = torch.cat((anchors - 1.5, anchors + 1.5), 1)[None]
    scores = torch.full((1, 5, 2), 0.5)
    return (
        scores,
        boxes,
        anchors,
        torch.ones(1, 1, 1),
        torch.tensor([[[5.6, 5.2, 11.0, 11.0]]]),
        torch.ones(1, 1, 1),
    )


def test_with_a_share_of_one_boxes_that_miss_an_object_are_ranked_by_distance():
    case = assignment_case()
    settings = {"topk": 2, "num_classes": 2, "alpha": 0.5, "beta": 6.0, "stride": [8, 16, 32]}
    plain = TaskAlignedAssigner(**settings)(*case)
    assert plain[2].sum() == 0, "no overlap, hence no target score: CIoU can't tell them apart"
    scores = WassersteinAssigner(share=1.0, **settings)(*case)[2]
    truth, boxes = case[4][0, 0].tolist(), case[1][0].tolist()
    similarity = [nwd_slowly(truth, box) for box in boxes]
    best = sorted(range(5), key=lambda anchor: -similarity[anchor])[:2]
    assert set(torch.nonzero(scores[0].sum(-1)).flatten().tolist()) == set(best)
    # The best anchor's target is its overlap; the next one's is smaller by the ratio of the
    # alignment metrics.
    assert scores[0, best[0]].sum().item() == pytest.approx(similarity[best[0]], rel=1e-4)
    assert scores[0, best[1]].sum().item() == pytest.approx(
        similarity[best[0]] * (similarity[best[1]] / similarity[best[0]]) ** 6, rel=1e-3
    )


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("reg_max", [16, 1])
def test_the_box_loss_is_the_blend_in_pixels(share, reg_max):
    generator = torch.Generator().manual_seed(1)
    stride = torch.tensor([8.0] * 6 + [16.0] * 4)[:, None]
    predicted = torch.stack([random_boxes(10, generator) / stride for _ in range(2)])
    target = torch.stack([random_boxes(10, generator) / stride for _ in range(2)])
    fg_mask = torch.rand(2, 10, generator=generator) < 0.6
    scores = torch.rand(2, 10, 3, generator=generator) * fg_mask[..., None]
    total = scores.sum()
    distances = torch.rand(2, 10, 4 * reg_max, generator=generator)
    anchors = torch.rand(10, 2, generator=generator) * 8
    rest = (anchors, target, scores, total, fg_mask, torch.tensor([128.0, 128.0]), stride)
    overlap_loss, distance_loss = WassersteinBboxLoss(reg_max, share=share)(
        distances.clone(), predicted, *rest
    )
    plain_loss, plain_distance = BboxLoss(reg_max)(distances.clone(), predicted, *rest)
    expected = 0.0
    for image in range(2):
        for anchor in range(10):
            if fg_mask[image, anchor]:
                boxes = [
                    (one[image, anchor] * stride[anchor]).tolist() for one in (predicted, target)
                ]
                expected += (
                    (1 - nwd_slowly(*boxes)) * scores[image, anchor].sum().item() / total.item()
                )
    assert overlap_loss.item() == pytest.approx(
        (1 - share) * plain_loss.item() + share * expected, rel=1e-4
    )
    assert torch.equal(distance_loss, plain_distance)


def test_equal_boxes_have_a_finite_gradient():
    boxes = torch.tensor([[[1.0, 1.0, 3.0, 3.0]]], requires_grad=True)
    loss, _ = WassersteinBboxLoss(1, share=1.0)(
        torch.zeros(1, 1, 4),
        boxes,
        torch.tensor([[2.0, 2.0]]),
        boxes.detach().clone(),
        torch.ones(1, 1, 1),
        torch.tensor(1.0),
        torch.ones(1, 1, dtype=torch.bool),
        torch.tensor([32.0, 32.0]),
        torch.tensor([[8.0]]),
    )
    loss.backward()
    assert loss.item() < 1e-3
    assert torch.isfinite(boxes.grad).all()


@pytest.mark.parametrize("name", ["yolo11n", "yolo26n"])
def test_it_is_off_by_default_and_acts_in_both_branches_when_on(name):
    torch.manual_seed(0)
    model = DetectionModel(f"{name}.yaml", nc=3, verbose=False)
    model.args = get_cfg()
    model.train()
    batch = {
        "img": torch.rand(1, 3, 64, 64),
        "batch_idx": torch.zeros(2),
        "cls": torch.ones(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.5, 0.6], [0.2, 0.8, 0.3, 0.3]]),
    }
    preds = model(batch["img"])
    for branch in (preds["one2many"], preds["one2one"]) if "one2many" in preds else (preds,):
        # An untrained head is sure of nothing and its boxes are all alike: spread both, so that
        # assignments mean something.
        branch["boxes"] = branch["boxes"] + 3 * torch.randn_like(branch["boxes"])
        branch["scores"] = branch["scores"] + 8
    losses = {}
    for share in (0.0, 0.5):
        attach_drone_loss(model, DroneOptions(nwd=share))
        losses[share] = model.loss(batch, preds)[0]
    model.criterion = None
    assert torch.equal(losses[0.0], model.loss(batch, preds)[0])
    assert losses[0.5][0] != losses[0.0][0], "box loss"
    assert losses[0.5][1] != losses[0.0][1], "class loss, whose targets come from the assignment"
    losses[0.5].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
