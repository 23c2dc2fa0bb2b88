"""What a run says at its end, good or bad."""

from __future__ import annotations

import errno
import functools
import json
import os
from pathlib import Path

import pytest
import torch

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.training import train as training
from yolo_ema.engine.training.run_record import RunRecord
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings
from yolo_ema.engine.training.train import TrainResult, _ending_well
from yolo_ema.errors import (
    DeviceMemoryError,
    DiskFullError,
    MachineError,
    ModelError,
    SourceError,
    TransferError,
)


@pytest.fixture
def last(tmp_path) -> Path:
    """A run's last checkpoint, after its first epoch."""
    path = tmp_path / "a run" / "weights" / "last.pt"
    path.parent.mkdir(parents=True)
    torch.save(
        {"epoch": 0, "ema": build_model("yolo11n-ema", 2).half(), "train_args": {"epochs": 3}}, path
    )
    RunRecord(path.parent.parent / "run.json").start(command="yolo-ema train")
    return path


def _status(last: Path) -> str:
    return json.loads((last.parent.parent / "run.json").read_text())["status"]


def test_the_result_shows_paths_figures_and_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = {"mAP50": 34.56, "mAP50-95": None}
    transfer = {"tensors": 493, "of": 529, "from": "yolo11n.pt"}
    result = TrainResult(
        tmp_path / "a b" / "best.pt", tmp_path / "last.pt", tmp_path / "run.json", metrics, transfer
    )
    text = result.as_text()
    assert "mAP50 34.6 %" in text
    assert "mAP50-95" not in text
    assert "493 of 529 tensors from yolo11n.pt" in text
    for verb in ("val", "detect", "export"):
        assert f"yolo-ema {verb} " in text
    assert "--weights 'a b/best.pt'" in text
    assert json.loads(json.dumps(result.as_json()))["transfer"]["tensors"] == 493


def test_a_run_that_ends_well_says_nothing(last, capsys):
    with _ending_well(last):
        pass
    assert capsys.readouterr() == ("", "")
    assert _status(last) == "running"  # the trainer itself writes that it is finished


def test_an_interruption_names_the_command_and_stays_an_interruption(last, capsys):
    with pytest.raises(KeyboardInterrupt), _ending_well(last):
        raise KeyboardInterrupt
    assert f"is whole, resume it: yolo-ema train --resume '{last}'" in capsys.readouterr().err
    assert _status(last) == "interrupted"


def test_an_interruption_before_the_first_checkpoint_says_to_start_again(last, capsys):
    last.unlink()
    with pytest.raises(KeyboardInterrupt), _ending_well(last):
        raise KeyboardInterrupt
    assert "before the first checkpoint; start again" in capsys.readouterr().err


def test_an_interruption_of_the_last_validation_does_not_promise_a_resume(last, capsys):
    torch.save({**torch.load(last, weights_only=False), "epoch": -1}, last)
    with pytest.raises(KeyboardInterrupt), _ending_well(last):
        raise KeyboardInterrupt
    shown = capsys.readouterr().err
    assert "training itself was complete" in shown
    assert "--resume" not in shown


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_any_write_to_a_full_disk_gives_the_clear_error(last, number):
    with (
        pytest.raises(DiskFullError, match=r"disk full .* resume it: yolo-ema train --resume"),
        _ending_well(last),
    ):
        raise OSError(number, os.strerror(number))
    assert _status(last) == "failed"


@pytest.mark.parametrize(
    ("batch", "processes", "more"),
    [(16, 1, " --batch 8"), (12, 4, " --batch 4"), (3, 1, " --batch 1"), (1, 1, ""), (2, 2, "")],
)
def test_a_run_that_ran_out_of_memory_is_resumed_with_about_half_the_batch(
    last, batch, processes, more
):
    content = torch.load(last, weights_only=False)
    torch.save({**content, "train_args": {"epochs": 3, "batch": batch}}, last)
    with pytest.raises(DeviceMemoryError) as caught, _ending_well(last, processes=processes):
        raise DeviceMemoryError("too little")
    assert str(caught.value).endswith(f"yolo-ema train --resume '{last}'{more}")
    assert _status(last) == "failed"


