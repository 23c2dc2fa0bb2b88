"""Options of the proof that an exported file gives the boxes of its weights: export and verify."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from yolo_ema.options.fields import Options, option

PROOF = "proof"
"""Heading of what concerns the proof."""

_proof_option = partial(option, group=PROOF)


@dataclass(frozen=True, kw_only=True)
class ParityOptions(Options):
    """What an exported file is compared on, and how far it may differ from its weights."""

    GROUPS: ClassVar[tuple[str, ...]] = (PROOF,)

    images: tuple[Path, ...] = _proof_option(
        (), help="at least 20 images, or folders of them, to compare on; default: drawn scenes"
    )
    tolerance_px: float = _proof_option(
        0.02,
        help="largest difference of a box's side in a float file, in pixels of the input",
        at_least=0,
    )
    tolerance_score: float = _proof_option(
        0.0005, help="largest relative difference of a score in a float file", at_least=0, at_most=1
    )
    max_ap_loss: float = _proof_option(
        1.0,
        help="largest loss of official AP on --data for fp16 and int8, in percentage points",
        at_least=0,
    )
    max_ap50_loss: float = _proof_option(
        2.0,
        help="largest loss of official AP50 on --data for fp16 and int8, in percentage points",
        at_least=0,
    )
    report: Path | None = _proof_option(
        None, metavar="FILE", help="write the comparison there as JSON"
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if self.report is not None and self.report.is_dir():
            yield f"--report is {self.report}, which is a folder; expected a file"
        elif self.report is not None and self.report.suffix.lower() != ".json":
            yield f"--report is {self.report}; expected a name that ends in .json"
