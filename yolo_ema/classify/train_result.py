"""What a classifier's training ends with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from yolo_ema.classify.validation import left_out_lines


@dataclasses.dataclass(frozen=True)
class ClassifyTrainResult:
    """A finished training.

    Attributes:
        folder: has ``best.pt``, ``last.pt``, ``results.csv`` and ``run.json``.
        epochs: passes over the training images.
        parameters: number of the network's.
        best: epoch (1-based) and figures of the highest top-1.
        last: figures of the last epoch, which is what a paper's table should have.
        left_out: by split, files of the dataset that are no images or in no class folder.
    """

    folder: Path
    epochs: int
    parameters: int
    best: dict[str, float]
    last: dict[str, float]
    left_out: dict[str, tuple[str, ...]]

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            **dataclasses.asdict(self),
            "folder": str(self.folder),
            "left_out": {split: list(files) for split, files in self.left_out.items()},
        }

    def as_text(self) -> str:
        """Return what is printed."""
        files = tuple(file for split in self.left_out.values() for file in split)
        best = f"best epoch, {self.best['epoch']:.0f}: {_figures(self.best)}"
        return "\n".join(
            [
                f"{self.folder}: {self.epochs} epochs, {self.parameters / 1e6:.3f} M parameters",
                f"last epoch: {_figures(self.last)}",
                f"{best} (chosen on the images that it is scored on)",
                *left_out_lines(files),
            ]
        )


def _figures(metrics: dict[str, float]) -> str:
    top5 = f", top-5 {metrics['top5']:.2f} %" if "top5" in metrics else ""
    return f"top-1 {metrics['top1']:.2f} %{top5}"