def test_a_checkpoint_that_cannot_be_read_does_not_mask_what_ended_the_run(last, capsys):
    last.write_bytes(b"")
    with (
        pytest.raises(DiskFullError, match=r"disk full .*cannot be resumed: .* is empty"),
        _ending_well(last),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(KeyboardInterrupt), _ending_well(last):
        raise KeyboardInterrupt
    assert "is empty" in capsys.readouterr().err


def test_a_trusted_run_resumes_trusted(last, capsys):
    torch.save({**torch.load(last, weights_only=False), "extra": functools.partial(print)}, last)
    with pytest.raises(KeyboardInterrupt), _ending_well(last, trust=True):
        raise KeyboardInterrupt
    assert f"yolo-ema train --resume '{last}' --trust" in capsys.readouterr().err


def _overrides(folder: Path, **more) -> dict:
    folder = folder / "runs" / "mine"
    folder.mkdir(parents=True, exist_ok=True)
    return {"save_dir": str(folder), RUN_KEY: RunSettings().as_dict(), **more}


class _Refusing:
    """Stands in for the trainer: leaves what Ultralytics leaves before the model is made, then
    refuses the weights.
    """

    def __init__(self, overrides):
        self.folder = Path(overrides["save_dir"])

    def train(self):
        (self.folder / "weights").mkdir(exist_ok=True)
        (self.folder / "args.yaml").write_text("epochs: 1\n")
        raise TransferError("too few")


@pytest.mark.parametrize(
    ("more", "stays"), [({}, False), ({"exist_ok": True}, True), ({"resume": "last.pt"}, True)]
)
def test_a_refused_run_leaves_no_folder_unless_it_was_there_before(
    tmp_path, monkeypatch, more, stays
):
    monkeypatch.setattr(training, "EmaTrainer", _Refusing)
    overrides = _overrides(tmp_path, **more)
    with pytest.raises(TransferError, match="too few"):
        training._run(overrides)
    assert Path(overrides["save_dir"]).exists() == stays


def test_a_folder_with_anything_written_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "EmaTrainer", _Refusing)
    overrides = _overrides(tmp_path)
    (Path(overrides["save_dir"]) / "results.csv").write_text("epoch\n")
    with pytest.raises(TransferError):
        training._run(overrides)
    assert (Path(overrides["save_dir"]) / "results.csv").exists()


@pytest.mark.parametrize("kind", [MachineError, SourceError])
def test_a_vanished_image_or_process_names_the_command_that_resumes(last, kind):
    with pytest.raises(kind, match=r"^gone; .* resume it: yolo-ema train"), _ending_well(last):
        raise kind("gone")
    last.unlink()
    with pytest.raises(kind, match=r"^gone$"), _ending_well(last):
        raise kind("gone")


def test_the_result_counts_what_was_left_out(tmp_path):
    left_out = {"train": {"unreadable labels": 2, "no area": 1}, "val": {}}
    result = TrainResult(
        tmp_path / "best.pt", tmp_path / "last.pt", tmp_path / "run.json", {}, None, left_out
    )
    assert "left out       of train: unreadable labels 2, no area 1" in result.as_text()
    assert "of val" not in result.as_text()
    assert result.as_json()["left_out"] == left_out


def test_a_run_that_takes_over_a_folder_has_nothing_of_the_former_one(last, capsys):
    record = last.parent.parent / "run.json"
    before = record.read_bytes()
    with pytest.raises(KeyboardInterrupt), _ending_well(last, replaces=True):
        raise KeyboardInterrupt
    assert "before the first checkpoint; start again" in capsys.readouterr().err
    with pytest.raises(MachineError, match=r"^gone$"), _ending_well(last, replaces=True):
        raise MachineError("gone")
    assert record.read_bytes() == before
    with pytest.raises(KeyboardInterrupt), _ending_well(last, replaces=True):
        RunRecord(record).start(command="yolo-ema train again")
        raise KeyboardInterrupt
    assert "is whole, resume it" in capsys.readouterr().err
    assert _status(last) == "interrupted"


def test_other_errors_pass_unchanged(last):
    with pytest.raises(ModelError, match="as it is"), _ending_well(last):
        raise ModelError("as it is")
    with pytest.raises(PermissionError), _ending_well(last):
        raise PermissionError(errno.EACCES, "no")
    assert _status(last) == "failed"
