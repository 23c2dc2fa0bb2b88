"""From frames to boxes: the same as Ultralytics' own prediction, and clear errors where it cannot
be done.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save
from torch import nn
from ultralytics import YOLO
from ultralytics.engine.exporter import export_formats
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import SegmentationModel

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.models.registration import register
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import (
    ConfigError,
    DamagedWeightsError,
    DeviceMemoryError,
    MissingPackageError,
    UnsafeWeightsError,
    WeightsError,
    WeightsNotFoundError,
)
from yolo_ema.inference import formats
from yolo_ema.inference.formats import SUFFIXES, format_of
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.options.export import ExportOptions


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def plain(weights):
    """Ultralytics' own prediction with the same weights and as many threads."""
    register()
    yolo = YOLO(str(weights))

    def predict(image, **settings) -> np.ndarray:
        threads = torch.get_num_threads()
        try:
            return yolo.predict(image, verbose=False, max_det=1000, **settings)[
                0
            ].boxes.data.numpy()
        finally:
            torch.set_num_threads(threads)

    return predict


SHAPES = [(320, 192), (192, 320), (101, 333), (640, 640), (31, 500)]


@pytest.mark.parametrize("wh", SHAPES)
@pytest.mark.parametrize(
    ("conf", "iou"), [(0.25, 0.7), pytest.param(0.02, 0.4, marks=pytest.mark.slow)]
)
def test_boxes_are_those_of_ultralytics(weights, plain, wh, conf, iou):
    image = picture(1, wh)
    ours = open_predictor(weights, device="cpu", conf=conf, iou=iou)([image])[0]
    theirs = plain(image, conf=conf, iou=iou)
    assert len(ours) == len(theirs) > 3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


def test_classes_and_agnostic_are_those_of_ultralytics(weights, plain):
    image = picture(2)
    ours = open_predictor(weights, device="cpu", classes=[1, 4], agnostic=True)([image])[0]
    np.testing.assert_allclose(
        ours, plain(image, classes=[1, 4], agnostic_nms=True), rtol=0, atol=1e-3
    )
    assert set(ours[:, 5]) == {1, 4}


def test_square_input_is_that_of_ultralytics(weights, plain):
    image = picture(3)
    ours = open_predictor(weights, device="cpu", rectangular=False, imgsz=256)([image])[0]
    np.testing.assert_allclose(ours, plain(image, rect=False, imgsz=256), rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.realdata
def test_real_images_are_as_in_ultralytics(shared):
    weights = shared / "weights" / "yolo11n_coco_from_int8.pt"
    images = sorted((shared / "data/visdrone-sample/VisDrone2019-DET-val/images").glob("*.jpg"))[:2]
    runtime, plain = open_predictor(weights, device="cpu"), YOLO(str(weights))
    for path in images:
        image = cv2.imread(str(path))
        theirs = plain.predict(image, verbose=False, max_det=1000, device="cpu")[
            0
        ].boxes.data.numpy()
        ours = runtime([image])[0]
        assert len(ours) == len(theirs) > 0
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-2)


def test_attributes(weights):
    runtime = open_predictor(weights, device="cpu")
    assert runtime.names == {index: f"class {index}" for index in range(10)}
    assert (runtime.stride, runtime.imgsz_hw, runtime.format, runtime.batched) == (
        32,
        (320, 320),
        "pt",
        True,
    )
    assert open_predictor(weights, device="cpu", imgsz=(100, 333)).imgsz_hw == (128, 352)


