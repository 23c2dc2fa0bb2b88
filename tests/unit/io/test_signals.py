"""Signals that their handlers take on every system."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from yolo_ema.io.signals import send_sigterm_here, signals_handled


@pytest.mark.parametrize("platform", [sys.platform, "win32"])
def test_a_thread_ends_its_process_by_the_handler(monkeypatch, platform):
    if platform == "win32":  # where it ends the process without asking
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("the process would be gone"))
    came: list[int] = []
    monkeypatch.setattr(sys, "platform", platform)
    with signals_handled(lambda number, _: came.append(number), signal.SIGTERM):
        thread = threading.Thread(target=send_sigterm_here)
        thread.start()
        thread.join()
        until = time.monotonic() + 20
        while not came and time.monotonic() < until:
            time.sleep(0.01)
    assert came == [signal.SIGTERM]
