"""Ignored regions and the loss, at the head's raw outputs, for every family that is shipped."""

from __future__ import annotations

import copy
import io
import random

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported
from yolo_ema.engine.training.drone_loss import (
    DroneDetectionLoss,
    anchors_in_regions,
    attach_drone_loss,
)
from yolo_ema.errors import ModelError
from yolo_ema.options.drone import DroneOptions

FAMILIES = ("yolov5n", "yolov8n", "yolo11n", "yolo26n", "yolov8n-p2")
CLASSES = 4
SIZE = 128


def build(name: str) -> DetectionModel:
    torch.manual_seed(0)
    model = DetectionModel(f"{name}.yaml", nc=CLASSES, verbose=False)
    model.args = get_cfg()
    return model.train()


@pytest.fixture(scope="module", params=FAMILIES)
def model(request) -> DetectionModel:
    return build(request.param)


def batch_of(
    *, regions: list[tuple[int, float, float, float, float]], images: int = 3
) -> dict[str, torch.Tensor]:
    """Three images with labels (the last has none): small and large, inside and outside of the
    regions that are tested.
    """
    labels = [
        (0, 1, 0.20, 0.20, 0.12, 0.12),  # inside the region of image 0
        (0, 0, 0.70, 0.75, 0.30, 0.40),  # half inside the second
        (1, 3, 0.50, 0.50, 0.05, 0.05),
        (1, 2, 0.90, 0.10, 0.15, 0.10),
    ]
    rows = torch.tensor(labels)
    areas = torch.tensor(regions).reshape(-1, 5)
    generator = torch.Generator().manual_seed(1)
    return {
        "img": torch.rand(images, 3, SIZE, SIZE, generator=generator),
        "batch_idx": rows[:, 0],
        "cls": rows[:, 1:2],
        "bboxes": rows[:, 2:],
        "ignored_xyxy": areas[:, 1:],
        "ignored_batch_idx": areas[:, 0],
    }


REGIONS = [
    (0, 0.0, 0.0, 0.5, 0.4),
    (0, 0.6, 0.7, 1.0, 1.0),
    (1, 0.45, 0.45, 0.55, 0.55),
    (2, 0.0, 0.5, 1.0, 1.0),
]


def branches(preds: dict) -> dict[str, dict]:
    return preds if "one2many" in preds else {"": preds}


def raw_outputs(model: DetectionModel, batch: dict) -> dict:
    with torch.no_grad():
        preds = model(batch["img"])
    assert isinstance(preds, dict)
    torch.manual_seed(3)
    for branch in branches(preds).values():
        for name in ("boxes", "scores"):  # spread, so that assignment has no ties
            branch[name] = branch[name] + torch.randn_like(branch[name])
    return preds


def gradients(
    criterion, preds: dict, batch: dict
) -> tuple[torch.Tensor, dict[str, dict[str, torch.Tensor]]]:
    preds = copy.copy(preds)
    leaves: dict[str, dict[str, torch.Tensor]] = {}
    for key, branch in branches(preds).items():
        leaves[key] = {
            name: branch[name].detach().clone().requires_grad_() for name in ("boxes", "scores")
        }
        if key:
            preds[key] = {**branch, **leaves[key]}
        else:
            preds = {**preds, **leaves[key]}
    loss, _ = criterion(preds, batch)
    loss.sum().backward()
    return loss.detach(), {
        key: {name: leaf.grad for name, leaf in one.items()} for key, one in leaves.items()
    }


def assigned_anchors(criterion, preds: dict, batch: dict) -> dict[str, torch.Tensor]:
    """Return the anchors that Ultralytics' own loss assigns, (B, A) by branch."""
    parts = (
        {"one2many": criterion.one2many, "one2one": criterion.one2one}
        if isinstance(criterion, E2ELoss)
        else {"": criterion}
    )
    return {
        key: part.get_assigned_targets_and_loss(branches(preds)[key], batch)[0][0]
        for key, part in parts.items()
    }


