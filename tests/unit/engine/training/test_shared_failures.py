from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from torch import distributed as dist

from yolo_ema.engine.training import process_group, shared_failures
from yolo_ema.engine.training.launch import Launch
from yolo_ema.engine.training.process_group import in_turn
from yolo_ema.engine.training.shared_failures import SharedFailures
from yolo_ema.errors import ConfigError, DataError, MachineError, YoloEmaError

_GLOO = "[/pytorch/gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:4711"


@pytest.fixture
def places(monkeypatch):
    """Three processes' views on one store: two on a node, one on another."""
    monkeypatch.setattr(shared_failures, "_LOOK_SECONDS", 0.0)
    store = dist.HashStore()
    return [
        SharedFailures(Launch(rank, local, 3), store, None)
        for rank, local in ((0, 0), (1, 1), (2, 0))
    ]


def _fail(place: SharedFailures, error: BaseException) -> None:
    with place.told():
        raise error


def test_the_first_failure_is_the_failure_of_all(places):
    with pytest.raises(DataError, match=r"^a row is wrong$"):
        _fail(places[2], DataError("a row is wrong"))
    with pytest.raises(DataError, match=r"^process 2 on \S+: a row is wrong$"):
        _fail(places[0], RuntimeError(_GLOO))
    with pytest.raises(SystemExit) as silent:  # the first of its node says it
        _fail(places[1], KeyboardInterrupt())
    assert silent.value.code == DataError.exit_code
    with pytest.raises(MachineError, match=r"^told already, and more$"):
        _fail(places[0], MachineError("told already, and more"))  # of an outer block


def test_a_foreign_error_is_reported_with_its_type(places):
    with pytest.raises(ZeroDivisionError):
        _fail(places[0], ZeroDivisionError("division by zero"))
    with pytest.raises(MachineError, match=r"process 0 .* ZeroDivisionError: division by zero"):
        _fail(places[2], RuntimeError(_GLOO))


def test_a_process_that_vanished_silently_is_reported(places):
    with pytest.raises(MachineError, match=r"ended without reporting an error.*\[10.0.0.2\]:4711"):
        _fail(places[0], RuntimeError(_GLOO))
    with pytest.raises(MachineError, match=r"process 0 on .* ended without reporting an error"):
        _fail(places[2], dist.DistBackendError("NCCL error in: remote process exited"))


def test_an_interruption_alone_is_not_a_failure(places):
    with pytest.raises(KeyboardInterrupt):
        _fail(places[0], KeyboardInterrupt())
    with places[2].sigterm_interrupts(), places[2].told(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(DataError, match="own"), places[2].sigterm_interrupts():
        _fail(places[2], DataError("own"))
    with places[2].sigterm_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)  # it is ending already


@pytest.mark.slow
def test_a_process_that_does_not_notice_is_killed():
    """Its main thread is stuck, as inside NCCL."""
    program = """
import time
from torch import distributed as dist
from yolo_ema.engine.training import shared_failures
from yolo_ema.engine.training.launch import Launch
from yolo_ema.errors import DataError
shared_failures._GRACE_SECONDS["gloo"] = 0.1
store = dist.HashStore()
stuck = shared_failures.SharedFailures(Launch(0, 0, 2), store, store)
stuck.before_exit = lambda: print("recorded", flush=True) or "; resume it"
try:
    with shared_failures.SharedFailures(Launch(1, 0, 2), store, None).told():
        raise DataError("a row is wrong")
except DataError:
    time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == DataError.exit_code
    assert done.stdout == "recorded\n"
    host = socket.gethostname()
    assert f"yolo-ema: error: process 1 on {host}: a row is wrong; resume it\n" in done.stderr


@pytest.fixture
def meeting_point(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setitem(os.environ, "MASTER_ADDR", "127.0.0.1")
        monkeypatch.setitem(os.environ, "MASTER_PORT", str(taken.getsockname()[1]))
        yield taken.getsockname()[1]


def test_a_port_that_is_in_use_is_one_clear_error(meeting_point, monkeypatch):
    with pytest.raises(MachineError, match=f"port {meeting_point} of 127.0.0.1 is in use"):
        process_group._meeting_point(Launch(0, 0, 2))
    monkeypatch.setitem(os.environ, "MASTER_PORT", "http")
    with pytest.raises(ConfigError, match="MASTER_PORT is 'http'"):
        process_group._meeting_point(Launch(0, 0, 2))


def test_missing_processes_are_named(monkeypatch):
    monkeypatch.setattr(process_group, "_MEET", process_group.dt.timedelta(seconds=0))
    with pytest.raises(MachineError, match="process 0 of 2 did not join"):
        process_group._everyones_facts(dist.HashStore(), "attempt", Launch(0, 0, 2))


def test_messages_of_an_earlier_attempt_are_ignored():
    store = dist.HashStore()
    store.set("question/1", "of an earlier attempt")
    store.set("earlier/facts/1", '{"host": "gone"}')
    store.set("now/facts/0", '{"host": "alpha"}')
    answers: list[YoloEmaError | str] = []

    def second() -> None:
        answers.append(process_group._attempt(store, Launch(1, 0, 2)))
        store.set(f"{answers[0]}/facts/1", '{"host": "beta"}')

    thread = threading.Thread(target=second)
    thread.start()
    facts = process_group._everyones_facts(store, "now", Launch(0, 0, 2))
    thread.join()
    assert answers == ["now"]
    assert [said["host"] for said in facts] == ["alpha", "beta"]


def test_caches_are_filled_by_the_first_of_all_then_by_the_first_of_each_node(monkeypatch):
    barrier, own, order = threading.Barrier(4), threading.local(), []
    monkeypatch.setattr(process_group, "_are_several", lambda: True)
    monkeypatch.setattr(process_group.dist, "get_rank", lambda: own.rank)
    monkeypatch.setattr(process_group.dist, "barrier", barrier.wait)

    def build(rank: int) -> None:
        own.rank = rank
        with in_turn(rank % 2):
            order.append(rank)

    threads = [threading.Thread(target=build, args=(rank,)) for rank in (3, 2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[:2] == [0, 2]
    assert sorted(order[2:]) == [1, 3]
