"""What the proof of an exported file found: passed, failed or not proven, why, and the figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_ema.options.parity import ParityOptions
from yolo_ema.text_table import text_table

PASSED, FAILED, NOT_PROVEN = "passed", "failed", "not proven"

MIN_BOXES, MIN_IMAGES = 500, 20
"""Boxes with a counterpart, and images, below which nothing is proven."""

MIN_CROWD_BOXES = 300
"""The crowded image must keep more boxes than this."""


@dataclass(frozen=True)
class GateLimits:
    """How far a file may differ from its weights.

    Attributes:
        px: largest difference of a box's side, in pixels of the network's input; for float files.
        score: largest relative difference of a score; for float files.
        ap_loss: largest drop in official AP, percentage points; for fp16 and int8.
        ap50_loss: largest drop in official AP50, percentage points; for fp16 and int8.
    """

    px: float = 0.02
    score: float = 0.0005
    ap_loss: float = 1.0
    ap50_loss: float = 2.0

    @classmethod
    def of(cls, options: ParityOptions) -> GateLimits:
        """Return the limits that a verb's options set."""
        return cls(
            options.tolerance_px,
            options.tolerance_score,
            options.max_ap_loss,
            options.max_ap50_loss,
        )

    def as_json(self) -> dict[str, float]:
        """Return the limits as plain values, the fixed ones included."""
        return {
            "box_px": self.px,
            "score_share": self.score,
            "ap_loss": self.ap_loss,
            "ap50_loss": self.ap50_loss,
            "least_boxes": MIN_BOXES,
            "least_images": MIN_IMAGES,
        }


@dataclass(frozen=True, kw_only=True)
class CaseFigures:
    """The figures of one case, over all its images.

    Attributes:
        name: of the case.
        about: how it was run: input size, images per pass, tiles.
        images: number of images.
        boxes: number of boxes with a counterpart, one to one.
        missing: boxes of the weights that the file does not give.
        spurious: boxes of the file that the weights do not give.
        class_mismatch: boxes to which the file gives another class.
        ties: boxes where NMS or merging decided differently between equal proposals.
        box_px: largest difference of a side, in pixels of the network's input.
        score: largest difference of a score, 0…1.
        score_share: largest relative difference of a score.
        worst: the image with the largest difference.
        lowest_score: boxes that score less were not compared.
    """

    name: str
    about: str
    images: int
    boxes: int
    missing: int = 0
    spurious: int = 0
    class_mismatch: int = 0
    ties: int = 0
    box_px: float
    score: float
    score_share: float
    worst: str
    lowest_score: float

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "case": self.name,
            "about": self.about,
            "images": self.images,
            "boxes": self.boxes,
            "boxes_lost": self.missing,
            "boxes_extra": self.spurious,
            "boxes_of_another_class": self.class_mismatch,
            "boxes_chosen_otherwise_by_nms": self.ties,
            "largest_box_difference_px": _finite(self.box_px),
            "largest_score_difference": _finite(self.score),
            "largest_score_difference_share": _finite(self.score_share),
            "worst_image": self.worst,
            "lowest_score": self.lowest_score,
        }


@dataclass(frozen=True)
class AccuracyDrop:
    """Official figures of weights and file on the same images, in percent.

    Attributes:
        data: the dataset.
        images: number of images in its val split.
        ap: AP of the weights, and of the file.
        ap50: AP50, likewise.
    """

    data: str
    images: int
    ap: tuple[float, float]
    ap50: tuple[float, float]

    @property
    def ap_drop(self) -> float:
        """By how many points the file's AP is lower."""
        return self.ap[0] - self.ap[1]

    @property
    def ap50_drop(self) -> float:
        """By how many points the file's AP50 is lower."""
        return self.ap50[0] - self.ap50[1]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "data": self.data,
            "images": self.images,
            "weights": {"AP": self.ap[0], "AP50": self.ap50[0]},
            "file": {"AP": self.ap[1], "AP50": self.ap50[1]},
            "loss": {"AP": self.ap_drop, "AP50": self.ap50_drop},
        }


@dataclass(frozen=True)
class ParityReport:
    """Whether an exported file gives the boxes of its weights.

    Attributes:
        status: ``passed``, ``failed`` or ``not proven``.
        reasons: why it did not pass, a sentence each; empty if it did.
        notes: what else is worth knowing.
        cases: the figures of each case.
        accuracy_drop: what fp16 or int8 costs, where it was measured.
        limits: what was allowed.
        artifact: the file: path, format, precision, bytes.
        weights: path and SHA-256.
        machine: versions and threads that the comparison ran with.
        seconds: how long it took.
    """

    status: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    cases: tuple[CaseFigures, ...] = ()
    accuracy_drop: AccuracyDrop | None = None
    limits: GateLimits = field(default_factory=GateLimits)
    artifact: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the file is proven."""
        return self.status == PASSED

    @property
    def matched(self) -> int:
        """Number of boxes with a counterpart, over all cases."""
        return sum(case.boxes for case in self.cases)

    @property
    def box_px(self) -> float:
        """Largest difference of a box's side over all cases, in pixels of the network's input."""
        return max((case.box_px for case in self.cases), default=0.0)

    @property
    def score(self) -> float:
        """Largest difference of a score over all cases, 0…1."""
        return max((case.score for case in self.cases), default=0.0)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "status": self.status,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "artifact": self.artifact,
            "weights": self.weights,
            "limits": self.limits.as_json(),
            "cases": [case.as_json() for case in self.cases],
            "loss": self.accuracy_drop.as_json() if self.accuracy_drop else None,
            "machine": self.machine,
            "seconds": round(self.seconds, 3),
        }

    def as_text(self) -> str:
        """Return the status, its reasons and the table."""
        lines = [f"{Path(self.artifact.get('path', '')).name}: {self.status}"]
        lines += [f"  because: {reason}" for reason in self.reasons]
        lines += [f"  note: {note}" for note in self.notes]
        if self.cases:
            lines += ["", *_table(self.cases)]
        if self.accuracy_drop:
            lines += ["", *_drop_lines(self.accuracy_drop, self.limits)]
        if self.cases and self.artifact.get("precision") == "fp32":
            allowed = (
                f"{self.limits.px:g} px of the input, {100 * self.limits.score:g} % of a score"
            )
            lines += ["", f"allowed: {allowed}, no box without a counterpart"]
        return "\n".join(lines)


def _table(cases: tuple[CaseFigures, ...]) -> list[str]:
    titles = (
        "case",
        "images",
        "boxes",
        "missing",
        "spurious",
        "other class",
        "ties",
        "largest px",
        "largest score",
        "from score",
    )
    rows = [
        (
            case.name,
            str(case.images),
            str(case.boxes),
            str(case.missing),
            str(case.spurious),
            str(case.class_mismatch),
            str(case.ties),
            f"{case.box_px:.2g}",
            f"{case.score:.2g}",
            f"{case.lowest_score:g}",
        )
        for case in cases
    ]
    return text_table([titles, *rows])


def _drop_lines(drop: AccuracyDrop, limits: GateLimits) -> list[str]:
    lines = [f"official figures on {drop.images} images of {drop.data}, percent:"]
    for name, (before, after), limit in (
        ("AP", drop.ap, limits.ap_loss),
        ("AP50", drop.ap50, limits.ap50_loss),
    ):
        figures = f"weights {before:6.2f}  file {after:6.2f}  loss {before - after:+.2f}"
        lines.append(f"  {name:5} {figures} (at most {limit:g})")
    return lines


def _finite(value: float) -> float | None:
    """Return a number, or None for infinity and NaN, which JSON does not have."""
    return value if value < float("inf") else None
