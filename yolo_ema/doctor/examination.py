"""``yolo-ema doctor``: what a bug report needs, from probes of which each may fail by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yolo_ema.doctor.hardware import gpus, processor, threads
from yolo_ema.doctor.native import BACKENDS, CODECS, asked, torch_build
from yolo_ema.doctor.packages import features, versions
from yolo_ema.doctor.row import Row, probed
from yolo_ema.text_table import text_table

SCHEMA = 1
"""Of the JSON; a new number where a key changes its meaning or goes."""


@dataclass(frozen=True)
class Examination:
    """What was found, by section."""

    sections: dict[str, list[Row]]

    def as_json(self) -> dict[str, Any]:
        """Return the sections as plain values."""
        sections = {name: [row.as_json() for row in rows] for name, rows in self.sections.items()}
        return {"schema": SCHEMA, "sections": sections}

    def as_text(self) -> str:
        """Return a table for each section."""
        parts = []
        for name, rows in self.sections.items():
            lines = text_table([row.as_cells() for row in rows], left=3)
            parts.append("\n".join([name, *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts)


def examine() -> Examination:
    """Ask everything that is asked without a GPU; nothing heavy is imported by this process."""
    native = asked((*BACKENDS, *CODECS, "cv2"))
    return Examination(
        {
            "versions": probed("versions", versions),
            "machine": probed("processor", processor),
            "GPUs": probed("NVIDIA GPUs", gpus),
            "backends and their precision": [
                *probed("torch", torch_build),
                *(row for name in BACKENDS for row in native[name]),
            ],
            "threads": [*probed("threads", threads), *native["cv2"]],
            "video": [row for name in CODECS for row in native[name]],
            "features": probed("features", features),
        }
    )
