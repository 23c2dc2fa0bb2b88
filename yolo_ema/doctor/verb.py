"""``yolo-ema doctor``: what a bug report needs, or the proof of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_ema.doctor.examination import Examination, examine
from yolo_ema.options.doctor import DoctorOptions

if TYPE_CHECKING:
    from yolo_ema.doctor.gpu.result import GpuResult


def doctor(options: DoctorOptions) -> Examination | GpuResult:
    """Describe installation and machine; with ``options.gpu`` also prove a GPU.

    Raises:
        What `yolo_ema.doctor.gpu.run.prove_gpu` raises, with ``options.gpu``.
    """
    if not options.gpu:
        return examine()
    from yolo_ema.doctor.gpu.run import prove_gpu

    return prove_gpu(options)
