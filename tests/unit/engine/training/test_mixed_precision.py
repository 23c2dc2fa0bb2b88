"""Half precision and memory format: equal losses, and no change where none was asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_dataset import draw_dataset

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.training import mixed_precision
from yolo_ema.engine.training.trainer import EmaTrainer
from yolo_ema.errors import MachineError

# isort: split

from ultralytics.engine import trainer as ultralytics_trainer


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


def test_a_working_machine_passes_the_half_precision_check(images):
    model = build_model("yolo11n-ema", 2).train()
    assert mixed_precision._close_under_autocast(model, images, torch.bfloat16)
    assert model.training
    assert not model.model[-1]._forward_pre_hooks


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 3.0])
def test_a_broken_one_does_not(images, wrong):
    model = build_model("yolo11n-ema", 2)
    model.model[0] = _Breaks(model.model[0], wrong)
    assert not mixed_precision._close_under_autocast(model, images, torch.bfloat16)


def test_there_is_no_half_precision_on_the_cpu():
    assert not mixed_precision.half_precision_works(build_model("yolo11n-ema", 2))


def test_the_ultralytics_check_is_restored_afterwards():
    before = ultralytics_trainer.check_amp
    with pytest.raises(RuntimeError), mixed_precision.own_amp_check():
        assert ultralytics_trainer.check_amp is mixed_precision.half_precision_works
        raise RuntimeError
    assert ultralytics_trainer.check_amp is before


def test_bfloat16_is_allowed_on_a_cpu_and_other_calls_reach_ultralytics(monkeypatch):
    calls = []

    def recorded(enabled, device="cuda"):
        calls.append((enabled, device))
        return torch.autocast("cpu", enabled=False)

    monkeypatch.setattr(ultralytics_trainer, "autocast", recorded)
    with mixed_precision.cpu_bfloat16():
        with ultralytics_trainer.autocast(torch.bfloat16, device="cpu"):
            assert torch.get_autocast_dtype("cpu") is torch.bfloat16
            assert torch.is_autocast_enabled("cpu")
        for enabled, device in ((False, "cpu"), (True, "cuda"), (torch.bfloat16, "cuda")):
            ultralytics_trainer.autocast(enabled, device=device)
    assert calls == [(False, "cpu"), (True, "cuda"), (torch.bfloat16, "cuda")]
    assert ultralytics_trainer.autocast is recorded


def test_a_device_without_bfloat16_is_refused_and_emulation_gives_a_warning(monkeypatch, caplog):
    mixed_precision.check_bfloat16(True, torch.device("mps"))
    with pytest.raises(MachineError, match="the device is mps"):
        mixed_precision.check_bfloat16("bf16", torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GTX 1080")
    with pytest.raises(MachineError, match="GTX 1080 does not compute in bfloat16"):
        mixed_precision.check_bfloat16("bf16", torch.device("cuda:0"))
    monkeypatch.setattr(mixed_precision, "_cpu_computes_bfloat16", lambda: False)
    mixed_precision.check_bfloat16("bf16", torch.device("cpu"))
    assert "emulates bfloat16" in caplog.text


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("has", [False, True])
def test_a_processor_is_asked_for_its_instructions(monkeypatch, machine, has):
    monkeypatch.setattr(mixed_precision.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", bool, raising=False)
    mkldnn = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: has)
    monkeypatch.setattr(torch.ops, "mkldnn", mkldnn)
    assert mixed_precision._cpu_computes_bfloat16() is has


def _trainer(folder, **settings) -> EmaTrainer:
    """Return a trainer, set up, of a small model whose every draw is the same."""
    overrides = {
        "model": "yolo11n-ema.yaml",
        "data": str(draw_dataset(folder / "tiny")),
        "pretrained": False,
        "imgsz": 64,
        "epochs": 1,
        "batch": 6,
        "device": "cpu",
        "plots": False,
        "save_dir": str(folder / "run"),
        **settings,
    }
    trainer = EmaTrainer(overrides=overrides)
    trainer._setup_train()
    return trainer


def _first_loss(trainer: EmaTrainer) -> float:
    batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
    enabled = torch.bfloat16 if trainer.args.amp == "bf16" else trainer.amp
    with mixed_precision.cpu_bfloat16(), ultralytics_trainer.autocast(enabled, device="cpu"):
        loss, _ = trainer.model(batch)
    loss.sum().backward()
    assert all(
        torch.isfinite(parameter.grad).all()
        for parameter in trainer.model.parameters()
        if parameter.grad is not None
    )
    return loss.sum().item()


@pytest.fixture(scope="module")
def plain_loss(tmp_path_factory) -> float:
    """The loss of the first step without either."""
    trainer = _trainer(tmp_path_factory.mktemp("plain"), channels_last=False)
    loss = _first_loss(trainer)
    assert next(trainer.model.parameters()).is_contiguous()
    assert trainer.preprocess_batch(next(iter(trainer.train_loader)))["img"].is_contiguous()
    return loss


@pytest.mark.parametrize("channels_last", [None, True])
def test_channels_last_is_used_on_a_cpu_and_gives_the_same_loss(
    tmp_path, plain_loss, channels_last, caplog
):
    trainer = _trainer(tmp_path, channels_last=channels_last)
    assert "only supported on CUDA" not in caplog.text
    weight = next(trainer.model.parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert _first_loss(trainer) == pytest.approx(plain_loss, rel=1e-4)


def test_bfloat16_on_a_cpu_gives_nearly_the_same_loss(tmp_path, plain_loss):
    assert _first_loss(_trainer(tmp_path, amp="bf16")) == pytest.approx(plain_loss, rel=0.02)


def test_other_devices_keep_the_memory_format_that_ultralytics_chose():
    trainer = EmaTrainer.__new__(EmaTrainer)
    trainer.args = SimpleNamespace(channels_last=None)
    for device, expected in (("cuda", False), ("mps", False), ("cpu", True)):
        trainer.device = torch.device(device)
        assert trainer._is_channels_last_on_cpu is expected