def test_a_batch_gives_what_single_images_give(weights):
    runtime = open_predictor(weights, device="cpu")
    images = [picture(seed) for seed in range(3)]
    together, alone = runtime(images), [runtime([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)
    assert runtime([]) == []


def test_images_of_different_shapes_share_a_batch(weights):
    images = [picture(1, (320, 192)), picture(2, (200, 320))]
    square = open_predictor(weights, device="cpu", rectangular=False)
    for one, image in zip(open_predictor(weights, device="cpu")(images), images, strict=True):
        np.testing.assert_allclose(one, square([image])[0], rtol=0, atol=1e-3)


def test_rows_are_sorted_and_inside_the_image(weights):
    image = picture(5, (333, 101))
    rows = open_predictor(weights, device="cpu", conf=0.01)([image])[0]
    assert rows.dtype == np.float32
    assert (np.diff(rows[:, 4]) <= 0).all()
    assert rows[:, :4].min() >= 0
    assert rows[:, [0, 2]].max() <= 333
    assert rows[:, [1, 3]].max() <= 101


def test_max_det_keeps_the_best(weights):
    image = picture(1)
    every, few = (
        open_predictor(weights, device="cpu", conf=0.01)([image])[0],
        open_predictor(weights, device="cpu", conf=0.01, max_det=7)([image])[0],
    )
    np.testing.assert_array_equal(few, every[:7])


def test_more_than_300_boxes_come_back(weights):
    assert (
        300
        < len(
            open_predictor(weights, device="cpu", conf=0.001, iou=0.95)([picture(1, (640, 640))])[0]
        )
        <= 1000
    )


def test_head_without_nms_gives_more_than_300(tmp_path):
    weights = save(lively_model("tiny-nms-free"), tmp_path / "nms_free.pt")
    image = picture(1)
    rows = open_predictor(weights, device="cpu", nms_free=True, conf=0.001)([image])[0]
    assert 300 < len(rows) <= 1000
    assert open_predictor(weights, device="cpu", nms_free=True).has_builtin_nms
    assert open_predictor(weights, device="cpu")([image])[0].shape[1] == 6


@pytest.mark.slow
def test_an_export_that_does_not_say_how_many_boxes_it_holds_shows_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    weights = save(lively_model("tiny-nms-free"), tmp_path / "nms_free.pt")
    options = ExportOptions(weights=weights, nms=False, imgsz=(320,), max_det=300)
    path = export_artifact("onnx", options, load_model(weights), tmp_path).path
    plain = onnx.load(str(path))  # as Ultralytics itself writes it: without that entry
    kept = [entry for entry in plain.metadata_props if entry.key != "max_det"]
    assert len(kept) == len(plain.metadata_props) - 1
    del plain.metadata_props[:]
    plain.metadata_props.extend(kept)
    onnx.save(plain, str(path))
    runtime = open_predictor(path, device="cpu", conf=0.001)
    assert len(runtime([picture(1)])[0]) == runtime.max_det == 300
    few = open_predictor(path, device="cpu", conf=0.001, max_det=20)
    assert len(few([picture(1)])[0]) == few.max_det == 20


def test_all_cores_are_used(weights, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("YOLO_EMA_THREADS", "2")
    open_predictor(weights, device="cpu")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        torch.zeros(3, 8, 8),
        "image.jpg",
    ],
)
def test_wrong_images_are_named(weights, image):
    with pytest.raises(
        ConfigError, match=r"image 1 of the batch .* expected an array \(H, W, 3\) of uint8"
    ):
        open_predictor(weights, device="cpu")([picture(1), image])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conf": 25}, "conf is 25; expected 0 to 1"),
        ({"conf": float("nan")}, "conf is nan"),
        ({"iou": -0.1}, r"iou is -0\.1; expected 0 to 1"),
        ({"max_det": 0}, "max_det is 0; expected 1 or more"),
        ({"max_det": -1, "iou": 2}, "iou is 2.*max_det is -1"),
        ({"imgsz": 0}, "imgsz is 0; expected"),
        ({"imgsz": (640,)}, r"imgsz is \(640,\); expected a number of pixels, or height and width"),
        ({"imgsz": (640, 1.5)}, "expected a number of pixels"),
    ],
)
def test_values_out_of_range_are_named_before_anything_is_loaded(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        open_predictor(tmp_path / "missing.pt", **settings)


def test_calls_of_several_threads_wait_for_each_other(weights, monkeypatch):
    """An OpenVINO request that is running refuses another call, and a head keeps the limit of one
    call.
    """
    runtime, inside, most = open_predictor(weights, device="cpu"), [], []
    backend = runtime.backend

    class Watched:
        def __getattr__(self, name):
            return getattr(backend, name)

        def __call__(self, inputs, settings, max_det):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()
            return backend(inputs, settings, max_det)

    monkeypatch.setattr(runtime, "backend", Watched())
    images = [picture(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda image: runtime([image])[0], images))
    assert max(most) == 1
    for rows, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(rows, runtime([image])[0])


def test_missing_weights_name_the_closest(weights):
    with pytest.raises(WeightsNotFoundError, match=r"did you mean 'tiny\.pt'"):
        open_predictor(weights.with_name("tinny.pt"))


def test_unknown_format(tmp_path):
    (tmp_path / "model.xyz").write_bytes(b"x")
    with pytest.raises(DamagedWeightsError, match="known format"):
        open_predictor(tmp_path / "model.xyz")


@pytest.mark.parametrize("name", ["model.onnx", "model.mnn"])
def test_damaged_export(tmp_path, name, monkeypatch):
    monkeypatch.setattr(formats, "_PACKAGES", {})
    (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises((DamagedWeightsError, MissingPackageError)):
        open_predictor(tmp_path / name)


def test_an_empty_openvino_folder_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_PACKAGES", {})
    (tmp_path / "best_openvino_model").mkdir()
    with pytest.raises(DamagedWeightsError, match=r"no \.xml file"):
        open_predictor(tmp_path / "best_openvino_model", device="cpu")


def test_formats_that_are_programs_need_trust(tmp_path, weights):
    path = tmp_path / "model.torchscript"
    torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)).save(str(path))
    with pytest.raises(UnsafeWeightsError, match="--trust"):
        open_predictor(path)


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"x")
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"yolo-ema\[onnx\]"):
        open_predictor(tmp_path / "model.onnx")


