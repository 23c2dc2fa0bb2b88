"""How long a trained network takes for an image."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_ROUNDS = 3

_Input = TypeVar("_Input")


def median_milliseconds(
    call: Callable[[_Input], object], inputs: Sequence[_Input], *, on_cpu: bool, digits: int
) -> dict[str, Any]:
    """Return the median time of a call with one input: by the wall clock, and processor time of
    this process.

    ``clock`` says which of the two counts: processor time shows nothing of a GPU's work, and on a
    CPU it is what other users of the machine disturb least. Each input is taken several times, and
    the first round, which warms up, does not count.
    """
    wall, process = [], []
    for turn in range(_ROUNDS + 1):
        for one in inputs:
            began, began_process = time.perf_counter(), time.process_time()
            call(one)
            if turn:
                wall.append(1000 * (time.perf_counter() - began))
                process.append(1000 * (time.process_time() - began_process))
    times = {
        "wall": round(statistics.median(wall), digits),
        "process": round(statistics.median(process), digits),
        "clock": "process" if on_cpu else "wall",
    }
    return {**times, "load": round(os.getloadavg()[0], 1)} if hasattr(os, "getloadavg") else times
