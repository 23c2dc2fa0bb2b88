"""Measures the EMA block beside its direct form: inference in three runtimes, a training step,
bytes kept for backward.

    python benchmarks/ema.py [--quick] [--json FILE] [--threads N] [--clock wall|cpu] [--seconds S]
        [--places TEXT] [--only torch,onnx,openvino,train,saved]

Both forms take turns in every round on the same input, so that what else the machine does weighs on
both alike. The ratio is the median over the rounds of direct/ours: above 1 the block is faster, or
keeps fewer bytes. The shapes are those of the places that yolo11's EMA models have at scales n, s
and m: levels P3, P4 and P5 (the last two backbone stages have the shapes of P4 and P5). On a
machine that others use too, ``--threads 1 --clock cpu`` counts the process's own time instead of
the clock on the wall.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "parity")]

from direct_ema import DirectEMA  # noqa: E402 - found through the path above

from yolo_ema.io.atomic_files import write_text  # noqa: E402
from yolo_ema.nn import EfficientMultiScaleAttention  # noqa: E402 - found through the path above

CHANNELS = {"n": (64, 128, 256), "s": (128, 256, 512), "m": (256, 512, 512)}
STRIDES = (8, 16, 32)
MEASURES = ("torch", "onnx", "openvino", "train", "saved")
Step = Callable[[], object]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def shapes(*, quick: bool) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Return (name, (B, C, H, W)) of every place; only scale n at 640, batch 1, where `quick`."""
    scales, sizes, batches = (
        (("n",), (640,), (1,)) if quick else (tuple(CHANNELS), (640, 1280), (1, 8))
    )
    return [
        (
            f"{scale}@{size} P{level + 3} B{batch}",
            (batch, CHANNELS[scale][level], size // STRIDES[level], size // STRIDES[level]),
        )
        for scale in scales
        for size in sizes
        for batch in batches
        for level in range(3)
    ]


def pair(channels: int) -> tuple[nn.Module, nn.Module]:
    """Return the direct form and the block with the same parameters."""
    block = EfficientMultiScaleAttention(channels)
    direct = DirectEMA(channels, block.groups)
    direct.load_state_dict(block.state_dict())
    return direct, block


def torch_step(module: nn.Module, x: Tensor, _threads: int) -> Step:
    module.eval()

    def step() -> object:
        with torch.inference_mode():
            return module(x)

    return step


def onnx_step(module: nn.Module, x: Tensor, threads: int) -> Step:
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(module.eval(), (x,), file, opset_version=18, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # spinning threads would slow the other form's turn
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x.numpy()})


def openvino_step(module: nn.Module, x: Tensor, threads: int) -> Step:
    import openvino

    traced = torch.jit.trace(module.eval(), x, strict=False, check_trace=False)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = openvino.Core().compile_model(
        openvino.convert_model(traced, input=x.shape, example_input=x), "CPU", settings
    )
    request = compiled.create_infer_request()
    return lambda: request.infer([x.numpy()], share_inputs=True, share_outputs=True)


def train_step(module: nn.Module, x: Tensor, _threads: int) -> Step:
    module.train()
    leaf = x.clone().requires_grad_()
    gradient = torch.randn_like(x)

    def step() -> None:
        leaf.grad = None
        module.zero_grad()
        module(leaf).backward(gradient)

    return step


