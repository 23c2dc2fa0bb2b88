"""Training on several nodes: torchrun's agents on the loopback interface, each a node of its own,
over gloo.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from tiny_dataset import draw_dataset

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported

# isort: split

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_checkpoint, load_model

pytestmark = pytest.mark.slow

_SHORT = [
    *("--imgsz", "64", "--epochs", "1", "--device", "cpu", "--loggers", "none"),
    "plots=false",
]
_COMMAND = ["train", "--model", "yolo11n-ema", "--pretrained", "none", "--batch", "4", *_SHORT]
_ALIKE = [
    *("mosaic=0", "hsv_h=0", "hsv_s=0", "hsv_v=0", "translate=0", "scale=0", "fliplr=0"),
    # AdamW would make a whole step of the noise where a gradient is nearly zero.
    *("optimizer=SGD", "lr0=0.01"),
]
_LARGE_BOXES = """0 0.5 0.5 0.95 0.95
1 0.45 0.45 0.8 0.8
0 0.55 0.55 0.8 0.8
1 0.5 0.5 0.6 0.9
0 0.5 0.5 0.9 0.6
"""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "YOLO_EMA_THREADS": "1"}
_SECONDS = 540


class Nodes:
    """Agents of torchrun that meet at a port of this machine.

    Args:
        folder: where they run; each leaves its output in ``node0.out``, ``node0.err`` and so on.
        arguments: of each agent.
    """

    def __init__(self, folder: Path, *arguments: list[str], more: tuple[str, ...] = ()) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"]
        self.agents = []
        for number, words in enumerate(arguments):
            command = [sys.executable, "-m", "torch.distributed.run", *meet, *more, *words]
            with (
                self._file(number, "out").open("w") as out,
                self._file(number, "err").open("w") as err,
            ):
                self.agents.append(
                    subprocess.Popen(
                        command, cwd=folder, stdout=out, stderr=err, env=os.environ | _ONE_THREAD
                    )
                )

    def _file(self, number: int, stream: str) -> Path:
        return self.folder / f"node{number}.{stream}"

    def wait(self) -> list[int]:
        """Return the agents' exit codes."""
        return [agent.wait(_SECONDS) for agent in self.agents]

    def said(self, number: int, stream: str) -> str:
        return self._file(number, stream).read_text()


def _two_nodes(folder: Path, *words: str, module: tuple[str, ...] = ("-m", "yolo_ema")) -> Nodes:
    node = ["--nnodes", "2", "--nproc-per-node", "1", *module, *words]
    return Nodes(folder, node, node)


def _one_node(folder: Path, *words: str, more: tuple[str, ...] = ()) -> Nodes:
    return Nodes(folder, ["--nproc-per-node", "2", "-m", "yolo_ema", *words], more=more)


def _run(project: Path) -> Path:
    """Return the folder of the only run of a project."""
    (run,) = project.iterdir()
    return run


def _record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def _largest_difference(runs: list[Path]) -> float:
    states = [load_model(run / "weights" / "last.pt").model.state_dict() for run in runs]
    assert states[0].keys() == states[1].keys()
    return max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0])


def test_two_nodes_train_what_one_node_of_two_processes_trains(tmp_path):
    command = [*_COMMAND, "--data", str(draw_dataset(tmp_path / "tiny")), "--json"]
    (one_folder := tmp_path / "one").mkdir()
    (two_folder := tmp_path / "two").mkdir()
    one = _one_node(one_folder, *command)
    assert one.wait() == [0], one.said(0, "err")[-3000:]
    two = _two_nodes(two_folder, *command)
    assert two.wait() == [0, 0], two.said(0, "err")[-3000:] + two.said(1, "err")[-3000:]

    runs = [_run(folder / "runs" / "train") for folder in (one_folder, two_folder)]
    assert _largest_difference(runs) == 0.0
    first, second = map(_record, runs)
    for record in (first, second):
        assert (record["status"], record["processes"]["count"]) == ("finished", 2)
        assert record["settings"]["batch"] == 4
    assert first["epochs"] == second["epochs"]
    assert first["final"] == second["final"]
    # One process says the result, once for all nodes.
    (result,) = [text for number in (0, 1) if (text := two.said(number, "out").strip())]
    assert json.loads(result)["best"] == str(runs[1] / "weights" / "best.pt")
    assert json.loads(one.said(0, "out")) | {"best": "", "last": "", "record": ""} == json.loads(
        result
    ) | {"best": "", "last": "", "record": ""}


