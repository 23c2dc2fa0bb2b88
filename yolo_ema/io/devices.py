"""The words that name a device, one grammar for every verb; whether the machine has it is another
question.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from yolo_ema.errors import ConfigError


class DeviceRequest(NamedTuple):
    """What a ``--device`` asks for.

    Attributes:
        kind: ``auto``, ``cpu``, ``mps`` or ``cuda``.
        gpus: of ``cuda`` the numbers of the GPUs, at least one.
    """

    kind: str
    gpus: tuple[int, ...] = ()


def parse_device(word: str, *, several: bool = False) -> DeviceRequest:
    """Read a ``--device``.

    Args:
        word: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:1``, ``1``, or with ``several`` also
            ``0,1``; upper case and spaces don't matter.
        several: whether more than one GPU makes sense.

    Raises:
        ConfigError: it is none of these.
    """
    plain = str(word).lower().replace(" ", "")
    if plain in {"auto", ""}:
        return DeviceRequest("auto")
    if plain in {"cpu", "mps"}:
        return DeviceRequest(plain)
    numbers = plain.removeprefix("cuda").removeprefix(":") if plain != "cuda" else "0"
    gpus = [number.removeprefix("cuda:") for number in numbers.split(",")]
    expected = "auto, cpu, mps, cuda, or a GPU number" + (", or several, as in 0,1" * several)
    if not all(gpu.isascii() and gpu.isdecimal() for gpu in gpus):
        raise ConfigError(f"--device is {word!r}; expected {expected}")
    if len(gpus) > 1 and not several:
        raise ConfigError(f"--device is {word!r}, which names several GPUs; expected {expected}")
    return DeviceRequest("cuda", tuple(dict.fromkeys(map(int, gpus))))


def torch_is_installed() -> bool:
    """Look for torch, which runs what is not on the CPU, without importing it."""
    try:
        return find_spec("torch") is not None
    except ImportError:
        return False
