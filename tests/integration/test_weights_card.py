"""A run's weights are released with their card by the script that made those of this repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_dataset import NAMES, draw_dataset

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.tiling.plan_figures import PlanFigures

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "weights_card.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_becomes_weights_with_a_card(yolo_ema_command, tmp_path):
    draw_dataset(tmp_path / "tiny")
    torch.manual_seed(0)
    torch.save({"model": build_model("yolo11n", 80), "train_args": {}}, tmp_path / "first.pt")
    words = (
        "--epochs",
        "1",
        "--imgsz",
        "64",
        "--batch",
        "4",
        "--seed",
        "5",
        "--name",
        "one",
        "--offline",
        "--device",
        "cpu",
    )
    trained = yolo_ema_command(
        "train",
        "--model",
        "yolo11n",
        "--data",
        "tiny",
        "--pretrained",
        "first.pt",
        *words,
        cwd=tmp_path,
        timeout=600,
    )
    assert trained.code == 0, trained.err[-3000:]

    weights = tmp_path / "given" / "one.pt"
    weights.parent.mkdir()
    weights.with_suffix(".onnx").write_bytes(b"its exported form")
    network = weights.with_name("one-int8_openvino_model") / "one-int8.bin"
    network.parent.mkdir()
    network.write_bytes(b"its numbers")
    weights.with_name("one-p2.onnx").write_bytes(b"of other weights")
    settings = (
        "--settings",
        "64",
        "96@64x64",
        "default",
        "--recommended",
        "default",
        "--note",
        "on drawn squares",
        "--average-with",
        "runs/train/one/weights/best.pt",
        "--share",
        "0.25",
        "--plans",
    )
    command = [
        sys.executable,
        SCRIPT,
        "runs/train/one",
        "--out",
        weights,
        "--data",
        "tiny",
        *settings,
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["sha256"] == sha256_of(weights)
    carried = PlanFigures.of_entries(load_checkpoint(weights))
    assert carried is not None
    assert {row.input_scale for row in carried.rows} == {1, 1.5, 2, 2.25}
    assert card["exported"] == {
        "one.onnx": sha256_of(weights.with_suffix(".onnx")),
        "one-int8_openvino_model/one-int8.bin": sha256_of(network),
    }
    averaged = sha256_of(tmp_path / "runs/train/one/weights/best.pt")
    assert card["training"]["averaged_with"] == {
        "file": "best.pt",
        "sha256": averaged,
        "share": 0.25,
    }
    assert card["classes"] == list(NAMES)
    assert (card["training"]["seed"], card["training"]["epochs"], card["training"]["hours"]) == (
        5,
        1,
        None,
    )
    assert [one["setting"] for one in card["figures"]] == [
        "64, whole",
        "96, tiles 64x64",
        "by default",
    ]
    by_default = card["figures"][-1]
    assert (by_default["imgsz"], by_default["tile"]) == (None, "recommended")
    assert str(tmp_path) not in json.dumps(card)
    page = weights.with_suffix(".md").read_text(encoding="utf-8")
    assert page.startswith("# one\n")
    assert f"`{card['sha256']}`" in page
    assert f"| averaged with | `best.pt`, SHA-256 `{averaged}`, whose share is 25% |" in page
    assert "| besides | on drawn squares |" in page
    assert "| 96, tiles 64x64 |" in page
    assert "| by default |" in page
    assert "By class at 64, whole (official" in page
    assert "By class by default (official" in page
    assert "| hours |" not in page

    of_run = {key: card[key] for key in ("training", "classes", "licence", "file")}
    again = [sys.executable, SCRIPT, "--out", weights, "--data", "tiny", "--settings", "default"]
    done = subprocess.run(
        [*again, "--recommended", "default"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    renewed = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert {key: renewed[key] for key in of_run} == of_run
    assert [one["setting"] for one in renewed["figures"]] == ["by default"]
    assert renewed["figures"][0]["official"] == by_default["official"]
    assert "| 64, whole |" not in weights.with_suffix(".md").read_text(encoding="utf-8")
