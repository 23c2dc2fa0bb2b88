"""Freed memory stays with the process: glibc would hand large blocks back and fetch them again,
page by page, for each layer.

A forward pass frees and allocates the same few sizes over and over. glibc gives such blocks back to
the system as soon as they are freed; the next one is made of new pages, each of which the kernel
has to find and to fill with zeros when it is first touched, and threads of one process wait for
each other meanwhile. docs/speed.md has the figures.

Only glibc is concerned: elsewhere, and where the user has set the allocator up by its own
variables, nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # malloc.h
_LARGEST_THRESHOLD = 32 << 20  # glibc takes none above it
_KEPT_AT_THE_TOP = 512 << 20
_NEVER = -1
_CHOSEN_BY = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TOP_PAD_",
)


def keep_freed_memory(*, of_any_size: bool = False) -> bool:
    """Let the process keep what it frees, for its next allocations.

    Args:
        of_any_size: keep blocks of 32 MiB and more, too, and all that is free at the heap's end:
            for training, whose steps need the same memory again and again. Otherwise such blocks,
            as those of huge images, go back to the system when they are freed, and so does what
            lies free at the heap's end beyond 512 MiB.

    Returns:
        Whether glibc took it.
    """
    if any(os.environ.get(name) for name in _CHOSEN_BY) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    ):
        return False
    # no such function, no such library, not this kind of system
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        if of_any_size:
            return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))
        return bool(
            mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
            and mallopt(_TRIM_THRESHOLD, _KEPT_AT_THE_TOP)
        )
    return False
