"""The processes of a run on several GPUs, on the CPU: made from a script in a fresh interpreter,
and two of them over gloo.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny_dataset import draw_dataset

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported

# isort: split

from ultralytics.utils import DEFAULT_CFG_DICT, dist

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.training import train as training
from yolo_ema.engine.training import trainer as trainer_module
from yolo_ema.engine.training.ddp_workers import error_file, report_to_starter, run_workers
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings
from yolo_ema.engine.training.trainer import EmaTrainer
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.errors import ConfigError, DataError, DiskFullError, MachineError, OfflineError
from yolo_ema.nn import EfficientMultiScaleAttention
from yolo_ema.options.drone import DroneOptions

_RUN = RunSettings(
    DroneOptions(nwd=0.25, augment=("haze",)),
    command="yolo-ema train",
    loggers=("none",),
    offline=True,
)

# What Ultralytics does for GPUs, done for two CPU processes: gloo in place of NCCL, no device
# numbers, a sum in place of gloo's missing average, and the CPU where the last validation asks for
# the GPU that is this process's own.
_PAIR = '''
"""A trainer whose two processes compute on the CPU."""
import errno
import os
from unittest import mock

import torch
from torch import distributed as dist

from yolo_ema.engine.weights import checkpoints
from yolo_ema.engine.training.trainer import EmaTrainer
from yolo_ema.io.atomic_files import disk_full_is_clear
from ultralytics.nn.autobackend import AutoBackend

write_bytes = checkpoints.write_bytes


def _full(path, content):
    if path.name == os.environ.get("DISK_IS_FULL_AT"):
        with disk_full_is_clear(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write_bytes(path, content)


checkpoints.write_bytes = _full


def _on_cpu(*arguments, device, **named):
    return AutoBackend(*arguments, device=torch.device("cpu"), **named)


class _NoGpus:
    """What knows this process's own GPU."""

    @staticmethod
    def current_device():
        return 0


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
        reduce = dist.reduce
        with (
            mock.patch("ultralytics.engine.validator.AutoBackend", _on_cpu),
            mock.patch("ultralytics.engine.validator.get_torch_device_backend", lambda _: _NoGpus),
            mock.patch.object(dist, "reduce", lambda tensor, dst, op: reduce(tensor, dst=dst)),
        ):
            super().final_eval()
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
    assert (
        sum(isinstance(module, EfficientMultiScaleAttention) for module in loaded.model.modules())
        == 5
    )
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


@pytest.mark.slow
def test_a_worker_made_from_its_script_in_a_fresh_process_knows_ema_and_the_drone_options(
    script, tmp_path
):
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _check(tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "weights" / "last.pt")["epoch"] == -1


