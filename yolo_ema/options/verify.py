"""Options of ``yolo-ema verify``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import option
from yolo_ema.options.parity import ParityOptions
from yolo_ema.options.shared import device_option, trust_option

__all__ = ["VerifyOptions"]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(ParityOptions):
    """Which file to compare with which weights, and on what.

    Examples:
        >>> from yolo_ema import VerifyOptions
        >>> VerifyOptions(artifact="best.onnx", weights="best.pt").tolerance_px
        0.02
    """

    artifact: Path = option(help="an exported file or folder", positional=True, weights=True)
    weights: Path = option(
        help="the .pt that it was exported from, or the name of shipped weights", weights=True
    )
    data: str | None = option(
        None,
        help="dataset, as in val, on whose val split the loss of official AP is measured; needed "
        "for fp16 and int8",
    )
    accept: bool = option(False, help="if it passes, remove -unproven from the file's name")
    device: str = device_option("cpu")
    trust: bool = trust_option("load files that carry code")

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if self.accept and "-unproven" not in self.artifact.name:
            yield (
                f"--accept removes -unproven from a file's name, and {self.artifact.name} has none"
            )
