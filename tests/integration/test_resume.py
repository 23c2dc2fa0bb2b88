"""Runs that are cut off: by a kill, by a signal, by a full disk; and how they go on."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_server import Commands, RunningCommand
from tiny_dataset import draw_dataset

from yolo_ema.engine.weights.loading import load_checkpoint, load_model

EPOCHS = 3
WORDS = [
    *(
        "--model",
        "yolo11n-ema",
        "--pretrained",
        "none",
        "--imgsz",
        "64",
        "--epochs",
        str(EPOCHS),
        "--batch",
        "6",
        "--seed",
        "3",
    ),
    *("--device", "cpu", "--offline", "--nwd", "0.25", "plots=false", "patience=7"),
]

# Lets the disk be full when the second checkpoint is written: half of it gets through.
_FULL_AT_SECOND_SAVE = """
import errno, os, sys
from yolo_ema.engine.weights import checkpoints

write_bytes, saves = checkpoints.write_bytes, []

def until_full(path, content):
    saves.append(path)
    if [one.name for one in saves].count("last.pt") < 2:
        return write_bytes(path, content)
    from yolo_ema.io.atomic_files import atomic_path
    with atomic_path(path) as beside, beside.open("wb") as file:
        file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

checkpoints.write_bytes = until_full
from yolo_ema.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def start(commands: Commands) -> Callable[..., RunningCommand]:
    """Return a function that starts ``yolo-ema train WORDS…``, or a program with these words."""

    def begin(folder: Path, *words: str, program: str = "", before: str = "") -> RunningCommand:
        first = [before] if before else []
        return commands.start([*first, "train", *words], cwd=folder, program=program)

    return begin


@pytest.fixture(scope="module")
def train(start) -> Callable[..., Path]:
    """Return a function that trains to the end and returns the run's folder."""

    def whole(folder: Path, *words: str) -> Path:
        assert start(folder, *words).wait(300) == 0, (folder / "err.txt").read_text()[-3000:]
        return folder / "runs" / "train" / "yolo11n-ema"

    return whole