def inside_slowly(preds: dict, batch: dict, images: int) -> torch.Tensor:
    """Anchors inside a region, (B, A), one by one."""
    shapes = [level.shape[2:] for level in next(iter(branches(preds).values()))["feats"]]
    answer = []
    for image in range(images):
        mine = [
            box.tolist()
            for box, index in zip(batch["ignored_xyxy"], batch["ignored_batch_idx"], strict=True)
            if index == image
        ]
        answer.append(
            [
                any(
                    x1 <= (column + 0.5) / width <= x2 and y1 <= (row + 0.5) / height <= y2
                    for x1, y1, x2, y2 in mine
                )
                for height, width in shapes
                for row in range(height)
                for column in range(width)
            ]
        )
    return torch.tensor(answer)


def plain(model: DetectionModel):
    return model.init_criterion()


def ours(model: DetectionModel, drone: DroneOptions | None = None):
    attach_drone_loss(model, drone or DroneOptions())
    criterion, model.criterion = model.criterion, None
    return criterion


def test_only_unassigned_anchors_in_regions_lose_their_gradient(model):
    batch = batch_of(regions=REGIONS)
    preds = raw_outputs(model, batch)
    _, theirs = gradients(plain(model), preds, batch)
    _, mine = gradients(ours(model), preds, batch)
    inside, assigned = inside_slowly(preds, batch, 3), assigned_anchors(plain(model), preds, batch)
    assert theirs.keys() == mine.keys() == assigned.keys()
    for key in theirs:
        left_out = inside & ~assigned[key].bool()
        scores_before, scores_after = (
            one[key]["scores"].permute(0, 2, 1) for one in (theirs, mine)
        )
        assert (scores_before[left_out].abs() > 0).all(), (
            "the regions would otherwise teach background"
        )
        assert (scores_after[left_out] == 0).all()
        assert torch.equal(scores_after[~left_out], scores_before[~left_out])
        assert torch.equal(mine[key]["boxes"], theirs[key]["boxes"])
        # Objects labelled inside a region still train: their anchors are there, with class and box
        # gradients.
        claimed = inside & assigned[key].bool()
        assert claimed[0].any()
        assert claimed[1].any()
        assert (scores_after[claimed].abs().sum(-1) > 0).all()
        assert mine[key]["boxes"].permute(0, 2, 1)[claimed].abs().sum() > 0


def test_without_regions_it_is_ultralytics_loss_to_the_bit(model):
    batch = batch_of(regions=[])
    preds = raw_outputs(model, batch)
    loss, theirs = gradients(plain(model), preds, batch)
    for without in (
        batch,
        {key: value for key, value in batch.items() if not key.startswith("ignored")},
    ):
        mine_loss, mine = gradients(ours(model), preds, without)
        assert torch.equal(mine_loss, loss)
        for key, one in theirs.items():
            assert all(torch.equal(mine[key][name], one[name]) for name in one)


