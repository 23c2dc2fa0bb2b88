"""What is given to others: the averaged model, and nothing of the machine it was trained on."""

from __future__ import annotations

import zipfile
from pathlib import PureWindowsPath

import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save

from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.engine.weights.release import release_weights, without_folders
from yolo_ema.errors import DamagedWeightsError, WeightsNotFoundError
from yolo_ema.inference.object_sizes import recorded_sizes
from yolo_ema.tiling.plan_figures import PlanFigures, PlanRow

SIZES = {"object_source_median_px": 20.5, "object_input_tenth_px": 4.25}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A run's unfinished checkpoint: a model, its average with other weights, an optimizer, and
    paths.
    """
    path = tmp_path_factory.mktemp("secret-place") / "last.pt"
    averaged = lively_model("tiny")
    averaged.yaml["yaml_file"] = "/home/somebody/models/tiny.yaml"
    train_args = {
        "imgsz": 320,
        "data": "/home/somebody/visdrone.yaml",
        "model": "/home/somebody/last.pt",
        "lr0": 0.01,
    }
    return save(
        lively_model("tiny", seed=1),
        path,
        ema=averaged.half(),
        optimizer={"state": [1]},
        train_args=train_args,
        epoch=7,
        updates=9,
    )


@pytest.fixture(scope="module")
def released(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "drone.pt"
    release_weights(checkpoint, path, licence="for study only", facts=SIZES)
    return path


def test_the_averaged_model_gives_the_same_boxes(checkpoint, released):
    image = picture(3)
    before, after = (
        open_predictor(path, device="cpu", conf=0.1)([image])[0] for path in (checkpoint, released)
    )
    assert len(before) > 5
    np.testing.assert_array_equal(before, after)


def test_half_precision_without_training_state(released):
    content = load_checkpoint(released)
    assert {parameter.dtype for parameter in content["model"].parameters()} == {torch.float16}
    assert not any(parameter.requires_grad for parameter in content["model"].parameters())
    assert (content["ema"], content["optimizer"], content["updates"], content["epoch"]) == (
        None,
        None,
        None,
        -1,
    )


def test_no_folder_of_this_machine_is_left(checkpoint, released):
    with zipfile.ZipFile(released) as archive:
        held = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    assert b"somebody" not in held
    assert checkpoint.parent.name.encode() not in held
    assert load_model(released).metadata["train_args"]["data"] == "visdrone.yaml"


def test_terms_settings_and_object_sizes_are_carried_over(released):
    loaded = load_model(released)
    assert loaded.metadata["license"] == "for study only"
    assert (loaded.imgsz, loaded.metadata["train_args"]["lr0"]) == (320, 0.01)
    assert recorded_sizes(loaded.metadata) == recorded_sizes(SIZES)


def test_an_average_does_not_carry_the_figures_of_its_parts(checkpoint, released, tmp_path):
    figures = PlanFigures((PlanRow(1, False, True, 5, 1, 3, 0.3),), 0.7)
    measured, plain, averaged = (tmp_path / name for name in ("last.pt", "plain.pt", "mean.pt"))
    torch.save(load_checkpoint(checkpoint) | figures.as_entries(), measured)
    release_weights(measured, plain, licence="terms")
    release_weights(measured, averaged, licence="terms", average_with=(released, 0.2))
    carried = [PlanFigures.of_entries(load_model(path).metadata) for path in (plain, averaged)]
    assert carried == [figures, None]


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint, released, tmp_path):
    again = tmp_path / released.name
    release_weights(checkpoint, again, licence="for study only", facts=SIZES)
    assert again.read_bytes() == released.read_bytes()


def test_faults(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"missing\.pt"):
        release_weights(tmp_path / "missing.pt", tmp_path / "out.pt", licence="")
    torch.save({"model": None}, tmp_path / "empty.pt")
    with pytest.raises(DamagedWeightsError, match="holds no model"):
        release_weights(tmp_path / "empty.pt", tmp_path / "out.pt", licence="")
    assert not (tmp_path / "out.pt").exists()


def test_paths_are_shortened_wherever_they_occur():
    given = {
        "a": "/x/y.yaml",
        "b": ["/x/z", 3],
        "c": {"d": "relative/w.pt"},
        "e": "plain",
        "f": None,
        "g": "C:\\Users\\me\\w.pt",
        "h": PureWindowsPath("D:/data/x.yaml"),
    }
    assert without_folders(given) == {
        "a": "y.yaml",
        "b": ["z", 3],
        "c": {"d": "w.pt"},
        "e": "plain",
        "f": None,
        "g": "w.pt",
        "h": "x.yaml",
    }
