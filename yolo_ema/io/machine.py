"""What this machine gives the process: cores, what they can do, memory, and a cache folder."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import stat
import sys
import tempfile
from pathlib import Path

from yolo_ema.errors import ConfigError, MachineError

_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory_bytes() -> int | None:
    """Return how much memory is free for programs, less where a container's limit says so; None
    where the system does not tell.
    """
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    free = None if kib is None else int(kib) * 1024
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return free
    left = max(0, limit - used)
    return left if free is None else min(free, left)


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held, since `forget_peak_memory` where that
    could be.

    On Linux from the kernel's own count: `getrusage` starts with what the parent held there.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows has none; psutil comes with Ultralytics
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def forget_peak_memory() -> bool:
    """Let the peak begin again at what the process holds now; return whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def home_folder() -> Path | None:
    """Return the user's home folder; None where there is none, as for a container's user number
    without a name and ``$HOME``.
    """
    try:
        return Path.home()
    except RuntimeError:
        return None


def with_home(name: str | Path) -> Path:
    """Return a path with ``~`` and ``~user`` replaced by a home folder; as it is where there is no
    such user, or none has a home.
    """
    return Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises RuntimeError


def cache_dir() -> Path:
    """Return the folder for what can be made again: ``$YOLO_EMA_CACHE``, else ``yolo-ema`` in the
    user's cache folder; of a user without a home folder, one of their own among temporary files.

    Raises:
        MachineError: there is no such folder.
    """
    if chosen := os.environ.get("YOLO_EMA_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "yolo-ema"
    home = home_folder()
    return _own_temporary_folder() if home is None else home / ".cache" / "yolo-ema"


def _own_temporary_folder() -> Path:
    """Return a folder for the cache of a user without a home folder. Anyone may make one of its
    name: it has to be this user's, and closed to the writing of others.
    """
    said = "this user has no home folder for a cache; expected HOME or YOLO_EMA_CACHE to name one"
    if not hasattr(os, "getuid"):
        raise MachineError(said)
    try:
        folder = Path(tempfile.gettempdir()) / f"yolo-ema-cache-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        info = folder.lstat()
    except OSError as error:
        raise MachineError(f"{said} ({error})") from error
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
        raise MachineError(f"{said} ({folder} is not this user's alone)")
    return folder


def processor_flags() -> frozenset[str]:
    """Return what Linux says that an x86 processor can do, such as ``amx_bf16``; empty where
    nothing says.
    """
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.split(":")[0].strip() == "flags"), "")
    return frozenset(flags.partition(":")[2].split())


def processor_name() -> str:
    """Return the processor's name; empty where nothing tells it."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line for line in lines if line.lower().startswith("model name")), "")
    return named.partition(":")[2].strip() or platform.processor()


def thread_count() -> int:
    """Return how many threads to compute with: ``$YOLO_EMA_THREADS``, else every usable core.

    Raises:
        ConfigError: ``$YOLO_EMA_THREADS`` is not a positive number.
    """
    chosen = os.environ.get("YOLO_EMA_THREADS", "")
    if chosen and not (chosen.isascii() and chosen.isdecimal() and int(chosen) >= 1):
        raise ConfigError(
            f"YOLO_EMA_THREADS is {chosen!r}; expected a number of threads, 1 or more"
        )
    return int(chosen or usable_cores())


def usable_cores() -> int:
    """Return how many cores this process may use: those it may run on, or fewer where a container's
    quota says so.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores
