"""What the loss assumes about Ultralytics' inside; each test is named after the assumption."""

from __future__ import annotations

import inspect

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


def test_models_with_two_branches_are_told_by_one2one_cv2_and_have_this_loss(model):
    assert hasattr(model.model[-1], "one2one_cv2")
    assert isinstance(model.init_criterion(), E2ELoss)
    plain = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    plain.args = get_cfg()
    assert getattr(plain.model[-1], "one2one_cv2", None) is None
    assert type(plain.init_criterion()) is v8DetectionLoss


def test_the_loss_of_two_branches_takes_the_class_of_their_losses(model):
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


def test_the_class_loss_is_divided_by_assigned_scores_alone():
    source = inspect.getsource(v8DetectionLoss.get_assigned_targets_and_loss)
    assert "target_scores_sum = target_scores.sum().clamp_(min=1)" in source
    assert "loss[1] = bce_loss.sum() / target_scores_sum" in source


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


def test_resuming_makes_a_criterion_of_ultralytics_own_within_the_set_up():
    assert "model.criterion = model.init_criterion()" in inspect.getsource(
        BaseTrainer.resume_training
    )
    assert "self.resume_training(ckpt)" in inspect.getsource(BaseTrainer._setup_train)


def test_the_moving_average_is_made_after_class_weights_and_within_the_set_up():
    source = inspect.getsource(BaseTrainer._setup_train)
    assert source.index("self.set_class_weights()") < source.index(
        "self.ema = ModelEMA(self.model)"
    )
