"""Settings that Ultralytics takes and then trips over, or takes in silence, are refused with a
sentence.
"""

from __future__ import annotations

import pytest
import torch

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.setup.ultralytics_settings import training_settings
from yolo_ema.engine.training.setting_checks import (
    NO_EFFECT,
    check_data_settings,
    check_freeze,
    check_same_classes,
    check_settings,
    clear_ultralytics_errors,
    warn_of_no_effect,
)
from yolo_ema.errors import ConfigError, DataError, DeviceMemoryError

# isort: split

from ultralytics.utils import DEFAULT_CFG_DICT


@pytest.fixture
def data(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    entries = {split: [str(tmp_path / split)] for split in ("train", "val", "test")}
    return {"names": {0: "boat", 1: "crane"}, "channels": 3, "yaml_file": "a.yaml", **entries}


@pytest.fixture(scope="module")
def model():
    return build_model("yolo11n", 2)


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"split": "vall"}, "split is 'vall'; expected one of train, val, test"),
        ({"cache": "memory"}, "cache is 'memory'; expected one of true, false, ram, disk"),
        ({"compile": "fast"}, "compile is 'fast'; expected one of true, false, default"),
        ({"optimizer": "Lion"}, "optimizer is 'Lion'"),
        ({"copy_paste_mode": "rotate"}, "expected one of flip, mixup"),
        ({"quantize": 8}, "quantization-aware training is not supported"),
        ({"distill_model": "yolo11m.pt"}, "distillation is not supported"),
        ({"time": -1}, "time is -1; expected hours above 0"),
        ({"close_mosaic": -1}, "close_mosaic is -1; expected 0 or more"),
        ({"freeze": "abc"}, "freeze is 'abc'; expected how many"),
        ({"freeze": -2}, "freeze is -2"),
        ({"freeze": True}, "freeze is True"),
        ({"freeze": 1.5}, "freeze is 1.5"),
        ({"freeze": [0, {"a": 1}]}, "freeze is"),
        ({"freeze": []}, r"freeze is \[\]"),
        ({"classes": "boat"}, "classes is 'boat'; expected class numbers"),
        ({"classes": [0, -1]}, "classes is"),
        ({"classes": ["0"]}, "classes is"),
        ({"box": float("inf")}, "box is inf; expected a finite number"),
        ({"lr0": 2.0}, "lr0=2.0"),
        ({"amp": "fp8"}, "amp=fp8"),
        ({"epochs": "many"}, "epochs=many"),
    ],
)
def test_an_impossible_value_is_refused(setting, what):
    with pytest.raises(ConfigError, match=what):
        check_settings(setting)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigError, match=r"lr0=3.*cache is 'x'.*freeze is 'y'"):
        check_settings({"lr0": 3, "cache": "x", "freeze": "y"})


def test_ultralytics_own_defaults_pass_and_so_do_values_in_use(data):
    check_settings(DEFAULT_CFG_DICT)
    check_settings({"cache": "RAM", "freeze": [0, "22.cv2"], "classes": 1, "scale": (0.5, 1.5)})
    check_data_settings(DEFAULT_CFG_DICT, data)


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"classes": 7}, "classes names 7; a.yaml has 0 to 1: boat, crane"),
        ({"classes": [0, 2, 3]}, "classes names 2, 3;"),
        ({"split": "test"}, "split is 'test', but a.yaml: its .*test does not exist"),
    ],
)
def test_a_class_or_split_that_the_dataset_lacks_is_refused(data, setting, what):
    with pytest.raises(ConfigError, match=what):
        check_data_settings(setting, data)


def test_a_split_that_the_data_yaml_does_not_name_is_refused(data):
    del data["test"]
    with pytest.raises(ConfigError, match="it has no such split"):
        check_data_settings({"split": "test"}, data)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_than_three_channels_are_refused_first(data, channels):
    with pytest.raises(DataError, match=f"a.yaml: its images have {channels} channels"):
        check_data_settings({}, data | {"channels": channels})


@pytest.mark.parametrize(
    ("freeze", "what"),
    [
        (24, "leaves nothing to train: the model has 24 layers"),
        (40, "leaves nothing to train"),
        (list(range(24)), "leaves nothing to train"),
        ([0, "23.cv9"], "freeze names 23.cv9; the model has layers 0 to 23"),
        ([99], "freeze names 99"),
    ],
)
def test_layers_that_do_not_exist_and_all_layers_cannot_be_frozen(model, freeze, what):
    with pytest.raises(ConfigError, match=what):
        check_freeze(freeze, model)


@pytest.mark.parametrize("freeze", [None, 0, 10, 23, [0, 5], ["23.cv2"]])
def test_some_layers_can_be_frozen(model, freeze):
    check_freeze(freeze, model)


@pytest.mark.parametrize("now", [["boat"], ["boat", "crane", "dock"], ["crane", "boat"]])
def test_a_run_is_resumed_on_its_own_classes_alone(now):
    before = {0: "boat", 1: "crane"}
    check_same_classes(before, {"names": dict(before)})
    with pytest.raises(ConfigError, match=r"has the classes \['boat', 'crane'\]"):
        check_same_classes(before, {"names": dict(enumerate(now))})


def test_settings_without_effect_are_accepted_with_a_warning(caplog):
    assert set(NO_EFFECT) <= set(training_settings())
    warn_of_no_effect({"pose": 3.0, "opset": 17, "lr0": 0.1})
    assert "pose concerns other tasks than detection" in caplog.text
    assert "opset concerns exports" in caplog.text
    assert "lr0" not in caplog.text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            ValueError("final batch=1 training at imgsz=32 gives BatchNorm a single value"),
            ConfigError,
        ),
        (RuntimeError("Training failed: NaN persisted for 4 epochs"), ConfigError),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceMemoryError),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 99 bytes."
            ),
            DeviceMemoryError,
        ),
        (RuntimeError("MPS backend out of memory"), DeviceMemoryError),
        (MemoryError(), DeviceMemoryError),
        (
            RuntimeError(
                "DataLoader worker (pid 3) is killed by signal: Bus error. It is possible "
                "that dataloader's workers are out of shared memory."
            ),
            RuntimeError,
        ),
        (ValueError("a fault of ours"), ValueError),
        (RuntimeError("shapes differ"), RuntimeError),
        (DataError("NaN in the labels"), DataError),
    ],
)
def test_only_ultralytics_errors_about_settings_are_setting_errors(error, kind):
    with pytest.raises(kind) as caught, clear_ultralytics_errors():
        raise error
    assert type(caught.value) is kind
    if kind is DeviceMemoryError:
        assert "--batch" in str(caught.value)
        assert "--imgsz" in str(caught.value)