STEPS = {"torch": torch_step, "onnx": onnx_step, "openvino": openvino_step, "train": train_step}


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Return the bytes of the distinct storages kept for backward, parameters left out."""
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = module.train()(x.clone().requires_grad_())
    total = sum(kept.values())
    del result
    return total


def timed(step: Step, repeats: int, clock: Clock) -> float:
    begin = clock()
    for _ in range(repeats):
        step()
    return (clock() - begin) / repeats


def race(
    direct: Step, ours: Step, *, rounds: int, seconds: float, clock: Clock
) -> dict[str, float]:
    """Time both in turns for about `seconds`: medians and quartile spreads in milliseconds, and the
    median of the ratios.
    """
    for step in (direct, ours):
        step()
    once = min(timed(direct, 1, clock), timed(direct, 1, clock))
    repeats = max(1, min(50, int(seconds / (2 * rounds * once))))
    times = []
    for index in range(rounds):
        first, second = (direct, ours) if index % 2 == 0 else (ours, direct)
        a, b = timed(first, repeats, clock), timed(second, repeats, clock)
        times.append((a, b) if index % 2 == 0 else (b, a))
    theirs, mine = [a * 1e3 for a, _ in times], [b * 1e3 for _, b in times]
    return {
        "direct_ms": statistics.median(theirs),
        "direct_spread_ms": spread(theirs),
        "ours_ms": statistics.median(mine),
        "ours_spread_ms": spread(mine),
        "ratio": statistics.median(a / b for a, b in times),
    }


def spread(values: list[float]) -> float:
    quartiles = statistics.quantiles(values, n=4)
    return quartiles[2] - quartiles[0]


def measure(
    kind: str,
    shape: tuple[int, int, int, int],
    *,
    threads: int,
    rounds: int,
    seconds: float,
    clock: Clock,
) -> dict[str, float]:
    torch.manual_seed(0)
    direct, block = pair(shape[1])
    x = torch.randn(shape)
    if kind == "saved":
        theirs, mine = saved_bytes(direct, x), saved_bytes(block, x)
        return {"direct_mib": theirs / 2**20, "ours_mib": mine / 2**20, "ratio": theirs / mine}
    build = STEPS[kind]
    return race(
        build(direct, x, threads),
        build(block, x, threads),
        rounds=rounds,
        seconds=seconds,
        clock=clock,
    )


def surroundings(threads: int, clock: str) -> dict[str, object]:
    """Return hardware, versions, threads and commit."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("onnxruntime", "openvino"):
        versions[name] = (
            importlib.metadata.version(name) if importlib.util.find_spec(name) else "missing"
        )
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.strip()
    capability = torch.backends.cpu.get_cpu_capability()
    load = os.getloadavg()[0]
    return {
        "cpu": cpu,
        "capability": capability,
        "cores": os.cpu_count(),
        "threads": threads,
        "load": load,
        "commit": commit,
        **versions,
    }


def summary(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Return by measure: geometric mean, smallest and largest ratio."""
    result = {}
    for kind in MEASURES:
        ratios = [row["ratio"] for row in rows if row["measure"] == kind]
        if ratios:
            result[kind] = {
                "geometric_mean": statistics.geometric_mean(ratios),
                "smallest": min(ratios),
                "largest": max(ratios),
            }
    return result


def table(rows: list[dict], kinds: list[str]) -> str:
    """Return a Markdown table: a row for each shape, direct → ours (ratio) for each measure."""
    lines = ["| place | shape | " + " | ".join(kinds) + " |", "| --- " * (len(kinds) + 2) + "|"]
    for place in dict.fromkeys(row["place"] for row in rows):
        own = {row["measure"]: row for row in rows if row["place"] == place}
        shape = "×".join(map(str, next(iter(own.values()))["shape"]))
        cells = [cell(own[kind]) if kind in own else "" for kind in kinds]
        lines.append(f"| {place} | {shape} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(row: dict) -> str:
    unit = "mib" if row["measure"] == "saved" else "ms"
    return f"{row[f'direct_{unit}']:.2f} → {row[f'ours_{unit}']:.2f} ({row['ratio']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="scale n at 640, batch 1, few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything into FILE")
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        help="threads of each runtime (default: all cores)",
    )
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default="wall", help="what is timed (default: wall)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="time for each measure of each shape, in about (default: 1)",
    )
    parser.add_argument(
        "--places",
        default="",
        metavar="TEXT",
        help="only places whose name contains it, such as n@640 or P3 B1",
    )
    parser.add_argument("--only", default=",".join(MEASURES), help="measures, comma-separated")
    options = parser.parse_args()
    kinds = [kind for kind in MEASURES if kind in options.only.split(",")]
    rounds, seconds = (5, 0.5) if options.quick else (7, options.seconds)
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    rows = []
    for place, shape in [row for row in shapes(quick=options.quick) if options.places in row[0]]:
        for kind in kinds:
            row = measure(
                kind,
                shape,
                threads=options.threads,
                rounds=rounds,
                seconds=seconds,
                clock=CLOCKS[options.clock],
            )
            rows.append({"place": place, "shape": list(shape), "measure": kind, **row})
            print(f"{place} {kind}: {cell(rows[-1])}", file=sys.stderr, flush=True)
            gc.collect()
    found = {
        "surroundings": surroundings(options.threads, options.clock),
        "summary": summary(rows),
        "rows": rows,
    }
    print(table(rows, kinds))
    print(
        json.dumps({"surroundings": found["surroundings"], "summary": found["summary"]}, indent=1)
    )
    if options.json:
        write_text(options.json, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
