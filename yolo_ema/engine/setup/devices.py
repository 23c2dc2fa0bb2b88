"""Which device is meant, and whether the machine has it."""

from __future__ import annotations

import torch

from yolo_ema.errors import MachineError
from yolo_ema.io.devices import DeviceRequest, parse_device


def select_device(word: str) -> torch.device:
    """Return the one device that a word names, see `parse_device`; for ``auto`` the first GPU where
    there is one, else the CPU.

    Raises:
        MachineError: the machine has no such device.
        ConfigError: the word names no device, or several.
    """
    request = parse_device(word)
    _check_available(word, request)
    if request.kind == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    return torch.device(f"cuda:{request.gpus[0]}" if request.gpus else request.kind)


def ultralytics_device(word: str) -> str:
    """Return one or several devices in Ultralytics' words: ``cpu``, ``mps`` or GPU numbers; for
    ``auto`` every GPU there is, else the CPU.

    Raises:
        MachineError: the machine has no such device.
        ConfigError: the word names no device.
    """
    request = parse_device(word, several=True)
    _check_available(word, request)
    if request.kind == "auto":
        return ",".join(map(str, range(torch.cuda.device_count()))) or "cpu"
    return ",".join(map(str, request.gpus)) or request.kind


def _check_available(word: str, request: DeviceRequest) -> None:
    if request.kind == "mps" and not torch.backends.mps.is_available():
        raise MachineError(
            f"--device is {word!r}, and torch finds no Apple GPU here; take --device cpu or auto"
        )
    count = torch.cuda.device_count() if request.gpus else 0
    if any(gpu >= count for gpu in request.gpus):
        have = (
            f"this machine has {count} (0 to {count - 1})" if count else "torch finds no GPU here"
        )
        raise MachineError(
            f"--device is {word!r}, and {have}; take --device cpu or auto, or install a torch that "
            f"fits your GPU"
        )
