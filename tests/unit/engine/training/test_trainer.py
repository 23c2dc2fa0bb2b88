"""The parts of a training that can be looked at without one: half precision, fonts, validation
limits, results.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.setup import plot_fonts
from yolo_ema.engine.setup.console import log_to_stderr
from yolo_ema.engine.training import mixed_precision as amp
from yolo_ema.engine.training import run_record
from yolo_ema.engine.training.train_validator import TrainValidator

# isort: split

from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.utils import LOGGER


class _Breaks(torch.nn.Module):
    """A layer that is sound in float32 and not in half precision, as on a GPU with broken
    convolutions.
    """

    def __init__(self, layer, wrong: float) -> None:
        super().__init__()
        self.layer, self.wrong = layer, wrong
        self.i, self.f, self.type = layer.i, layer.f, layer.type

    def forward(self, x):
        y = self.layer(x)
        return (
            y + self.wrong if y.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu") else y
        )


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))


def test_a_sound_machine_passes_the_check_of_half_precision(images):
    model = build_model("yolo11n-ema", 2).train()
    assert amp._close_under_autocast(model, images, torch.bfloat16)
    assert model.training
    assert not model.model[-1]._forward_pre_hooks


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 3.0])
def test_a_broken_one_does_not(images, wrong):
    model = build_model("yolo11n-ema", 2)
    model.model[0] = _Breaks(model.model[0], wrong)
    assert not amp._close_under_autocast(model, images, torch.bfloat16)


def test_there_is_no_half_precision_on_the_cpu():
    assert not amp.half_precision_works(build_model("yolo11n-ema", 2))


def test_the_check_of_ultralytics_is_back_afterwards():
    before = ultralytics_trainer.check_amp
    with pytest.raises(RuntimeError), amp.own_amp_check():
        assert ultralytics_trainer.check_amp is amp.half_precision_works
        raise RuntimeError
    assert ultralytics_trainer.check_amp is before


def test_fonts_are_placed_once_and_never_replaced(tmp_path, monkeypatch):
    from PIL import ImageFont

    monkeypatch.setattr(plot_fonts, "USER_CONFIG_DIR", tmp_path)
    (tmp_path / "Arial.ttf").write_bytes(b"the user's own")
    plot_fonts.place_fonts()
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


def test_rows_of_epochs_that_are_done_again_are_dropped(tmp_path):
    table = tmp_path / "results.csv"
    table.write_text("epoch,loss\n1,0.5\n2,0.4\n3,0.3\n")
    run_record.trim_epochs_table(table, 2)
    assert table.read_text() == "epoch,loss\n1,0.5\n2,0.4\n"
    run_record.trim_epochs_table(tmp_path / "none.csv", 2)
    assert not (tmp_path / "none.csv").exists()