def test_an_image_without_regions_keeps_every_gradient_next_to_one_that_has_them(model):
    batch = batch_of(regions=[(0, 0.0, 0.0, 1.0, 1.0)])
    preds = raw_outputs(model, batch)
    _, theirs = gradients(plain(model), preds, batch)
    _, mine = gradients(ours(model), preds, batch)
    for key, one in theirs.items():
        assert torch.equal(mine[key]["scores"][1:], one["scores"][1:])
        assert not torch.equal(mine[key]["scores"][0], one["scores"][0])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_mixed_precision_and_channels_last(dtype):
    model = build("yolo11n").to(memory_format=torch.channels_last)
    batch = batch_of(regions=REGIONS)
    attach_drone_loss(model, DroneOptions(nwd=0.5))
    with torch.autocast("cpu", dtype=dtype):
        preds = model(batch["img"].to(memory_format=torch.channels_last))
        scores = preds["scores"]
        scores.retain_grad()
        loss, _ = model.loss(batch, preds)
    loss.sum().backward()
    inside = inside_slowly(preds, batch, 3)
    gradient = scores.grad.permute(0, 2, 1)
    assert torch.isfinite(gradient).all()
    silent = (gradient == 0).all(-1)
    assert silent[inside].float().mean() > 0.8  # all but the assigned
    assert not silent[~inside].any()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_option_turns_it_off():
    model = build("yolov8n")
    attach_drone_loss(model, DroneOptions(mask_ignored=False))
    assert getattr(model, "criterion", None) is None
    attach_drone_loss(model, DroneOptions(mask_ignored=False, nwd=0.3))
    assert isinstance(model.criterion, DroneDetectionLoss)
    batch = batch_of(regions=REGIONS)
    preds = raw_outputs(model, batch)
    _, mine = gradients(model.criterion, preds, batch)
    assert (mine[""]["scores"].abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", ["yolo11n", "yolo26n"])
def test_class_weights_act_together_with_regions(name):
    model = build(name)
    batch = batch_of(regions=REGIONS)
    preds = raw_outputs(model, batch)
    _, unweighted = gradients(ours(model), preds, batch)
    model.class_weights = torch.tensor([0.5, 1.0, 1.5, 1.0])
    _, weighted = gradients(ours(model), preds, batch)
    for key, one in unweighted.items():
        torch.testing.assert_close(
            weighted[key]["scores"], one["scores"] * model.class_weights.view(1, -1, 1)
        )
        assert torch.equal(weighted[key]["boxes"], one["boxes"])


def test_resuming_keeps_the_schedule_of_the_two_branches():
    model = build("yolo26n")
    model.criterion = model.init_criterion()
    model.criterion.updates = 11
    model.criterion.update()
    before = (model.criterion.updates, model.criterion.o2m, model.criterion.o2o)
    attach_drone_loss(model, DroneOptions())
    assert isinstance(model.criterion.one2one, DroneDetectionLoss)
    assert (model.criterion.updates, model.criterion.o2m, model.criterion.o2o) == before
    attach_drone_loss(model, DroneOptions())  # twice does no harm
    assert (model.criterion.updates, model.criterion.o2m, model.criterion.o2o) == before


def test_the_checkpoint_contains_no_class_of_this_loss():
    model = build("yolov8n")
    attach_drone_loss(model, DroneOptions())
    snapshot = copy.deepcopy(model)
    snapshot.criterion = None  # as Ultralytics' save_model does; tests/canary holds it to that
    buffer = io.BytesIO()
    torch.save(snapshot, buffer)
    assert b"yolo_ema" not in buffer.getvalue()


def test_another_kind_of_model_is_refused():
    with pytest.raises(ModelError, match="Linear"):
        attach_drone_loss(torch.nn.Linear(1, 1), DroneOptions())


def test_anchors_in_regions_equals_the_slow_form_on_random_cases():
    rng = random.Random(5)
    for _ in range(20):
        images = rng.randint(1, 4)
        shapes = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(rng.randint(1, 4))]
        rows = []
        for _ in range(rng.randint(1, 12)):
            x1, x2 = sorted((rng.random(), rng.random()))
            y1, y2 = sorted((rng.random(), rng.random()))
            rows.append((rng.randrange(images), x1, y1, x2, y2))
        areas = torch.tensor(rows)
        batch = {"ignored_xyxy": areas[:, 1:], "ignored_batch_idx": areas[:, 0]}
        preds = {"feats": [torch.zeros(1, 1, *shape) for shape in shapes]}
        found = anchors_in_regions(
            batch["ignored_xyxy"], batch["ignored_batch_idx"], shapes, images
        )
        assert torch.equal(found, inside_slowly(preds, batch, images))


def test_the_default_is_a_subclass_that_ultralytics_accepts():
    model = build("yolo11n")
    attach_drone_loss(model, DroneOptions())
    assert isinstance(model.criterion, v8DetectionLoss)
    loss, parts = model.loss(batch_of(regions=REGIONS))
    assert loss.shape == (3,)
    assert set(parts) == {"box_loss", "cls_loss", "dfl_loss"}
