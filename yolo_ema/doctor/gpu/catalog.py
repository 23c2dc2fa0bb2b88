"""The checks by name: what each proves, its limit, and how long it may take."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from yolo_ema.doctor.gpu.place import Finding, Place


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        title: what is done, in a line.
        limit: what must hold, in words.
        function: ``module:name`` in this package, of what takes a `Place` and ``word``, if any,
            and returns a `Finding`.
        word: second argument.
        limit_s: seconds after which it is ended.
    """

    title: str
    limit: str
    function: str
    word: str = ""
    limit_s: float = 60.0

    def __call__(self, place: Place) -> Finding:
        """Run the check."""
        module, _, name = self.function.partition(":")
        check: Callable[..., Finding] = getattr(importlib.import_module(module), name)
        return check(place, self.word) if self.word else check(place)


_HERE = "yolo_ema.doctor.gpu"


def _precision(dtype: str, limit: str) -> Check:
    return Check(
        f"EMA in {dtype}, forward and backward",
        f"within {limit} of the paper's steps in float64, as a share of the largest value",
        f"{_HERE}.ema_checks:precision",
        dtype,
    )


def _preset(name: str) -> Check:
    return Check(
        f"training steps of the preset {name}",
        "every loss is finite; on a GPU half precision is on and the batch of the estimate fits",
        f"{_HERE}.training_checks:preset_steps",
        name,
        120.0,
    )


CHECKS = {
    "ema-float32": _precision("float32", "5e-5 (TF32 off)"),
    "ema-float16": _precision("float16", "0.002"),
    "ema-bfloat16": _precision("bfloat16", "0.016"),
    "ema-compiled": Check(
        "EMA through torch.compile, forward and backward",
        "within 1e-4 of the plain block; nothing is compiled again for the same shape",
        f"{_HERE}.ema_checks:compiled",
        limit_s=120.0,
    ),
    "deterministic": Check(
        "EMA and a training, twice from one seed, in deterministic mode",
        "the block is equal bit by bit and uses nothing that torch refuses; losses within 0.1 %",
        f"{_HERE}.training_checks:deterministic",
    ),
    "half-boxes": Check(
        "boxes of half precision against float32",
        "99 % have their counterpart, 99 % of these within 2 px and 0.05 in score",
        f"{_HERE}.detection_checks:half_boxes",
    ),
    "tiles": Check(
        "tiles through the network together",
        "99 % of the boxes as tile by tile, 99 % of these within 0.5 px and 0.01 in score",
        f"{_HERE}.detection_checks:tiles",
    ),
    "video": Check(
        "detection in a video, 1080p on a GPU, to an annotated mp4",
        "every frame is in the mp4, in its size",
        f"{_HERE}.detection_checks:video",
        limit_s=90.0,
    ),
    "ddp": Check(
        "gradients under DDP with one process",
        "within 0.1 % of the largest gradient of those without DDP",
        f"{_HERE}.training_checks:ddp",
    ),
    "train-fast": _preset("fast"),
    "train-balanced": _preset("balanced"),
    "train-accurate": _preset("accurate"),
    "resume": Check(
        "yolo-ema train, ended by SIGTERM and resumed",
        "exit codes 130 and 0, every epoch once in the record, every loss finite",
        f"{_HERE}.resume_check:resume",
        limit_s=180.0,
    ),
    "export": Check(
        "an export to TensorRT (TorchScript on the CPU), with its proof",
        "the file gives the boxes of its weights (docs/verification.md)",
        f"{_HERE}.detection_checks:export",
        limit_s=240.0,
    ),
}
