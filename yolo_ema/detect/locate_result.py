"""What a map holds and where it was written: a table, JSON, an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.flight_map import FlightMap
from yolo_ema.geo.sightings import UNPLACED
from yolo_ema.text_table import text_table

_MOST_ROWS = 20


@dataclass(frozen=True)
class LocateResult:
    """What ``locate`` made: the map and its files; ``problems`` says by source why it has no
    telemetry.
    """

    flight: FlightMap
    paths: tuple[Path, ...]
    problems: Mapping[str, str]
    remarks: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0; 3 where a source has no telemetry."""
        return TelemetryError.exit_code if self.problems else 0

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "files": [str(path) for path in self.paths],
            **map_json(self.flight),
            "problems": dict(self.problems),
            "remarks": list(self.remarks),
        }

    def as_text(self) -> str:
        """Return a short table."""
        lines = map_lines(self.flight)
        lines += [f"no places for {name}: {problem}" for name, problem in self.problems.items()]
        lines += self.remarks
        lines += [f"written: {path}" for path in self.paths]
        return "\n".join(lines)


def map_json(flight: FlightMap) -> dict[str, Any]:
    """Return what a map holds as plain values."""
    return {
        "sources": [
            {
                "source": source.name,
                "frames": len(source.frames),
                "sightings": len(source.sightings),
                "placed": int(source.sightings.placed.sum()),
                "not_placed": source.sightings.unplaced(),
            }
            for source in flight.sources
        ],
        "objects": len(flight.objects),
        "objects_per_class": flight.objects_per_class,
        "sightings": flight.sightings,
        "sightings_not_placed": flight.not_placed,
        "coverage_m2": round(sum(area.square_metres for area in flight.coverage)),
        "assumptions": list(flight.assumptions),
    }


def map_lines(flight: FlightMap) -> list[str]:
    """Return a table of sources, counts of objects, what was not placed and what was assumed."""
    rows = [("frames", "sightings", "placed", "source")]
    for source in flight.sources[:_MOST_ROWS]:
        placed = int(source.sightings.placed.sum())
        rows.append((str(len(source.frames)), str(len(source.sightings)), str(placed), source.name))
    table = text_table([row[:3] for row in rows], left=0)
    lines = [f"{line}  {row[3]}" for line, row in zip(table, rows, strict=True)]
    if len(flight.sources) > _MOST_ROWS:
        lines.append(f"… and {len(flight.sources) - _MOST_ROWS} more")
    by_class = ", ".join(f"{count} {name}" for name, count in flight.objects_per_class.items())
    lines.append(
        f"objects on the map: {len(flight.objects)}" + (f" ({by_class})" if by_class else "")
    )
    lines += [
        f"not placed: {count} sightings, {reason}: {UNPLACED[reason]}"
        for reason, count in flight.not_placed.items()
    ]
    lines.append("assumed:")
    lines += [f"  {sentence}" for sentence in flight.assumptions]
    return lines