def _wait_for_epoch(folder: Path, process: RunningCommand, epoch: int) -> None:
    """Wait until an epoch (1-based) is in its checkpoint."""
    log = folder / "runs" / "train" / "yolo11n-ema"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "err.txt").read_text()[-3000:]
        table = log / "results.csv"
        if (
            (log / "weights" / "last.pt").exists()
            and table.exists()
            and len(table.read_text().splitlines()) > epoch
        ):
            return
        time.sleep(0.02)
    raise AssertionError("the run did not come that far")


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, train) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return train(folder, "--data", str(draw_dataset(folder / "tiny")), *WORDS)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_its_last_checkpoint_was(tmp_path, uninterrupted, start, train):
    data = draw_dataset(tmp_path / "tiny")
    process = start(tmp_path, "--data", str(data), *WORDS)
    _wait_for_epoch(tmp_path, process, 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = tmp_path / "runs" / "train" / "yolo11n-ema"
    done = load_checkpoint(run / "weights" / "last.pt")["epoch"] + 1
    assert 1 <= done < EPOCHS
    load_model(run / "weights" / "last.pt")

    assert train(tmp_path, "--resume", "--device", "cpu") == run
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert [one["epoch"] for one in record["epochs"]] == [1, 2, 3]
    assert [one["epoch"] for one in record["resumed"]] == [done + 1]
    assert record["drone"]["nwd"] == 0.25
    assert [row["epoch"] for row in _rows(run)] == ["1", "2", "3"]
    assert [path.name for path in sorted((run / "weights").iterdir())] == ["best.pt", "last.pt"]
    # The same schedule as if nothing had happened, and up to the kill the very same figures.
    whole = _rows(uninterrupted)
    assert [row["lr/pg0"] for row in _rows(run)] == [row["lr/pg0"] for row in whole]
    assert _rows(run)[0]["train/box_loss"] == whole[0]["train/box_loss"]
    settings = json.loads((uninterrupted / "run.json").read_text())["settings"]
    same = {"epochs", "imgsz", "batch", "seed", "patience", "optimizer", "lr0", "max_det"}
    assert {key: record["settings"][key] for key in same} == {key: settings[key] for key in same}
    assert load_model(run / "weights" / "last.pt").metadata["epoch"] == -1


@pytest.mark.slow
def test_a_signal_ends_the_run_cleanly_and_names_the_command_that_goes_on(tmp_path, start):
    process = start(tmp_path, "--data", str(draw_dataset(tmp_path / "tiny")), *WORDS)
    _wait_for_epoch(tmp_path, process, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    last = tmp_path / "runs" / "train" / "yolo11n-ema" / "weights" / "last.pt"
    error = (tmp_path / "err.txt").read_text()
    assert f"{last} is whole, resume it: yolo-ema train --resume {shlex.quote(str(last))}" in error
    assert "Traceback" not in error
    assert (tmp_path / "out.txt").read_text() == ""
    load_model(last)
    assert json.loads((last.parent.parent / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_the_last_checkpoint_is_whole(tmp_path, start):
    data = str(draw_dataset(tmp_path / "tiny"))
    process = start(tmp_path, "--data", data, *WORDS, program=_FULL_AT_SECOND_SAVE)
    assert process.wait(300) == 6
    last = tmp_path / "runs" / "train" / "yolo11n-ema" / "weights" / "last.pt"
    errors = [
        line for line in (tmp_path / "err.txt").read_text().splitlines() if "error" in line.lower()
    ]
    assert len(errors) == 1, errors
    assert "disk full while writing" in errors[0]
    assert f"yolo-ema train --resume {last}" in errors[0]
    assert load_checkpoint(last)["epoch"] == 0
    load_model(last)
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.pt", "last.pt"]
    assert json.loads((last.parent.parent / "run.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_a_finished_run_and_another_course_are_refused(uninterrupted, monkeypatch, capsys):
    from yolo_ema.cli import main

    last = uninterrupted / "weights" / "last.pt"
    monkeypatch.chdir(uninterrupted)
    assert main(["train", "--resume", str(last)]) == 2
    assert f"start a new run with --model {last}" in capsys.readouterr().err


# Kills the process where the argument says: before the final validation, in it, or after it.
_KILLED_AT = """
import os, signal, sys
from yolo_ema.engine.training import trainer
from yolo_ema.engine.training.train_validator import TrainValidator

moment = sys.argv.pop(1)

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

finalize = TrainValidator.finalize_metrics

def in_validation(self):
    if not self.training:
        kill()
    finalize(self)

if moment == "before":
    trainer.EmaTrainer.final_eval = kill
elif moment == "in":
    TrainValidator.finalize_metrics = in_validation
else:
    strip = trainer.strip_checkpoint
    trainer.strip_checkpoint = lambda path, **more: kill() if path.name == "last.pt" else strip(
        path, **more
    )
from yolo_ema.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "in", "after"])
def test_a_run_killed_after_its_last_epoch_is_finished(tmp_path, moment, start, train):
    data = draw_dataset(tmp_path / "tiny")
    words = [*WORDS[: WORDS.index("--epochs")], "--epochs", "1", *WORDS[WORDS.index("--batch") :]]
    process = start(tmp_path, "--data", str(data), *words, program=_KILLED_AT, before=moment)
    assert process.wait(300) == -signal.SIGKILL, (tmp_path / "err.txt").read_text()[-3000:]
    run = tmp_path / "runs" / "train" / "yolo11n-ema"
    assert load_checkpoint(run / "weights" / "last.pt")["epoch"] == 0

    assert train(tmp_path, "--resume", "--device", "cpu") == run
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert [one["epoch"] for one in record["epochs"]] == [1]
    assert set(record["final"]) >= {"metrics/mAP50(B)", "metrics/mAP50-95(B)"}
    assert [row["epoch"] for row in _rows(run)] == ["1"]
    for name in ("best", "last"):
        assert load_checkpoint(run / "weights" / f"{name}.pt")["epoch"] == -1
    assert sorted(path.name for path in (run / "weights").iterdir()) == ["best.pt", "last.pt"]
