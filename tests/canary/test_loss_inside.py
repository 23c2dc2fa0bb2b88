"""What the loss assumes about Ultralytics' inside; each test is named after the assumption."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.tal import TaskAlignedAssigner

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    model = DetectionModel("yolo26n.yaml", nc=2, verbose=False)
    model.args = get_cfg()
    return model.train()


def batch() -> dict[str, torch.Tensor]:
    return {
        "img": torch.rand(1, 3, 64, 64),
        "batch_idx": torch.zeros(1),
        "cls": torch.zeros(1, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]),
    }


def test_models_with_two_branches_have_one2one_cv2_and_this_loss(model):
    assert hasattr(model.model[-1], "one2one_cv2")
    assert isinstance(model.init_criterion(), E2ELoss)
    plain = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    plain.args = get_cfg()
    assert getattr(plain.model[-1], "one2one_cv2", None) is None
    assert type(plain.init_criterion()) is v8DetectionLoss


def test_the_loss_of_two_branches_accepts_the_class_of_their_losses(model):
    made = []

    def loss_fn(model, **settings):
        made.append(settings)
        return v8DetectionLoss(model, **settings)

    criterion = E2ELoss(model, loss_fn=loss_fn)
    assert made == [{"tal_topk": 10}, {"tal_topk": 7, "tal_topk2": 1}]
    assert {"updates", "o2m", "o2o"} <= set(vars(criterion))


def test_the_model_uses_a_criterion_that_is_already_there(model):
    model.criterion = lambda preds, batch: "ours"
    assert model.loss(batch()) == "ours"
    model.criterion = None
    assert model.loss(batch())[0].shape == (3,)
    model.criterion = None


def test_assignment_comes_first_and_the_class_loss_is_bce_of_scores_and_targets(model):
    criterion = v8DetectionLoss(model)
    calls: list[tuple[str, tuple[int, ...]]] = []
    assign, score = criterion.assigner.forward, criterion.bce.forward
    results = []

    def watch_assigner(*args, **extra):
        result = assign(*args, **extra)
        calls.append(("assigner", tuple(result[3].shape)))
        results.append(result)
        return result

    def watch_bce(scores, targets):
        calls.append(("bce", tuple(scores.shape)))
        assert scores.shape == targets.shape
        return score(scores, targets)

    criterion.assigner.forward, criterion.bce.forward = watch_assigner, watch_bce
    preds = model(batch()["img"])["one2many"]
    criterion.get_assigned_targets_and_loss(preds, batch())
    assert calls == [("assigner", (1, 84)), ("bce", (1, 84, 2))]
    assert results[0][3].dtype == torch.bool


def test_anchors_run_level_by_level_and_row_by_row_at_cell_centres():
    from ultralytics.utils.tal import make_anchors

    points, strides = make_anchors(
        [torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 1, 2)], torch.tensor([8.0, 16.0])
    )
    assert points.tolist() == [
        [0.5, 0.5],
        [1.5, 0.5],
        [2.5, 0.5],
        [0.5, 1.5],
        [1.5, 1.5],
        [2.5, 1.5],
        [0.5, 0.5],
        [1.5, 0.5],
    ]
    assert strides.flatten().tolist() == [8.0] * 6 + [16.0] * 2


@pytest.mark.parametrize(("score", "divisor"), [(0.5, 84), (0.0, 1)])
def test_the_class_loss_is_divided_by_the_assigned_scores_and_at_least_one(model, score, divisor):
    criterion = v8DetectionLoss(model)
    assign = criterion.assigner.forward

    def assign_scores(*args, **extra):
        labels, boxes, scores, *rest = assign(*args, **extra)
        return labels, boxes, torch.full_like(scores, score), *rest

    criterion.assigner.forward = assign_scores
    criterion.bce = lambda scores, targets: torch.ones_like(scores)
    preds = model(batch()["img"])["one2many"]
    _, loss, _ = criterion.get_assigned_targets_and_loss(preds, batch())
    assert loss[1].item() == pytest.approx(84 * 2 / divisor * criterion.hyp.cls)


def test_the_assigner_keeps_its_settings_under_these_names(model):
    assigner = v8DetectionLoss(model, tal_topk=7, tal_topk2=1).assigner
    assert type(assigner) is TaskAlignedAssigner
    settings = {
        name: getattr(assigner, name)
        for name in ("topk", "topk2", "num_classes", "alpha", "beta", "stride", "eps")
    }
    assert settings == {
        "topk": 7,
        "topk2": 1,
        "num_classes": 2,
        "alpha": 0.5,
        "beta": 6.0,
        "stride": [8, 16, 32],
        "eps": 1e-9,
    }
    assert set(settings) <= set(inspect.signature(TaskAlignedAssigner).parameters)


def test_overlaps_of_the_assignment_come_from_iou_calculation(monkeypatch):
    assigner = TaskAlignedAssigner(num_classes=2)
    monkeypatch.setattr(assigner, "iou_calculation", lambda truth, predicted: truth + predicted)
    truth, predicted = torch.full((1, 2, 4), 3.0), torch.full((1, 5, 4), 4.0)
    pairs = torch.zeros(1, dtype=int), torch.ones(1, dtype=int), torch.full((1,), 4)
    assert assigner.pair_overlaps(pairs, truth, predicted).tolist() == [[7.0] * 4]


def test_resuming_makes_a_criterion_of_ultralytics_own(model):
    trainer = SimpleNamespace(
        model=model,
        resume=True,
        epochs=5,
        args=SimpleNamespace(model="last.pt"),
        _load_checkpoint_state=lambda checkpoint: None,
    )
    BaseTrainer.resume_training(trainer, {"epoch": 1})
    assert isinstance(model.criterion, E2ELoss)
    assert trainer.start_epoch == 2
    model.criterion = None
