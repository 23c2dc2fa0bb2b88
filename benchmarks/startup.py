"""What the first boxes of a fresh process cost: one image through ``yolo-ema detect`` and through
``yolo predict``.

    python benchmarks/startup.py [--weights best.pt] [--image FILE] [--rounds 7] [--json]

Every run is a process of its own: starting Python, importing, loading the network, one image as a
whole (``--tile off``), an annotated copy. The commands take turns in rounds; the table gives the
median and the quartiles of the processor time (user and system, all threads), the median on the
clock, and the ratio to ``yolo predict`` with a ``.pt``. Theirs runs a plain YOLO11n with random
layers, which finds nothing to draw, and the same exported file as ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PEER = "yolo predict, .pt"


def commands(folder: Path, weights: Path, image: Path) -> dict[str, list[str]]:
    """Export the weights, and return each contender's command line."""
    import numpy as np
    from ultralytics import YOLO

    from yolo_ema.engine.weights.loading import load_model

    size = load_model(weights).imgsz
    if not image.is_file():
        import cv2

        cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8))
    ours = [sys.executable, "-m", "yolo_ema"]
    export = [*ours, "export", "--weights", str(weights), "--format", "onnx,openvino"]
    subprocess.run(
        [*export, "--imgsz", str(size), "--no-prove", "--out", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    YOLO("yolo11n.yaml").save(str(folder / "plain.pt"))
    files = {
        ".pt": weights,
        "ONNX": next(folder.glob("*.onnx")),
        "OpenVINO": next(folder.glob("*_openvino_model")),
    }
    detect = [*ours, "detect", str(image), "--tile", "off", "--save", "annotated", "--weights"]
    yolo = [sys.executable, "-c", "from ultralytics.cfg import entrypoint; entrypoint()"]
    predict = [*yolo, "predict", f"source={image}", f"project={folder}", "device=cpu"]
    theirs = {".pt": folder / "plain.pt", "ONNX": files["ONNX"], "OpenVINO": files["OpenVINO"]}
    contenders = {}
    for name, file in files.items():
        out = str(folder / f"boxes {name}")
        contenders[f"yolo-ema detect, {name}"] = [
            *detect,
            str(file),
            "--device",
            "cpu",
            "--out",
            out,
        ]
    return contenders | {
        f"yolo predict, {name}": [*predict, f"model={file}", f"imgsz={size}"]
        for name, file in theirs.items()
    }


def run(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command, and return the processor time and the time on the clock, seconds."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_EMA_CACHE": str(folder / "cache"),
        "YOLO_CONFIG_DIR": str(folder / "cache"),
    }
    started = time.perf_counter()
    child = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)}\n{said.decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started


def main() -> None:
    """Run, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shipped = REPOSITORY / "weights" / "yolo11n-ema-visdrone.pt"
    parser.add_argument("--weights", type=Path, default=shipped)
    parser.add_argument("--image", type=Path, help="default: noise of 640x360")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image = (args.image or folder / "noise.png").absolute()
        contenders = commands(folder, args.weights.absolute(), image)
        for command in contenders.values():
            run(command, folder)  # compiles Python files, fills the cache of the disk
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for _ in range(args.rounds):
            for name, command in contenders.items():
                spent[name].append(run(command, folder))
    peer = statistics.median(cpu for cpu, _ in spent[PEER])
    rows = []
    for name, times in spent.items():
        cpu = [seconds for seconds, _ in times]
        low, middle, high = (
            statistics.quantiles(cpu, n=4, method="inclusive") if len(cpu) > 1 else cpu * 3
        )
        wall = statistics.median(seconds for _, seconds in times)
        rows.append(
            {"command": name, "cpu_s": middle, "quartiles_s": [low, high], "wall_s": wall}
            | {"share": middle / peer}
        )
    if args.json:
        print(json.dumps({"rounds": args.rounds, "rows": rows}, indent=1))
        return
    print(
        "| command | processor, s | quartiles | clock, s | share |\n| --- | --: | --: | --: | --: |"
    )
    for row in rows:
        low, high = row["quartiles_s"]
        print(
            f"| {row['command']} | {row['cpu_s']:.2f} | {low:.2f}–{high:.2f} | {row['wall_s']:.2f} "
            f"| {row['share']:.2f} |"
        )


if __name__ == "__main__":
    main()
