"""A ``yolo-ema detect`` that runs alongside the test, as one on live sources does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class RunningDetect:
    """A ``yolo-ema detect`` that runs alongside the test."""

    def __init__(self, folder: Path, *words: object) -> None:
        self._errors = (folder / "stderr.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "yolo_ema", "detect", *map(str, words), "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # An interruption sent to this process alone; a shell's background jobs ignore it
            # otherwise.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            env={**os.environ, "OMP_NUM_THREADS": "1", "YOLO_EMA_THREADS": "1"},
        )
        self._stderr = folder / "stderr.txt"

    def __enter__(self) -> RunningDetect:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    @property
    def page(self) -> str:
        """The live page's address, once it is served; "" before."""
        addresses = (word for word in self.err.split() if word.startswith("http://127.0.0.1:"))
        return next((word.rstrip(",.;") for word in addresses if "live" not in word), "")

    @property
    def err(self) -> str:
        return self._stderr.read_text()

    def wait_until(self, true: Callable[[], bool]) -> None:
        until = time.monotonic() + 240
        while not true():
            assert self._process.poll() is None, self.err
            assert time.monotonic() < until, self.err
            time.sleep(0.05)

    def end(self, number: int) -> tuple[int, dict]:
        self._process.send_signal(number)
        out, _ = self._process.communicate(timeout=240)
        return self._process.returncode, json.loads(out) if out else {}
