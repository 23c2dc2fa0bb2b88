"""``yolo-ema doctor --gpu``: every check in its own process, within one budget; then the page."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolo_ema.doctor.examination import examine
from yolo_ema.doctor.gpu.catalog import CHECKS, Check
from yolo_ema.doctor.gpu.isolation import run_isolated
from yolo_ema.doctor.gpu.page import page
from yolo_ema.doctor.gpu.place import Finding, Place
from yolo_ema.doctor.gpu.result import COULD_NOT_RUN, NOT_RUN, GpuResult, Outcome
from yolo_ema.errors import MachineError
from yolo_ema.io.atomic_files import write_json, write_text
from yolo_ema.io.devices import parse_device
from yolo_ema.io.scratch_folders import scratch_folder
from yolo_ema.io.text_files import say
from yolo_ema.options.doctor import DoctorOptions

if TYPE_CHECKING:
    from types import ModuleType

_OUT = Path("runs/doctor")
_LEAST_S = 1.0
"""With less of the budget left no check is started."""

_CPU_PATIENCE = 5
"""On a CPU a check may take so many times its limit: machines that test this are busy."""

_DEVICE_LIMIT_S = 60.0
_CPU_FORM = "the same checks in miniature: yolo-ema doctor --gpu --device cpu"


def prove_gpu(options: DoctorOptions) -> GpuResult:
    """Run the checks, and write ``doctor.html`` and ``doctor.json``.

    Raises:
        MachineError: there is no such GPU, or none at all; this process has used one already; or
            the system has no forks.
        ConfigError: the device's word is wrong, or a launcher has started several processes.
        MissingPackageError: torch or jinja2 is not installed.
        OSError: the folder cannot be written.
    """
    if not hasattr(os, "fork"):
        raise MachineError(
            "--gpu runs every check in a fork of its process, and this system, as Windows, has "
            "none; run it on Linux"
        )
    started = time.monotonic()
    torch = _imported()
    folder, machine = _folder(options.out), examine().as_json()
    with scratch_folder("doctor") as scratch:
        place, device = _place(torch, options.device or "auto", scratch)
        outcomes = run_checks(
            {name: CHECKS[name] for name in options.checks},
            place,
            deadline=started + options.budget_s,
        )
    result = GpuResult(
        device=device,
        is_gpu=place.is_gpu,
        outcomes=tuple(outcomes),
        machine=machine,
        budget_s=options.budget_s,
        seconds=time.monotonic() - started,
        folder=folder,
    )
    write_json(folder / "doctor.json", result.as_json())
    write_text(folder / "doctor.html", page(result))
    return result


def run_checks(checks: Mapping[str, Check], place: Place, *, deadline: float) -> Sequence[Outcome]:
    """Run checks one after the other, until ``deadline`` on the monotonic clock."""
    shared = place.shared
    shared.mkdir(exist_ok=True)
    outcomes = []
    for number, (name, check) in enumerate(checks.items(), start=1):
        left = deadline - time.monotonic()
        if left < _LEAST_S:
            outcomes.append(Outcome(name, NOT_RUN, reason="the budget was used up before"))
            continue
        say(f"[{number}/{len(checks)}] {name}: {check.title}")
        folder = place.folder / name
        folder.mkdir()
        allowed_s = check.limit_s * place.size(1, _CPU_PATIENCE)
        limit_s = min(allowed_s, left)
        run = functools.partial(_run, check, Place(place.device, folder, shared))
        outcome = run_isolated(name, run, folder=folder, limit_s=limit_s)
        if outcome.status == COULD_NOT_RUN and limit_s < allowed_s and outcome.seconds >= limit_s:
            outcome = Outcome(name, NOT_RUN, outcome.seconds, "the budget was used up during it")
        outcomes.append(outcome)
    return outcomes


def _run(check: Check, place: Place) -> Finding:
    if not place.is_gpu:
        import torch

        torch.set_num_threads(1)  # enough for miniatures
    return check(place)


def _imported() -> ModuleType:
    """Import what the checks need once, for all of their processes, without touching a GPU."""
    # torch then asks the driver's library whether there is a GPU, which leaves forks able to use it
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    # read when cuBLAS starts; without it torch refuses matrix products in deterministic mode
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import jinja2  # noqa: F401
    import torch

    import yolo_ema.engine.training.train  # noqa: F401
    from yolo_ema.engine.training.launch import require_one_process

    require_one_process("doctor --gpu")
    if torch.cuda.is_initialized():
        raise MachineError(
            "this process has used a GPU already, and its forks cannot; run yolo-ema doctor --gpu "
            "as a command of its own"
        )
    return torch


def _folder(out: Path | None) -> Path:
    """Return the folder for page and JSON. Raises `OSError` where it cannot be written."""
    if out is None:
        from yolo_ema.detect.run import fresh_folder

        return fresh_folder(_OUT)
    out.mkdir(parents=True, exist_ok=True)
    probe = out / ".writable"
    probe.touch()
    probe.unlink()
    return out


def _place(torch: ModuleType, word: str, scratch: Path) -> tuple[Place, str]:
    """Return where the checks run, and the device's name and memory."""
    request = parse_device(word)
    folders = scratch / "checks", scratch / "shared"
    for folder in folders:
        folder.mkdir()
    if request.kind == "cpu":
        os.environ |= {"YOLO_EMA_THREADS": "1", "OMP_NUM_THREADS": "1"}  # of what a check starts
        return Place("cpu", *folders), "CPU"
    count = torch.cuda.device_count()
    if not count:
        raise MachineError(f"--gpu: torch finds no GPU here; {_CPU_FORM}")
    gpu = request.gpus[0] if request.gpus else 0
    if gpu >= count:
        raise MachineError(
            f"--device is {word!r}, and this machine has {count} (0 to {count - 1}); {_CPU_FORM}"
        )
    subfolder = scratch / "device"
    subfolder.mkdir()
    described = functools.partial(_describe, gpu)
    outcome = run_isolated("device", described, folder=subfolder, limit_s=_DEVICE_LIMIT_S)
    if "name" not in outcome.measured:
        raise MachineError(f"GPU {gpu} does not answer: {outcome.reason}; {_CPU_FORM}")
    return Place(str(gpu), *folders), str(outcome.measured["name"])


def _describe(gpu: int) -> Finding:
    import torch

    properties = torch.cuda.get_device_properties(gpu)
    torch.ones(1, device=f"cuda:{gpu}").add_(1).item()
    memory = f"{properties.total_memory / 1e9:.1f} GB"
    capability = f"compute capability {properties.major}.{properties.minor}"
    return Finding({"name": f"{properties.name}, {memory}, {capability}"})
