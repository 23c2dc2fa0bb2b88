"""Weights averaged with those of another training: number by number, or a clear refusal."""

from __future__ import annotations

import pytest
import torch
from lively_weights import lively_model, save

from yolo_ema.engine.weights.averaging import average_into
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.engine.weights.release import release_weights
from yolo_ema.errors import ConfigError, WeightsError, WeightsNotFoundError


@pytest.fixture
def other(tmp_path):
    return save(lively_model("tiny", seed=1).half(), tmp_path / "other.pt")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_number_lies_between_the_two(other, share):
    model, mine = lively_model("tiny"), lively_model("tiny").state_dict()
    theirs = load_model(other).model.state_dict()
    counted = next(value for key, value in model.state_dict().items() if "num_batches" in key)
    counted.fill_(17)
    average_into(model, other, share)
    apart = 0
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            expected = (1 - share) * mine[key].double() + share * theirs[key].double()
            torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
            apart += not torch.equal(mine[key], theirs[key].float())
    assert apart > 10
    assert int(counted) == 17


def test_released_weights_are_the_average(other, tmp_path):
    run = save(lively_model("tiny"), tmp_path / "last.pt", ema=lively_model("tiny", seed=2))
    for name, share in (("own.pt", 0.0), ("half.pt", 0.5), ("other-again.pt", 1.0)):
        release_weights(run, tmp_path / name, licence="none", average_with=(other, share))
    own, half, again = (
        load_checkpoint(tmp_path / name)["model"].state_dict()
        for name in ("own.pt", "half.pt", "other-again.pt")
    )
    theirs = load_model(other).model.state_dict()
    for key, value in half.items():
        if value.is_floating_point():
            middle = (own[key].float() + again[key].float()) / 2
            torch.testing.assert_close(value.float(), middle, rtol=2e-3, atol=1e-3)
            assert torch.equal(again[key], theirs[key].half())


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_fraction_out_of_range(other, share):
    with pytest.raises(ConfigError, match=r"expected 0 to 1"):
        average_into(lively_model("tiny"), other, share)


def test_weights_of_different_models(other, tmp_path):
    before = lively_model("tiny").state_dict()
    model = lively_model("tiny", block="ECA")
    with pytest.raises(WeightsError, match=r"other\.pt is of another model: \d+ tensors differ"):
        average_into(model, other, 0.5)
    model = lively_model("tiny")
    model.names = {**model.names, 0: "boat"}
    with pytest.raises(WeightsError, match=r"other\.pt has other classes"):
        average_into(model, other, 0.5)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with pytest.raises(WeightsNotFoundError):
        average_into(model, tmp_path / "nowhere.pt", 0.5)
