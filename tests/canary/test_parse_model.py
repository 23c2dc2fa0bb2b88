"""What the models rely on in Ultralytics' model parser and loader; each test is named after the
assumption.
"""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, guess_model_scale, parse_model, yaml_model_load
from ultralytics.utils import downloads

from yolo_ema.engine.models.definition import find_definition, shipped_models
from yolo_ema.engine.models.registration import build_model, model_yaml


class _Recorder(nn.Module):
    """Takes whatever arguments the parser gives."""

    def __init__(self, *arguments):
        super().__init__()
        self.arguments = arguments

    def forward(self, x):
        return x


@pytest.fixture
def parsed(monkeypatch):
    """Parse two rows: a convolution of 16 channels at half the width, and one block registered by a
    global's name.
    """
    monkeypatch.setattr(tasks, "Recorder", _Recorder, raising=False)

    def parse(*arguments):
        rows = [
            [-1, 1, "Conv", [16, 3, 2]],
            [-1, 1, "Recorder", list(arguments)],
            [-1, 1, "Conv", [32, 3]],
        ]
        return parse_model(
            {"nc": 1, "scales": {"s": [1, 0.5, 99]}, "scale": "s", "backbone": rows, "head": []},
            ch=3,
            verbose=False,
        )[0]

    return parse


def test_parse_model_finds_blocks_among_the_globals_of_its_module(parsed):
    assert isinstance(parsed()[1], _Recorder)


def test_parse_model_gives_c2_the_scaled_width_of_the_row_above(parsed):
    assert parsed("c2", 8)[1].arguments == (8, 8)


def test_parse_model_leaves_numbers_of_unknown_blocks_unscaled(parsed):
    assert parsed(64)[1].arguments == (64,)


def test_parse_model_assumes_that_unknown_blocks_keep_the_channels(parsed):
    assert parsed("c2")[2].conv.in_channels == 8


def test_layers_carry_their_index_and_sources():
    for index, layer in enumerate(build_model("yolov8n").model):
        assert layer.i == index
        assert isinstance(layer.f, int | list)


def test_the_scale_is_read_from_the_files_name_alone():
    for name, scale in (
        ("yolo11s-ema", "s"),
        ("yolov8x", "x"),
        ("yolov5n-ema-p2", "n"),
        ("yolo26m-ema", "m"),
        ("my-yolo11l-wide", "l"),
    ):
        assert guess_model_scale(f"/run2m/yolo8x/{name}.yaml") == scale
    for name in ("yolo11-ema", "yolov5-ema-p2", "net"):
        assert guess_model_scale(f"/run2m/{name}.yaml") == ""


@pytest.mark.parametrize("stem", shipped_models())
def test_our_reading_of_the_scale_is_ultralytics_own(stem):
    for scale in "nsmlx":
        assert (
            guess_model_scale(find_definition(stem.replace("-ema", f"{scale}-ema")).stem) == scale
        )


def test_a_scale_written_inside_the_file_is_overwritten(tmp_path):
    """Why the returned YAML must carry the scale in its name."""
    path = tmp_path / "net.yaml"
    path.write_text("scale: m\nbackbone: []\nhead: []\n")
    assert yaml_model_load(path)["scale"] == ""


def test_a_yaml_that_exists_literally_is_read_without_the_pattern_over_the_path(tmp_path):
    path = tmp_path / "yolo8x" / "run2m" / "yolo11s-ema.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("nc: 7\n")
    assert yaml_model_load(path)["nc"] == 7
    with pytest.raises(FileNotFoundError):  # the fault that model_yaml works around
        yaml_model_load(path.with_name("yolo11m-ema.yaml"))


def test_a_dictionary_is_taken_as_it_is_and_its_nc_holds():
    definition = yaml_model_load(model_yaml("yolov8n")) | {"nc": 3}
    before = copy.deepcopy(definition)
    assert DetectionModel(definition, nc=3, verbose=False).model[-1].nc == 3
    assert {key: definition[key] for key in before} == before


def test_the_width_of_the_class_branch_follows_the_number_of_classes():
    widths = {
        classes: build_model("yolo11n", classes).model[-1].cv3[0][-1].in_channels
        for classes in (10, 80, 300)
    }
    assert widths == {10: 64, 80: 80, 300: 100}


def test_heads_branches_are_lists_by_level_that_end_in_a_convolution():
    for name, attributes in (
        ("yolo11n", ("cv2", "cv3")),
        ("yolo26n", ("cv2", "cv3", "one2one_cv2", "one2one_cv3")),
    ):
        head = build_model(name).model[-1]
        for attribute in attributes:
            assert len(getattr(head, attribute)) == len(head.stride) == 3
            assert all(isinstance(branch[-1], nn.Conv2d) for branch in getattr(head, attribute))
    assert not hasattr(build_model("yolo11n").model[-1], "one2one_cv2")


@pytest.mark.slow
def test_ultralytics_own_load_goes_by_index_and_keeps_the_wide_class_branch():
    """Why weights are carried over by correspondence; and the arrangement that ours follows."""
    source, target = build_model("yolo11n", 80), build_model("yolo11n-ema", 10)
    shapes = {key: tensor.shape for key, tensor in target.state_dict().items()}
    kept = [key for key, tensor in source.state_dict().items() if shapes.get(key) == tensor.shape]
    assert len(kept) < 200
    target.load(source, verbose=False)
    assert target.model[-1].cv3[0][-1].in_channels == 80
    plain = build_model("yolo11n", 10)
    as_they_are = [
        key
        for key, tensor in plain.state_dict().items()
        if tensor.shape == source.state_dict()[key].shape
    ]
    assert len(as_they_are) == 448
    plain.load(source, verbose=False)
    given = source.state_dict()
    carried = [
        key
        for key, tensor in plain.state_dict().items()
        if tensor.shape == given[key].shape and torch.equal(tensor, given[key])
    ]
    assert len(carried) == 493
    assert plain.model[-1].cv3[0][-1].in_channels == 80


def test_published_weights_are_assets_of_a_release_named_in_a_signature():
    release = inspect.signature(downloads.attempt_download_asset).parameters["release"].default
    assert release.startswith("v8.")
    assert downloads.GITHUB_ASSETS_REPO == "ultralytics/assets"
    assert {"yolo11n.pt", "yolov5su.pt"} <= downloads.GITHUB_ASSETS_NAMES


def test_all_convolutions_share_one_activation():
    """Why a model's mode is read module by module when it is put back."""
    first, second = build_model("yolov8n"), build_model("yolov8n")
    assert first.model[0].act is second.model[1].act
