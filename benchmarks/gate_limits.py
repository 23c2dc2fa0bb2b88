"""How far a scaled convolution moves boxes and scores, compared with rounding: the gate's limits
are in between.

    python benchmarks/gate_limits.py best.pt best.onnx image.jpg --step 8

Needs the packages of ``yolo-ema[onnx]``. Every STEP-th convolution of the file is scaled by 1.01,
one at a time, and the network's proposals for the image are compared with those of the weights. One
row per convolution: the largest difference of a box's side in pixels of the input, and the largest
relative difference of a score (as the gate measures it), over proposals with a score of 0.05 or
more and over all.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from yolo_ema.deploy.parity.comparison import as_shares
from yolo_ema.deploy.parity.parity_report import GateLimits
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.media.sources.image_reader import read_image

STRONG = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument("--factor", type=float, default=1.01)
    args = parser.parse_args()
    image, limits = read_image(args.image), GateLimits()
    same = {"device": "cpu", "rectangular": False}
    file = open_predictor(args.file, **same)
    expected = open_predictor(args.weights, imgsz=file.imgsz_hw, **same).candidates(image)
    strong = expected[:, 4:].max(axis=1) >= STRONG
    print(f"{strong.sum()} of {len(expected)} proposals score {STRONG} or more")

    def row(name: str, found: np.ndarray) -> float:
        px = np.abs(found[:, :4] - expected[:, :4]).max(axis=1)
        share = as_shares(found[:, 4:] - expected[:, 4:], expected[:, 4:]).max(axis=1)
        figures = px[strong].max(), 100 * share[strong].max(), px.max(), 100 * share.max()
        print(
            f"{figures[0]:9.4f} px {figures[1]:8.4f} %   all: {figures[2]:9.4f} px "
            f"{figures[3]:8.4f} %   {name}",
            flush=True,
        )
        return max(px.max() / limits.px, share.max() / limits.score)

    sound = row("as it is", file.candidates(image))
    model = onnx.load(str(args.file))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = {one.name: one for one in model.graph.initializer}
    least = []
    with tempfile.TemporaryDirectory() as folder:
        for node in convolutions[:: args.step]:
            weight = weights[node.input[1]]
            before = numpy_helper.to_array(weight).copy()
            weight.CopyFrom(
                numpy_helper.from_array(
                    (before * np.float32(args.factor)).astype(np.float32), weight.name
                )
            )
            onnx.save(model, f"{folder}/scaled.onnx")
            weight.CopyFrom(numpy_helper.from_array(before, weight.name))
            least.append(
                row(node.name, open_predictor(f"{folder}/scaled.onnx", **same).candidates(image))
            )
    print(
        f"{len(least)} of {len(convolutions)} convolutions scaled by {args.factor}: at least "
        f"{min(least):.1f} times the limits; "
        f"as it is: {sound:.3f} times"
    )


if __name__ == "__main__":
    main()
