"""Ctrl-C after OpenVINO networks that were closed in the order in which they were opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from yolo_ema.inference.signal_stack import signal_stack, signal_stack_kept

PROGRAM = """
import faulthandler, gc, os, signal, sys
from yolo_ema import open_predictor
from yolo_ema.inference.signal_stack import signal_stack
faulthandler.enable()  # Python's handlers then run on a stack of their own
signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
before = signal_stack()
opened = [open_predictor(sys.argv[1]) for _ in range(2)]
while opened:
    del opened[0]
    gc.collect()
assert signal_stack() == before, (signal_stack(), before)
os.kill(os.getpid(), signal.SIGTERM)
"""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Linux's signal stacks"
)


def test_a_changed_stack_is_restored():
    before = signal_stack()
    with pytest.raises(ZeroDivisionError), signal_stack_kept():
        raise ZeroDivisionError
    assert signal_stack() == before


@pytest.mark.slow
def test_a_signal_is_handled_after_networks_closed_in_the_order_they_opened():
    pytest.importorskip("openvino")
    (folder,) = (Path(__file__).resolve().parents[3] / "weights").glob("*_openvino_model")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr[-2000:]
