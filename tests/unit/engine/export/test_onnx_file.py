"""ONNX files that strict readers refuse are repaired, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from lively_weights import lively_model, save
from onnx import TensorProto, helper
from ultralytics.nn import tasks

from yolo_ema.deploy.parity.gate import prove
from yolo_ema.deploy.parity.parity_report import FAILED
from yolo_ema.engine.export.export_limits import check_detector
from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.export.onnx_file import make_valid, onnx_problems
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import MachineError, WeightsError
from yolo_ema.options.export import ExportOptions


def model_of(*nodes: onnx.NodeProto, shapes: dict[str, tuple[int, ...]] | None = None):
    """A model from ``x`` to ``y``, both (2, 3), that states these shapes for what is in between."""
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [tensor("x", TensorProto.FLOAT, (2, 3))],
        [tensor("y", TensorProto.FLOAT, (2, 3))],
        value_info=[
            tensor(name, TensorProto.FLOAT, shape) for name, shape in (shapes or {}).items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


RELU = helper.make_node("Relu", ["x"], ["a"], "first")
NEG = helper.make_node("Neg", ["a"], ["y"], "second")


def test_a_wrong_shape_between_operations_is_found_and_repaired(tmp_path):
    file = tmp_path / "a.onnx"
    model = model_of(RELU, NEG, shapes={"a": (2, 16)})
    model.metadata_props.add(key="names", value="{0: 'car'}")
    onnx.save(model, file)
    found = onnx_problems(file)
    assert any("the ONNX checker refuses it" in problem for problem in found), found
    assert any("strict shape inference refuses it" in problem for problem in found), found
    make_valid(file)
    assert onnx_problems(file) == []
    mended = onnx.load(file)
    (shape,) = [
        [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in mended.graph.value_info
    ]
    assert shape == [2, 3]
    assert mended.metadata_props == model.metadata_props


def test_operations_before_those_they_depend_on_are_reordered(tmp_path):
    file = tmp_path / "a.onnx"
    onnx.save(model_of(NEG, RELU), file)
    assert "the ONNX checker refuses it" in " ".join(onnx_problems(file))
    make_valid(file)
    assert [node.name for node in onnx.load(file).graph.node] == ["first", "second"]
    assert onnx_problems(file) == []


def test_operations_that_contradict_each_other_are_one_clear_error(tmp_path):
    file = tmp_path / "a.onnx"
    wrong = helper.make_node("Add", ["a", "x"], ["y"])
    transpose = helper.make_node("Transpose", ["x"], ["a"])
    onnx.save(model_of(transpose, wrong), file)
    before = file.read_bytes()
    with pytest.raises(MachineError, match="the converter wrote an invalid file"):
        make_valid(file)
    assert file.read_bytes() == before


def test_what_onnx_runtime_warns_of_is_a_problem(tmp_path, capfd):
    file = tmp_path / "a.onnx"
    model = model_of(RELU, NEG)
    model.graph.initializer.append(helper.make_tensor("unused", TensorProto.FLOAT, (1,), [1.0]))
    onnx.save(model, file)
    (problem,) = onnx_problems(file)
    assert problem.startswith("ONNX Runtime warns: ")
    assert "unused" in problem
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_proof_refuses_a_file_that_strict_readers_refuse(tmp_path):
    """Boxes agree: ONNX Runtime forgives it here, and not in a browser."""
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    loaded = load_model(weights)
    options = ExportOptions(weights=weights, imgsz=(192, 320), settings={"simplify": "false"})
    (tmp_path / "made").mkdir()
    good = export_artifact("onnx", options, loaded, tmp_path / "made").path
    assert onnx_problems(good) == []

    model, bad = onnx.load(good), tmp_path / "bad.onnx"
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.value_info]
    first = next(
        shape for shape in shapes if [side.dim_value for side in shape] == [1, 16, 96, 160]
    )
    first[1].dim_value = 17
    onnx.save(model, bad)
    report = prove(bad, weights, loaded)
    assert report.status == FAILED
    assert report.reasons, report.notes
    assert all(reason.startswith("the ONNX file is not valid: ") for reason in report.reasons)
    assert report.cases[0].boxes >= 500
    assert report.cases[0].box_px < 0.01


@pytest.mark.parametrize(
    ("build", "definition", "task", "head"),
    [
        (tasks.PoseModel, "yolo11n-pose.yaml", "pose", "Pose"),
        (tasks.OBBModel, "yolo11n-obb.yaml", "obb", "OBB"),
        (tasks.SegmentationModel, "yolo11n-seg.yaml", "segment", "Segment"),
        (tasks.ClassificationModel, "yolo11n-cls.yaml", "classify", "Classify"),
    ],
    ids=["pose", "obb", "segment", "classify"],
)
def test_other_models_than_detectors_are_refused(tmp_path, build, definition, task, head):
    weights: Path = save(build(definition, verbose=False), tmp_path / "other.pt")
    with pytest.raises(
        WeightsError, match=rf"other\.pt is a model for '{task}' \({head}\); expected a detector"
    ):
        check_detector(load_model(weights), weights)
