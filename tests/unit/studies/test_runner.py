"""How the processes of a study's runs end."""

from __future__ import annotations

import subprocess
import sys
import time

from yolo_ema.studies import runner

CHILD = """
import signal, sys, threading, time
from pathlib import Path
from yolo_ema.studies import runner
signal.signal(signal.SIGTERM, runner._interrupt)
threading.Thread(target=runner._end_with_the_starter, daemon=True).start()
Path(sys.argv[1]).touch()
try:
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_stopped_run_ends_by_itself_where_signals_reach_no_handler(tmp_path, monkeypatch):
    """As on Windows, where ``terminate`` ends a process without asking it."""
    ready, log = tmp_path / "ready", tmp_path / "log"
    log.touch()
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(ready)], stdin=subprocess.PIPE)
    monkeypatch.setattr(process, "terminate", process.kill)
    while not ready.exists() and process.poll() is None:
        time.sleep(0.02)
    runner._stop([runner._Running(None, "one", ["train"], process, log, 0, 0.0)])
    assert process.returncode == 130
