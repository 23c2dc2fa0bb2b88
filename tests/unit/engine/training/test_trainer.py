"""The parts of a training that can be tested without one: fonts, validation limits, results."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pytest
import torch

from yolo_ema.engine.setup import no_network_no_install
from yolo_ema.engine.setup.environment import log_to_stderr
from yolo_ema.engine.training import run_record
from yolo_ema.engine.training.train_validator import TrainValidator
from yolo_ema.engine.training.trainer import EmaTrainer

# isort: split

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER


def test_fonts_are_placed_once_and_never_replaced(tmp_path, monkeypatch):
    from PIL import ImageFont

    monkeypatch.setattr(no_network_no_install, "USER_CONFIG_DIR", tmp_path)
    (tmp_path / "Arial.ttf").write_bytes(b"the user's own")
    no_network_no_install.place_fonts()
    assert (tmp_path / "Arial.ttf").read_bytes() == b"the user's own"
    ImageFont.truetype(str(tmp_path / "Arial.Unicode.ttf"), 12)


def test_what_is_logged_and_printed_goes_to_stderr_inside_and_not_after(capsys):
    with pytest.raises(RuntimeError), log_to_stderr():
        LOGGER.warning("logged")
        print("printed")
        raise RuntimeError
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "logged" in shown.err
    assert "printed" in shown.err


def test_a_stream_that_whoever_captured_output_has_closed_is_no_hindrance(capsys):
    closed = io.StringIO()
    handler = logging.StreamHandler(closed)
    closed.close()
    LOGGER.addHandler(handler)
    try:
        for _ in range(2):
            with log_to_stderr():
                LOGGER.warning("logged")
            assert handler.stream is closed
    finally:
        LOGGER.removeHandler(handler)
    assert "Logging error" not in capsys.readouterr().err


def test_the_validator_keeps_500_detections_of_every_image_however_slow_nms_is(monkeypatch):
    validator = TrainValidator.__new__(TrainValidator)
    validator.args = SimpleNamespace(
        conf=0.001, iou=0.7, single_cls=False, agnostic_nms=False, max_det=500
    )
    validator.end2end = False
    clock = iter(range(0, 10**9, 100))  # a hundred seconds pass between any two looks at the clock
    monkeypatch.setattr("ultralytics.utils.nms.time.time", lambda: next(clock))
    count = 700
    centres = (
        torch.stack(torch.meshgrid(torch.arange(28.0), torch.arange(25.0), indexing="ij")).flatten(
            1
        )
        * 20
        + 10
    )
    boxes = torch.cat([centres, torch.full((2, count), 10.0)])  # apart from one another
    scores = torch.linspace(0.1, 0.9, count).unsqueeze(0)
    preds = torch.cat([boxes, scores, torch.zeros(1, count)]).repeat(3, 1, 1)
    kept = validator.postprocess(preds)
    assert [len(one["conf"]) for one in kept] == [500] * 3
    assert all(float(one["conf"].min()) > 0.3 for one in kept)


def test_rows_of_repeated_epochs_are_dropped(tmp_path):
    table = tmp_path / "results.csv"
    table.write_text("epoch,loss\n1,0.5\n2,0.4\n3,0.3\n")
    run_record.trim_epochs_table(table, 2)
    assert table.read_text() == "epoch,loss\n1,0.5\n2,0.4\n"
    run_record.trim_epochs_table(tmp_path / "none.csv", 2)
    assert not (tmp_path / "none.csv").exists()


def test_a_table_that_a_power_cut_left_damaged_does_not_end_a_resumed_run(tmp_path):
    table = tmp_path / "results.csv"
    table.write_bytes(b"epoch,loss\n1,0.5\n" + bytes(7) + b"\n")
    run_record.trim_epochs_table(table, 2)
    assert table.read_text() == "epoch,loss\n1,0.5\n"
    for content in (b"", bytes(12)):
        table.write_bytes(content)
        run_record.trim_epochs_table(table, 2)
        assert not table.exists()


def _split(*counts: int) -> SimpleNamespace:
    return SimpleNamespace(labels=[{"cls": torch.zeros(count, 1)} for count in counts])


_SAID = (
    " images of the validation split have more objects than the {0} detections that are kept of "
    "an image (max_det={0}{1}), up to 501"
)


@pytest.mark.parametrize(
    ("max_det", "said"),
    [
        (500, "1" + _SAID.format(500, ", this project's default")),
        (300, "2" + _SAID.format(300, "")),
        (501, ""),
    ],
)
def test_the_limit_on_detections_stays_and_crowded_images_of_val_are_warned_of(
    max_det, said, caplog, monkeypatch
):
    monkeypatch.setattr(BaseTrainer, "_build_train_pipeline", lambda _: None)
    trainer = EmaTrainer.__new__(EmaTrainer)
    trainer.args = SimpleNamespace(task="detect", max_det=max_det)
    trainer.train_loader = SimpleNamespace(dataset=_split(900))
    trainer.test_loader = SimpleNamespace(dataset=_split(3, 501, 400))
    trainer.model = SimpleNamespace(set_head_attr=lambda **_: None)
    LOGGER.addHandler(caplog.handler)
    try:
        trainer._build_train_pipeline()
        TrainValidator._check_max_det(trainer.args, {"val": _split(501)})  # at the last validation
    finally:
        LOGGER.removeHandler(caplog.handler)
    assert trainer.args.max_det == max_det
    assert said in caplog.text
    assert len(caplog.records) == bool(said)
