"""An exported classifier gives its weights' answers, says what it is, and is refused otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from yolo_ema.classify import exporting
from yolo_ema.classify.checkpoints import save_checkpoint
from yolo_ema.classify.exporting import export
from yolo_ema.classify.models import Architecture, build_classifier
from yolo_ema.classify.recipes import RECIPES
from yolo_ema.errors import CheckFailedError, ConfigError, DataError, DataNotFoundError
from yolo_ema.options.classify import ClassifyExportOptions

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return an untrained classifier of three classes with EMA in every block."""
    architecture = Architecture("resnet18-cifar", "ema", (), ("dark", "light", "mid"))
    network = build_classifier(architecture, seed=1)
    save_checkpoint(
        tmp_path / "best.pt",
        architecture=architecture,
        recipe=RECIPES["cifar10-resnet18"],
        weights=network.state_dict(),
        epoch=1,
        metrics={"top1": 50.0},
        resume=None,
    )
    return tmp_path / "best.pt"


@pytest.mark.slow
def test_the_file_gives_the_answers_of_the_weights_and_says_what_it_is(weights, classes_folder):
    made = export(ClassifyExportOptions(weights=weights, images=(classes_folder,), limit=5))
    assert made.file == weights.with_suffix(".onnx")
    assert (made.proof.images, made.proof.are_drawn) == (5, False)
    assert made.proof.max_difference < 1e-3
    session = onnxruntime.InferenceSession(str(made.file), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["names"]) == {"0": "dark", "1": "light", "2": "mid"}
    assert json.loads(said["mean"]) == [0.5071, 0.4865, 0.4409]
    assert (said["task"], said["imgsz"], said["attention"]) == ("classify", "32", "ema")
    one = session.run(None, {"images": np.zeros((3, 3, 32, 32), np.float32)})[0]
    assert one.shape == (3, 3)


@pytest.mark.slow
def test_a_file_with_other_answers_is_not_kept(weights, monkeypatch):
    write = exporting._write

    def spoiled(classifier, file, path):
        write(classifier, file, path)
        with torch.no_grad():
            classifier.network.fc.bias += torch.tensor([0.0, 3.0, 0.0])

    monkeypatch.setattr(exporting, "_write", spoiled)
    with pytest.raises(CheckFailedError, match="refused and not kept"):
        export(ClassifyExportOptions(weights=weights))
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pt"]


def test_a_tie_is_distinguished_from_a_difference():
    ours = np.log([[0.4, 0.4005, 0.1995], [0.1, 0.2, 0.7]])
    near = np.log([[0.4005, 0.4, 0.1995], [0.1, 0.2, 0.7]])
    proof = exporting._compared(ours, near, 1e-3, False)
    assert (proof.ties, proof.max_difference) == (1, pytest.approx(5e-4))
    assert proof.max_score_difference == pytest.approx(np.log(0.4005 / 0.4) / -np.log(0.1))
    with pytest.raises(CheckFailedError, match="1 of 2 inputs"):
        exporting._compared(ours, ours[:, ::-1], 1e-4, False)
    with pytest.raises(CheckFailedError):
        exporting._compared(ours, ours * np.nan, 1e-3, False)


def test_scores_are_compared_where_probabilities_say_nothing():
    ours = np.array([[900.0, 0.0, -300.0]])
    with pytest.raises(CheckFailedError, match=r"differ by 0\.0e\+00, its scores by 1\.1e-01"):
        exporting._compared(ours, ours + np.array([0.0, 100.0, 0.0]), 1e-3, False)


def test_missing_images_are_reported(weights, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no image in"):
        export(ClassifyExportOptions(weights=weights, images=(tmp_path / "empty",)))
    with pytest.raises(DataNotFoundError, match=r"there is no image and no folder .*nowhere\.png"):
        export(ClassifyExportOptions(weights=weights, images=(tmp_path / "nowhere.png",)))


def test_a_folder_in_the_files_place_is_said_before_anything_is_written(weights, tmp_path):
    (tmp_path / "out.onnx").mkdir()
    with pytest.raises(ConfigError, match=r"which is a folder; expected the file to write"):
        export(ClassifyExportOptions(weights=weights, out=tmp_path / "out.onnx"))
    with pytest.raises(
        ConfigError, match=r"--out is .*best.pt; expected a name that ends in .onnx"
    ):
        export(ClassifyExportOptions(weights=weights, out=weights))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "out.onnx"]
