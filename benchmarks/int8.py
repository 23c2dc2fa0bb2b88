"""Measures what int8 costs and gains: official AP, size and time for each choice of parts that stay
in float.

    python benchmarks/int8.py --weights W --data D [--calibrate DIR] [--imgsz 640] [--images 64]
        [--formats onnx,openvino] [--ranges minmax|percentile|entropy] [--keep CHOICE] [--rounds 10]
        [--json FILE]

The float file is exported once per format and quantized once per choice; every file is scored on
D's val split at the full square input. Calibration uses evenly sampled images of D's train split,
or of --calibrate. All files of a format take turns on the same image: median of the process's own
time for one image, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_EMA_THREADS", "1")

import cv2

from yolo_ema.engine.data.dataset_lookup import resolve_data
from yolo_ema.engine.data.split_files import split_images
from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.export.quantization import ONNX_RANGES, calibration_inputs, quantize_int8
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.evaluate.validation import validate
from yolo_ema.io.atomic_files import write_text
from yolo_ema.options.export import ExportOptions
from yolo_ema.options.val import ValOptions

CHOICES: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "EMA": ("ema",),
    "head": ("head",),
    "EMA and head": ("ema", "head"),
}
"""What stays in float, besides what decodes boxes."""


def files_of(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Write the float file and the int8 file of each choice."""
    size_hw = (options.imgsz, options.imgsz)
    export = ExportOptions(
        weights=options.weights, format=(name,), imgsz=(options.imgsz,), prove=False
    )
    exact = export_artifact(name, export, load_model(options.weights), folder).path
    images = (
        sorted(options.calibrate.rglob("*.jpg"))
        if options.calibrate
        else split_images(resolve_data(options.data), "train")
    )
    inputs = calibration_inputs(images, size_hw, options.images)
    made = {"all (float)": exact}
    for choice in options.keep or CHOICES:
        keep = CHOICES[choice]
        place = folder / choice.replace(" ", "-") / exact.name
        place.parent.mkdir()
        quantize_int8(exact, name, inputs, out=place, keep_float=keep, ranges=options.ranges)
        if place.is_dir():
            (place / "metadata.yaml").write_bytes((exact / "metadata.yaml").read_bytes())
        made[choice] = place
    return made


def size_of(path: Path) -> int:
    return sum(
        part.stat().st_size
        for part in (path.rglob("*") if path.is_dir() else [path])
        if part.is_file()
    )


def times_of(files: dict[str, Path], image: Any, rounds: int) -> dict[str, float]:
    """Return milliseconds of the process's own time for one image, all files in turns."""
    runtimes = {
        name: open_predictor(path, device="cpu", rectangular=False, trust=True)
        for name, path in files.items()
    }
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(rounds + 1):
        for name, runtime in runtimes.items():
            begin = time.process_time()
            runtime([image])
            if turn:
                times[name].append((time.process_time() - begin) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help="images to calibrate on, instead of the train split",
    )
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument(
        "--images", type=int, default=64, help="the most images to calibrate on (default: 64)"
    )
    parser.add_argument(
        "--ranges",
        choices=tuple(ONNX_RANGES),
        default="percentile",
        help="how ranges are chosen for ONNX",
    )
    parser.add_argument(
        "--keep", choices=tuple(CHOICES), action="append", help="only this choice; may be repeated"
    )
    parser.add_argument("--formats", default="onnx,openvino")
    parser.add_argument(
        "--rounds", type=int, default=10, help="turns of each file for the time (default: 10)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    image = cv2.imread(str(split_images(resolve_data(options.data), "val")[0]))
    rows = []
    print("| format | in float | AP % | AP50 % | MB | ms |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="yolo-ema-int8-") as folder:
        for name in options.formats.split(","):
            place = Path(folder) / name
            place.mkdir()
            files = files_of(name, options, place)
            times = times_of(files, image, options.rounds)
            for choice, path in files.items():
                score = validate(
                    ValOptions(
                        weights=path, data=options.data, rectangular=False, device="cpu", trust=True
                    )
                )
                official = score.as_json()["official"]
                row = {
                    "format": name,
                    "float": choice,
                    "ap": official["AP"],
                    "ap50": official["AP50"],
                }
                rows.append(row | {"bytes": size_of(path), "ms": times[choice]})
                figures = (
                    f"{official['AP']:.2f} | {official['AP50']:.2f} | "
                    f"{size_of(path) / 1e6:.1f} | {times[choice]:.0f}"
                )
                print(f"| {name} | {choice} | {figures} |", flush=True)
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1))
    print(f"{len(rows)} files", file=sys.stderr)


if __name__ == "__main__":
    main()
