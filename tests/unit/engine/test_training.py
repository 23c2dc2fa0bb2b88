"""What a run says at its end, good or bad."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from yolo_ema.engine.registration import build_model
from yolo_ema.engine.run_record import RunRecord
from yolo_ema.engine.training import TrainResult, _ending_well
from yolo_ema.errors import DiskFullError, ModelError


@pytest.fixture
def last(tmp_path) -> Path:
    """A run's last checkpoint, after its first epoch."""
    path = tmp_path / "a run" / "weights" / "last.pt"
    path.parent.mkdir(parents=True)
    torch.save({"epoch": 0, "ema": build_model("yolo11n-ema", 2).half(), "train_args": {"epochs": 3}}, path)
    RunRecord(path.parent.parent / "run.json").start(command="yolo-ema train")
    return path


def _status(last: Path) -> str:
    return json.loads((last.parent.parent / "run.json").read_text())["status"]


def test_the_result_shows_paths_figures_and_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = {"mAP50": 34.56, "mAP50-95": None}
    transfer = {"tensors": 493, "of": 529, "from": "yolo11n.pt"}
    result = TrainResult(tmp_path / "a b" / "best.pt", tmp_path / "last.pt", tmp_path / "run.json", metrics, transfer)
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


def test_an_interruption_names_the_command_and_goes_on_as_one(last, capsys):
    with pytest.raises(KeyboardInterrupt), _ending_well(last):
        raise KeyboardInterrupt
    assert f"is whole, go on with: yolo-ema train --resume '{last}'" in capsys.readouterr().err
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
def test_any_write_that_finds_the_disk_full_ends_in_the_clear_error(last, number):
    with pytest.raises(DiskFullError, match=r"disk full .* go on with: yolo-ema train --resume"), _ending_well(last):
        raise OSError(number, os.strerror(number))
    assert _status(last) == "failed"


def test_other_errors_pass_as_they_are(last):
    with pytest.raises(ModelError, match="as it is"), _ending_well(last):
        raise ModelError("as it is")
    with pytest.raises(PermissionError), _ending_well(last):
        raise PermissionError(errno.EACCES, "no")
    assert _status(last) == "failed"
