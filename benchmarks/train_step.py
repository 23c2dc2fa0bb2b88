"""What a training step on a CPU costs, beside Ultralytics' own trainer.

    python benchmarks/train_step.py [--ways ultralytics plain channels_last bf16 ema] [--imgsz 640]
    [--batch 8] [--steps 5] [--rounds 3] [--json]

A step is everything between two batches: preprocessing, forward and backward pass, optimizer. Both
trainers are set up by themselves on a drawn dataset, then given the same weights and the same batch
of noise with boxes. Each measurement is a child process; the ways take turns in rounds. The table
gives medians over all timed steps, with the quartiles of the wall time, and the loss of the first
step, which must be equal (nearly so in bfloat16). ``ema`` is yolo11n-ema, whose loss is its own;
every other way trains yolo11n.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

WAYS = {
    "ultralytics": "Ultralytics' DetectionTrainer",
    "plain": "EmaTrainer, channels_last=False",
    "channels_last": "EmaTrainer",
    "bf16": "EmaTrainer, amp=bf16",
    "ema": "EmaTrainer, yolo11n-ema",
}
CHILD = """
import atexit, json, shutil, sys, tempfile, time
from pathlib import Path
import cv2
import numpy as np
import yolo_ema.engine
import torch
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.models.yolo.detect import DetectionTrainer
from yolo_ema.engine.setup.environment import log_to_stderr
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.training.mixed_precision import cpu_bfloat16
from yolo_ema.engine.training.trainer import EmaTrainer
job = json.loads(sys.argv[1])
way, size, batch, objects = job["way"], job["imgsz"], job["batch"], 70
folder = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, folder)
for kind in ("images", "labels"):
    (folder / kind).mkdir()
for number in range(4):
    cv2.imwrite(str(folder / f"images/{number}.jpg"), np.full((64, 64, 3), 90, np.uint8))
    (folder / f"labels/{number}.txt").write_text("0 0.5 0.5 0.2 0.2\\n")
(folder / "data.yaml").write_text(f"path: {folder}\\ntrain: images\\nval: images\\nnc: 10\\n")
settings = {
    "model": "yolo11n-ema.yaml" if way == "ema" else "yolo11n.yaml",
    "data": str(folder / "data.yaml"), "imgsz": size, "batch": batch, "device": "cpu",
    "pretrained": False, "plots": False,
    "optimizer": "AdamW", "lr0": 1e-5, "save_dir": str(folder / "run"), "epochs": 1,
}
settings |= {"plain": {"channels_last": False}, "bf16": {"amp": "bf16"}}.get(way, {})
kind = DetectionTrainer if way == "ultralytics" else EmaTrainer
with log_to_stderr():
    trainer = kind(overrides=settings)
    trainer._setup_train()
if way == "ultralytics":
    torch.set_num_threads(job["threads"])  # its own default leaves a core idle
else:
    use_all_cores()
drawn = torch.Generator().manual_seed(0)
with torch.no_grad():
    for parameter in trainer.model.parameters():
        if parameter.ndim > 1 and parameter.requires_grad:
            inputs = parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=drawn) / inputs**0.5)
noise = torch.randint(0, 256, (batch, 3, size, size), generator=drawn, dtype=torch.uint8)
boxes = torch.rand(batch * objects, 4, generator=drawn)
given = {
    "img": noise,
    "batch_idx": torch.arange(batch).repeat_interleave(objects).float(),
    "cls": (torch.rand(batch * objects, 1, generator=drawn) * 10).floor(),
    "bboxes": torch.cat([boxes[:, :2], 0.005 + 0.05 * boxes[:, 2:]], 1),
}
enabled = torch.bfloat16 if trainer.args.amp == "bf16" else trainer.amp
trainer.model.train()
def step():
    with ultralytics_trainer.autocast(enabled, device="cpu"):
        loss, _ = trainer.model(trainer.preprocess_batch(dict(given)))
        total = loss.sum()
    total.backward()
    trainer.optimizer_step()
    return total.item()
with cpu_bfloat16():
    first = step()
    step()
    wall, processor = [], []
    for _ in range(job["steps"]):
        started = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
print(json.dumps({"loss": first, "wall": wall, "processor": processor}))
"""


def measure(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    job = {
        "way": way,
        "imgsz": arguments.imgsz,
        "batch": arguments.batch,
        "steps": arguments.steps,
        "threads": len(os.sched_getaffinity(0)),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(job)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in arguments.ways}
    for _ in range(arguments.rounds):
        for way in arguments.ways:
            results[way].append(measure(way, arguments))
    table = {}
    for way, rounds in results.items():
        wall, processor = (
            [seconds for one in rounds for seconds in one[clock]] for clock in ("wall", "processor")
        )
        low, _, high = statistics.quantiles(wall, n=4) if len(wall) > 1 else [wall[0]] * 3
        table[way] = {
            "wall_s": statistics.median(wall),
            "wall_quartiles_s": [low, high],
            "processor_s": statistics.median(processor),
            "loss": rounds[0]["loss"],
        }
    if arguments.json:
        load = os.getloadavg()
        print(json.dumps({"ways": table, "settings": vars(arguments), "load_average": load}))
        return
    print(f"a step of {arguments.batch} images at {arguments.imgsz}, seconds")
    print(f"{'':34}{'wall':>8}{'quartiles':>16}{'processor':>12}{'first loss':>13}")
    for way, row in table.items():
        low, high = row["wall_quartiles_s"]
        print(
            f"{WAYS[way]:34}{row['wall_s']:8.2f}{low:8.2f} –{high:6.2f}{row['processor_s']:12.2f}"
            f"{row['loss']:13.4f}"
        )
    if max(os.getloadavg()[0], 0) > len(os.sched_getaffinity(0)) + 1:
        print("other programs were running: times are too long, and so are their differences")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
