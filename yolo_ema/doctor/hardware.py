"""Processor, memory, threads and GPUs, as the system tells them; nothing heavy is imported."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from yolo_ema.doctor.row import Row
from yolo_ema.io.machine import (
    available_memory_bytes,
    processor_flags,
    processor_name,
    thread_count,
    usable_cores,
)

NVIDIA_SMI_LIMIT_S = 20.0

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_MATTERS = (
    "sse4_2", "avx", "avx2", "f16c", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
)  # fmt: skip
"""Instruction sets that decide how fast networks run, and in which precision."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_QUERY = ("index", "name", "memory.total", "driver_version", "compute_cap")


def processor() -> list[Row]:
    """Return the processor, the cores and memory that this process may use, and their limits."""
    flags = processor_flags()
    return [
        Row("processor", processor_name() or platform.machine()),
        Row("instruction sets", [flag for flag in _MATTERS if flag in flags] or None),
        Row("cores of the machine", os.cpu_count()),
        Row("cores for this process", usable_cores()),
        Row("cgroup's limit of cores", _cgroup("cpu.max")),
        Row("memory", _gib(_memory_total_bytes())),
        Row("memory available", _gib(available_memory_bytes())),
        Row("cgroup's limit of memory", _gib(_number(_cgroup("memory.max")))),
        Row("shared memory (/dev/shm)", _gib(_free_bytes("/dev/shm"))),  # noqa: S108 - asked, not used
    ]


def threads() -> list[Row]:
    """Return how many threads yolo-ema computes with, and what else decides it.

    Raises:
        ConfigError: ``$YOLO_EMA_THREADS`` is not a number.
    """
    settings = [Row(name, os.environ[name]) for name in _THREAD_VARIABLES if name in os.environ]
    return [Row("torch and runtimes, as yolo-ema sets them", thread_count()), *settings]


def gpus() -> list[Row]:
    """Return a row for each NVIDIA GPU that the driver knows, or one that says why there is none.

    Raises:
        OSError: ``nvidia-smi`` cannot be started.
        subprocess.TimeoutExpired: it does not answer.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return [Row("NVIDIA GPUs", problem="none: nvidia-smi, part of the driver, is not here")]
    answer = subprocess.run(  # noqa: S603 - the driver's own program
        [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=NVIDIA_SMI_LIMIT_S,
        check=False,
    )
    if answer.returncode:
        output = (answer.stdout + answer.stderr).strip().splitlines()
        return [Row("NVIDIA GPUs", problem=f"nvidia-smi fails: {output[-1] if output else ''}")]
    lines = [line.split(", ") for line in answer.stdout.splitlines() if line.strip()]
    rows = [
        Row(f"GPU {index}", f"{name}, {mib} MiB, driver {driver}, compute capability {cap}")
        for index, name, mib, driver, cap in (line for line in lines if len(line) == len(_QUERY))
    ]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [*rows, *([Row("CUDA_VISIBLE_DEVICES", visible)] if visible is not None else [])] or [
        Row("NVIDIA GPUs", problem="the driver knows none")
    ]


def _memory_total_bytes() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("MemTotal:")), None)
    return None if kib is None else int(kib) * 1024


def _cgroup(name: str) -> str | None:
    try:
        text = (_CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if text.startswith("max") else text


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _free_bytes(folder: str) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _gib(number: int | None) -> str | None:
    return None if number is None else f"{number / 2**30:.1f} GiB"
