"""Options of ``yolo-ema doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yolo_ema.io.devices import parse_device
from yolo_ema.options.fields import Options, option

GPU_CHECKS = (
    "ema-float32",
    "ema-float16",
    "ema-bfloat16",
    "ema-compiled",
    "deterministic",
    "half-boxes",
    "tiles",
    "video",
    "ddp",
    "train-fast",
    "train-balanced",
    "train-accurate",
    "resume",
    "export",
)
"""What ``--gpu`` checks, in this order: the quick ones first."""

_GPU = "with --gpu"
_gpu_option = partial(option, group=_GPU)


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(Options):
    """Whether to describe the machine alone, or also to prove a GPU."""

    GROUPS = (_GPU,)

    gpu: bool = option(False, help="check that a GPU computes what it should, in minutes")
    device: str | None = _gpu_option(
        None,
        help="auto (the first GPU), cuda, or a GPU number; cpu runs the same checks in miniature, "
        "which proves the checks and no GPU; default: auto",
    )
    out: Path | None = _gpu_option(
        None,
        metavar="DIR",
        help="folder for doctor.html and doctor.json; default: a new one, runs/doctor",
    )
    budget: float | None = _gpu_option(
        None,
        help="for all checks together; those that no longer fit are named as not run; default: 8",
        above=0,
        unit="minutes",
    )
    only: tuple[str, ...] = _gpu_option((), choices=GPU_CHECKS, help="checks to run")

    @property
    def budget_s(self) -> float:
        """Seconds that all checks together may take."""
        return 60 * (8.0 if self.budget is None else self.budget)

    @property
    def checks(self) -> tuple[str, ...]:
        """The checks to run, in their order."""
        return tuple(name for name in GPU_CHECKS if not self.only or name in self.only)

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        given = {
            "--device": self.device is not None,
            "--out": self.out is not None,
            "--budget": self.budget is not None,
            "--only": bool(self.only),
        }
        if names := [name for name, is_given in given.items() if is_given and not self.gpu]:
            yield f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} for --gpu; add it"
        if self.device is not None and parse_device(self.device).kind == "mps":
            yield "--device is 'mps'; the checks are for NVIDIA GPUs, or for cpu in miniature"
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            yield f"--out is {self.out}, which is a file; expected a folder"
