"""What the gate says of a file: passed, failed or not proven, why, and the figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_ema.text_table import text_table

__all__ = [
    "FAILED",
    "LEAST_BOXES",
    "LEAST_CROWD",
    "LEAST_IMAGES",
    "NOT_PROVEN",
    "PASSED",
    "CaseFigures",
    "GateLimits",
    "Loss",
    "Verdict",
]

PASSED, FAILED, NOT_PROVEN = "passed", "failed", "not proven"

LEAST_BOXES = 500
"""So many boxes must have a counterpart, …"""

LEAST_IMAGES = 20
"""… on so many images; on fewer nothing is proven."""

LEAST_CROWD = 300
"""The crowded image must keep more boxes than this."""


@dataclass(frozen=True)
class GateLimits:
    """What a file may differ by.

    Attributes:
        px: largest difference of a box's side, pixels of the network's input; for float files.
        score: largest difference of a score as a share of it; for float files.
        ap_loss: largest loss of official AP, percent points; for fp16 and int8.
        ap50_loss: largest loss of official AP50, percent points; for fp16 and int8.
    """

    px: float = 0.02
    score: float = 0.0005
    ap_loss: float = 1.0
    ap50_loss: float = 2.0

    def as_json(self) -> dict[str, float]:
        """Return the limits as plain values, with those that nobody can set."""
        return {
            "box_px": self.px,
            "score_share": self.score,
            "ap_loss": self.ap_loss,
            "ap50_loss": self.ap50_loss,
            "least_boxes": LEAST_BOXES,
            "least_images": LEAST_IMAGES,
        }


@dataclass(frozen=True)
class CaseFigures:
    """What one case found; differences over all its boxes.

    Attributes:
        name: of the case.
        images: how many images.
        boxes: how many boxes have a counterpart, one to one.
        lost: boxes of the weights that the file does not give.
        extra: boxes of the file that the weights do not give.
        renamed: boxes that the file gives another class.
        ties: boxes that NMS chose differently among proposals that are alike.
        box_px: largest difference of a side, pixels of the network's input.
        score: largest difference of a score, 0…1.
        score_share: likewise as a share of the score.
        worst: the image with the largest difference.
        lowest_score: boxes that score less were not looked at.
        about: how the case was run: input size, images a pass, tiles.
    """

    name: str
    images: int
    boxes: int
    lost: int
    extra: int
    renamed: int
    ties: int
    box_px: float
    score: float
    score_share: float
    worst: str
    lowest_score: float
    about: str

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "case": self.name,
            "about": self.about,
            "images": self.images,
            "boxes": self.boxes,
            "boxes_lost": self.lost,
            "boxes_extra": self.extra,
            "boxes_of_another_class": self.renamed,
            "boxes_chosen_otherwise_by_nms": self.ties,
            "largest_box_difference_px": _finite(self.box_px),
            "largest_score_difference": _finite(self.score),
            "largest_score_difference_share": _finite(self.score_share),
            "worst_image": self.worst,
            "lowest_score": self.lowest_score,
        }


@dataclass(frozen=True)
class Loss:
    """Official figures of weights and file on the same images, in percent."""

    data: str
    images: int
    ap: tuple[float, float]
    ap50: tuple[float, float]

    @property
    def ap_loss(self) -> float:
        """Points of AP that the file loses."""
        return self.ap[0] - self.ap[1]

    @property
    def ap50_loss(self) -> float:
        """Points of AP50 that the file loses."""
        return self.ap50[0] - self.ap50[1]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "data": self.data,
            "images": self.images,
            "weights": {"AP": self.ap[0], "AP50": self.ap50[0]},
            "file": {"AP": self.ap[1], "AP50": self.ap50[1]},
            "loss": {"AP": self.ap_loss, "AP50": self.ap50_loss},
        }


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        status: ``passed``, ``failed`` or ``not proven``.
        reasons: why it did not pass, a sentence each; empty where it did.
        notes: what else is worth knowing.
        cases: the figures, one row a case.
        loss: what fp16 or int8 costs, where it was measured.
        limits: what was allowed.
        artifact: the file: path, format, precision, bytes.
        weights: path and SHA-256.
        machine: versions and threads that the comparison ran with.
        seconds: what it took.
    """

    status: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    cases: tuple[CaseFigures, ...] = ()
    loss: Loss | None = None
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
        """Boxes with a counterpart, over all cases."""
        return sum(case.boxes for case in self.cases)

    @property
    def box_px(self) -> float:
        """Largest difference of a box's side over all cases, pixels of the network's input."""
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
            "loss": self.loss.as_json() if self.loss else None,
            "machine": self.machine,
            "seconds": round(self.seconds, 3),
        }

    def as_text(self) -> str:
        """Return the verdict, its reasons and the table."""
        lines = [f"{Path(self.artifact.get('path', '')).name}: {self.status}"]
        lines += [
            f"  {word}: {one}"
            for word, ones in (("because", self.reasons), ("note", self.notes))
            for one in ones
        ]
        if self.cases:
            lines += ["", *_table(self.cases)]
        if self.loss:
            lines += ["", *_loss_lines(self.loss, self.limits)]
        if self.cases and self.artifact.get("precision") == "fp32":
            lines += [
                "",
                (
                    f"allowed: {self.limits.px:g} px of the input, {100 * self.limits.score:g} % "
                    f"of a "
                    f"score, no box alone"
                ),
            ]
        return "\n".join(lines)


def _table(cases: tuple[CaseFigures, ...]) -> list[str]:
    titles = (
        "case",
        "images",
        "boxes",
        "lost",
        "extra",
        "other class",
        "NMS ties",
        "largest px",
        "largest score",
        "from score",
    )
    rows = [
        (
            *(
                case.name,
                str(case.images),
                str(case.boxes),
                str(case.lost),
                str(case.extra),
                str(case.renamed),
                str(case.ties),
            ),
            *(f"{case.box_px:.2g}", f"{case.score:.2g}", f"{case.lowest_score:g}"),
        )
        for case in cases
    ]
    return text_table([titles, *rows])


def _loss_lines(loss: Loss, limits: GateLimits) -> list[str]:
    lines = [f"official figures on {loss.images} images of {loss.data}, percent:"]
    for name, (before, after), limit in (
        ("AP", loss.ap, limits.ap_loss),
        ("AP50", loss.ap50, limits.ap50_loss),
    ):
        lines.append(
            f"  {name:5} weights {before:6.2f}  file {after:6.2f}  loss {before - after:+.2f} (at "
            f"most {limit:g})"
        )
    return lines


def _finite(value: float) -> float | None:
    """Return None for what JSON cannot say."""
    return value if value < float("inf") else None
