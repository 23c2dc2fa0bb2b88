"""The block inside Ultralytics, YAMLs that plain Ultralytics can read, and built models."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks

import yolo_ema
from yolo_ema.engine.models.definition import shipped_models
from yolo_ema.engine.models.registration import build_model, model_yaml, register
from yolo_ema.errors import ConfigError, MachineError, ModelError
from yolo_ema.nn import EfficientMultiScaleAttention

pytestmark = pytest.mark.usefixtures("one_thread")

# Digits before n, s, m, l or x are what Ultralytics' pattern for scales looks for, anywhere in a
# path.
NASTY = ("run2m", "yolo8x/run2m", "yolov5n6", "exp 1s, copy", "ä11l", "yolo11n-ema.yaml")


def _ema_count(model: torch.nn.Module) -> int:
    return sum(isinstance(module, EfficientMultiScaleAttention) for module in model.modules())


def test_register_is_idempotent_and_sufficient():
    register()
    before = dict(vars(tasks))
    register()
    assert vars(tasks) == before
    assert tasks.EMA is EfficientMultiScaleAttention
    assert EfficientMultiScaleAttention in torch.serialization.get_safe_globals()
    assert yolo_ema.register is register
    assert yolo_ema.model_yaml is model_yaml


def test_another_block_of_that_name_is_not_overwritten(monkeypatch):
    monkeypatch.setattr(tasks, "EMA", torch.nn.Identity)
    with pytest.raises(ConfigError, match=r"tasks.EMA is already .*Identity"):
        register()
    assert tasks.EMA is torch.nn.Identity


@pytest.mark.parametrize("folder", NASTY)
def test_plain_ultralytics_builds_the_right_scale_whatever_the_folders_are_called(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / folder))
    path = model_yaml("yolo11s-ema")
    assert path.is_absolute()
    assert path.is_file()
    built = YOLO(path).model
    assert (built.yaml["scale"], _ema_count(built)) == ("s", 5)
    assert built.model[0].conv.out_channels == 32  # 16 at n, 64 at m


@pytest.mark.parametrize("folder", NASTY)
def test_a_users_yaml_in_awkward_folders(folder, tmp_path):
    own = tmp_path / folder / "yolo11-ema.yaml"
    own.parent.mkdir(parents=True)
    shutil.copy(shipped_models()["yolo11-ema"], own)
    before = sorted(tmp_path.rglob("*"))
    assert build_model(own.with_name("yolo11s-ema.yaml")).model[0].conv.out_channels == 32
    assert build_model(own).model[0].conv.out_channels == 16
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written beside the user's files"


def test_a_users_script(tmp_path):
    """In a fresh process, from a folder that would mislead Ultralytics, without importing anything
    else of ours.
    """
    build = "m = YOLO(yolo_ema.model_yaml('yolov5s-ema-p2')); print(m.model.yaml['scale'], m.task)"
    script = f"import yolo_ema; from ultralytics import YOLO; {build}"
    folder = tmp_path / "yolo8x" / "run2m"
    folder.mkdir(parents=True)
    environment = {
        **os.environ,
        "YOLO_EMA_CACHE": str(folder),
        "YOLO_CONFIG_DIR": str(tmp_path),
        "YOLO_OFFLINE": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["s", "detect"]


def test_the_copy_is_complete_reused_and_repaired(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path))
    path = model_yaml("yolov8m-ema")
    assert path.name == "yolov8m-ema.yaml"
    assert path.read_bytes() == shipped_models()["yolov8-ema"].read_bytes()
    stamp = path.stat().st_mtime_ns
    assert model_yaml("yolov8m-ema") == path
    assert path.stat().st_mtime_ns == stamp
    path.write_text("backbone")
    assert model_yaml("yolov8m-ema").read_bytes() == shipped_models()["yolov8-ema"].read_bytes()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file where a folder would have to be")
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "taken" / "cache"))
    with pytest.raises(
        MachineError, match=r"taken/cache/models/.* can't be written: .*YOLO_EMA_CACHE"
    ):
        model_yaml("yolo11s-ema")


def test_a_file_whose_name_has_a_scale_is_returned_unchanged(tmp_path):
    own = tmp_path / "yolo11x-ema.yaml"
    shutil.copy(shipped_models()["yolo11-ema"], own)
    assert model_yaml(own) == own


def test_a_name_without_scale_gets_a_note(caplog):
    with caplog.at_level(logging.WARNING):
        path = model_yaml("yolo11-ema")
    assert path.name == "yolo11n-ema.yaml"
    assert "yolo11-ema names no scale; taking the first of its YAML: n (yolo11n-ema)" in caplog.text


@pytest.mark.parametrize("classes", [1, 10, 80])
def test_class_count(classes, capfd):
    model = build_model("yolov8n-ema", classes)
    assert model.model[-1].nc == model.yaml["nc"] == len(model.names) == classes
    assert {branch[-1].out_channels for branch in model.model[-1].cv3} == {classes}
    assert capfd.readouterr().out == "", "stdout is for results"


def test_no_classes():
    with pytest.raises(ConfigError, match="class_count=0"):
        build_model("yolov8n-ema", 0)


def _edited(tmp_path: Path, old: str, new: str) -> tuple[Path, int]:
    """Copy a shipped YAML with its last occurrence of ``old`` replaced; return the copy and that
    line's number.
    """
    lines = shipped_models()["yolo11-ema"].read_text().splitlines()
    row = max(index for index, line in enumerate(lines) if old in line)
    lines[row] = lines[row].replace(old, new)
    path = tmp_path / "yolo11n-own.yaml"
    path.write_text("\n".join(lines))
    return path, row + 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("C3k2", "C3K2", r"unknown block 'C3K2'; did you mean 'C3k2'\?"),
        ("EMA, [c2", "EMMA, [c2", r"unknown block 'EMMA'; did you mean 'EMA'\?"),
        ("EMA, [c2", "cbam, [c2", r"unknown block 'cbam'; did you mean 'CBAM'\?"),
        ("EMA, [c2", "SE, [c2", r"unknown block 'SE'; did you mean 'SqueezeExcitation'\?"),
        (
            "nn.Upsample",
            "nn.Upsampel",
            r"unknown block 'nn.Upsampel'; did you mean 'nn.Upsample'\?",
        ),
        ("SPPF", "os", "unknown block 'os'"),
        (
            "[-1, 2, C2PSA, [1024]]",
            "[-1, 2, C2PSA]",
            r"the row is \[-1, 2, 'C2PSA'\]; expected \[from, repeats, block, arguments\]",
        ),
        (
            "[-1, 15]",
            "[-1, 99]",
            "layer 21 reads from 99; expected -1 or the number of an earlier layer",
        ),
        ("[-1, 15]", "[-1, 21]", "layer 21 reads from 21"),
        ("[-1, 15]", "[-1, one]", "layer 21 reads from 'one'"),
        (
            "[-1, 1, EMA, [c2, 8]]",
            "[15, 1, EMA, [c2, 8]]",
            "EMA reads from 15 with channels c2; c2 is the width of the row above",
        ),
        (
            "Detect, [nc]",
            "Segment, [nc, 32, 256]",
            "the last block is 'Segment'; expected 'Detect'",
        ),
    ],
)
def test_a_wrong_row_is_named_with_its_file(tmp_path, old, new, message):
    path, line = _edited(tmp_path, old, new)
    for call in (model_yaml, build_model):
        with pytest.raises(ModelError, match=f"^{re.escape(str(path))}, line {line}: {message}"):
            call(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nc: 1\n", "no rows under 'backbone'"),
        ("[1, 2]\n", "no rows under 'backbone'"),
        ("", "no rows"),
    ],
)
def test_a_yaml_without_rows(tmp_path, content, message):
    path = tmp_path / "net.yaml"
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        model_yaml(path)


def test_what_only_ultralytics_notices_names_the_row_too(tmp_path):
    path, line = _edited(tmp_path, "[-1, 2, C2PSA, [1024]]", "[-1, 2, C2PSA, [1024, 1, 2, 3, 4]]")
    with pytest.raises(
        ModelError,
        match=rf"own.yaml, line {line}: Ultralytics cannot build block C2PSA with .*TypeError",
    ):
        build_model(path)
