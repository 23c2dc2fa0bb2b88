"""Keeps the stack that signal handlers run on where OpenVINO would change it.

OpenVINO's CPU plugin gives the thread that compiles a network an alternate stack for signals, and
puts back the one it found there when the network goes. Where the older of two networks goes first,
the younger one then puts back a stack that is freed: the next signal that Python handles, as
Ctrl-C, ends the process with a segmentation fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("bytes", ctypes.c_size_t))


def signal_stack() -> tuple[int | None, int, int]:
    """Return this thread's alternate stack for signals: address, flags, size in bytes (Linux)."""
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.address, stack.flags, stack.bytes


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Put this thread's alternate stack back at the end of the block; elsewhere than on Linux, do
    nothing.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    before = _Stack(*signal_stack())
    try:
        yield
    finally:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)
