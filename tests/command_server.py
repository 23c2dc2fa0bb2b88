"""Runs command lines in forks of a process that has torch, Ultralytics and this package loaded.

A cold ``yolo-ema`` spends seconds of processor time on imports before it does anything. Tests that
call the command line a hundred times fork instead: each call is a process of its own, with its own
folder, streams, signals and exit code. What tests about start-up, imports and the environment need
is a cold process, and `Commands.run` takes one wherever the environment differs from the server's.

As a program: ``command_server.py SOCKET`` serves one client.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

_CHANGES_WITH_EVERY_TEST = "PYTEST_CURRENT_TEST"
_STILL_RUNS = -1000


class CommandResult:
    """What a run of the command line gave back."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict:
        return json.loads(self.out)


class Commands:
    """Runs ``yolo-ema WORDS…``; starts the server with the first run and ends it with `close`."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._environment = _environment({})

    def run(
        self, words: list[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> CommandResult:
        """Run in a fork of the server, or in a cold process where the environment differs."""
        if _environment(env) != self._environment or not hasattr(os, "fork"):
            return run_cold(words, cwd=cwd, env=env, timeout=timeout)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self._run_in_fork(words, cwd, (out.fileno(), err.fileno()), timeout)
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode("utf-8").replace("\r\n", "\n"))
        return CommandResult(code, *texts)

    def start(self, words: list[str], *, cwd: Path, program: str = "") -> RunningCommand:
        """Start ``yolo-ema WORDS…``, or a Python program with these words, in a fork of the server;
        its output goes to ``out.txt`` and ``err.txt`` in `cwd`.
        """
        with (cwd / "out.txt").open("wb") as out, (cwd / "err.txt").open("wb") as err:
            child = self._fork(words, cwd, (out.fileno(), err.fileno()), program)
        return RunningCommand(self, child)

    def ended(self, child: int, timeout: float | None) -> int | None:
        """Return the exit code of a fork; wait for it unless ``timeout`` is None, which returns
        None where the fork is still running. Raises `TimeoutError`.
        """
        self._ask({"child": child, "wait": timeout is not None}, [])
        self._connection.settimeout(timeout)
        code = int.from_bytes(_exactly(self._connection, 4), "little", signed=True)
        return None if code == _STILL_RUNS else code

    def _run_in_fork(
        self, words: list[str], cwd: Path, streams: tuple[int, int], timeout: float
    ) -> int:
        child = self._fork(words, cwd, streams)
        try:
            return self.ended(child, timeout)
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            self.close()
            raise subprocess.TimeoutExpired(words, timeout) from None

    def _fork(
        self, words: list[str], cwd: Path, streams: tuple[int, int], program: str = ""
    ) -> int:
        if self._server is None:
            self._start()
        self._ask({"words": words, "cwd": str(cwd), "program": program}, list(streams))
        self._connection.settimeout(None)  # the first waits until everything is loaded
        return int.from_bytes(_exactly(self._connection, 4), "little")

    def _ask(self, request: dict, streams: list[int]) -> None:
        content = json.dumps(request).encode()
        socket.send_fds(self._connection, [len(content).to_bytes(4, "little")], streams)
        self._connection.sendall(content)

    def _start(self) -> None:
        own, theirs = socket.socketpair()
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self._connection = own

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._connection.close()
            self._server.wait(timeout=30)
            self._server = None


class RunningCommand:
    """A command line that runs beside the test; used like `subprocess.Popen`."""

    def __init__(self, commands: Commands, child: int) -> None:
        self.pid, self._commands, self._code = child, commands, None

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self._commands.ended(self.pid, None)
        return self._code

    def wait(self, timeout: float = 600) -> int:
        if self._code is None:
            self._code = self._commands.ended(self.pid, timeout)
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_cold(
    words: list[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> CommandResult:
    """Run in a process that imports everything anew, as a user's does."""
    done = subprocess.run(
        [sys.executable, "-m", "yolo_ema", *words],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    merged = {**os.environ, **env}
    merged.pop(_CHANGES_WITH_EVERY_TEST, None)
    return merged


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        part = connection.recv(count - len(content))
        if not part:
            raise ConnectionError("the command server ended")
        content += part
    return content


def _load_everything() -> None:
    import yolo_ema

    for module in pkgutil.walk_packages(yolo_ema.__path__, "yolo_ema."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(module.name)
    for name in (
        *("ultralytics", "ultralytics.models.yolo.detect", "ultralytics.nn.autobackend"),
        *("ultralytics.engine.exporter", "torch._dynamo", "torch.onnx", "torchvision", "timm"),
        # Not ONNX Runtime: it starts a thread, for which a fork would wait at its end for ever.
        *("onnx", "onnxslim", "openvino", "thop", "PIL.Image"),
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from yolo_ema.deploy.parity.proof_images import drawn_images

    drawn_images()  # kept; every export looks at them


def _serve(connection: socket.socket) -> int:
    """Fork for each request; return the exit code of a child, or 0 in the server at the end."""
    while True:
        try:
            size, streams, _, _ = socket.recv_fds(connection, 4, 2)
        except ConnectionResetError:
            return 0
        if not size:
            return 0
        request = json.loads(_exactly(connection, int.from_bytes(size, "little")))
        if "child" in request:
            child, status = os.waitpid(request["child"], 0 if request["wait"] else os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if child else _STILL_RUNS
        elif (answer := os.fork()) == 0:
            connection.close()
            _end(_run_here(request, streams))
        for stream in streams:
            os.close(stream)
        connection.sendall(answer.to_bytes(4, "little", signed=True))


def _end(code: int) -> NoReturn:
    """End a fork as the interpreter ends a process, except that its modules are not taken apart:
    that would copy most of the server's memory, for as long as a short command takes.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_here(request: dict, streams: list[int]) -> int:
    for number, stream in zip((1, 2), streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    sys.argv = ["yolo-ema", *request["words"]]
    if request["program"]:
        exec(request["program"], {"__name__": "__main__"})
        return 0
    from yolo_ema.cli import main

    return main(request["words"])


if __name__ == "__main__":
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _load_everything()
    gc.collect()
    gc.freeze()  # else each fork's collector writes into, and thereby copies, all that is loaded
    sys.exit(_serve(socket.socket(fileno=int(sys.argv[1]))))
