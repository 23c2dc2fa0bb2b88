"""What becomes of a run that ends at an unlucky moment, and of the folder it leaves."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from tiny_dataset import draw_dataset

from yolo_ema.cli import main
from yolo_ema.engine.training.train import train
from yolo_ema.engine.training.trainer import EmaTrainer
from yolo_ema.engine.weights.checkpoints import AtomicPath
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.errors import ConfigError
from yolo_ema.options.train import TrainOptions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_in_the_folder")]


@pytest.fixture
def _in_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(draw_dataset(tmp_path_factory.mktemp("data") / "tiny", train=4, val=2))


def _options(data: str, *, epochs: int = 3, batch: int = 2, **more: str) -> TrainOptions:
    return TrainOptions(
        data=data,
        model="yolo11n-ema",
        pretrained="none",
        imgsz=64,
        batch=batch,
        epochs=epochs,
        device="cpu",
        name="run",
        project=Path("runs"),
        offline=True,
        loggers=("none",),
        settings={"plots": "false", **more},
    )


@pytest.fixture
def fitness(monkeypatch) -> dict[int, float]:
    """What the validation after each epoch, from 0, is to find."""
    wanted: dict[int, float] = {}
    validate = EmaTrainer.validate

    def judged(self):
        best = self.best_fitness
        metrics, _ = validate(self)
        found = wanted[self.epoch]
        self.best_fitness = found if best is None else max(best, found)
        return metrics, found

    monkeypatch.setattr(EmaTrainer, "validate", judged)
    return wanted


def _fitness_of(name: str) -> float:
    return load_checkpoint(Path("runs/run/weights") / name)["train_metrics"]["fitness"]


def test_a_run_that_ends_between_its_last_and_its_best_checkpoint_keeps_the_best(
    data, fitness, monkeypatch
):
    fitness |= {0: 0.1, 1: 0.9, 2: 0.3}
    write, written = AtomicPath.write_bytes, []

    def until_the_second_best(self, content):
        written.append(self.name)
        if written.count("best.pt") == 2:
            raise KeyboardInterrupt
        return write(self, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AtomicPath, "write_bytes", until_the_second_best)
        train(_options(data))
    assert (_fitness_of("last.pt"), _fitness_of("best.pt")) == (0.9, 0.1)
    result = train(TrainOptions(resume="runs/run/weights/last.pt", device="cpu", offline=True))
    assert (_fitness_of("last.pt"), _fitness_of("best.pt")) == (0.3, 0.9)
    assert json.loads(result.record.read_text())["status"] == "finished"


def test_a_run_that_runs_out_of_memory_says_so_and_goes_on_with_a_smaller_batch(
    data, monkeypatch, capsys
):
    preprocess = EmaTrainer.preprocess_batch

    def until_the_second_epoch(self, batch):
        if self.epoch == 1 and self.args.batch > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return preprocess(self, batch)

    monkeypatch.setattr(EmaTrainer, "preprocess_batch", until_the_second_epoch)
    words = "--model yolo11n-ema --pretrained none --imgsz 64 --batch 2 --epochs 2 --device cpu"
    more = "--offline --loggers none --project runs --name run plots=false"
    assert main(["train", "--data", data, *words.split(), *more.split()]) == 6
    shown = capsys.readouterr().err
    assert "the memory does not suffice for this training (CUDA out of memory" in shown
    assert "bug" not in shown
    command = shlex.split(shown.rpartition("resume it: yolo-ema ")[2])
    assert command[-2:] == ["--batch", "1"]
    assert main([*command, "--device", "cpu", "--offline"]) == 0
    record = json.loads(Path("runs/run/run.json").read_text())
    assert (record["status"], len(record["epochs"])) == ("finished", 2)


def test_a_run_that_takes_over_a_folder_leaves_nothing_of_the_former_one(data, fitness, capsys):
    fitness |= {0: 0.9}
    train(_options(data, epochs=1, exist_ok="true"))
    files = [Path("runs/run/weights/best.pt"), Path("runs/run/run.json")]
    before = [file.read_bytes() for file in files]
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        train(_options(data, epochs=1, exist_ok="true", freeze="40"))
    assert [file.read_bytes() for file in files] == before, "a refused command loses nothing"

    fitness |= {0: 0.2, 1: 0.1}
    result = train(_options(data, epochs=2, exist_ok="true", save="false"))
    assert result.best.name == "last.pt", "the former best.pt is gone"
    assert [path.name for path in result.best.parent.iterdir()] == ["last.pt"]
    assert json.loads(result.record.read_text())["status"] == "finished"

    def interrupt(_trainer):
        raise KeyboardInterrupt

    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt):
        train(
            _options(data, epochs=1, exist_ok="true"), callbacks={"on_train_epoch_end": interrupt}
        )
    shown = capsys.readouterr().err
    assert "interrupted before the first checkpoint; start again with the same command" in shown
    assert list(Path("runs/run/weights").iterdir()) == []
    assert json.loads(Path("runs/run/run.json").read_text())["status"] == "interrupted"
