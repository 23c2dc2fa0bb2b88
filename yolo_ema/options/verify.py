"""Options of ``yolo-ema verify``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.options.fields import Options, option

__all__ = ["VerifyOptions"]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Options):
    """Which file to hold against which weights, and on what."""

    artifact: Path = option(help="an exported file or folder", positional=True, weights=True)
    weights: Path = option(
        help="the .pt that it was made from, or the name of shipped weights", weights=True
    )
    data: str | None = option(
        None,
        help="dataset, as in val, on whose val split the loss of official AP is measured; fp16 and "
        "int8 need it",
    )
    images: tuple[Path, ...] = option(
        (), help="at least 20 images, or folders of them, to compare on; without it drawn scenes"
    )
    tolerance_px: float = option(
        0.02,
        help="largest difference of a box's side, in pixels of the input, that a float file may "
        "show",
    )
    tolerance_score: float = option(
        0.0005, help="largest difference of a score, as a share of it, that a float file may show"
    )
    max_ap_loss: float = option(
        1.0, help="largest loss of official AP on --data, in percent points"
    )
    max_ap50_loss: float = option(
        2.0, help="largest loss of official AP50 on --data, in percent points"
    )
    accept: bool = option(False, help="take -unproven out of the file's name if it passes")
    report: Path | None = option(
        None, metavar="FILE", help="write what was compared there, as JSON"
    )
    device: str = option("cpu", help="auto, cpu, cuda, or a GPU's number")
    trust: bool = option(False, help="load files that carry code; only for those you made yourself")

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        if not 0 <= self.tolerance_score <= 1:
            yield f"--tolerance-score is {self.tolerance_score}; expected 0 to 1"
        for name in ("tolerance_px", "max_ap_loss", "max_ap50_loss"):
            if getattr(self, name) < 0:
                yield f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 0 or more"
        if self.report is not None and self.report.is_dir():
            yield f"--report is {self.report}, which is a folder; expected a file"
        if self.accept and "-unproven" not in self.artifact.name:
            yield (
                f"--accept takes -unproven out of a file's name, and {self.artifact.name} has none"
            )