class _Starter(EmaTrainer):
    """A trainer that starts two workers, as on two GPUs."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.ddp, self.world_size = True, 2


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """The settings of a run on a pair of CPU processes, which `training._run` starts and waits
    for.
    """
    (tmp_path / "pair_trainer.py").write_text(_PAIR)
    overrides = _overrides(tmp_path) | {"max_det": 1}
    with (tmp_path / "tiny" / "labels" / "train" / "001.txt").open("a") as labels:
        labels.write("9 0.5 0.5 0.1 0.1\n")  # a class that does not exist

    def command(_):
        script = tmp_path / "worker.py"
        script.write_text(
            f"from pair_trainer import PairTrainer\nPairTrainer(overrides={overrides!r}).train()\n"
        )
        port = str(dist.find_free_network_port())
        launcher = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            "2",
            "--master_port",
            port,
        ]
        return [*launcher, str(script)], str(script)

    monkeypatch.setattr(trainer_module, "generate_ddp_command", command)
    monkeypatch.setattr(trainer_module, "ddp_cleanup", lambda *_: None)
    monkeypatch.setattr(training, "EmaTrainer", _Starter)
    for name, value in {
        "PYTHONPATH": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "YOLO_EMA_THREADS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return overrides


@pytest.mark.slow
def test_two_processes_train_one_model_and_the_result_is_theirs(pair, tmp_path):
    result = training._run(pair)
    _check(tmp_path / "run")
    assert set(result.metrics) == {"precision", "recall", "mAP50", "mAP50-95"}
    for weights in (result.best, result.last):
        checkpoint = load_checkpoint(weights)
        assert (checkpoint["epoch"], checkpoint["optimizer"]) == (-1, None)
    record = json.loads(result.record.read_text())
    assert record["status"] == "finished"
    full = record["images_at_limit"]
    assert (full["max_det"], full["count"]) == (1, 4)  # two in each process
    assert sorted(Path(image).name for image in full["images"]) == [
        "000.jpg",
        "001.jpg",
        "002.jpg",
        "003.jpg",
    ]
    assert record["data"]["left_out"] == {"train": 1, "val": 0}


@pytest.mark.slow
def test_a_disk_that_is_full_in_a_worker_is_one_clear_error(pair, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DISK_IS_FULL_AT", "last.pt")
    with pytest.raises(
        DiskFullError,
        match=r"disk full while writing .*last.pt; no partial file is left.*start again",
    ):
        training._run(pair)
    assert "DiskFullError" not in capfd.readouterr().err  # no worker shows a traceback of it
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    "error",
    [
        DiskFullError("disk full while writing a"),
        DataError("ümlaut\nand lines"),
        OfflineError("x" * 9999),
    ],
)
def test_the_error_a_worker_reports_is_the_error_of_the_run(error):
    program = (
        "from yolo_ema.engine.training.ddp_workers import report_to_starter\n"
        "from yolo_ema import errors\n"
        f"with report_to_starter(): raise errors.{type(error).__name__}({str(error)!r})"
    )
    with pytest.raises(type(error)) as caught:
        run_workers([sys.executable, "-c", program])
    assert str(error).startswith(str(caught.value))
    assert len(str(caught.value)) >= min(len(str(error)), 4000)


def test_the_first_error_counts_and_foreign_reports_are_ignored(tmp_path):
    with error_file() as place:
        file = Path(place.environment["YOLO_EMA_WORKER_ERROR"])
        assert place.error() is None
        with mock.patch.dict(os.environ, place.environment):
            for error in (DataError("first"), MachineError("second")):
                with pytest.raises(SystemExit) as ended, report_to_starter():
                    raise error
                assert ended.value.code == error.exit_code
        assert str(place.error()) == "first"
        file.write_text("SystemExit\n0")
        assert place.error() is None
        file.write_text("did_you_mean\n0")
        assert place.error() is None
    with pytest.raises(DataError, match="as it is"), report_to_starter():
        raise DataError("as it is")


def _planted(folder: Path, **more) -> Path:
    """A checkpoint of an unfinished run that asks for more than it may."""
    last = folder / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    run = RunSettings(DroneOptions(nwd=0.25), trust=True, offline=False).as_dict()
    settings = {**DEFAULT_CFG_DICT, **_overrides(folder), "epochs": 5, RUN_KEY: run, **more}
    torch.save(
        {
            "epoch": 1,
            "ema": build_model("yolo11n-ema", 2).half(),
            "optimizer": None,
            "train_args": settings,
        },
        last,
    )
    return last


def test_a_checkpoint_does_not_vouch_for_itself(tmp_path):
    last = _planted(tmp_path)
    trainer = EmaTrainer(overrides={"model": str(last), "resume": str(last)})
    assert trainer.run_settings.drone.nwd == 0.25
    assert (trainer.run_settings.trust, trainer.run_settings.offline) == (False, True)
    assert trainer.args.yolo_ema["trust"] is False
    planned = EmaTrainer(
        overrides={**_overrides(tmp_path / "other"), RUN_KEY: RunSettings(trust=True).as_dict()}
    )
    assert planned.run_settings.trust  # the user's settings win


def test_distillation_is_refused_wherever_it_comes_from(tmp_path):
    with pytest.raises(ConfigError, match="distillation is not supported"):
        EmaTrainer(overrides={**_overrides(tmp_path / "new"), "distill_model": "yolo11m.pt"})
    last = _planted(tmp_path, distill_model="yolo11m.pt")
    with pytest.raises(ConfigError, match="distillation is not supported"):
        EmaTrainer(overrides={"model": str(last), "resume": str(last)})


def test_a_worker_that_fails_ends_the_run_with_an_error(capfd):
    with pytest.raises(MachineError, match="exit code 3"):
        run_workers([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"])
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "why" in shown.err


def test_an_interruption_ends_the_workers_too(tmp_path):
    pid_file = tmp_path / "pid"
    worker = (
        f"import os, pathlib, time; "
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )

    def interrupt():
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run_workers([sys.executable, "-c", worker])
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_run_settings_come_back_from_what_a_checkpoint_holds():
    plain = json.loads(json.dumps(_RUN.as_dict()))
    assert RunSettings.from_dict(plain) == _RUN
    assert (
        RunSettings.from_dict({**plain, "later": 1, "drone": {**plain["drone"], "newer": 2}})
        == _RUN
    )
    assert RunSettings.from_dict({}) == RunSettings()
