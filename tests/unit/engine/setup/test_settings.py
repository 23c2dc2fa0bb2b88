"""Ultralytics' settings as words: typed, checked, and all mistakes reported at once."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_ema.engine.setup import ultralytics_settings as settings_module
from yolo_ema.engine.setup.ultralytics_settings import (
    enable_loggers,
    parse_settings,
    pinned_settings,
    require_loggers,
    training_settings,
    user_settings,
)
from yolo_ema.errors import ConfigError, MissingPackageError

# isort: split

from ultralytics.utils import DEFAULT_CFG_DICT, SETTINGS


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("lr0=0.005", 0.005),
        ("cos_lr=true", True),
        ("cos_lr=False", False),
        ("epochs=1e2", 100),
        ("freeze=[0,1]", [0, 1]),
        ("cache=ram", "ram"),
        ("time=none", None),
        ("optimizer=adamw", "AdamW"),
        ("scale=(0.5, 2.0)", (0.5, 2.0)),
    ],
)
def test_values_get_the_type_that_ultralytics_gives_them(word, value):
    key, _, text = word.partition("=")
    parsed = parse_settings({key: text})[key]
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.floats(0, 1))
def test_any_fraction_is_accepted_unchanged(share):
    assert parse_settings({"mosaic": repr(share)}) == {"mosaic": share}


@pytest.mark.parametrize(
    ("key", "closest"),
    [
        ("lr00", "lr0"),
        ("mosaik", "mosaic"),
        ("weight_deacy", "weight_decay"),
        ("close_mosaik", "close_mosaic"),
    ],
)
def test_an_unknown_key_names_the_closest(key, closest):
    with pytest.raises(ConfigError, match=f"no training setting '{key}'; did you mean '{closest}'"):
        parse_settings({key: "1"})


@pytest.mark.parametrize(
    ("key", "word", "what"),
    [
        ("lr0", "fast", "lr0"),
        ("mosaic", "1.5", "between 0.0 and 1.0"),
        ("epochs", "0", ">= 1"),
        ("cos_lr", "maybe", "must be a bool"),
        ("optimizer", "Adan", "did you mean 'Adam'"),
        ("amp", "fp8", "amp"),
        ("task", "segment", "always 'detect'"),
        ("tracker", "x.yaml", "not a training setting"),
        ("lr0", "none", "must not be None"),
    ],
)
def test_a_wrong_value_says_what_is_expected(key, word, what):
    with pytest.raises(ConfigError) as caught:
        parse_settings({key: word})
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigError, match=r"'lr00'.*mosaic=7.*epochs=None"):
        parse_settings({"lr00": "1", "mosaic": "7", "cos_lr": "true", "epochs": "none"})


def test_the_known_settings_are_ultralytics_own():
    known = training_settings()
    assert set(known) < set(DEFAULT_CFG_DICT)
    assert {"lr0", "mosaic", "close_mosaic", "freeze", "amp", "multi_scale"} <= set(known)


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A settings file of the user's own."""
    file = tmp_path / "Ultralytics" / "settings.json"
    monkeypatch.setattr(settings_module, "_user_settings_file", lambda: file)
    monkeypatch.setattr(settings_module, "SETTINGS", _Settings(SETTINGS))

    def write(content):
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return write


class _Settings(dict):
    """Settings that notice when they would be written."""

    defaults = SETTINGS.defaults

    def update(self, *_, **__):
        raise AssertionError("the settings file would be written")


def test_without_settings_of_their_own_ultralytics_defaults_hold(theirs, monkeypatch):
    monkeypatch.delitem(sys.modules, "ray.tune", raising=False)
    assert user_settings() == {}
    assert enable_loggers() == ("mlflow", "comet", "clearml", "dvc")
    monkeypatch.setitem(sys.modules, "ray.tune", None)  # as in a trial of Ray Tune's
    assert enable_loggers() == ("mlflow", "comet", "clearml", "dvc", "raytune")


def test_what_the_user_turned_on_stays_on_and_the_rest_off(theirs):
    off = dict.fromkeys(("mlflow", "comet", "clearml", "dvc", "raytune"), False)
    file = theirs({"tensorboard": True, "wandb": True, **off})
    before = file.read_bytes()
    assert enable_loggers() == ("tensorboard", "wandb")
    assert settings_module.SETTINGS["tensorboard"] is True
    assert settings_module.SETTINGS["mlflow"] is False
    assert settings_module.SETTINGS["sync"] is False
    assert file.read_bytes() == before


def test_chosen_loggers_replace_those_of_the_settings(theirs):
    theirs({"wandb": True})
    assert enable_loggers(("tensorboard",)) == ("tensorboard",)
    assert enable_loggers(("none",)) == ()
    assert not any(
        settings_module.SETTINGS[name] for name in ("tensorboard", "wandb", "mlflow", "comet")
    )


def test_offline_leaves_out_loggers_that_talk_to_their_maker(theirs):
    assert enable_loggers(("tensorboard", "wandb", "comet", "clearml", "mlflow"), offline=True) == (
        "tensorboard",
        "mlflow",
    )


def test_damaged_settings_are_an_error_that_names_the_file(theirs):
    theirs("{")
    with pytest.raises(ConfigError, match=r"settings.json cannot be read"):
        user_settings()
    theirs("[]")
    with pytest.raises(ConfigError, match="are not a JSON object"):
        user_settings()


def test_the_users_settings_folder_is_left_alone(monkeypatch, tmp_path):
    from yolo_ema.io.machine import cache_dir

    monkeypatch.setenv("YOLO_CONFIG_DIR", str(cache_dir() / "ultralytics"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(settings_module.platform, "system", lambda: "Linux")
    assert settings_module._user_settings_file() == tmp_path / "Ultralytics" / "settings.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(settings_module, "home_folder", lambda: None)
    assert user_settings() == {}


def test_a_logger_that_is_not_installed_is_an_error_that_says_how_to_install_it():
    with pytest.raises(MissingPackageError, match="pip install comet_ml"):
        require_loggers(("comet",))
    require_loggers(("none",))
    require_loggers(())


def test_settings_that_affect_validation_figures_are_passed_explicitly(
    monkeypatch,
):
    later = DEFAULT_CFG_DICT | {"tile": True, "iou": 0.45, "conf": 0.3}
    monkeypatch.setattr(settings_module, "DEFAULT_CFG_DICT", later)
    pinned = pinned_settings()
    assert (pinned["tile"], pinned["iou"], pinned["conf"]) == (False, 0.7, None)
    assert "tile" not in training_settings()
    with pytest.raises(ConfigError, match="'tile' is not a training setting"):
        parse_settings({"tile": "true"})
