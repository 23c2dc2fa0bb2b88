"""Processes that load images: batches arrive without shared memory, and a death has a reason."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest
import torch

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported
from yolo_ema.engine.training import loading_workers
from yolo_ema.engine.training.loading_workers import (
    clear_loading_errors,
    prepare_loader,
    workers_allowed,
)
from yolo_ema.errors import MachineError, SourceError

# isort: split

from ultralytics.data.build import InfiniteDataLoader, build_dataloader

Usage = namedtuple("Usage", "total used free")


class Samples(torch.utils.data.Dataset):
    """Thirty-two samples, one of which misbehaves."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> dict:
        if index == 9 and self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 9 and self.fault == "error":
            raise SourceError("nine.jpg\ncannot be read")
        if index == 9 and self.fault == "not handed over":
            return {"name": "9", "img": threading.Lock()}
        return {"name": str(index), "img": torch.full((3, 8, 8), index, dtype=torch.uint8)}

    @staticmethod
    def collate_fn(samples: list[dict]) -> dict:
        images = [sample["img"] for sample in samples]
        if not all(isinstance(image, torch.Tensor) for image in images):
            return {"name": "9", "img": images}
        return {"name": [sample["name"] for sample in samples], "img": torch.stack(images)}


@pytest.fixture
def free_bytes(monkeypatch):
    def have(count: int) -> None:
        usage = Usage(count, 0, count)
        monkeypatch.setattr(loading_workers.shutil, "disk_usage", lambda _: usage)

    return have


def _loader(fault: str = "", workers: int = 2) -> InfiniteDataLoader:
    loader = build_dataloader(Samples(fault), batch=4, workers=workers, shuffle=False)
    prepare_loader(loader, 640)
    return loader


def _batches(loader: InfiniteDataLoader) -> list[dict]:
    try:
        return list(loader)
    finally:
        loader.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shared memory lies elsewhere")
def test_where_shared_memory_is_scarce_batches_are_the_same_through_pipes(free_bytes, caplog):
    free_bytes(64 << 30)
    plain = _loader()
    assert type(plain) is InfiniteDataLoader
    expected = _batches(plain)
    assert caplog.text == ""
    free_bytes(16 << 20)
    piped = _loader()
    assert "has 17 MB free, and 2 loading processes want up to 20 MB" in caplog.text
    batches = _batches(piped)
    assert not any(batch["img"].is_shared() for batch in batches)
    assert all(
        torch.equal(one["img"], two["img"]) for one, two in zip(expected, batches, strict=True)
    )
    assert [batch["name"] for batch in batches] == [batch["name"] for batch in expected]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shared memory lies elsewhere")
def test_without_space_for_a_lock_no_process_is_started(free_bytes, monkeypatch, caplog):
    free_bytes(64 << 10)
    assert workers_allowed(8) == 0
    assert "has 64 KB free: images are loaded by the training process itself" in caplog.text
    free_bytes(64 << 20)
    assert workers_allowed(8) == 8
    assert workers_allowed(0) == 0

    def missing(_):
        raise FileNotFoundError

    monkeypatch.setattr(loading_workers.shutil, "disk_usage", missing)
    assert workers_allowed(8) == 0


# torch leaves files open that it tries when a batch cannot be fetched
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", ["killed", "not handed over"])
def test_the_death_of_a_process_ends_the_run_with_its_reason(fault, capfd):
    with (
        pytest.raises(MachineError, match=r"a process that loads images died: .*--workers 0"),
        clear_loading_errors(),
    ):
        _batches(_loader(fault))
    assert fault == "killed" or "cannot pickle '_thread.lock' object" in capfd.readouterr().err


def test_an_error_of_a_process_comes_without_its_traceback():
    with pytest.raises(SourceError) as caught, clear_loading_errors():
        _batches(_loader("error"))
    assert str(caught.value) == "nine.jpg\ncannot be read"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "memory may have run out"),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that",
            r"shared memory, /dev/shm, is full",
        ),
        (
            "DataLoader worker (pid 7) exited unexpectedly with exit code 28. Details are lost",
            "it could not hand over a batch, as shared memory",
        ),
    ],
)
def test_reasons_that_torch_knows_are_named(text, reason):
    with pytest.raises(MachineError, match=reason), clear_loading_errors():
        raise RuntimeError(text)


def test_other_errors_pass_unchanged():
    with pytest.raises(RuntimeError, match="shapes differ"), clear_loading_errors():
        raise RuntimeError("shapes differ")
    with pytest.raises(SourceError, match="as it is"), clear_loading_errors():
        raise SourceError("as it is")


_SMALL = """
mount -t tmpfs -o size={size} tmpfs /dev/shm || exit 77
exec {python} -c '
from test_loading_workers import Samples, _batches
from yolo_ema.engine.training.loading_workers import prepare_loader, workers_allowed
from ultralytics.data.build import build_dataloader
loader = build_dataloader(Samples(), batch=4, workers=workers_allowed(2), shuffle=False)
prepare_loader(loader, 640)
print(loader.num_workers, sum(int(batch["img"].float().mean()) for batch in _batches(loader)))
'
"""


@pytest.mark.slow
@pytest.mark.parametrize(("size", "workers"), [("64k", 0), ("16m", 2), ("64m", 2)])
def test_on_a_machine_with_little_shared_memory_every_batch_arrives(size, workers):
    if not shutil.which("unshare"):
        pytest.skip("needs unshare (util-linux)")
    script = _SMALL.format(size=size, python=sys.executable)
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("may not mount a shared memory of its own here")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == [str(workers), str(sum(4 * start + 1 for start in range(8)))]
