"""The demo, much shortened: every step runs, what it names is there, and too little learned ends in
exit code 7.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import CheckFailedError, ConfigError
from yolo_ema.evaluate.val_result import Evidence
from yolo_ema.options.demo import DemoOptions
from yolo_ema.report.demo import _check_learned

SHORT = ("demo", "--scenes", 8, "--val-scenes", 6, "--epochs", 1, "--frames", 2, "--device", "cpu")


@pytest.mark.slow
def test_from_training_to_detection(yolo_ema_command, tmp_path):
    # Long enough for the boxes to depend on what is seen: else there is nothing to compare the ONNX
    # file by, and it is refused.
    done = yolo_ema_command(
        *SHORT,
        "--scenes",
        40,
        "--epochs",
        6,
        "--least-ap50",
        0,
        "--out",
        "out",
        "--json",
    )
    assert done.code == 0, done.err
    result = done.json
    assert set(result["seconds"]) == {"draw", "prepare", "train", "validate", "detect", "export"}
    assert 0 <= result["official"]["AP50"] <= 100
    assert 8 < result["median_box_px"] < 20
    pictures = [tmp_path / path for path in result["pictures"]]
    assert {path.name for path in pictures} == {"scene.jpg", "clip.mp4", "report.html"}
    assert all(path.stat().st_size > 1000 for path in pictures)
    scene = next(path for path in pictures if path.name == "scene.jpg")
    assert cv2.imread(str(scene)).shape == (1080, 1920, 3)
    (exported,) = result["export"]["files"]
    assert exported["format"] == "onnx"
    assert exported["proof"]["status"] == "passed"
    assert exported["proof"]["cases"][0]["boxes"] >= 500, "the ONNX file's boxes were compared"
    assert "[6/6]" in done.err, "progress is said step by step"


@pytest.mark.slow
def test_learning_too_little_is_an_error_and_a_second_run_gets_its_own_folder(
    yolo_ema_command, tmp_path
):
    (tmp_path / "out" / "drawn").mkdir(parents=True)
    done = yolo_ema_command(*SHORT, "--least-ap50", 99, "--out", "out")
    assert done.code == 7
    assert done.out == ""
    assert "expected 99 % or more" in done.err.splitlines()[-1]
    assert not list((tmp_path / "out" / "drawn").iterdir())
    assert (tmp_path / "out-2" / "drawn").is_dir()


def evidence(rows: np.ndarray) -> Evidence:
    return Evidence(
        VISDRONE_CLASSES,
        {"a": Path("a.jpg")},
        {"a": (320, 320)},
        {"a": rows},
        {"a": np.empty((0, 6))},
    )


def truth(side: float, categories=range(1, 11)) -> np.ndarray:
    return np.array([[0, 0, side, side, 1, category] for category in categories], float)


def test_the_required_accuracy():
    options = DemoOptions(least_ap50=30)
    assert _check_learned(evidence(truth(12)), 30.0, options) == pytest.approx(12)
    with pytest.raises(CheckFailedError, match=r"29\.9 %; expected 30 %"):
        _check_learned(evidence(truth(12)), 29.9, options)
    with pytest.raises(CheckFailedError, match="expected 30 %"):
        _check_learned(evidence(truth(12)), None, options)
    with pytest.raises(CheckFailedError, match=r"median box is 24\.0 px"):
        _check_learned(evidence(truth(24)), 80.0, options)
    with pytest.raises(CheckFailedError, match="no motor"):
        _check_learned(evidence(truth(12, range(1, 10))), 80.0, options)


def test_ignored_regions_do_not_count_as_boxes():
    rows = np.concatenate([truth(12), np.array([[0, 0, 300, 300, 0, 0]] * 30, float)])
    assert _check_learned(evidence(rows), 80.0, DemoOptions()) == pytest.approx(12)


def test_wrong_options_are_named_together():
    with pytest.raises(ConfigError, match=r"--epochs is 0.*--least-ap50 is 101"):
        DemoOptions(epochs=0, least_ap50=101)
