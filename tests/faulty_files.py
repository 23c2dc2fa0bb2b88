"""ONNX files with one fault each, made from a good one by surgery on its graph: what the gate must
refuse.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from yolo_ema.engine.export.onnx_file import make_valid

Surgery = Callable[[onnx.ModelProto], None]


def spoilt(good: Path, out: Path, surgery: Surgery) -> Path:
    """Write a copy of an ONNX file after surgery."""
    model = onnx.load(str(good))
    surgery(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(out))
    make_valid(out)  # so that the fault is the only one
    return out


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def with_weight(
    node: onnx.NodeProto, change: Callable[[np.ndarray], np.ndarray], model: onnx.ModelProto
) -> None:
    (weight,) = [one for one in model.graph.initializer if one.name == node.input[1]]
    changed = np.ascontiguousarray(change(numpy_helper.to_array(weight)), dtype=np.float32)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))


def scaled_convolution(number: int, factor: float = 1.01) -> Surgery:
    return lambda model: with_weight(
        convolutions(model)[number], lambda weight: weight * np.float32(factor), model
    )


def one_weight(number: int) -> Surgery:
    """A single number in a convolution has lost its sign: its filter's largest."""

    def change(weight: np.ndarray) -> np.ndarray:
        changed = weight.copy()
        largest = np.unravel_index(np.abs(changed).argmax(), changed.shape)
        changed[largest] *= -1
        return changed

    return lambda model: with_weight(convolutions(model)[number], change, model)


def first_convolution(change: Callable[[np.ndarray], np.ndarray]) -> Surgery:
    return lambda model: with_weight(convolutions(model)[0], change, model)


expects_bgr = first_convolution(lambda weight: weight[:, ::-1])
expects_bytes = first_convolution(lambda weight: weight / 255)
divides_twice = first_convolution(lambda weight: weight * 255)
expects_bgr_bytes = first_convolution(lambda weight: weight[:, ::-1] / 255)
ignores_its_input = first_convolution(lambda weight: weight * 0)


def without_metadata(key: str) -> Surgery:
    def change(model: onnx.ModelProto) -> None:
        kept = {one.key: one.value for one in model.metadata_props if one.key != key}
        helper.set_model_props(model, kept)

    return change


def metadata(**entries: object) -> Surgery:
    def change(model: onnx.ModelProto) -> None:
        kept = {one.key: one.value for one in model.metadata_props}
        helper.set_model_props(
            model, {**kept, **{key: str(value) for key, value in entries.items()}}
        )

    return change


def swapped_names(first: int, second: int) -> Surgery:
    def change(model: onnx.ModelProto) -> None:
        names = ast.literal_eval(
            next(one.value for one in model.metadata_props if one.key == "names")
        )
        names[first], names[second] = names[second], names[first]
        metadata(names=names)(model)

    return change


def _after_output(
    model: onnx.ModelProto,
    make: Callable[[str, str], list[onnx.NodeProto]],
    shape: list[int] | None = None,
) -> None:
    """Put nodes between the graph and its output."""
    output = model.graph.output[0]
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == output.name:
                node.output[place] = "before"
    model.graph.node.extend(make("before", output.name))
    if shape:
        for axis, size in zip(output.type.tensor_type.shape.dim, shape, strict=True):
            axis.dim_value = size


def _constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def loses_proposals(kept: int) -> Surgery:
    """The output (1, 4 + K, N) keeps its first proposals only: the last levels of the grid are
    gone.
    """

    def change(model: onnx.ModelProto) -> None:
        inputs = [
            _constant(model, name, np.array([value]))
            for name, value in (("from", 0), ("to", kept), ("axis", 2))
        ]
        shape = [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim]
        _after_output(
            model, lambda a, b: [helper.make_node("Slice", [a, *inputs], [b])], [*shape[:2], kept]
        )

    return change


def silent_proposals(start: int, stop: int, rows: int) -> Surgery:
    """The scores of some proposals are zero."""

    def change(model: onnx.ModelProto) -> None:
        count = model.graph.output[0].type.tensor_type.shape.dim[2].dim_value
        mask = np.ones((1, rows, count), np.float32)
        mask[:, 4:, start:stop] = 0
        name = _constant(model, "mask", mask)
        _after_output(model, lambda a, b: [helper.make_node("Mul", [a, name], [b])])

    return change


def swapped_classes(first: int, second: int, rows: int) -> Surgery:
    """The output gives two classes in each other's place."""

    def change(model: onnx.ModelProto) -> None:
        order = np.arange(rows)
        order[[4 + first, 4 + second]] = order[[4 + second, 4 + first]]
        name = _constant(model, "order", order)
        _after_output(model, lambda a, b: [helper.make_node("Gather", [a, name], [b], axis=1)])

    return change


def moved_boxes(
    rows: int,
    *,
    factor: float = 1.0,
    shift_px: float = 0.0,
    start: int = 0,
    stop: int | None = None,
) -> Surgery:
    """Box centers are scaled and shifted along y, as where the file's maker letterboxed otherwise;
    or, of some proposals only, as from wrong anchors.
    """

    def change(model: onnx.ModelProto) -> None:
        count = model.graph.output[0].type.tensor_type.shape.dim[2].dim_value
        scale, shift = (np.full((1, rows, count), value, np.float32) for value in (1, 0))
        scale[0, 1, start:stop], shift[0, 1, start:stop] = factor, shift_px
        names = _constant(model, "scale", scale), _constant(model, "shift", shift)
        _after_output(
            model,
            lambda a, b: [
                helper.make_node("Mul", [a, names[0]], ["scaled"]),
                helper.make_node("Add", ["scaled", names[1]], [b]),
            ],
        )

    return change


def mixes_its_batch(model: onnx.ModelProto) -> None:
    """What stands in one image of a batch shows in the others; a single image is right."""
    axes = _constant(model, "axes", np.array([0]))
    _after_output(
        model,
        lambda a, b: [
            helper.make_node("ReduceMean", [a, axes], ["mean"], keepdims=1),
            helper.make_node("Add", [a, "mean"], ["sum"]),
            helper.make_node(
                "Mul", ["sum", _constant(model, "half", np.array(0.5, np.float32))], [b]
            ),
        ],
    )
