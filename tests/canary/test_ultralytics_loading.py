"""What safe loading, the runtime and the export assume about the insides of Ultralytics and
torch.
"""

from __future__ import annotations

import inspect
import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import ultralytics
from ultralytics.engine import exporter, predictor
from ultralytics.nn import autobackend, tasks
from ultralytics.nn.modules import Conv
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import (
    DEFAULT_CFG_DICT,
    IterableSimpleNamespace,
    checks,
    nms,
    patches,
    torch_utils,
)

from yolo_ema.engine.setup.ultralytics_settings import pinned_settings
from yolo_ema.engine.weights.pickle_reader import read_pickle
from yolo_ema.engine.weights.torch_archive import TorchArchive
from yolo_ema.options.export import FORMATS

MARKER = "YOLO_EMA_TEST_CODE_RAN"

SOURCE = Path(ultralytics.__file__).parent


def files_with(text: str) -> set[str]:
    return {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if text in path.read_text(encoding="utf-8")
    }


def test_every_torch_load_goes_through_one_function_that_looks_it_up_when_called(monkeypatch):
    """`guarded_torch_load` replaces ``torch.load``; nobody may hold the old one."""
    monkeypatch.setattr(torch, "load", lambda path, **_: f"guarded {path}")
    assert patches.torch_load("best.pt", map_location="cpu") == "guarded best.pt"
    assert patches.torch_load is torch_utils.torch_load is tasks.torch_load
    assert files_with("torch.load(") <= {"utils/patches.py", "nn/tasks.py", "utils/export/deepx.py"}
    assert not files_with("from torch import load")


def test_the_loads_that_bypass_safe_loading_are_known():
    """Stripping the optimizer after training, tuning, and the state for further processes: all
    through ``torch_load``.
    """
    known = {
        "utils/patches.py",
        "utils/torch_utils.py",
        "utils/dist.py",
        "nn/tasks.py",
        "engine/trainer.py",
    }
    others = {
        "models/nas/model.py",
        "models/sam/build.py",
        "models/sam/build_sam3.py",
        "models/yolo/depth/calibrate.py",
    }
    others |= {"models/yolo/world/train.py", "models/yolo/yoloe/train.py"}
    assert files_with("torch_load(") == known | others


def test_a_missing_module_would_be_installed_by_ultralytics_own_loading(monkeypatch, tmp_path):
    """Why its loading is never asked to unpickle everything."""
    wanted: list[str] = []

    def load(*_: object, **__: object) -> dict:
        if wanted:
            return {}
        raise ModuleNotFoundError("No module named 'not_here'", name="not_here")

    monkeypatch.setattr(tasks, "torch_load", load)
    monkeypatch.setattr(tasks, "check_requirements", wanted.append)
    (tmp_path / "best.pt").write_bytes(b"x")
    tasks.torch_safe_load(str(tmp_path / "best.pt"), safe_only=False)
    assert wanted == ["not_here"]


def test_rebuilding_a_model_evaluates_its_activation(monkeypatch):
    """Why a description's activation is checked, whoever wrote it."""
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)
    monkeypatch.delenv(MARKER, raising=False)
    text = f"(__import__('os').environ.__setitem__({MARKER!r}, '1'), nn.SiLU())[1]"
    rows = [[-1, 1, "Conv", [8, 3]], [[0], 1, "Detect", [1]]]
    tasks.parse_model(
        {"activation": text, "backbone": rows[:1], "head": rows[1:]}, ch=3, verbose=False
    )
    assert os.environ[MARKER] == "1"


def test_a_description_that_fails_leaves_its_activation_behind():
    """Why the default activation is put back where models are drawn."""
    before = Conv.default_act
    rows = [[-1, 1, "Conv", []], [[0], 1, "Detect", [1]]]
    try:
        with pytest.raises(IndexError):
            tasks.parse_model(
                {"activation": "nn.ReLU()", "backbone": rows[:1], "head": rows[1:]},
                ch=3,
                verbose=False,
            )
        assert Conv.default_act is not before
    finally:
        Conv.default_act = before


def test_only_one_block_takes_weights_from_elsewhere():
    """Why it is the one block that no model YAML may name."""
    blocks = {
        name
        for name, block in vars(tasks).items()
        if isinstance(block, type) and block.__module__ == "ultralytics.nn.modules.block"
        for parameter in inspect.signature(block).parameters
        if parameter in {"weights", "pretrained", "url"}
    }
    assert blocks == {"TorchVision"}


def test_torch_writes_only_what_the_reader_follows(tmp_path):
    """A checkpoint of every kind of value that Ultralytics saves, read without torch."""
    content = {
        "model": DetectionModel("yolo26n.yaml", nc=2, verbose=False),
        "optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))]).state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "path": Path("runs"),
        "args": IterableSimpleNamespace(lr0=0.1),
        "figures": {"a": np.float64(0.5), "b": np.float32(2), "c": np.int64(-3), "d": np.True_},
        "plain": [None, True, 2**40, -1, "ä", b"bytes", (1, (2,), ()), {1, 2}, torch.Size([2, 3])],
    }
    torch.save(content, tmp_path / "all.pt")
    saved = read_pickle(TorchArchive((tmp_path / "all.pt").read_bytes()).pickle)
    assert saved["figures"] == {"a": 0.5, "b": 2.0, "c": -3, "d": True}
    assert saved["plain"] == [None, True, 2**40, -1, "ä", b"bytes", (1, (2,), ()), {1, 2}, (2, 3)]
    assert saved["path"] == Path("runs")
    assert saved["args"].state == {"lr0": 0.1}
    assert saved["model"].kind == "ultralytics.nn.tasks.DetectionModel"


