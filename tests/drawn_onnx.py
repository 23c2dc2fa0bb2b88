"""A small ONNX file with boxes that are known beforehand, made without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {number: f"class {number}" for number in range(3)}
ENTRIES: dict[str, Any] = {
    "names": NAMES,
    "imgsz": [64, 96],
    "stride": 32,
    "batch": 1,
    "task": "detect",
    "args": {"nms": False, "dynamic": False},
    "end2end": False,
}
ROWS = np.array(
    [[20, 20, 10, 10, 0.9, 0, 0], [60, 30, 20, 16, 0, 0.8, 0], [62, 30, 20, 16, 0, 0.7, 0]],
    np.float32,
)
"""(N, 4 + K) what the network proposes, whatever it sees: center x and y, width, height, scores."""


def write_onnx(
    path: Path,
    entries: Mapping[str, Any] = ENTRIES,
    *,
    answer: np.ndarray = ROWS.T[None],
    input_shape: tuple[Any, ...] = (1, 3, 64, 96),
) -> Path:
    """Write a file that gives ``answer`` to every image."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, answer.shape)],
        [
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(answer.astype(np.float32), "answer"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for key, value in entries.items():
        prop = model.metadata_props.add()
        prop.key, prop.value = key, str(value)
    onnx.save(model, str(path))
    return path