def test_where_every_image_is_the_same_two_processes_train_what_one_trains(
    tmp_path, cold_yolo_ema_command
):
    """Statistics of batch normalization and sums of targets are each process's own, so that they
    are those of the whole batch only where the processes' images are alike. Boxes are large, since
    sums of targets count as 1 at least; random weights would depend on the process's number.
    """
    data = str(draw_dataset(tmp_path / "tiny", train=16, val=8))
    for split in ("train", "val"):
        (tmp_path / "tiny" / "ignored" / split / "000.txt").unlink()
        first, *others = sorted((tmp_path / "tiny" / "images" / split).iterdir())
        for other in others:
            other.write_bytes(first.read_bytes())
        for labels in (tmp_path / "tiny" / "labels" / split).iterdir():
            labels.write_text(_LARGE_BOXES)
    weights = build_model("yolo11n-ema", 2).half()
    torch.save({"epoch": -1, "ema": weights, "train_args": {}}, tmp_path / "first.pt")
    command = [
        "train",
        "--model",
        "first.pt",
        "--data",
        str(data),
        "--batch",
        "8",
        *_SHORT,
        *_ALIKE,
    ]
    node = _one_node(tmp_path, *command, "--project", "two")
    assert node.wait() == [0], node.said(0, "err")[-3000:]
    # Variables left in the shell by another launcher still mean one process.
    leftovers = {"RANK": "1", "LOCAL_RANK": "1"} | _ONE_THREAD
    alone = cold_yolo_ema_command(*command, "--project", "one", env=leftovers)
    assert alone.code == 0, alone.err
    assert "RANK=1, LOCAL_RANK=1 of another program's training is ignored" in alone.err
    runs = [_run(tmp_path / "one"), _run(tmp_path / "two")]
    assert [_record(run)["processes"]["count"] for run in runs] == [1, 2]
    for name in ("box", "cls", "dfl"):
        losses = [_record(run)["epochs"][0][f"train/{name}_loss"] for run in runs]
        assert losses[0] > 1
        np.testing.assert_allclose(*losses, rtol=1e-4)
    one, two = (load_model(run / "weights" / "last.pt").model.state_dict() for run in runs)
    start = load_model(tmp_path / "first.pt").model.state_dict()
    learned = [name for name in one if "running" not in name and one[name].is_floating_point()]
    moved = sum((one[name] - start[name]).double().square().sum() for name in learned)
    apart = sum((one[name] - two[name]).double().square().sum() for name in learned)
    assert apart < 0.05**2 * moved  # half the step, or twice, would be half of it or all
    for name in one.keys() - set(learned):
        # Half precision; running variances are corrected for the count of each process's values.
        torch.testing.assert_close(two[name], one[name], rtol=2e-2, atol=1e-3)


def test_a_run_whose_worker_is_killed_is_restarted_and_resumes(tmp_path):
    data = draw_dataset(tmp_path / "tiny")
    command = [*_COMMAND, "--data", str(data), "--project", "runs"]
    command[command.index("--epochs") + 1] = "3"
    node = _one_node(tmp_path, *command, more=("--max-restarts", "1"))
    last = tmp_path / "runs" / "yolo11n-ema" / "weights" / "last.pt"
    until = time.monotonic() + _SECONDS
    while not last.exists():
        assert node.agents[0].poll() is None, node.said(0, "err")[-3000:]
        assert time.monotonic() < until
        time.sleep(0.05)
    workers = psutil.Process(node.agents[0].pid).children()
    (second,) = [worker for worker in workers if worker.environ().get("RANK") == "1"]
    second.kill()
    assert node.wait() == [0], node.said(0, "err")[-3000:]
    record = _record(_run(tmp_path / "runs"))
    assert record["status"] == "finished"
    assert [entry["epoch"] for entry in record["epochs"]] == [1, 2, 3]
    assert len(record["resumed"]) == 1
    assert load_checkpoint(last)["epoch"] == -1


def test_the_failure_of_one_node_ends_all_with_its_reason(tmp_path):
    data = draw_dataset(tmp_path / "tiny")
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, sys
from yolo_ema import TrainOptions, YoloEmaError, train
from yolo_ema.errors import SourceError

def fail(trainer):
    if os.environ["RANK"] == "1" and trainer.epoch == 1:
        raise SourceError("the disk of node 1 is broken")

options = TrainOptions(
    data={str(data)!r}, model="yolo11n-ema", pretrained="none", imgsz=32, epochs=3, batch=4,
    device="cpu", settings={{"plots": "false"}}, loggers=("none",),
)
try:
    train(options, callbacks={{"on_train_batch_end": fail}})
except YoloEmaError as error:
    print(os.environ["RANK"], type(error).__name__, error, flush=True)
    sys.exit(error.exit_code)
