"""What all tests share: the folder of real data, and a run of the real command line."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_server import CommandResult, Commands, run_cold
from hypothesis import settings

# Elsewhere every run draws new cases; where a change is judged, the same code gets the same
# verdict.
settings.register_profile("reproducible", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("reproducible")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side: a thread each is several times faster than each wanting every core.
    # Before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("YOLO_EMA_THREADS", "1")

# The user's cache folder stays out of it; set before anything of ours, or Ultralytics, is imported.
_cache = tempfile.mkdtemp(prefix="yolo-ema-tests-")
atexit.register(shutil.rmtree, _cache, ignore_errors=True)
os.environ["YOLO_EMA_CACHE"] = _cache
os.environ["MPLBACKEND"] = "Agg"

from yolo_ema.inference.signal_stack import signal_stack_kept  # noqa: E402 - after the environment

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("YOLO_EMA_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, annotations and weights; tests that use it carry the mark
    `realdata`.
    """
    if not (SHARED / "data").is_dir():
        pytest.skip(
            f"real data is not here: {SHARED}/data is missing (set YOLO_EMA_SHARED to a folder "
            f"that has it)"
        )
    return SHARED


@pytest.fixture(autouse=True)
def _sigchld_is_left_alone() -> Iterator[None]:
    """Take back the handler that a data loader of torch's sets for the signal of a child's end,
    once its test is over: later tests start children and set no such handler. The next data loader
    sets it anew.
    """
    yield
    handling = sys.modules.get("torch.utils.data._utils.signal_handling")
    if handling is not None and handling._SIGCHLD_handler_set:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        handling._SIGCHLD_handler_set = False


@pytest.fixture(autouse=True)
def _signal_stack_is_left_alone() -> Iterator[None]:
    """For the tests that have OpenVINO compile a network themselves, see `signal_stack_kept`: the
    next test that handles a signal would end its process.
    """
    with signal_stack_kept():
        yield


@pytest.fixture(scope="session", autouse=True)
def _environment() -> dict[str, str]:
    """The environment before any test and any other fixture."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def _environment_is_left_alone(_environment: dict[str, str]) -> Iterator[None]:
    """Take back what a test, or a fixture that stays for many, leaves in the environment, as
    Ultralytics' trainer and Ray do: the command server's would differ, and every later command line
    be cold.
    """
    _take_back(_environment)
    yield
    _take_back(_environment)


def _take_back(environment: dict[str, str]) -> None:
    for name in os.environ.keys() - environment.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture
def openvino_in_f32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have OpenVINO compute in float32 where nobody says otherwise: in bfloat16, which it takes
    where it can, boxes differ.
    """
    openvino = pytest.importorskip("openvino")
    compile_model = openvino.Core.compile_model

    def compile_f32(core, model, device_name=None, config=None):
        return compile_model(
            core, model, device_name, {"INFERENCE_PRECISION_HINT": "f32", **(config or {})}
        )

    monkeypatch.setattr(openvino.Core, "compile_model", compile_f32)


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """What runs command lines, and starts such as run beside the test."""
    commands = Commands()
    yield commands
    commands.close()


@pytest.fixture
def yolo_ema_command(tmp_path: Path, commands: Commands):
    """Return a function that runs ``yolo-ema WORDS…`` as a process of its own, in `tmp_path`.

    The process is a fork of one that has everything loaded, unless ``env`` changes something.
    """

    def run(
        *words: object,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 600,
    ) -> CommandResult:
        return commands.run([*map(str, words)], cwd=cwd or tmp_path, env=env or {}, timeout=timeout)

    return run


@pytest.fixture
def cold_yolo_ema_command(tmp_path: Path):
    """Return a function like `yolo_ema_command`'s whose process imports everything anew."""

    def run(
        *words: object,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 600,
    ) -> CommandResult:
        return run_cold([*map(str, words)], cwd=cwd or tmp_path, env=env or {}, timeout=timeout)

    return run