def test_the_formats_are_those_of_ultralytics():
    assert set(FORMATS) == set(exporter.export_formats()["Argument"]) - {"-"}


def test_autobackend_takes_a_module_and_the_head_to_use():
    parameters = inspect.signature(autobackend.AutoBackend.__init__).parameters
    assert {"model", "device", "fp16", "verbose", "end2end"} <= set(parameters)
    assert autobackend.AutoBackend._model_type("a/b_openvino_model") == "openvino"
    assert autobackend.AutoBackend._model_type("x.pt") == "pt"


@pytest.mark.parametrize(("nms_setting", "end2end"), [(None, False), (True, False), (False, True)])
def test_prediction_uses_the_head_with_nms_by_default(monkeypatch, nms_setting, end2end):
    asked: list[object] = []

    def open_model(**settings: object) -> None:
        asked.append(settings["end2end"])
        raise InterruptedError

    monkeypatch.setattr(predictor, "AutoBackend", open_model)
    args = SimpleNamespace(**{**DEFAULT_CFG_DICT, "device": "cpu", "nms": nms_setting})
    with pytest.raises(InterruptedError):
        predictor.BasePredictor.setup_model(SimpleNamespace(args=args), "x.pt", verbose=False)
    assert asked == [end2end]


def test_prediction_shrinks_the_input_for_images_of_one_shape():
    wide, high = np.zeros((360, 640, 3), np.uint8), np.zeros((640, 360, 3), np.uint8)

    def sides(format_name: str, *images: np.ndarray) -> list[tuple[int, ...]]:
        one = SimpleNamespace(
            imgsz=(640, 640),
            args=SimpleNamespace(rect=True),
            scale_fill=False,
            model=SimpleNamespace(format=format_name, dynamic=False, stride=32),
        )
        made = predictor.BasePredictor.pre_transform(one, list(images))
        return [image.shape[:2] for image in made]

    assert sides("pt", wide, wide) == [(384, 640)] * 2
    assert sides("pt", wide, high) == sides("onnx", wide, high) == [(640, 640)] * 2


def test_the_head_keeps_300_by_default():
    assert Detect.max_det == 300
    head = Detect(nc=2, ch=(16,))
    predictions = torch.rand(1, 500, 6)
    assert head.postprocess(predictions).shape == (1, 300, 6)
    head.max_det = 7
    assert head.postprocess(predictions).shape == (1, 7, 6)


def test_nms_stops_after_a_time_that_can_be_set(monkeypatch):
    """The images after that get no boxes, and nothing says which."""
    monkeypatch.setattr(nms.time, "time", itertools.count(step=10).__next__)
    predictions = torch.rand(3, 6, 50)
    for seconds, kept in ((0, 1), (1000, 3)):
        boxes = nms.non_max_suppression(predictions, conf_thres=0.1, max_time_img=seconds)
        assert sum(len(found) > 0 for found in boxes) == kept


def test_the_exporter_knows_head_file_and_metadata_before_it_starts(tmp_path):
    """The file is written next to the model's path."""

    def stop(_: exporter.Exporter) -> None:
        raise InterruptedError

    model = DetectionModel("yolo26n.yaml", nc=2, verbose=False)
    model.task, model.pt_path = "detect", str(tmp_path / "best.pt")
    export = exporter.Exporter(
        overrides={"format": "torchscript", "imgsz": 64, "max_det": 7, "device": "cpu"}
    )
    export.callbacks["on_export_start"] = [stop]
    with pytest.raises(InterruptedError):
        export(model)
    assert export.model.model[-1].max_det == 7
    assert export.file == tmp_path / "best.pt"
    assert {"names", "stride", "imgsz", "end2end"} <= set(export.metadata)


def test_packages_are_installed_only_where_a_flag_of_the_module_says_so(monkeypatch):
    asked: list[object] = []
    monkeypatch.setattr(checks.subprocess, "check_output", lambda *words, **_: asked.append(words))
    monkeypatch.setattr(checks, "ONLINE", True)
    monkeypatch.setattr(checks, "AUTOINSTALL", False)
    assert not checks.check_requirements("a-package-that-nobody-made")
    assert not asked


def test_downloads_go_through_the_functions_that_are_refused():
    assert files_with("import download, safe_download") == {"data/utils.py"}
    others = files_with("import safe_download") - {"utils/downloads.py"}
    assert all(
        name.startswith("solutions/") for name in others
    )  # a part of Ultralytics that this project never uses


def test_ultralytics_has_no_tile_setting_yet_and_its_nms_defaults_are_those_that_are_pinned():
    """Later releases have ``tile`` in train, val and predict, and other thresholds. Trainings pass
    theirs explicitly (`pinned_settings`), exports and predictions, too.
    """
    assert "tile" not in DEFAULT_CFG_DICT
    assert pinned_settings() == {
        key: DEFAULT_CFG_DICT[key] for key in ("conf", "iou", "agnostic_nms", "augment")
    }
