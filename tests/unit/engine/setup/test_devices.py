"""Whether the machine has the device that is asked for."""

from __future__ import annotations

import pytest
import torch

from yolo_ema.engine.setup.devices import select_device, ultralytics_device
from yolo_ema.errors import ConfigError, MachineError


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)


def test_two_gpus(monkeypatch):
    gpus(monkeypatch, 2)
    words = ("auto", "cpu", "cuda", "cuda:1", "1", " CPU ")
    found = [str(select_device(word)) for word in words]
    assert found == ["cuda:0", "cpu", "cuda:0", "cuda:1", "cuda:1", "cpu"]
    found = [ultralytics_device(word) for word in (*words, "0, 1")]
    assert found == ["0,1", "cpu", "0", "1", "1", "cpu", "0,1"]
    for ask in (select_device, ultralytics_device):
        with pytest.raises(MachineError, match=r"has 2 \(0 to 1\)"):
            ask("2")
        with pytest.raises(ConfigError, match="gpu"):
            ask("gpu")
    with pytest.raises(ConfigError, match="several"):
        select_device("0,1")


def test_no_gpu(monkeypatch):
    gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for ask in (select_device, ultralytics_device):
        assert str(ask("auto")) == "cpu"
        with pytest.raises(MachineError, match="no GPU"):
            ask("cuda:0")
        with pytest.raises(MachineError, match="no Apple GPU"):
            ask("mps")


def test_an_apple_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert str(select_device("mps")) == ultralytics_device("mps") == "mps"
