"""int8 is calibrated on the images that the user names."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from lively_weights import picture
from ultralytics.engine.exporter import Exporter
from ultralytics.utils import DEFAULT_CFG_DICT

from yolo_ema.engine.export.calibration_images import calibration_dataset, calibration_files
from yolo_ema.engine.setup.environment import quiet_log
from yolo_ema.errors import DataNotFoundError
from yolo_ema.options.export import ExportOptions


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(7):
        (tmp_path / "set" / "images" / "train").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"set/images/train/{number}.png"), picture(number, (160, 96)))
    (tmp_path / "set/images/train/notes.txt").write_text("no image")
    (tmp_path / "set/images/train/._1.png").write_bytes(b"macOS leaves these on memory cards")
    content = {
        "path": str(tmp_path / "set"),
        "train": "images/train",
        "val": "images/train",
        "names": {0: "car"},
    }
    (tmp_path / "set/set.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def options(**given: object) -> ExportOptions:
    return ExportOptions(weights=Path("w.pt"), quantize="int8", **given)


def names(files: list[Path]) -> list[str]:
    return [file.stem for file in files]


def test_images_of_a_folder_or_of_the_train_split(folder):
    assert names(calibration_files(options(calibrate=(folder / "set",)))) == list("0123456")
    assert names(calibration_files(options(data=str(folder / "set/set.yaml")))) == list("0123456")
    assert names(
        calibration_files(options(calibrate=(folder / "set/images/train/5.png",), data="nothing"))
    ) == ["5"]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, "0"), (2, "06"), (3, "036"), (4, "0246"), (7, "0123456"), (99, "0123456")],
)
def test_no_more_than_requested_evenly_spread(folder, most, expected):
    assert names(
        calibration_files(options(calibrate=(folder / "set",), calibration_images=most))
    ) == list(expected)


@pytest.mark.parametrize(
    ("given", "says"), [("empty", "no images in"), ("gone.jpg", r"gone\.jpg is not there")]
)
def test_no_images_are_an_error(folder, given, says):
    (folder / "empty").mkdir()
    with pytest.raises(DataNotFoundError, match=f"nothing to calibrate int8 on: .*{says}"):
        calibration_files(options(calibrate=(folder / given,)))


def test_ultralytics_calibrates_on_copies(folder):
    """What formats other than ONNX and OpenVINO are calibrated on; it writes next to its images,
    which must not be the user's.
    """
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (folder / "copies").mkdir()
    data = calibration_dataset(
        calibration_files(options(calibrate=(folder / "set",))),
        {0: "it's", 1: "b: c"},
        folder / "copies",
    )
    assert yaml.safe_load(data.read_text())["names"] == {0: "it's", 1: "b: c"}
    with quiet_log():
        exporter = Exporter(
            overrides={
                "mode": "export",
                "format": "onnx",
                "data": str(data),
                "imgsz": [96, 160],
                "batch": 1,
            }
        )
        exporter.imgsz, exporter.model = (
            [96, 160],
            type("Model", (), {"task": "detect", "args": DEFAULT_CFG_DICT})(),
        )
        batches = [batch["img"] for batch in exporter.get_int8_calibration_dataloader()]
    assert [tuple(batch.shape) for batch in batches] == [(1, 3, 96, 160)] * 7
    seen = sorted(
        np.ascontiguousarray(batch[0].permute(1, 2, 0).numpy()[..., ::-1]).tobytes()
        for batch in batches
    )
    assert seen == sorted(picture(number, (160, 96)).tobytes() for number in range(7))
    after = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if "copies" not in path.parts
    }
    assert after == before
