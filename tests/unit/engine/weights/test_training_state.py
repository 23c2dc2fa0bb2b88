"""Checkpoints of runs whose training state is not one: each is one clear error, before training
continues.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from yolo_ema.engine.weights import checkpoints
from yolo_ema.engine.weights.checkpoints import (
    latest_checkpoint,
    resumable_checkpoint,
    training_state_fits,
)
from yolo_ema.errors import ConfigError, DamagedWeightsError, DataError, WeightsNotFoundError

WHOLE = {"epoch": 1, "best_fitness": 0.5, "updates": 20, "train_args": {"imgsz": 64}}


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Return a function that puts a checkpoint with such a state there; what a file holds is read
    elsewhere.
    """

    def put(**state: object) -> Path:
        path = tmp_path / "run" / "weights" / "last.pt"
        path.parent.mkdir(parents=True)
        path.touch()
        content = {**WHOLE, "ema": torch.nn.Identity(), **state}
        monkeypatch.setattr(checkpoints, "load_checkpoint", lambda *_, **__: content)
        return path

    return put


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("epoch", value) for value in ("x", 0.5, [1], True)),
        *(("ema", value) for value in ({"a": 1}, "x", torch.ones(3))),
        *(("best_fitness", "x"), ("updates", "x"), ("optimizer", "x"), ("scaler", [1])),
        *(("stopper", "x"), ("stopper", {"patience": "x"})),
    ],
)
def test_a_state_of_another_kind_is_named(tmp_path, checkpoint, key, value):
    path = checkpoint(**{key: value})
    with pytest.raises(DamagedWeightsError, match=r"last\.pt is damaged: (its|early) "):
        resumable_checkpoint(path)
    with pytest.raises(WeightsNotFoundError, match="1 that cannot be read"):
        latest_checkpoint(tmp_path)


def test_a_checkpoint_without_an_epoch_is_not_an_unfinished_run(checkpoint):
    path = checkpoint(epoch=None)
    with pytest.raises(ConfigError, match="not a checkpoint of an unfinished run"):
        resumable_checkpoint(path)


def test_a_whole_one_is_found(tmp_path, checkpoint):
    path = checkpoint()
    assert resumable_checkpoint(path)["epoch"] == 1
    assert latest_checkpoint(tmp_path) == path


def _optimizer() -> torch.optim.Optimizer:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def _other_shapes(state: dict) -> None:
    state["state"][0]["momentum_buffer"] = torch.ones(7)


def _other_groups(state: dict) -> None:
    state["param_groups"] = []


def _no_rate(state: dict) -> None:
    state["param_groups"][0]["lr"] = "high"


def _no_groups(state: dict) -> None:
    del state["param_groups"]


@pytest.mark.parametrize("harm", [_other_shapes, _other_groups, _no_rate, _no_groups])
def test_a_state_that_does_not_match_its_model_is_named(harm):
    optimizer = _optimizer()
    state = optimizer.state_dict()
    harm(state)
    with (
        pytest.raises(DamagedWeightsError, match=r"last\.pt is damaged: its training state does"),
        training_state_fits(Path("last.pt"), optimizer),
    ):
        optimizer.load_state_dict(state)


def test_a_matching_state_passes_and_our_errors_stay_unchanged():
    optimizer = _optimizer()
    with training_state_fits(Path("last.pt"), optimizer):
        optimizer.load_state_dict(optimizer.state_dict())
    with pytest.raises(DataError, match="mine"), training_state_fits(Path("last.pt"), optimizer):
        raise DataError("mine")
