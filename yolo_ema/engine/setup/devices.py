"""Which device is meant, and whether the machine has it."""

from __future__ import annotations

import torch

from yolo_ema.errors import ConfigError, MachineError

__all__ = ["choose_device"]


def choose_device(word: str) -> str:
    """Return the device in Ultralytics' words: ``cpu``, ``mps`` or GPU numbers.

    Args:
        word: ``auto`` for every GPU there is, else the CPU; or a device.

    Raises:
        ConfigError: it is no device's name.
        MachineError: the machine has no such device.
    """
    count, word = torch.cuda.device_count(), word.lower().replace("cuda:", "").replace(" ", "")
    if word in {"auto", ""}:
        return ",".join(map(str, range(count))) or "cpu"
    if word == "mps" and not torch.backends.mps.is_available():
        raise MachineError("--device is mps, but this machine has no Apple GPU that torch can use")
    if word in {"cpu", "mps"}:
        return word
    word = "0" if word == "cuda" else word
    numbers = word.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise ConfigError(
            f"--device is {word!r}; expected auto, cpu, mps, or GPU numbers, as in 0 or 0,1"
        )
    if missing := [number for number in numbers if int(number) >= count]:
        raise MachineError(
            f"--device names GPU {', '.join(missing)}, but torch finds {count or 'no'} GPUs here"
        )
    return word
