"""What the command line says about drone footage is what the trainer trains with: seen in a run
stopped before its first step.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_dataset import draw_dataset

from yolo_ema.cli import INTERRUPTED, main
from yolo_ema.engine.data.drone_augmentations import DroneAugmentation, QuarterTurns
from yolo_ema.engine.setup.no_network_no_install import no_network_no_install
from yolo_ema.engine.training.drone_loss import DroneDetectionLoss, anchors_in_regions
from yolo_ema.engine.training.trainer import EmaTrainer
from yolo_ema.engine.training.wasserstein import WassersteinBboxLoss
from yolo_ema.engine.weights.loading import guarded_torch_load

SHARE = 0.4
BRANCHES = ("one2many", "one2one")

WORDS = [
    "--model",
    "yolo26n-ema",
    "--pretrained",
    "none",
    "--imgsz",
    "64",
    "--batch",
    "6",
    "--device",
    "cpu",
    "--offline",
]
DRONE = [
    "--nwd",
    str(SHARE),
    "--paste-boxes",
    "1",
    "--augment",
    "haze,noise,quarter_turns",
    "--train-tiles",
    "64x64",
    "cls_pw=0.5",
]
CALM = [
    "mosaic=0",
    "scale=0",
    "translate=0",
    "plots=false",
]  # no box leaves an image, so that they can be counted


def _set_up(folder, *words: str) -> EmaTrainer:
    """Run ``yolo-ema train`` up to its first step, and return the trainer."""
    stopped = []

    def stop(trainer: EmaTrainer) -> None:
        with no_network_no_install(), guarded_torch_load():
            trainer._setup_train()
        stopped.append(trainer)
        raise KeyboardInterrupt

    data = draw_dataset(folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(EmaTrainer, "train", stop)
        assert main(["train", "--data", str(data), *WORDS, *CALM, *words]) == INTERRUPTED
    (trainer,) = stopped
    return trainer


@pytest.fixture(scope="module")
def trainer(tmp_path_factory) -> EmaTrainer:
    return _set_up(tmp_path_factory.mktemp("drone"), *DRONE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> EmaTrainer:
    """The same run without any drone options."""
    return _set_up(tmp_path_factory.mktemp("plain"))


def _losses(model) -> list:
    return [getattr(model.criterion, branch) for branch in BRANCHES]


@pytest.mark.parametrize("averaged", [False, True])
def test_both_branches_of_model_and_average_have_our_loss_with_the_share_of_nwd(trainer, averaged):
    losses = _losses(trainer.ema.ema if averaged else trainer.model)
    assert [type(loss) for loss in losses] == [DroneDetectionLoss] * 2
    assert [type(loss.bbox_loss) for loss in losses] == [WassersteinBboxLoss] * 2
    assert [loss.bbox_loss.share for loss in losses] == [SHARE] * 2
    assert [loss.assigner.share for loss in losses] == [SHARE] * 2
    assert all(loss.mask_ignored for loss in losses)


@pytest.mark.parametrize("averaged", [False, True])
def test_by_default_regions_are_masked_and_nothing_else_differs(plain, averaged):
    losses = _losses(plain.ema.ema if averaged else plain.model)
    assert [type(loss) for loss in losses] == [DroneDetectionLoss] * 2
    assert [loss.assigner.share for loss in losses] == [0.0] * 2
    assert not any(isinstance(loss.bbox_loss, WassersteinBboxLoss) for loss in losses)
    assert [loss.class_weights for loss in losses] == [None] * 2
    dataset = plain.train_loader.dataset
    assert not [
        step
        for step in dataset.transforms.transforms
        if isinstance(step, DroneAugmentation | QuarterTurns)
    ]
    assert {label["shape"] for label in dataset.labels} == {(96, 96)}


def test_class_weights_are_the_inverse_root_of_the_counts_in_the_labels(trainer):
    counts = np.bincount(
        np.concatenate([label["cls"] for label in trainer.train_loader.dataset.labels])
        .astype(int)
        .ravel()
    )
    assert counts[0] != counts[1]
    for model in (trainer.model, trainer.ema.ema):
        for loss in _losses(model):
            rarer = float(loss.class_weights[0, 0, 0] / loss.class_weights[0, 0, 1])
            assert rarer == pytest.approx((counts[1] / counts[0]) ** 0.5, rel=1e-5)


def test_training_reads_tiles_and_validation_whole_images(trainer):
    training, validation = trainer.train_loader.dataset, trainer.test_loader.dataset
    assert len(training.labels) == 12 * 4
    assert {label["shape"] for label in training.labels} == {(64, 64)}
    assert [label["ori_shape"] for label in map(validation.__getitem__, range(4))] == [(96, 96)] * 4
    assert len(validation) == 4


def test_the_augmentations_are_in_the_training_pipeline_alone(trainer):
    steps = trainer.train_loader.dataset.transforms.transforms
    assert [step.names for step in steps if isinstance(step, DroneAugmentation)] == [
        ("haze", "noise")
    ]
    assert sum(isinstance(step, QuarterTurns) for step in steps) == 1
    validating = trainer.test_loader.dataset.transforms.transforms
    assert not [step for step in validating if isinstance(step, DroneAugmentation | QuarterTurns)]


def test_small_objects_are_pasted_when_requested(trainer, plain):
    def boxes(one: EmaTrainer) -> tuple[int, int]:
        dataset = one.train_loader.dataset
        return sum(len(label["cls"]) for label in dataset.labels), sum(
            len(dataset[index]["cls"]) for index in range(len(dataset))
        )

    labelled, seen = boxes(trainer)
    assert seen > labelled
    labelled, seen = boxes(plain)
    assert seen == labelled


def _batch_with_region(trainer: EmaTrainer) -> dict:
    """Return a batch of the trainer's own loader that has a region, without labels, so that every
    anchor is background.
    """
    batch = next(batch for batch in trainer.train_loader if len(batch["ignored_xyxy"]))
    nothing = {"cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4), "batch_idx": torch.zeros(0)}
    return trainer.preprocess_batch({**batch, **nothing})


@pytest.mark.parametrize("averaged", [False, True])
def test_an_ignored_region_gives_no_gradient_at_all(trainer, averaged):
    model = trainer.ema.ema if averaged else trainer.model
    batch = _batch_with_region(trainer)
    was_training = model.training
    raw = model.train()(batch["img"])
    model.train(was_training)
    leaves = {branch: raw[branch]["scores"].detach().requires_grad_(True) for branch in BRANCHES}
    loss, _ = model.criterion(
        {branch: {**raw[branch], "scores": leaves[branch]} for branch in BRANCHES}, batch
    )
    loss.sum().backward()
    for branch in BRANCHES:
        shapes_hw = [tuple(level.shape[2:]) for level in raw[branch]["feats"]]
        inside = anchors_in_regions(
            batch["ignored_xyxy"], batch["ignored_batch_idx"], shapes_hw, len(batch["img"])
        )
        gradient = leaves[branch].grad.abs().sum(1)  # B, A
        assert inside.any()
        assert not gradient[inside].any()
        assert (gradient[~inside] > 0).all()
