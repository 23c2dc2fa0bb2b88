"""The process of a runtime, as its parent sees it: answers, faults, silence, death."""

from __future__ import annotations

import math
import queue
import sys

import pytest

from yolo_ema.deploy.bench import process as bench_process
from yolo_ema.deploy.bench.process import RuntimeProcess
from yolo_ema.errors import MachineError

CHILD = """
import ctypes, json, os, sys, time
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "echo":
        print(json.dumps({**order, "threads": os.environ.get("YOLO_EMA_THREADS")}), flush=True)
    elif order["do"] == "fail":
        print(json.dumps({"error": "it cannot"}), flush=True)
    elif order["do"] == "exit":
        sys.exit("a last word")
    elif order["do"] == "crash":
        os.kill(os.getpid(), 11)
    elif order["do"] == "hang":
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def child(monkeypatch):
    monkeypatch.setattr(bench_process, "module_command", lambda _: [sys.executable, "-c", CHILD])


def test_requests_are_answered_in_order():
    with RuntimeProcess(threads=3, limit_s=30) as process:
        assert process.ask("echo", number=1) == {"do": "echo", "number": 1, "threads": "3"}
        assert process.ask("echo", number=2)["number"] == 2


def test_a_fault_gives_its_reason_and_the_process_continues():
    with RuntimeProcess(threads=None, limit_s=30) as process:
        with pytest.raises(MachineError, match=r"^it cannot$"):
            process.ask("fail")
        assert process.ask("echo")["do"] == "echo"


def test_an_exit_is_reported_with_the_last_output():
    with RuntimeProcess(threads=None, limit_s=30) as process:
        with pytest.raises(MachineError, match="ended with code 1: a last word"):
            process.ask("exit")
        with pytest.raises(MachineError, match="ended with code 1"):
            process.ask("echo")


def test_a_crash_is_reported_by_its_signal():
    with (
        RuntimeProcess(threads=None, limit_s=30) as process,
        pytest.raises(MachineError, match="SIGSEGV"),
    ):
        process.ask("crash")


def test_silence_ends_after_the_limit():
    with RuntimeProcess(threads=None, limit_s=0.5) as process:
        with pytest.raises(MachineError, match=r"no answer within 0\.5 s"):
            process.ask("hang")
        assert process._process.poll() is not None


def test_an_answer_is_never_waited_for_so_long_that_ctrl_c_gets_lost():
    """On Windows it does not reach a thread that waits for a lock."""
    waits: list[float] = []

    class Answers(queue.SimpleQueue):
        def get(self, block: bool = True, timeout: float | None = None) -> str:
            waits.append(math.inf if timeout is None else timeout)
            return super().get(block, timeout)

    with RuntimeProcess(threads=None, limit_s=1.2) as process:
        process._answers = Answers()
        with pytest.raises(MachineError, match="no answer within"):
            process.ask("hang")
    assert max(waits) < 1 <= sum(waits)


def test_no_process_is_left_behind():
    with RuntimeProcess(threads=None, limit_s=30) as process:
        process.ask("echo")
    assert process._process.poll() == 0
