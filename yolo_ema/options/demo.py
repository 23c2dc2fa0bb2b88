"""Options of ``yolo-ema demo``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option
from yolo_ema.options.shared import MOST_SEED, device_option


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Options):
    """How long the demo takes, and what it must reach."""

    out: Path = option(
        Path("runs/demo"),
        metavar="DIR",
        help="folder for everything that is written; a number is added if it exists",
    )
    scenes: int = option(400, help="drawn scenes to train on", at_least=8)
    val_scenes: int = option(80, help="drawn scenes, of other seeds, to score on", at_least=1)
    epochs: int = option(8, help="passes over the training scenes", at_least=1)
    frames: int = option(60, help="frames of the drawn clip", at_least=1)
    least_ap50: float = option(
        30.0,
        help="the official AP50, in percent, below which the demo fails",
        at_least=0,
        at_most=100,
        unit="percent",
    )
    seed: int = option(
        0, help="seed of the scenes and of the training", at_least=0, at_most=MOST_SEED
    )
    device: str = device_option()
