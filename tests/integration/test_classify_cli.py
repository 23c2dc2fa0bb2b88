"""yolo-ema classify on the real command line: train, resume, val, export, and what it refuses."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yolo_ema.io.resources import weights_dir

pytest.importorskip("timm")

SMALL = ("--model", "mobilenetv2", "--attention", "ema-g32", "--batch", 8, "--lr", 0.02)
HERE = ("--device", "cpu", "--workers", 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for base, name in ((0, "dark"), (190, "light")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = numbers.integers(0, 60, (32, 32, 3)) + base
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "photos"


@pytest.mark.slow
def test_train_resume_val_and_export(photos, yolo_ema_command):
    train = ("classify", "train", "--data", photos, *SMALL, *HERE, "--json")
    made = yolo_ema_command(*train, "--epochs", 1, "--name", "run")
    assert made.code == 0, made.err
    result = made.json
    folder = Path(result["folder"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.pt",
        "last.pt",
        "results.csv",
        "run.json",
    ]
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["task"], record["attention"]) == (
        "finished",
        "classify",
        "ema-g32",
    )
    assert record["data"]["train"]["images"] == 16
    again = yolo_ema_command("classify", "train", "--resume", folder / "last.pt", *HERE)
    assert again.code == 2
    assert "this run has ended after 1 of 1 epochs" in again.err

    scored = yolo_ema_command("classify", "val", "--weights", folder / "last.pt", *HERE, "--json")
    assert scored.code == 0, scored.err
    assert scored.json["top1"] == result["last"]["top1"]

    exported = yolo_ema_command(
        "classify", "export", "--weights", folder / "last.pt", "--images", photos, "--json"
    )
    assert exported.code == 0, exported.err
    proof = exported.json["proof"]
    assert proof["images"] == 22
    assert proof["max_difference"] <= proof["limit"] == 1e-3

    detected = yolo_ema_command("detect", photos, "--weights", folder / "last.pt")
    assert detected.code == 4
    assert "is a classifier; expected a detector" in detected.err
    detected = yolo_ema_command("detect", photos, "--weights", folder / "last.onnx")
    assert detected.code == 4
    assert "is a model for 'classify'; expected a detector" in detected.err
    resumed = yolo_ema_command("train", "--resume", folder / "last.pt")
    assert resumed.code == 4
    assert "is a classifier; expected a detector: resume" in resumed.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("train", "--data", "nowhere"), 3, "there is no folder nowhere"),
        (("train", "--data", "cifar100", "--offline"), 6, "--offline forbids it"),
        (("train", "--data", "photos", "--attention", "cbm"), 2, "did you mean 'cbam'?"),
        (("train", "--data", "photos", "--model", "resnet5"), 2, "no classifier is named"),
        (("train", "--preset", "cifar"), 2, "invalid choice"),
        (("val", "--weights", "no.pt"), 4, "there is no weights file no.pt"),
        (("val", "--weights", "detector.pt"), 4, "a detector's weights go to yolo-ema val"),
        (("export", "--weights", "detector.pt"), 4, "detector.pt is not a classifier"),
    ],
)
def test_invalid_input_is_one_clear_error(photos, yolo_ema_command, words, code, message):
    shutil.copy(weights_dir() / "yolo11n-ema-visdrone.pt", photos.parent / "detector.pt")
    done = yolo_ema_command("classify", *words)
    assert done.code == code, done.err
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (photos.parent / "runs").exists()


@pytest.mark.slow
@pytest.mark.realdata
def test_training_learns_from_real_images(shared, tmp_path, yolo_ema_command):
    """Two classes of CIFAR-10, 60 images each: the way is open end to end; no accuracy is asked."""
    with tarfile.open(shared / "data" / "cifar10-sample.tar.xz") as archive:
        for member in archive:
            _, split, *place = (*Path(member.name).parts, "", "")
            if split not in {"train", "val", "test"} or place[0] not in {"airplane", "frog"}:
                continue
            folder = tmp_path / "set" / ("train" if split == "train" else "val") / place[0]
            folder.mkdir(parents=True, exist_ok=True)
            if member.isfile() and len(list(folder.iterdir())) < 60:
                (folder / place[1]).write_bytes(archive.extractfile(member).read())
    words = ("--preset", "cifar10-resnet18", "--data", tmp_path / "set", "--epochs", 1)
    made = yolo_ema_command("classify", "train", *words, "--batch", 30, *HERE, "--json")
    assert made.code == 0, made.err
    record = json.loads((Path(made.json["folder"]) / "run.json").read_text())
    assert record["data"]["train"]["images"] == record["data"]["val"]["images"] == 120
    assert record["epochs"][0]["train_loss"] > 0