def test_other_tasks_are_named(tmp_path):
    model = SegmentationModel("yolo11n-seg.yaml", verbose=False)
    with pytest.raises(WeightsError, match="segment"):
        open_predictor(save(model, tmp_path / "segment.pt"))


def test_half_needs_a_gpu(weights):
    with pytest.raises(ConfigError, match="GPU"):
        open_predictor(weights, device="cpu", half=True)


@pytest.mark.parametrize(
    ("name", "found"),
    [("a.pt", "pt"), ("a.pth", "pt"), ("a.onnx", "onnx"), ("a_openvino_model", "openvino")],
)
def test_format_by_name(tmp_path, name, found):
    (tmp_path / name).touch()
    assert format_of(tmp_path / name) == found


def test_formats_are_those_of_ultralytics():
    known = export_formats()
    theirs = dict(zip(known["Suffix"], known["Argument"], strict=True))
    ours = {suffix: "-" if name == "pt" else name for suffix, name in SUFFIXES.items()}
    assert theirs.items() <= ours.items()
    assert ours.keys() - theirs.keys() == {".pth", ".mlmodel"}
    for suffix in SUFFIXES.keys() - {".pth"}:
        name = f"best.pt{suffix}"
        assert AutoBackend._model_type(name) == SUFFIXES[suffix]


def test_a_changed_setting_applies_at_once_in_the_predictor_and_its_wrappers(weights):
    predictor, image = open_predictor(weights, device="cpu"), picture(1)
    tiled = TiledPredictor(predictor, tile=(192, 192))
    settings = predictor.settings
    assert tiled.settings is settings
    every = tiled([image])[0]
    settings.conf = 0.6
    found = tiled([image])[0]
    assert 0 < len(found) < len(every)
    assert found[:, 4].min() > 0.6
    assert predictor([image])[0][:, 4].min() > 0.6
    tiled.settings.classes = [int(found[0, 5])]
    assert set(predictor([image])[0][:, 5]) == {found[0, 5]}
    settings.conf, settings.classes, settings.max_det = 0.01, None, 3
    assert predictor.max_det == tiled.max_det == 3
    assert len(predictor([image])[0]) == len(tiled([image])[0]) == 3
    settings.max_det, settings.iou = 1000, 0.0
    apart = predictor([image])[0]
    settings.agnostic = True
    assert tiled.merge == "agnostic-nms"
    assert len(predictor([image])[0]) < len(apart)
    settings.conf = 7
    for one in (predictor, tiled):
        with pytest.raises(ConfigError, match="conf is 7"):
            one([image])


def test_a_changed_limit_applies_in_a_head_that_needs_no_nms(tmp_path):
    weights = save(lively_model("tiny-nms-free"), tmp_path / "nms_free.pt")
    predictor, image = open_predictor(weights, device="cpu", nms_free=True, conf=0.001), picture(1)
    assert len(predictor([image])[0]) > 300
    predictor.settings.max_det = 5
    assert len(predictor([image])[0]) == predictor.max_det == 5


def test_a_gpu_with_too_little_memory_says_so(weights, monkeypatch):
    predictor = open_predictor(weights, device="cpu", input_transform=lambda batch: batch)

    def fail(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(predictor.backend, "_backend", fail)
    with pytest.raises(DeviceMemoryError, match="smaller --imgsz"):
        predictor.backend([torch.zeros(2, 3, 64, 96)], predictor.settings, 10)
