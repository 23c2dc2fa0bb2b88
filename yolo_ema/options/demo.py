"""Options of ``yolo-ema demo``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option

__all__ = ["DemoOptions"]


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Options):
    """How long the demo takes, and what it must reach."""

    out: Path = option(
        Path("runs/demo"),
        metavar="DIR",
        help="folder that everything is written to; one that exists gets a number added",
    )
    scenes: int = option(400, help="drawn scenes to train on")
    val_scenes: int = option(80, help="drawn scenes, of other seeds, to score on")
    epochs: int = option(8, help="passes over the training scenes")
    frames: int = option(60, help="frames of the drawn clip")
    least_ap50: float = option(
        30.0, help="the official AP50, in percent, below which the demo ends in an error"
    )
    seed: int = option(0, help="seed of the scenes and of the training")
    device: str = option("auto", help="auto, cpu, or a GPU's number")

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        for name, low in (
            ("scenes", 8),
            ("val_scenes", 1),
            ("epochs", 1),
            ("frames", 1),
            ("seed", 0),
        ):
            if getattr(self, name) < low:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected {low} or more"
        if not 0 <= self.least_ap50 <= 100:
            yield f"--least-ap50 is {self.least_ap50}; expected 0 to 100 percent"
