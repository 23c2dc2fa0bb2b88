"""``yolo-ema doctor``: what a bug report needs, from probes of which each may fail by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yolo_ema.doctor.hardware import gpus, processor, threads
from yolo_ema.doctor.native import BACKENDS, CODECS, asked, torch_build
from yolo_ema.doctor.packages import features, versions
from yolo_ema.doctor.row import Row, probed
from yolo_ema.options.doctor import DoctorOptions
from yolo_ema.text_table import text_table

if TYPE_CHECKING:
    from yolo_ema.doctor.gpu.result import GpuResult

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


def doctor(options: DoctorOptions) -> Examination | GpuResult:
    """Describe installation and machine; with ``options.gpu`` also prove a GPU.

    Raises:
        What `yolo_ema.doctor.gpu.run.prove_gpu` raises, with ``options.gpu``.
    """
    if not options.gpu:
        return examine()
    from yolo_ema.doctor.gpu.run import prove_gpu

    return prove_gpu(options)


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
