"""What was found in orthomosaics: a table, JSON, an exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_ema.errors import SourceError
from yolo_ema.text_table import text_table

_MOST_NAMED = 5
_MOST_IN_JSON = 1000
_HECTARE_M2 = 10_000


@dataclass
class OrthomosaicSummary:
    """What was done with one file.

    Attributes:
        source: the file.
        image_wh: its width and height in pixels.
        windows: how many it has.
        detected, no_data, unreadable: what became of them.
        resumed: how many of them an earlier run had done.
        damaged: x1, y1, x2, y2 in pixels of the unreadable ones, and why each is.
        objects_per_class: most frequent first.
        not_placed: how many objects lie where the projection has no longitude and latitude.
        square_metres: area with data, overlaps once; None where it is unknown.
        projection: by name; None where the file names none.
        remarks: what was decided about the file, and is to be known of its boxes.
        paths: what was written, by kind.
        problem: why it failed; empty if it did not.
    """

    source: str
    image_wh: tuple[int, int] = (0, 0)
    windows: int = 0
    detected: int = 0
    no_data: int = 0
    unreadable: int = 0
    resumed: int = 0
    damaged: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    objects_per_class: dict[str, int] = field(default_factory=dict)
    not_placed: int = 0
    square_metres: float | None = None
    projection: str | None = None
    remarks: list[str] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)
    problem: str = ""

    @property
    def objects(self) -> int:
        """How many were found."""
        return sum(self.objects_per_class.values())

    @property
    def objects_per_hectare(self) -> dict[str, float] | None:
        """By class; None where the area is unknown or 0."""
        if not self.square_metres:
            return None
        hectares = self.square_metres / _HECTARE_M2
        return {name: round(n / hectares, 3) for name, n in self.objects_per_class.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return {
            "source": self.source,
            "image_wh": list(self.image_wh),
            "projection": self.projection,
            "windows": {
                "total": self.windows,
                "detected": self.detected,
                "no_data": self.no_data,
                "unreadable": self.unreadable,
                "resumed": self.resumed,
            },
            "unreadable_windows": [
                {"xyxy": list(xyxy), "reason": reason}
                for xyxy, reason in self.damaged[:_MOST_IN_JSON]
            ],
            "objects": self.objects,
            "objects_per_class": self.objects_per_class,
            "objects_per_hectare": self.objects_per_hectare,
            "objects_not_placed": self.not_placed,
            "area_m2": None if self.square_metres is None else round(self.square_metres, 1),
            "remarks": self.remarks,
            "files": {kind: str(path) for kind, path in self.paths.items()},
            "problem": self.problem or None,
        }

    def lines(self) -> list[str]:
        """Return what the table does not hold."""
        lines = list(self.remarks)
        if self.objects_per_class:
            density = self.objects_per_hectare or {}
            lines.append(
                "objects: "
                + ", ".join(
                    f"{count} {name}" + (f" ({density[name]:g} per hectare)" if density else "")
                    for name, count in self.objects_per_class.items()
                )
            )
        if self.square_metres is not None:
            lines.append(f"area with data: {self.square_metres:,.0f} m²".replace(",", " "))
        if self.resumed:
            lines.append(f"{self.resumed} of {self.windows} windows were done by an earlier run")
        if self.not_placed:
            lines.append(
                f"{self.not_placed} objects lie outside of where the projection has longitude and "
                f"latitude"
            )
        for xyxy, reason in self.damaged[:_MOST_NAMED]:
            lines.append(f"window {','.join(map(str, xyxy))} cannot be read: {reason}")
        if len(self.damaged) > _MOST_NAMED:
            lines.append(f"… and {len(self.damaged) - _MOST_NAMED} more")
        if self.problem:
            lines.append(f"failed: {self.problem}")
        return lines + [f"written: {path}" for path in self.paths.values()]


@dataclass(frozen=True)
class OrthomosaicResult:
    """What ``detect`` found in orthomosaics."""

    out: Path
    orthomosaics: tuple[OrthomosaicSummary, ...]

    @property
    def exit_code(self) -> int:
        """0; 5 where a file, or windows of it, could not be read."""
        failed = any(mosaic.problem or mosaic.unreadable for mosaic in self.orthomosaics)
        return SourceError.exit_code if failed else 0

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "out": str(self.out),
            "orthomosaics": [mosaic.as_json() for mosaic in self.orthomosaics],
        }

    def as_text(self) -> str:
        """Return a short table."""
        rows: list[tuple[str, ...]] = [("windows", "detected", "no data", "unreadable", "objects")]
        rows += [
            tuple(
                str(number)
                for number in (row.windows, row.detected, row.no_data, row.unreadable, row.objects)
            )
            for row in self.orthomosaics
        ]
        names = ["source", *(mosaic.source for mosaic in self.orthomosaics)]
        table = text_table(rows, left=0)
        lines = [f"{line}  {name}" for line, name in zip(table, names, strict=True)]
        for mosaic in self.orthomosaics:
            notes = mosaic.lines()
            if len(self.orthomosaics) > 1:
                notes = [f"{mosaic.source}: {line}" for line in notes]
            lines += notes
        return "\n".join(lines)
