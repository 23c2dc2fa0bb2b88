"""Measures what each attention block costs in EMA's places: parameters, operations, and
milliseconds in three runtimes.

    python benchmarks/attention.py [--model yolo11n-ema] [--blocks se,cbam,…] [--imgsz 640]
        [--threads 1] [--rounds 15] [--formats torch,onnx,openvino] [--json FILE]

The model is built with every block in EMA's places and with none. In each runtime all of them take
turns on the same input in every round, in changing order; what a block adds is the median over the
rounds of the difference to the network with none, in process time, and its share of that network's
time. A block that reads every value several times, as triplet attention does, costs more than its
few operations say.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from exported_ema import Step, export, race, spread, step_of

from yolo_ema.engine.models.catalog import describe
from yolo_ema.engine.models.registration import build_model
from yolo_ema.io.atomic_files import write_text
from yolo_ema.nn.attention.catalog import ATTENTIONS, attention
from yolo_ema.text_table import text_table


def network(name: str) -> nn.Module:
    """Return a model whose norms fit noise, so that its maps do not fade away."""
    torch.manual_seed(0)
    model = build_model(name).eval()
    model.task = "detect"
    model.names = {index: str(index) for index in range(10)}
    spread(model)
    return model


def torch_step(model: nn.Module, images: np.ndarray) -> Step:
    """Return a call that runs a network in torch once, its norms fused."""
    fused, batch = model.fuse(verbose=False).eval(), torch.from_numpy(images)

    def step() -> np.ndarray:
        with torch.inference_mode():
            return fused(batch)[0].numpy()

    return step


def step_in(runtime: str, name: str, options: argparse.Namespace, folder: Path) -> Step:
    images = np.random.default_rng(0).random((1, 3, options.imgsz, options.imgsz), dtype=np.float32)
    if runtime == "torch":
        return torch_step(network(name), images)
    place = folder / runtime / name
    place.mkdir(parents=True)
    return step_of(export(network(name), runtime, options.imgsz, place), images, options.threads)


def measure(options: argparse.Namespace) -> list[dict[str, object]]:
    names = {block: options.model.replace("-ema", f"-{block}", 1) for block in options.blocks}
    entries = {block: describe(name) for block, name in names.items()}
    rows: list[dict[str, object]] = [
        {
            "block": block,
            "parameters": entry.parameters - entries["none"].parameters,
            "gflops": round(entry.gflops - entries["none"].gflops, 3),
        }
        for block, entry in entries.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        for runtime in options.formats:
            steps = {
                block: step_in(runtime, name, options, Path(folder))
                for block, name in names.items()
            }
            times = race(steps, options.rounds)["cpu"]
            plain = statistics.median(times["none"])
            for row in rows:
                added = statistics.median(
                    one - base
                    for one, base in zip(times[str(row["block"])], times["none"], strict=True)
                )
                row[f"{runtime}_ms"] = round(added, 2)
                row[f"{runtime}_percent"] = round(100 * added / plain, 1)
            print(f"{runtime}: {plain:.1f} ms without a block", file=sys.stderr)
    return rows


def table(rows: list[dict[str, object]], formats: list[str]) -> str:
    header = ["block", "parameters", "GFLOPs", *(f"{runtime} ms (%)" for runtime in formats)]
    lines = [
        [
            str(row["block"]),
            f"{row['parameters']:+,}",
            f"{row['gflops']:+.2f}",
            *(f"{row[f'{one}_ms']:+.1f} ({row[f'{one}_percent']:+.0f})" for one in formats),
        ]
        for row in rows
    ]
    return "\n".join(text_table([header, *lines], left=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="yolo11n-ema")
    parser.add_argument("--blocks", default=",".join(ATTENTIONS))
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--formats", default="torch,onnx,openvino")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = [attention(name).name for name in options.blocks.split(",")]
    options.blocks = list(dict.fromkeys(["none", *chosen]))
    options.formats = options.formats.split(",")
    torch.set_num_threads(options.threads)
    rows = measure(options)
    print(table(rows, options.formats))
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
