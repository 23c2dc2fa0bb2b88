"""Measures what EMA adds to an exported network, in nodes and time: as the package writes it, and
in its direct form.

    python benchmarks/exported_ema.py [--model yolo11n-ema] [--imgsz 640] [--threads 1] [--rounds
        30] [--formats onnx,openvino] [--json FILE]

Three networks of the same weights are exported as `yolo-ema export` does it: without EMA, with its
direct form, and as they are. They take turns on the same input in every round, in changing order;
what EMA adds is the median over the rounds of the difference to the network without it, in process
time and in wall-clock time. The minimum of each network's times is less affected by other programs;
the ratio from it is given, too. Nodes are those of the file, without constants.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "parity")]

from direct_ema import DirectEMA  # noqa: E402 - found through the path above

from yolo_ema.engine.export.ultralytics_export import run_exporter  # noqa: E402
from yolo_ema.engine.models.registration import build_model  # noqa: E402
from yolo_ema.io.atomic_files import write_text  # noqa: E402
from yolo_ema.nn import EfficientMultiScaleAttention  # noqa: E402 - found through the path above

Step = Callable[[], np.ndarray]
NETWORKS = ("without", "direct", "ours")


def direct_of(block: EfficientMultiScaleAttention) -> nn.Module:
    """Return the direct form with the block's parameters."""
    made = DirectEMA(block.groups * block.gn.num_channels, block.groups)
    made.load_state_dict(block.state_dict())
    return made


def networks(name: str) -> dict[str, nn.Module]:
    """Return the three networks; EMA's parameters are random, so that none of its parts is
    trivial.
    """
    torch.manual_seed(0)
    ours = build_model(name).eval()
    ours.task = "detect"
    ours.names = {index: str(index) for index in range(10)}
    for layer in ours.model:
        if isinstance(layer, EfficientMultiScaleAttention):
            for parameter in layer.parameters():
                parameter.data.normal_(std=0.3)
    spread(ours)
    made = {"without": copy.deepcopy(ours), "direct": copy.deepcopy(ours), "ours": ours}
    for index, layer in enumerate(ours.model):
        if isinstance(layer, EfficientMultiScaleAttention):
            for kind, block in (("without", nn.Identity()), ("direct", direct_of(layer))):
                block.i, block.f, block.type = layer.i, layer.f, kind
                made[kind].model[index] = block
    return made


def spread(model: nn.Module) -> None:
    """Fit batch normalisation to noise, so that the maps of a network that was not trained do not
    fade away.
    """
    norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(2, 3, 256, 256))
    model.eval()


def export(model: nn.Module, format_name: str, size: int, folder: Path) -> Path:
    """Write a network as `yolo-ema export` does."""
    settings = {
        "mode": "export",
        "format": format_name,
        "imgsz": [size, size],
        "batch": 1,
        "device": "cpu",
        "data": None,
    }
    return run_exporter(model, format_name, settings, folder, stem="network", entries={})


def nodes_of(path: Path) -> Counter[str]:
    """Count the operations of a file by kind."""
    if path.suffix == ".onnx":
        import onnx

        return Counter(
            node.op_type for node in onnx.load(path).graph.node if node.op_type != "Constant"
        )
    import openvino

    operations = openvino.Core().read_model(next(path.glob("*.xml"))).get_ops()
    return Counter(one.get_type_name() for one in operations if one.get_type_name() != "Constant")


def step_of(path: Path, images: np.ndarray, threads: int) -> Step:
    """Return a call that runs a file once."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # spinning threads would slow the others' turns
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {session.get_inputs()[0].name: images})[0]
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    request = (
        openvino.Core()
        .compile_model(next(path.glob("*.xml")), "CPU", settings)
        .create_infer_request()
    )
    return lambda: np.array(request.infer([images], share_inputs=True, share_outputs=True)[0])


def race(steps: dict[str, Step], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return milliseconds by clock and network, one for each round."""
    times: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in steps} for clock in ("cpu", "wall")
    }
    for turn in range(rounds + 1):
        order = list(steps)[turn % len(steps) :] + list(steps)[: turn % len(steps)]
        for name in order:
            own, wall = time.process_time(), time.perf_counter()
            steps[name]()
            if turn:
                times["cpu"][name].append((time.process_time() - own) * 1e3)
                times["wall"][name].append((time.perf_counter() - wall) * 1e3)
    return times


def summary(times: dict[str, list[float]]) -> dict[str, float]:
    """Return medians, what each form adds, and the ratio of the two."""
    adds = {
        name: statistics.median(
            one - base for one, base in zip(times[name], times["without"], strict=True)
        )
        for name in ("direct", "ours")
    }
    least = {name: min(values) for name, values in times.items()}
    return {
        **{f"{name}_ms": statistics.median(values) for name, values in times.items()},
        "direct_adds_ms": adds["direct"],
        "ours_adds_ms": adds["ours"],
        "ratio": adds["ours"] / adds["direct"],
        "least_ratio": (least["ours"] - least["without"]) / (least["direct"] - least["without"]),
    }


def measure(
    format_name: str, models: dict[str, nn.Module], options: argparse.Namespace, folder: Path
) -> dict[str, object]:
    blocks = sum(isinstance(layer, EfficientMultiScaleAttention) for layer in models["ours"].model)
    files = {}
    for name, model in models.items():
        (folder / format_name / name).mkdir(parents=True)
        files[name] = export(model, format_name, options.imgsz, folder / format_name / name)
    images = np.random.default_rng(0).random((1, 3, options.imgsz, options.imgsz), dtype=np.float32)
    steps = {name: step_of(path, images, options.threads) for name, path in files.items()}
    deviation = float(np.abs(steps["ours"]() - steps["direct"]()).max())
    counts = {name: nodes_of(path) for name, path in files.items()}
    added = {}
    for name in ("direct", "ours"):
        counts[name].subtract(counts["without"])
        added[name] = {
            kind: number / blocks for kind, number in counts[name].most_common() if number
        }
    return {
        "format": format_name,
        "blocks": blocks,
        "largest_deviation": deviation,
        "nodes_without": counts["without"].total(),
        "nodes_a_block": {name: counts[name].total() / blocks for name in added},
        "nodes_by_kind": added,
        **{clock: summary(times) for clock, times in race(steps, options.rounds).items()},
    }


def table(rows: list[dict]) -> str:
    """Return Markdown."""
    lines = [
        (
            "| format | nodes a block, direct → ours | without, ms | direct adds, ms | ours adds, "
            "ms | "
            "ratio | of the least times |"
        ),
        "| --- " * 7 + "|",
    ]
    for row in rows:
        nodes = row["nodes_a_block"]
        for clock in ("cpu", "wall"):
            found = row[clock]
            lines.append(
                f"| {row['format']}, {clock} | {nodes['direct']:.1f} → {nodes['ours']:.1f} | "
                f"{found['without_ms']:.1f} | "
                f"{found['direct_adds_ms']:.2f} | {found['ours_adds_ms']:.2f} | "
                f"{found['ratio']:.2f} | {found['least_ratio']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="yolo11n-ema")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--formats", default="onnx,openvino")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything into FILE")
    options = parser.parse_args()
    models = networks(options.model)
    with tempfile.TemporaryDirectory(prefix="yolo-ema-nodes-") as folder:
        rows = [measure(name, models, options, Path(folder)) for name in options.formats.split(",")]
    print(table(rows))
    print(
        json.dumps(
            [
                {key: row[key] for key in ("format", "largest_deviation", "nodes_by_kind")}
                for row in rows
            ],
            indent=1,
        )
    )
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
