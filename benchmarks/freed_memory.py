"""What it gains that the process keeps the memory it frees: a training step and an image in tiles,
with it and without.

    python benchmarks/freed_memory.py [--weights yolo11n.pt] [--tasks training tiles] [--imgsz 640]
    [--batch 8] [--json]

Each measurement is a child process, since the allocator is set up once; the two take turns in
rounds. The table gives medians of all passes: time on the clock, processor time of the program and
of the kernel on its behalf, page faults, and the most memory that a child took. The image is a
drawn scene of 1920x1080 from a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

from yolo_ema.scenes.scene import draw_scene

SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "yolo11n-ema-visdrone.pt"
CHILD = """
import json, resource, sys, time
from yolo_ema.io import malloc_tuning as freed_memory
job = json.loads(sys.argv[1])
if not job["keeps"]:
    freed_memory.keep_freed_memory = lambda **_: False  # before whoever asks for it is imported
import numpy as np
import torch

def training():
    from ultralytics.utils import DEFAULT_CFG
    from yolo_ema.engine.setup.environment import use_all_cores
    from yolo_ema.engine.weights.loading import load_model
    use_all_cores()
    freed_memory.keep_freed_memory(of_any_size=True)
    model = load_model(job["weights"]).model.float().train().requires_grad_(True)
    model.args = DEFAULT_CFG
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    size, batch, objects = job["imgsz"], job["batch"], 70
    drawn = torch.Generator().manual_seed(0)
    def some(*shape):
        return torch.rand(*shape, generator=drawn)
    images = {
        "img": some(batch, 3, size, size),
        "batch_idx": torch.arange(batch).repeat_interleave(objects).float(),
        "cls": (some(batch * objects, 1) * len(model.names)).floor(),
        "bboxes": torch.cat([some(batch * objects, 2), 0.005 + 0.05 * some(batch * objects, 2)], 1),
    }
    def step():
        model(images)[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return step

def tiles():
    import cv2
    from yolo_ema import Detector
    side = job["imgsz"]
    detector = Detector(job["weights"], tile=(side, side), imgsz=side, device="cpu")
    image = cv2.imread(job["image"])
    return lambda: detector.detect(image)

one_pass = {"training": training, "tiles": tiles}[job["task"]]()
one_pass(), one_pass()
found = []
for _ in range(job["passes"]):
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    one_pass()
    passed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    found.append([passed] + [getattr(after, name) - getattr(before, name)
                             for name in ("ru_utime", "ru_stime", "ru_minflt")])
print(json.dumps([found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
CHOSEN_BY = ("MALLOC_", "GLIBC_TUNABLES")


def main() -> None:
    """Run, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default=str(SHIPPED))
    parser.add_argument(
        "--tasks", nargs="+", choices=["training", "tiles"], default=["training", "tiles"]
    )
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(CHOSEN_BY)}
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "scene.png"
        cv2.imwrite(str(image), draw_scene(0, image_wh=(1920, 1080)).image_bgr)
        jobs = vars(options) | {"image": str(image)}
        rows = [row for task in options.tasks for row in measured(task, jobs, clean)]
    if options.json:
        print(json.dumps({"load": os.getloadavg()[0], "rows": rows}))
        return
    print(
        f"load {os.getloadavg()[0]:.1f}\n\n| | ms | CPU ms | of these the kernel | page faults | "
        f"most memory, MB |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for row in rows:
        figures = (
            row["ms"],
            row["user_ms"] + row["kernel_ms"],
            row["kernel_ms"],
            row["faults"],
            row["most_mb"],
        )
        print(f"| {row['what']} | {' | '.join(f'{figure:,.0f}' for figure in figures)} |")


def measured(
    task: str, options: dict[str, Any], environment: dict[str, str]
) -> list[dict[str, Any]]:
    """Return a row for each way."""
    ways = {f"{task}, freed memory kept": True, f"{task}, as glibc has it": False}
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    most = dict.fromkeys(ways, 0.0)
    for _ in range(options["rounds"]):
        for name, keeps in ways.items():
            job = {**options, "task": task, "keeps": keeps}
            command = [sys.executable, "-c", CHILD, json.dumps(job)]
            done = subprocess.run(
                command, check=True, env=environment, stdout=subprocess.PIPE, text=True
            )
            passes, megabytes = json.loads(done.stdout.splitlines()[-1])
            found[name] += passes
            most[name] = max(most[name], megabytes)
    rows: list[dict[str, Any]] = []
    for name, passes in found.items():
        seconds, user, kernel, faults = (
            statistics.median(column) for column in zip(*passes, strict=True)
        )
        rows.append(
            {
                "what": name,
                "ms": 1e3 * seconds,
                "user_ms": 1e3 * user,
                "kernel_ms": 1e3 * kernel,
                "faults": faults,
                "most_mb": most[name],
            }
        )
    return rows


if __name__ == "__main__":
    main()
