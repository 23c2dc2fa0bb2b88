"""An end by time: after the epoch in which the budget is used up, also over a run that was cut
off.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tiny_dataset import draw_dataset

from yolo_ema.engine.training import training_budget
from yolo_ema.engine.training.train import train
from yolo_ema.engine.training.training_budget import TrainingBudget
from yolo_ema.io.atomic_files import read_json
from yolo_ema.options.train import TrainOptions


class Trainer(SimpleNamespace):
    """What the clock sees of a trainer, and a loop like Ultralytics'."""

    def _setup_scheduler(self):
        self.planned.append(self.epochs)


@pytest.fixture
def now(monkeypatch):
    """A clock that a test moves."""
    time = SimpleNamespace(process=0.0, wall=0.0)
    monkeypatch.setattr(training_budget.time, "process_time", lambda: time.process)
    monkeypatch.setattr(training_budget.time, "monotonic", lambda: time.wall)
    return time


def run(clock, now, *, seconds=10.0, start_epoch=0, epochs=100, until=1000):
    """Train as Ultralytics does; stop as if cut off before the checkpoint of epoch ``until``
    (0-based).
    """
    trainer = Trainer(
        epochs=epochs,
        start_epoch=start_epoch,
        args=SimpleNamespace(epochs=epochs),
        planned=[],
        scheduler=SimpleNamespace(last_epoch=-1),
    )
    calls = clock.callbacks()
    calls["on_train_start"](trainer)
    for trainer.epoch in range(start_epoch, 1000):
        calls["on_train_epoch_start"](trainer)
        now.process += seconds
        now.wall += 3 * seconds
        calls["on_train_epoch_end"](trainer)
        if trainer.epoch == until:
            return trainer
        now.wall += 5
        calls["on_fit_epoch_end"](trainer)
        if trainer.epoch + 1 >= trainer.epochs:
            break
    trainer.epoch += 1  # as in the last validation, of the best weights
    calls["on_fit_epoch_end"](trainer)
    return trainer


def test_a_run_by_epochs_is_only_timed(tmp_path, now):
    trainer = run(TrainingBudget(tmp_path / "clock.json"), now, epochs=3)
    epochs = read_json(tmp_path / "clock.json")["epochs"]
    assert [one["epoch"] for one in epochs] == [1, 2, 3]
    assert epochs[0] == {
        "epoch": 1,
        "train_process": 10,
        "train_wall": 30,
        "all_process": 10,
        "all_wall": 35,
    }
    assert (trainer.epochs, trainer.planned) == (3, [])


@pytest.mark.parametrize(
    ("clock", "budget", "done"),
    [
        ("process", 35, 4),
        ("process", 40, 4),
        ("process", 41, 5),
        ("wall", 65, 3),
        ("process", 1, 1),
    ],
)
def test_a_run_by_time_ends_after_the_epoch_that_uses_it_up(tmp_path, now, clock, budget, done):
    trainer = run(TrainingBudget(tmp_path / "clock.json", budget_seconds=budget, clock=clock), now)
    assert len(read_json(tmp_path / "clock.json")["epochs"]) == done
    assert trainer.epochs == trainer.args.epochs == done
    assert set(trainer.planned) == {
        done
    }  # estimated correctly from the first epoch on, since all take the same
    assert trainer.scheduler.last_epoch == done - 1


def test_time_used_before_an_interruption_counts_and_a_repeated_epoch_counts_once(tmp_path, now):
    file = tmp_path / "clock.json"
    run(TrainingBudget(file, budget_seconds=50), now, until=2)
    assert [one["epoch"] for one in read_json(file)["epochs"]] == [1, 2, 3]
    run(TrainingBudget(file, budget_seconds=50), now, start_epoch=2, epochs=5)
    assert [one["epoch"] for one in read_json(file)["epochs"]] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_real_run_ends_by_time_with_the_schedule_of_the_epochs_that_it_had(
    tmp_path, monkeypatch, now
):
    """Ultralytics rereads the number of epochs after each, and its schedule can be set again."""
    monkeypatch.chdir(tmp_path)
    clock = TrainingBudget(tmp_path / "clock.json", budget_seconds=2.5)
    calls = clock.callbacks()
    end = calls["on_train_epoch_end"]

    def after_a_second(trainer):
        now.process += 1
        end(trainer)

    options = TrainOptions(
        model="yolo11n",
        data=str(draw_dataset(tmp_path / "tiny")),
        imgsz=64,
        epochs=100,
        batch=12,
        device="cpu",
        pretrained="none",
        offline=True,
        loggers=("none",),
        settings={
            "plots": "false",
            "optimizer": "SGD",
            "lr0": "0.01",
            "lrf": "0.01",
            "warmup_epochs": "0",
            "close_mosaic": "0",
        },
    )
    result = train(options, callbacks={**calls, "on_train_epoch_end": after_a_second})
    record = read_json(result.record)
    assert [one["epoch"] for one in record["epochs"]] == [1, 2, 3]
    assert [one["train_process"] for one in read_json(tmp_path / "clock.json")["epochs"]] == [
        1,
        1,
        1,
    ]
    rates = [one["lr/pg0"] for one in record["epochs"]]
    # Planned with 100 epochs first, then with three: 1, 2/3 and 1/3 of the way from the last to the
    # first rate.
    assert rates[1:] == pytest.approx([0.01 * (share * 0.99 + 0.01) for share in (2 / 3, 1 / 3)])
