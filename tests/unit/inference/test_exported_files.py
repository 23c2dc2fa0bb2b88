"""Exported files: they give the boxes of their weights, say what they are, and plain loaders read
them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save
from ultralytics.nn.autobackend import AutoBackend

from yolo_ema.detect.predictors import read_file_metadata
from yolo_ema.engine.export import artifact_metadata
from yolo_ema.engine.export.exporting import Artifact, export_artifact
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.setup.environment import quiet_log
from yolo_ema.engine.weights.loading import LoadedModel, load_model
from yolo_ema.errors import DamagedWeightsError
from yolo_ema.inference.exported import ExportedPredictor
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.predictor import Predictor
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.io import machine
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.options.export import ExportOptions
from yolo_ema.tiling.plan import ObjectSizes

for package in ("onnxruntime", "openvino", "ncnn", "pnnx"):
    pytest.importorskip(package)

FORMATS = ("onnx", "openvino", "torchscript", "ncnn")
HW = (96, 128)
SIZES = {"object_source_median_px": 40.5, "object_input_tenth_px": 6.25}
NAMES = dict(
    enumerate(["it's a car", 'a "van"', "трактор", "a: b", "1", "{6}", "#", "bus, red", "-", "x"])
)
CPU: dict[str, Any] = {"device": "cpu", "rectangular": False, "trust": True}


def weights_of(folder: Path, name: str = "tiny") -> Path:
    model = lively_model(name)
    model.names = dict(NAMES)
    return save(model, folder / f"{name}.pt", license="AGPL-3.0-only", **SIZES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return weights_of(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def nms_free_weights(tmp_path_factory) -> Path:
    return weights_of(tmp_path_factory.mktemp("weights"), "tiny-nms-free")


@pytest.fixture(scope="module")
def loaded(weights) -> LoadedModel:
    return load_model(weights)


@pytest.fixture(scope="module")
def made(weights, loaded, tmp_path_factory) -> dict[str, Artifact]:
    """A file of fixed size in each format that is run here."""
    options = ExportOptions(weights=weights, imgsz=HW, max_det=77)
    return {
        name: export_artifact(name, options, loaded, tmp_path_factory.mktemp(name))
        for name in FORMATS
    }


def assert_same_boxes(
    reference: Predictor, other: Predictor, images: list[np.ndarray], *, atol: float = 0.01
) -> None:
    """Every box of either has one of the other at its place; of those at one place scores tell
    which is which.
    """
    ours, theirs = reference(images), other(images)
    assert len(ours) == len(theirs) == len(images)
    for one, two in zip(ours, theirs, strict=True):
        assert len(one) == len(two) > 20
        distances = np.abs(one[:, None, :4] - two[None, :, :4]).max(2) + np.where(
            one[:, None, 5] == two[None, :, 5], 0, 1e6
        )
        assert distances.min(1).max() < atol
        assert distances.min(0).max() < atol
        np.testing.assert_allclose(two[:, 4], one[:, 4], atol=1e-4)


# --- boxes


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_candidates_are_those_of_the_weights_one_by_one(weights, made, name):
    file = made[name]
    assert (file.format, file.imgsz_hw, file.dynamic, file.batch, file.quantize) == (
        name,
        HW,
        False,
        1,
        None,
    )
    ours, theirs = (
        open_predictor(weights, imgsz=HW, **CPU),
        open_predictor(file.path, precision="f32", **CPU),
    )
    assert (theirs.imgsz_hw, theirs.stride, theirs.batched, theirs.rectangular) == (
        HW,
        32,
        False,
        False,
    )
    for seed in range(2):
        image = picture(seed, (160, 100))
        one, two = ours.candidates(image), theirs.candidates(image)
        assert one.shape == two.shape
        assert (one[:, 4:].max(1) > 0.25).sum() > 20
        np.testing.assert_allclose(two[:, :4], one[:, :4], rtol=0, atol=0.01)
        np.testing.assert_allclose(two[:, 4:], one[:, 4:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_several_images_through_a_single_image_file_give_the_boxes_of_each(weights, made, name):
    images = [picture(seed, (160, 100)) for seed in range(3)]
    assert_same_boxes(
        open_predictor(weights, imgsz=HW, **CPU),
        open_predictor(made[name].path, precision="f32", **CPU),
        images,
    )


def test_constants_of_another_network_are_refused(made, tmp_path):
    folder = shutil.copytree(made["openvino"].path, tmp_path / "x_openvino_model")
    (constants,) = folder.glob("*.bin")
    constants.write_bytes(constants.read_bytes() + bytes(1000))
    with pytest.raises(DamagedWeightsError, match="they are not of one network"):
        open_predictor(folder, **CPU)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"dynamic": True}, {"batch": 2}], ids=["dynamic", "batch 2"])
@pytest.mark.parametrize("name", ["onnx", "openvino", "torchscript"])
def test_open_shapes_and_batches(weights, loaded, tmp_path, name, more):
    path = export_artifact(
        name, ExportOptions(weights=weights, imgsz=HW, **more), loaded, tmp_path
    ).path
    images = [picture(seed, (160, 100)) for seed in range(3)]
    for joined in (False, True):
        runtime = open_predictor(path, precision="f32", batched=joined, **CPU)
        assert runtime.batched
        assert_same_boxes(open_predictor(weights, imgsz=HW, **CPU), runtime, images)
    if "dynamic" in more:
        other = {**CPU, "imgsz": (64, 192)}
        assert_same_boxes(
            open_predictor(weights, **other), open_predictor(path, precision="f32", **other), images
        )
        assert open_predictor(path, device="cpu", trust=True).rectangular


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{}, {"batch": 2}, {"dynamic": True}, {"dynamic": True, "batch": 3}], ids=str
)
@pytest.mark.parametrize("name", ["onnx", "openvino", "torchscript"])
def test_nms_inside_gives_the_boxes_that_nms_outside_gives(weights, loaded, tmp_path, name, more):
    options = ExportOptions(
        weights=weights, imgsz=HW, nms=True, conf=0.3, iou=0.3, max_det=200, **more
    )
    runtime = open_predictor(
        export_artifact(name, options, loaded, tmp_path).path,
        precision="f32",
        conf=0.3,
        batched=True,
        **CPU,
    )
    assert runtime.has_builtin_nms
    assert (runtime.max_det, runtime.metadata.nms, runtime.metadata.nms_free) == (200, True, False)
    assert runtime.batched is ("batch" in more)
    images = [picture(seed, (160, 100)) for seed in range(3)]
    reference = open_predictor(weights, imgsz=HW, conf=0.3, iou=0.3, **CPU)
    for one, two in zip(reference(images), runtime(images), strict=True):
        same = (np.abs(one[:, None] - two[None]) < [0.01, 0.01, 0.01, 0.01, 1e-4, 0.5]).all(2)
        assert len(two) > 20
        # Of two boxes that overlap by just the threshold NMS may keep either.
        assert (~same.any(0)).sum() <= 1
        assert (~same.any(1)).sum() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_of_two_heads_the_one_that_needs_nms_is_used_by_default(nms_free_weights, tmp_path, name):
    loaded, images = load_model(nms_free_weights), [picture(1, (160, 100))]
    for folder in ("usual", "free"):
        (tmp_path / folder).mkdir()
    usual = export_artifact(
        name, ExportOptions(weights=nms_free_weights, imgsz=HW), loaded, tmp_path / "usual"
    ).path
    runtime = open_predictor(usual, precision="f32", **CPU)
    assert not runtime.has_builtin_nms
    assert_same_boxes(open_predictor(nms_free_weights, imgsz=HW, **CPU), runtime, images)
    if name == "ncnn":
        return
    options = ExportOptions(weights=nms_free_weights, imgsz=HW, nms=False, max_det=150)
    runtime = open_predictor(
        export_artifact(name, options, loaded, tmp_path / "free").path,
        precision="f32",
        conf=0.1,
        **CPU,
    )
    assert (
        runtime.has_builtin_nms,
        runtime.max_det,
        runtime.metadata.nms,
        runtime.metadata.nms_free,
    ) == (
        True,
        150,
        False,
        True,
    )
    reference = open_predictor(
        nms_free_weights, imgsz=HW, conf=0.1, max_det=150, nms_free=True, **CPU
    )
    np.testing.assert_allclose(runtime(images)[0], reference(images)[0], rtol=0, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino", "ncnn"])
def test_fp16_is_half_as_large_and_close(weights, loaded, made, tmp_path, name):
    file = export_artifact(
        name, ExportOptions(weights=weights, imgsz=HW, quantize="fp16"), loaded, tmp_path
    )
    assert file.path.name.startswith("tiny-fp16")
    small, large = (
        max(part.stat().st_size for part in (path.rglob("*") if path.is_dir() else [path]))
        for path in (file.path, made[name].path)
    )
    assert small < 0.7 * large
    runtime = open_predictor(file.path, precision="f32", **CPU)
    assert runtime.metadata.precision == "fp16"
    one, two = (
        open_predictor(weights, imgsz=HW, **CPU).candidates(picture(0)),
        runtime.candidates(picture(0)),
    )
    np.testing.assert_allclose(two[:, 4:], one[:, 4:], rtol=0, atol=0.01)
    assert np.quantile(np.abs(two[:, :4] - one[:, :4]), 0.99) < 0.5


# --- metadata


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_says_what_it_is(weights, made, name):
    found = read_file_metadata(made[name].path)
    assert found == ArtifactMetadata(
        names=NAMES,
        imgsz_hw=HW,
        stride=32,
        batch=1,
        task="detect",
        dynamic=False,
        nms=False,
        nms_free=False,
        max_det=77,
        precision="fp32",
        channel_order="RGB",
        pixel_scale=1 / 255,
        letterbox_value=114,
        layout="NCHW",
        blocks={"EMA": 1},
        weights_sha256=sha256_of(weights),
        object_sizes=ObjectSizes(40.5, 6.25),
        producer=found.producer,
        license="AGPL-3.0-only",
    )
    assert found.producer.startswith("yolo-ema ")
    assert open_predictor(made[name].path, **CPU).metadata == found
    everything = str(artifact_metadata.read_entries(made[name].path))
    assert str(weights.parent) not in everything
    assert str(made[name].path.parent) not in everything


@pytest.mark.parametrize("name", FORMATS)
def test_tiles_are_planned_as_for_the_weights(weights, made, name):
    ours = TiledPredictor(open_predictor(weights, imgsz=HW, **CPU), tile="auto")
    theirs = TiledPredictor(open_predictor(made[name].path, **CPU), tile="auto")
    for image_wh in ((160, 120), (400, 300), (2000, 1500)):
        one, two = ours.plan(image_wh), theirs.plan(image_wh)
        fixed = ", the only size that the file takes"
        assert one.reason.replace(", the size asked for", fixed) == two.reason
        np.testing.assert_array_equal(one.tiles_xyxy, two.tiles_xyxy)
    assert "objects like those it was trained on" in theirs.plan((2000, 1500)).reason


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["auto", "f32"])
@pytest.mark.parametrize("more", [{"batch": 2}, {"dynamic": True, "nms": True}], ids=str)
def test_openvino_keeps_the_precision_whatever_the_input(
    weights, loaded, tmp_path, monkeypatch, precision, more
):
    import openvino

    options = ExportOptions(weights=weights, imgsz=HW, **more)
    path = export_artifact("openvino", options, loaded, tmp_path).path
    (tmp_path / "cpuinfo").write_text("flags\t\t: amx_bf16\n")
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    asked, compile_model = [], openvino.Core.compile_model

    def listen(core, model, device_name=None, config=None):
        asked.append((config or {}).get("INFERENCE_PRECISION_HINT"))
        return compile_model(core, model, device_name, config)

    monkeypatch.setattr(openvino.Core, "compile_model", listen)
    predictor = open_predictor(path, precision=precision, **CPU)
    assert isinstance(predictor, ExportedPredictor)
    assert asked == [None if precision == "auto" else "f32"]


@pytest.mark.usefixtures("openvino_in_f32")
@pytest.mark.parametrize("name", FORMATS)
def test_ultralytics_own_loader_reads_it(weights, made, name):
    with quiet_log():
        backend = AutoBackend(str(made[name].path), device=torch.device("cpu"), verbose=False)
    assert (backend.names, backend.stride, backend.task) == (NAMES, 32, "detect")
    assert_answers(np.asarray(backend(torch.from_numpy(network_input()))), weights)


def test_plain_onnx_runtime_reads_it(weights, made):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(made["onnx"].path), providers=["CPUExecutionProvider"]
    )
    said = session.get_modelmeta().custom_metadata_map
    assert (said["layout"], said["channel_order"], said["letterbox_value"], said["max_det"]) == (
        "NCHW",
        "RGB",
        "114",
        "77",
    )
    assert_answers(session.run(None, {"images": network_input()})[0], weights)


def test_plain_openvino_reads_it(weights, made):
    import openvino

    model = openvino.Core().read_model(next(made["openvino"].path.glob("*.xml")))
    assert model.get_rt_info(["yolo_ema", "weights_sha256"]).astype(str) == sha256_of(weights)
    assert model.get_rt_info(["yolo_ema", "layout"]).astype(str) == "NCHW"
    assert model.get_rt_info(["model_info", "model_type"]).astype(str) == "YOLO"
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert_answers(compiled(network_input())[0], weights)


def test_plain_torch_reads_it(weights, made):
    said = {"config.txt": ""}
    program = torch.jit.load(str(made["torchscript"].path), _extra_files=said)
    assert json.loads(said["config.txt"])["blocks"] == {"EMA": 1}
    assert_answers(program(torch.from_numpy(network_input())).detach().numpy(), weights)


def test_plain_ncnn_reads_it(weights, made):
    import ncnn

    net = ncnn.Net()
    assert net.load_param(str(made["ncnn"].path / "model.ncnn.param")) == 0
    assert net.load_model(str(made["ncnn"].path / "model.ncnn.bin")) == 0
    extractor, image = net.create_extractor(), network_input()[0]  # ncnn takes no copy of the image
    extractor.input("in0", ncnn.Mat(image))
    assert_answers(np.array(extractor.extract("out0")[1])[None], weights)


def network_input() -> np.ndarray:
    """(1, 3, H, W) float32, RGB in 0…1, made by hand."""
    image = picture(0, HW[::-1])
    return (
        np.ascontiguousarray(image[None, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32) / 255
    )


def assert_answers(found: np.ndarray, weights: Path) -> None:
    """The answer is that of the weights to the same image."""
    wanted = open_predictor(weights, imgsz=HW, **CPU).candidates(picture(0, HW[::-1]))
    np.testing.assert_allclose(found[0].T[:, 4:], wanted[:, 4:], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[0].T[:, :4], wanted[:, :4], rtol=0, atol=0.01)


def test_a_file_from_another_tool_says_nothing(made, tmp_path):
    import onnx

    model = onnx.load(str(made["onnx"].path))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "foreign.onnx"))
    assert read_file_metadata(tmp_path / "foreign.onnx") == ArtifactMetadata()
    runtime = open_predictor(tmp_path / "foreign.onnx", imgsz=HW, **CPU)
    assert (runtime.metadata, runtime.object_sizes) == (ArtifactMetadata(), None)
    image = cv2.resize(picture(0), HW[::-1])
    np.testing.assert_allclose(
        runtime([image])[0], open_predictor(made["onnx"].path, **CPU)([image])[0], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (
            {
                "stride": "32",
                "batch": "4",
                "imgsz": "[96, 128]",
                "names": "{0: 'a'}",
                "args": "{'nms': True, 'dynamic': True}",
            },
            ArtifactMetadata(
                stride=32, batch=4, imgsz_hw=(96, 128), names={0: "a"}, nms=True, dynamic=True
            ),
        ),
        (
            {
                "stride": 32,
                "imgsz": (96, 128),
                "end2end": True,
                "weights_sha256": "1" * 64,
                "names": {"0": "a"},
            },
            ArtifactMetadata(
                stride=32,
                imgsz_hw=(96, 128),
                nms_free=True,
                weights_sha256="1" * 64,
                names={0: "a"},
            ),
        ),
        (
            {
                "stride": "wide",
                "batch": None,
                "imgsz": "[96]",
                "names": "a",
                "args": "?",
                "blocks": "EMA",
                "max_det": True,
                "object_source_median_px": "-1.0",
                "object_input_tenth_px": "3.0",
            },
            ArtifactMetadata(),
        ),
    ],
)
def test_entries_are_values_or_their_text_and_nonsense_is_ignored(entries, expected):
    assert ArtifactMetadata.from_entries(entries) == expected
