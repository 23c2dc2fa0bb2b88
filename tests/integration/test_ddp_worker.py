"""The processes of a run on several GPUs, on the CPU: made from a script in a fresh interpreter, and two of them over gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny_dataset import draw_dataset

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported

# isort: split

from ultralytics.utils import dist

from yolo_ema.engine import trainer as trainer_module
from yolo_ema.engine.loading import load_checkpoint, load_model
from yolo_ema.engine.run_settings import RUN_KEY, RunSettings
from yolo_ema.engine.trainer import EmaTrainer
from yolo_ema.errors import MachineError
from yolo_ema.nn import EfficientMultiScaleAttention
from yolo_ema.options.drone import DroneOptions

_RUN = RunSettings(DroneOptions(nwd=0.25, augment=("haze",)), command="yolo-ema train", loggers=("none",), offline=True)

# What Ultralytics does for GPUs, done for two CPU processes: gloo in place of NCCL, no device numbers, a sum in place of gloo's
# missing average. The last validation asks for a CUDA device in any worker, so that only its stripping is left.
_PAIR = '''
"""A trainer whose two processes compute on the CPU."""
import os
from unittest import mock

import torch
from torch import distributed as dist

from yolo_ema.engine.trainer import EmaTrainer


def _parallel(model, device_ids=None, **named):
    return torch.nn.parallel.distributed.DistributedDataParallel(model, **named)


class PairTrainer(EmaTrainer):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.world_size = 2

    def _setup_ddp(self):
        dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=2)

    def _setup_train(self):
        with mock.patch("torch.nn.parallel.DistributedDataParallel", _parallel):
            super()._setup_train()

    def validate(self):
        reduce = dist.reduce
        with mock.patch.object(dist, "reduce", lambda tensor, dst, op: reduce(tensor, dst=dst)):
            return super().validate()

    def final_eval(self):
        numbers = torch.cat([p.detach().flatten() for p in self.model.parameters()])
        both = [torch.empty_like(numbers) for _ in range(2)]
        dist.all_gather(both, numbers)
        assert torch.equal(*both), "the processes have come apart"
        dist.barrier()
        dist.destroy_process_group()
'''


def _overrides(folder: Path) -> dict:
    return {
        "model": "yolo11n-ema.yaml",
        "data": str(draw_dataset(folder / "tiny")),
        "pretrained": False,
        "imgsz": 64,
        "epochs": 1,
        "batch": 6,
        "device": "cpu",
        "plots": False,
        "save_dir": str(folder / "run"),
        RUN_KEY: _RUN.as_dict(),
    }


def _check(run: Path) -> None:
    loaded = load_model(run / "weights" / "last.pt")
    assert sum(isinstance(module, EfficientMultiScaleAttention) for module in loaded.model.modules()) == 5
    record = json.loads((run / "run.json").read_text())
    assert record["drone"]["nwd"] == 0.25
    assert record["drone"]["augment"] == ["haze"]
    assert record["loggers"] == []
    assert len(record["epochs"]) == 1


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script that Ultralytics writes for the workers of a trainer on several GPUs."""
    monkeypatch.setattr(dist, "USER_CONFIG_DIR", tmp_path)
    trainer = EmaTrainer(overrides=_overrides(tmp_path))
    file = dist.generate_ddp_file(trainer)
    yield Path(file)
    dist.ddp_cleanup(trainer, file)
    assert not Path(file).exists()


def test_a_worker_made_from_its_script_in_a_fresh_process_knows_ema_and_the_drone_options(script, tmp_path):
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    _check(tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "weights" / "last.pt")["epoch"] == -1


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    (tmp_path / "pair_trainer.py").write_text(_PAIR)
    script = tmp_path / "worker.py"
    script.write_text(f"from pair_trainer import PairTrainer\nPairTrainer(overrides={_overrides(tmp_path)!r}).train()\n")
    port = str(dist.find_free_network_port())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "YOLO_EMA_THREADS": "1"}
    done = subprocess.run([*command, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    _check(tmp_path / "run")


def test_a_worker_that_fails_ends_the_run_with_an_error(capfd):
    with pytest.raises(MachineError, match="exit code 3"):
        trainer_module._run_workers([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"])
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "why" in shown.err


def test_an_interruption_ends_the_workers_too(tmp_path):
    pid_file = tmp_path / "pid"
    worker = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"

    def interrupt():
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        trainer_module._run_workers([sys.executable, "-c", worker])
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_run_settings_come_back_from_what_a_checkpoint_holds():
    plain = json.loads(json.dumps(_RUN.as_dict()))
    assert RunSettings.from_dict(plain) == _RUN
    assert RunSettings.from_dict({**plain, "later": 1, "drone": {**plain["drone"], "newer": 2}}) == _RUN
    assert RunSettings.from_dict({}) == RunSettings()