""")
    nodes = _two_nodes(tmp_path, module=(str(script),))
    assert all(nodes.wait())
    said = "".join(nodes.said(number, stream) for number in (0, 1) for stream in ("out", "err"))
    run = _run(tmp_path / "runs" / "train")
    reason = "the disk of node 1 is broken"
    assert f"1 SourceError {reason}\n" in said
    # Said by the script, or where its process was still stuck after some seconds, in its place.
    message = rf"(0 SourceError|error:) process 1 on {socket.gethostname()}: {reason}; (.*)"
    ((_, resumption),) = re.findall(message, said)
    last = run / "weights" / "last.pt"
    assert resumption == f"{last} is whole, resume it: torchrun … -m yolo_ema train --resume {last}"
    assert _record(run)["status"] == "failed"
    assert load_checkpoint(run / "weights" / "last.pt")["epoch"] == 0


def test_a_run_by_time_has_the_same_schedule_in_all_processes(tmp_path):
    """Half an hour has three epochs by the clock of the first process, and one by the second's."""
    data = draw_dataset(tmp_path / "tiny")
    script = tmp_path / "script.py"
    script.write_text(f"""
import json, os, time
from pathlib import Path
from yolo_ema import TrainOptions, train

rank, real, passed = int(os.environ["RANK"]), time.time, [0.0]
time.time = lambda: real() + passed[0]
plans = []

def an_epoch_passes(trainer):
    plans.append([trainer.epochs, [group["lr"] for group in trainer.optimizer.param_groups]])
    passed[0] += (600, 1800)[rank]

options = TrainOptions(
    data={str(data)!r}, model="yolo11n", pretrained="none", imgsz=32, epochs=50, batch=4,
    device="cpu", settings={{"plots": "false", "time": "0.5"}}, loggers=("none",),
)
train(options, callbacks={{"on_train_epoch_end": an_epoch_passes}})
Path(f"plans{{rank}}.json").write_text(json.dumps(plans))
""")
    node = Nodes(tmp_path, ["--nproc-per-node", "2", str(script)])
    assert node.wait() == [0], node.said(0, "err")[-3000:]
    first, second = (json.loads((tmp_path / f"plans{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert [epochs for epochs, _ in first] == [50, 3, 3]


@pytest.mark.parametrize("verb", ["demo", "ablate"])
def test_verbs_that_train_in_one_process_refuse_a_launcher_before_they_begin(
    tmp_path, cold_yolo_ema_command, verb
):
    words = ["demo", "--out", "out"]
    if verb == "ablate":
        spec = "name: tiny\nquestion: q?\ndata: tiny\nseeds: [3]\nbudget: {epochs: 1}\n"
        arms = (
            "arms: {none: {}, ema: {model: yolo11n-ema}}\nbaseline: none\nevaluate: {imgsz: [64]}\n"
        )
        runs = "pretrained: none\ntrain: {model: yolo11n, imgsz: 64, batch: 6}\n"
        (tmp_path / "tiny.yaml").write_text(spec + runs + arms)
        words = ["ablate", "tiny.yaml", "--device", "cpu"]
    before = {*tmp_path.rglob("*")}
    done = cold_yolo_ema_command(*words, env={"RANK": "0", "WORLD_SIZE": "2"})
    assert done.code == 2, done.err
    assert "RANK=0, WORLD_SIZE=2 in the environment" in done.err
    assert f"yolo-ema {verb} runs in one, started without torchrun: env -u RANK" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"RANK": "0", "WORLD_SIZE": "2"},
            "LOCAL_RANK and MASTER_ADDR and MASTER_PORT are not set",
        ),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many' in the environment; expected a number"),
    ],
)
def test_inconsistent_launcher_variables_are_one_clear_error(
    tmp_path, cold_yolo_ema_command, environment, message
):
    data = draw_dataset(tmp_path / "tiny")
    done = cold_yolo_ema_command(*_COMMAND, "--data", data, env=environment)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_ray_train_trains_on_two_workers(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    script = tmp_path / "driver.py"
    data = draw_dataset(tmp_path / "tiny")
    script.write_text(f"""
import json, os
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from yolo_ema import ray_train

ray.init(address="local", num_cpus=2, log_to_driver=False)
trainer = TorchTrainer(
    ray_train,
    train_loop_config={{
        "data": {str(data)!r}, "model": "yolo11n-ema", "pretrained": "none", "imgsz": 32,
        "epochs": 1, "batch": 4, "loggers": ["none"], "settings": {{"plots": "false"}},
        "project": {str(tmp_path / "runs")!r},
    }},
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(name="drones", storage_path={str(tmp_path / "results")!r}),
)
result = trainer.fit()
print(json.dumps({{"metrics": result.metrics, "files": os.listdir(result.checkpoint.path)}}))
""")
    assert ray
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=os.environ | _ONE_THREAD | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert sorted(result["files"]) == ["best.pt", "run.json"]
    assert set(result["metrics"]) >= {"precision", "recall", "mAP50", "mAP50-95"}
    record = _record(_run(tmp_path / "runs"))
    assert record["status"] == "finished"
    assert record["processes"] == {"count": 2, "backend": "gloo", "run_id": "drones"}
    assert record["command"] == "ray_train as drones"
    assert torch.isfinite(
        next(load_model(_run(tmp_path / "runs") / "weights" / "best.pt").model.parameters())
    ).all()
