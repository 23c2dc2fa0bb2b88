"""``yolo-ema train`` from the outside, on a dataset of sixteen tiny images; what a run leaves, and
what it refuses.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_dataset import NAMES, draw_dataset

from yolo_ema.cli import main
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.inference.object_sizes import recorded_sizes
from yolo_ema.nn import EfficientMultiScaleAttention

# Runs the command with the network and every other program out of reach.
_CONFINED = """
import socket, subprocess, sys

def refused(*_, **__):
    raise PermissionError("no network and no other program here")

import yolo_ema.engine, torch, ultralytics.engine.trainer
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
subprocess.Popen.__init__ = refused
from yolo_ema.cli import main
raise SystemExit(main(sys.argv[1:]))
"""

WORDS = (
    "--model",
    "yolo11n-ema",
    "--imgsz",
    "64",
    "--epochs",
    "2",
    "--batch",
    "6",
    "--offline",
    "--device",
    "cpu",
    "plots=false",
)


def _tree(root):
    return sorted(
        (path.relative_to(root).as_posix(), path.stat().st_mtime_ns) for path in root.rglob("*")
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, commands):
    """One training, with sockets and subprocesses blocked: its folder, what it printed, and the
    dataset before and after.
    """
    folder = tmp_path_factory.mktemp("train")
    data = draw_dataset(folder / "tiny")
    before = _tree(folder / "tiny")
    own = ["--nwd", "0.3", "--seed", "5", "--json", "lr0=0.02", "optimizer=sgd"]
    words = ["train", "--data", str(data), "--pretrained", "none", *WORDS, *own]
    done = commands.start(words, cwd=folder, program=_CONFINED)
    out, err = folder / "out.txt", folder / "err.txt"
    assert done.wait() == 0, err.read_text()[-3000:]
    return {
        "folder": folder,
        "out": out.read_text(),
        "err": err.read_text(),
        "before": before,
        "after": _tree(folder / "tiny"),
        "data": data,
    }


@pytest.fixture(scope="module")
def result(run):
    return json.loads(run["out"])


@pytest.fixture(scope="module")
def record(result):
    return json.loads(Path(result["record"]).read_text())


@pytest.mark.slow
def test_stdout_holds_the_result_alone(run, result):
    assert run["out"].count("\n") == 1
    assert set(result) == {"best", "last", "record", "metrics", "transfer", "left_out"}
    assert result["left_out"] == {"train": {}, "val": {}}
    assert result["best"] == str(
        run["folder"] / "runs" / "train" / "yolo11n-ema" / "weights" / "best.pt"
    )
    assert set(result["metrics"]) == {"precision", "recall", "mAP50", "mAP50-95"}
    assert result["transfer"] is None


def test_a_learning_rate_the_automatic_optimizer_ignores_gives_a_warning(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "no-such-data", "--pretrained", "none", "lr0=0.1"]) == 3
    assert "optimizer=auto ignores lr0" in capsys.readouterr().err


def test_progress_and_log_go_to_stderr(run):
    assert "2 epochs completed" in run["err"]
    assert "Validating" in run["err"]


def test_the_dataset_is_left_unchanged(run):
    assert run["after"] == run["before"]


def test_the_weights_load_safely_and_are_an_ema_model_of_these_classes(result):
    for name in ("best", "last"):
        loaded = load_model(result[name])
        assert tuple(loaded.names.values()) == NAMES
        assert loaded.imgsz == 64
        assert (
            sum(
                isinstance(module, EfficientMultiScaleAttention)
                for module in loaded.model.modules()
            )
            == 5
        )
        assert all(torch.isfinite(tensor).all() for tensor in loaded.model.state_dict().values())


def test_the_weights_say_how_large_their_objects_were(result, run):
    """What tiled detection relies on."""
    files = (run["data"].parent / "labels" / "train").glob("*.txt")
    shares = [
        np.prod([float(word) for word in row.split()[3:]]) ** 0.5
        for file in files
        for row in file.read_text().splitlines()
    ]
    for name in ("best", "last"):
        sizes = recorded_sizes(load_model(result[name]).metadata)
        assert sizes.source_median == pytest.approx(96 * np.median(shares), abs=0.01)
        assert sizes.input_tenth == pytest.approx(64 * np.quantile(shares, 0.1), abs=0.01)


def test_the_record_says_how_the_weights_were_made(record, run):
    assert record["status"] == "finished"
    assert record["command"].endswith("lr0=0.02 optimizer=sgd")
    assert record["seed"] == 5
    assert (record["settings"]["optimizer"], record["settings"]["lr0"]) == ("SGD", 0.02)
    assert record["settings"]["max_det"] == 500
    assert record["settings"]["imgsz"] == 64
    assert record["drone"]["nwd"] == 0.3
    assert record["data"]["splits"]["train"]["images"] == 12
    assert record["data"]["yaml"] == str(run["data"])
    assert record["data"]["left_out"] == {"train": 0, "val": 0}
    assert record["images_at_limit"]["max_det"] == 500
    assert record["images_at_limit"]["count"] == len(record["images_at_limit"]["images"])
    assert record["hardware"]["cores"] >= 1
    assert record["versions"]["yolo-ema"]
    assert record["started"] <= record["ended"]


def test_the_record_holds_metrics_by_epoch_as_the_table_does(record, result):
    with (Path(result["record"]).parent / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (
        [one["epoch"] for one in record["epochs"]] == [int(row["epoch"]) for row in rows] == [1, 2]
    )
    for one, row in zip(record["epochs"], rows, strict=True):
        for key in ("train/box_loss", "metrics/mAP50(B)", "lr/pg0"):
            assert one[key] == pytest.approx(float(row[key]), rel=1e-4)
    assert record["final"]["metrics/mAP50(B)"] * 100 == result["metrics"]["mAP50"]


def test_the_run_folder_holds_the_resolved_data_yaml(run, result):
    content = yaml.safe_load((Path(result["record"]).parent / "data.yaml").read_text())
    assert content["train"] == [str(run["folder"] / "tiny" / "images" / "train")]
    assert content["names"] == dict(enumerate(NAMES))


@pytest.mark.slow
def test_a_trained_model_is_fine_tuned_in_its_own_folder(run, yolo_ema_command):
    best = run["folder"] / "runs" / "train" / "yolo11n-ema" / "weights" / "best.pt"
    words = [
        "--model",
        best,
        "--imgsz",
        64,
        "--epochs",
        1,
        "--batch",
        6,
        "--offline",
        "plots=false",
    ]
    done = yolo_ema_command(
        "train",
        "--data",
        run["folder"] / "tiny",
        *words,
        "--name",
        "yolo11n-ema",
        cwd=run["folder"],
    )
    assert done.code == 0, done.err[-3000:]
    assert "runs/train/yolo11n-ema-2/weights/best.pt" in done.out
    assert f"529 of 529 tensors from {best}" in done.out
    assert "yolo-ema export --weights runs/train/yolo11n-ema-2/weights/best.pt" in done.out
    new = load_checkpoint(
        run["folder"] / "runs" / "train" / "yolo11n-ema-2" / "weights" / "last.pt"
    )
    assert new["epoch"] == -1


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (
            ["lr00=0.1", "mosaik=1"],
            2,
            "did you mean 'lr0'?; there is no training setting 'mosaik'; did you mean 'mosaic'?",
        ),
        (["--model", "yolo11n-em"], 2, "did you mean 'yolo11n-ema'?"),
        (
            ["--epochs", "0", "--nwd", "2"],
            2,
            "--nwd is 2.0; expected 0 to 1; --epochs is 0; expected 1 or more",
        ),
        (["--epochs", "3", "epochs=4"], 2, "epochs is given twice"),
        (["--device", "gpu"], 2, "expected auto, cpu, mps, cuda, or a GPU number"),
        (["--device", "99"], 6, "--device is '99', and "),
        (["--pretrained", "nothing.pt"], 4, "nothing.pt"),
        (["--data", "no/such/folder"], 3, "there is no dataset 'no/such/folder'"),
        (["distill_model=yolo11m.pt"], 2, "distillation is not supported"),
        (["--pretrained", "none", "--data", "visdrohne"], 3, "did you mean 'visdrone'?"),
        (["--resume"], 4, "nothing to resume: there is no run under runs/train"),
        (["--resume", "gone.pt"], 4, "no weights file"),
        (["--pretrained", "yolo11s.pt", "--offline"], 6, "--offline"),
    ],
)
def test_mistakes_are_found_before_anything_starts(
    words, code, what, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    errors = [line for line in shown.err.splitlines() if line.startswith("yolo-ema: error: ")]
    assert len(errors) == 1
    assert what in errors[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_dataset_with_faults_trains_on_the_rest_and_counts_them(tmp_path, yolo_ema_command):
    data = draw_dataset(tmp_path / "tiny")
    images, labels = (data.parent / folder / "train" for folder in ("images", "labels"))
    data.write_text(data.read_text() + "test: ../test/images\n")
    (images / "100.jpg").symlink_to(tmp_path / "gone.jpg")
    (images / "._000.jpg").write_bytes(b"of another system")
    (images / "again").symlink_to(images)
    (labels / "001.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n")
    (labels / "002.txt").write_bytes("0 0.5 0.5 0.1 0.1\r\n".encode("utf-16"))
    (labels / "003.txt").write_text("0,0.5,0.5,0.1,0.1\n7,0.5,0.5,0.1,0.1\n")
    words = ["--pretrained", "none", *WORDS, "--epochs", "1", "rect=true", "--json"]
    done = yolo_ema_command("train", "--data", data, *words)
    assert done.code == 0, done.err[-3000:]
    reasons = {"unreadable labels": 1, "class out of range": 1, "missing image": 1}
    assert done.json["left_out"] == {"train": reasons, "val": {}}
    assert "11 images, 56 boxes" in done.err
    assert "the test split" in done.err
    record = json.loads(Path(done.json["record"]).read_text())
    assert record["data"]["left_out"] == {"train": 3, "val": 0}
    assert record["data"]["left_out_by_reason"] == done.json["left_out"]
    assert sorted(record["data"]["splits"]) == ["train", "val"]


@pytest.mark.slow
def test_plain_ultralytics_trains_with_our_trainer(run, tmp_path):
    program = (
        "import yolo_ema; from yolo_ema.engine.training.trainer import EmaTrainer; from "
        "ultralytics import YOLO; import sys\n"
        "model = YOLO(yolo_ema.model_yaml('yolo11n-ema'))\n"
        "small = dict(epochs=1, imgsz=64, batch=6, device='cpu', plots=False)\n"
        "model.train(trainer=EmaTrainer, data=sys.argv[1], project=sys.argv[2], **small)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, run["data"], tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("*/run.json"))) == 1
    assert tuple(load_model(next(tmp_path.glob("*/weights/best.pt"))).names.values()) == NAMES


@pytest.mark.slow
def test_tensorboard_gets_an_event_file_when_chosen(run, yolo_ema_command):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    words = [
        "--pretrained",
        "none",
        *WORDS,
        "--epochs",
        "1",
        "--name",
        "watched",
        "--loggers",
        "tensorboard",
    ]
    # Ultralytics logs nothing where it sees pytest.
    hidden = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    command = [sys.executable, "-m", "yolo_ema", "train", "--data", str(run["data"]), *words]
    done = subprocess.run(
        command, cwd=run["folder"], env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list((run["folder"] / "runs" / "train" / "watched").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("script", "usage"),
    [
        ("train", "yolo-ema train"),
        ("val", "yolo-ema val"),
        ("detect", "yolo-ema detect"),
        ("export", "yolo-ema export"),
        ("prepare_visdrone", "yolo-ema data prepare"),
    ],
)
def test_a_script_does_the_same_as_its_verb(script, usage):
    command = [
        sys.executable,
        Path(__file__).resolve().parents[2] / "scripts" / f"{script}.py",
        "--help",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: {usage} ")
