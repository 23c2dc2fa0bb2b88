"""The card of weights: its settings, what it says of a run, and the script's words."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.options.val import ValOptions
from yolo_ema.report.weights_card import Setting, _facts, card_tables

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "weights_card.py"


def test_the_default_setting_is_what_val_does_by_itself():
    setting, options = Setting.parse("default"), ValOptions(weights="best.pt")
    assert (setting.imgsz, setting.tile) == (None, options.tile) == (None, "recommended")
    assert options.imgsz == ()
    assert setting.text == "by default"


def test_a_mistyped_setting_names_all_forms():
    with pytest.raises(ConfigError, match=r"expected default, .*640@640x640; did you mean 'def"):
        Setting.parse("defualt")


def _record(transfer: dict | None) -> dict:
    return {
        "command": "yolo-ema train",
        "commit": None,
        "seed": 0,
        "started": "",
        "ended": "",
        "epochs": [],
        "drone": {},
        "versions": {},
        "data": {"names": ["car"]},
        "hardware": {"machine": "x", "processor": "y", "cores": 2, "gpus": []},
        "transfer": transfer,
    }


@pytest.mark.parametrize(
    ("transfer", "said"),
    [(None, "none"), ({"tensors": 493, "of": 529}, "493 of 529 tensors")],
)
def test_the_card_says_what_was_carried_over(transfer, said):
    facts = _facts(_record(transfer), Path("one.pt"), {"hours": None, "note": ""})
    official = dict.fromkeys(("AP", "AP50", "AP75", "AR500"), 1.0)
    coco = dict.fromkeys(("AP", "AP50", "AP_small", "AP_medium", "AP_large"), 1.0)
    figures = {
        "setting": "by default",
        "images": 3,
        "official": official,
        "coco": coco,
        "thresholds": {"all": None, "per_class": {}},
        "per_class": {},
        "ms_per_image": 1.0,
    }
    card = {**facts, "sha256": "0", "bytes": 1, "recommended": "by default", "figures": [figures]}
    assert f"| carried over | {said} |" in card_tables(card)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/one"], "error: --data must be given, unless --tables is"),
        ([], "error: --data must be given, unless --tables is"),
        (["runs/one", "--data", "d", "--settings", "defualt"], "did you mean 'default'?"),
    ],
)
def test_the_script_says_what_is_missing_or_mistyped(words, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words, "--out", str(tmp_path / "one.pt")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
