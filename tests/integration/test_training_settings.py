"""Every setting of Ultralytics that ``yolo-ema train`` lets through trains one tiny epoch, or is
refused at the start with a sentence.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_dataset import draw_dataset

from yolo_ema.cli import main
from yolo_ema.engine.setup.ultralytics_settings import training_settings
from yolo_ema.engine.training.setting_checks import NO_EFFECT
from yolo_ema.engine.weights.loading import load_model

FLAGS = {"model", "data", "epochs", "batch", "imgsz", "device", "workers"} | {
    *("seed", "project", "name", "pretrained", "resume"),
}
"""Flags here; tests/unit/engine/training/test_run_plan.py has them as settings."""

# Settings of a group do not get in each other's way.
GROUPS = {
    "schedule": "patience=5 save_period=1 cos_lr=true close_mosaic=1 warmup_epochs=0.5 lr0=0.005 "
    "warmup_momentum=0.5 warmup_bias_lr=0.05 lrf=0.1 momentum=0.9 weight_decay=0.001 nbs=16 "
    "optimizer=SGD box=5 cls=1 dfl=1 cls_pw=0.5 deterministic=false verbose=false multi_scale=0.25",
    "augmentation": "hsv_h=0.1 hsv_s=0.5 hsv_v=0.5 degrees=10 translate=0.2 scale=[0.5,1.5] "
    "shear=5 perspective=0.0005 flipud=0.5 fliplr=0.2 bgr=0.5 mosaic=0.5 mixup=0.5 cutmix=0.5 "
    "copy_paste=0.5 copy_paste_mode=mixup cache=ram exist_ok=true",
    "rectangles": "rect=true single_cls=true fraction=0.5 freeze=5 cache=disk amp=false "
    "cls_remap=false",
    "validation": "plots=true save_txt=true save_conf=true save_json=true visualize=true "
    "augment=true conf=0.01 iou=0.5 max_det=50 agnostic_nms=true nms=true split=train "
    "classes=[0,1] channels_last=false",
    "no checkpoints": "val=false save=false freeze=[0,'28.cv2'] classes=1 amp=bf16 quantize=16 "
    "nms=false fraction=[4,2]",
    "hours": "time=0.0001 profile=true optimizer=MuSGD amp=fp16 channels_last=true",
    "without effect": "mask_ratio=2 overlap_mask=false pose=1 kobj=1 rle=1 angle=1 dlog=1 dgrad=1 "
    "dlam=0.5 dropout=0.1 auto_augment=augmix erasing=0.1 optimize=true dynamic=true "
    "simplify=false opset=17 workspace=2 dnn=true show=true save_crop=true show_labels=false "
    "show_conf=false show_boxes=false line_width=1 dis=3",
}
REFUSED = {
    "distill_model=yolo11m.pt": "distillation is not supported",
    "quantize=8": "quantization-aware training is not supported",
    "quantize=int8": "quantization-aware training is not supported",
    "split=test": "has no such split",
    "split=tset": "split is 'tset'",
    "freeze=40": "leaves nothing to train",
    "freeze=abc": "freeze is 'abc'",
    "freeze=['24.cv2']": "freeze names 24.cv2",
    "classes=7": "classes names 7",
    "classes=[0,2]": "classes names 2",
    "cache=memory": "cache is 'memory'",
    "compile=fast": "compile is 'fast'",
    "time=-1": "time is -1",
}
COMPILED = ["compile"]
WORDS = [
    *("--model", "yolo11n-ema", "--pretrained", "none", "--imgsz", "64", "--epochs", "1"),
    *("--batch", "4", "--device", "cpu", "--offline", "--loggers", "none"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("settings") / "tiny", train=8, val=4)


def _named(words: str) -> set[str]:
    return {word.partition("=")[0] for word in words.split()}


def test_every_setting_is_tried():
    tried = {*FLAGS, *COMPILED}.union(*map(_named, [*GROUPS.values(), *REFUSED]))
    assert tried == set(training_settings())
    assert _named(GROUPS["without effect"]) == set(NO_EFFECT)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_a_run_with_these_settings_ends_as_expected(group, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plots = [] if "plots" in GROUPS[group] else ["plots=false"]
    code = main(["train", "--data", str(data), *WORDS, *plots, *GROUPS[group].split(), "--json"])
    shown = capsys.readouterr()
    assert code == 0, shown.err[-3000:]
    result = json.loads(shown.out)
    assert json.loads(Path(result["record"]).read_text())["status"] == "finished"
    assert load_model(result["best"]).metadata["epoch"] == -1
    assert set(result["metrics"]) >= {"precision", "recall", "mAP50", "mAP50-95"}
    if group == "without effect":
        for name in NO_EFFECT:
            assert f"{name} concerns " in shown.err


@pytest.mark.slow
def test_a_compiled_model_trains(data, tmp_path, monkeypatch, capsys):
    """Traced as torch.compile traces it, and then run as it is: its C++ takes ten minutes."""
    compile_model, modes = torch.compile, []

    def traced(model, *, mode, backend):
        modes.append((mode, backend))
        return compile_model(model, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.chdir(tmp_path)
    words = ["plots=false", "compile=true", "--json"]
    assert main(["train", "--data", str(data), *WORDS, *words]) == 0
    shown = capsys.readouterr()
    assert modes == [("default", "inductor")]
    assert load_model(json.loads(shown.out)["best"]).metadata["epoch"] == -1


@pytest.mark.parametrize("word", REFUSED)
def test_impossible_settings_are_refused_before_anything_is_written(
    word, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", str(data), *WORDS, word]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert REFUSED[word] in errors[0]
    assert not list(tmp_path.rglob("*.*"))
