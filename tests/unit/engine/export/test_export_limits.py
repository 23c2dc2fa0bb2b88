"""What a format cannot hold is refused, and named, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from lively_weights import tiny_model
from ultralytics.engine import exporter

from yolo_ema.engine.export.export_limits import check_request
from yolo_ema.errors import ConfigError, MachineError
from yolo_ema.options.export import FORMATS, ExportOptions

MODELS = {free: tiny_model(nms_free=free) for free in (False, True)}
IMAGES = {"quantize": "int8", "calibrate": (Path("images"),)}
INT8_ALWAYS = ("deepx", "axelera", "imx", "edgetpu", "qnn", "hailo", "xilinx")


def check(name: str, *, nms_free: bool = False, **options: object) -> None:
    check_request(name, ExportOptions(weights=Path("w.pt"), **options), MODELS[nms_free])


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "ncnn",
            {"dynamic": True},
            r"--dynamic is not possible; it is in torchscript, onnx, openvino",
        ),
        ("ncnn", {"batch": 2}, r"one image per forward pass, and --batch is 2"),
        ("hailo", {"batch": 2, **IMAGES}, r"one image per forward pass"),
        ("ncnn", {"nms": True}, r"leave --nms out"),
        ("onnx", {"nms": False}, r"these weights have none"),
        ("ncnn", {"nms": False, "nms_free": True}, r"cannot hold the head that needs no NMS"),
        ("paddle", {"quantize": "fp16"}, r"it has no fp16; .*onnx, openvino"),
        ("ncnn", IMAGES, r"it has no int8; .*onnx, openvino"),
        ("torchscript", IMAGES, r"it has no int8"),
        ("onnx", {"batch": 4, **IMAGES}, r"leave --batch out, or give --dynamic"),
        *(
            (
                name,
                {},
                (
                    r"its files are int8: give --quantize int8, and --data or "
                    r"--calibrate"
                ),
            )
            for name in INT8_ALWAYS
        ),
    ],
)
def test_refused(name, options, says):
    with pytest.raises(ConfigError, match=f"export to {name}: .*{says}"):
        check(name, **options)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigError, match=r"--dynamic.*--batch is 4.*leave --nms out"):
        check("ncnn", dynamic=True, batch=4, nms=True)


@pytest.mark.parametrize(
    ("name", "options"), [("engine", {}), ("torchscript", {"quantize": "fp16"})]
)
def test_what_needs_a_gpu_says_so(name, options):
    with pytest.raises(MachineError, match=r"--device 0"):
        check(name, **options)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"engine", *INT8_ALWAYS}])
def test_plain_request_is_taken(name):
    check(name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("onnx", {"dynamic": True, "batch": 4, "nms": True}),
        ("openvino", IMAGES),
        ("qnn", IMAGES),
        ("hailo", IMAGES),
        ("onnx", {"nms": False, "nms_free": True}),
        ("ncnn", {"quantize": "fp16"}),
        ("rknn", {"quantize": "fp16"}),
    ],
)
def test_what_a_format_can_hold_is_taken(name, options):
    check(name, **options)


def test_int8_only_formats_are_those_that_ultralytics_always_calibrates():
    needs = {
        name
        for name in FORMATS
        if name in exporter.FP32_UNSUPPORTED_FORMATS and name not in exporter.FP16_FORMATS
    }
    assert needs == set(INT8_ALWAYS)
