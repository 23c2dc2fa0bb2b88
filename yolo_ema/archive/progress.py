"""How far an archive is: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from yolo_ema.archive.result import ArchiveResult
from yolo_ema.io.text_files import say

_LINE_EVERY_S = 30.0


class Progress:
    """Shows how many of the jobs of a run have ended, and when it will be through."""

    def __init__(self, total: int, *, every_s: float = _LINE_EVERY_S) -> None:
        self._total, self._every_s = total, every_s
        self._began_at = self._last_at = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._bar = tqdm(desc="archive", total=total, unit="job", disable=not self._is_terminal)

    def show(self, result: ArchiveResult) -> None:
        """Take the account after another job has ended."""
        self._bar.update(result.ended - self._bar.n)
        now = time.monotonic()
        if self._is_terminal or now - self._last_at < self._every_s:
            return
        self._last_at = now
        passed_s, ended = now - self._began_at, max(result.ended, 1)
        left_min = passed_s / ended * (self._total - ended) / 60
        say(
            f"yolo-ema: {result.ended:,} of {self._total:,} jobs, {result.failed:,} failed, "
            f"{result.frames / passed_s:,.1f} frames per second, about {left_min:,.0f} min left"
        )

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
