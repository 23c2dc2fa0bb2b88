"""The plans side by side, with a real network: figures, cost, the best, and weights that carry
them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from drawn_onnx import ENTRIES, write_onnx
from lively_weights import lively_model, save
from tiny_dataset import draw_dataset

from yolo_ema.detect.detector import Detector
from yolo_ema.engine.export.artifact_metadata import own_entries
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import ConfigError
from yolo_ema.evaluate.plan_comparison import compare_plans
from yolo_ema.evaluate.validation import validate
from yolo_ema.options.detect import DetectOptions
from yolo_ema.options.parser import add_arguments, options_from_namespace
from yolo_ema.options.val import ValOptions
from yolo_ema.tiling.plan_figures import PlanFigures, PlanRow

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lively.pt"
    return save(lively_model("tiny"), path, train_args={"imgsz": 64})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("data") / "tiny", train=1, val=2, side_px=160)


def test_the_plans_are_those_of_val_and_the_weights_carry_them(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.pt"
    shutil.copy(weights, own)
    options = ValOptions(
        weights=own,
        data=str(data),
        map=("class 3=square", "class 8=bar"),
        device="cpu",
        plans=True,
        write=True,
    )
    compared = compare_plans(options)
    found = json.loads(json.dumps(compared.as_json(), allow_nan=False))
    by_name = {plan["plan"]: plan for plan in found["plans"]}
    assert set(by_name) == {
        "whole at 64x64",
        "whole at up to 96x96",
        "whole at up to 128x128",
        "whole at up to 160x160",
        "tiles of 64x64",
        "tiles of 64x64 and whole",
    }
    assert by_name["whole at up to 128x128"]["megapixels"] == 128 * 128 / 1e6
    both, alone = by_name["tiles of 64x64 and whole"], by_name["tiles of 64x64"]
    assert both["megapixels"] - alone["megapixels"] == pytest.approx(64 * 64 / 1e6)
    assert [plan["megapixels"] for plan in found["plans"]] == sorted(
        plan["megapixels"] for plan in found["plans"]
    )
    once = validate(ValOptions(**{**vars(options), "imgsz": (96,), "plans": False, "write": False}))
    assert by_name["whole at up to 96x96"]["official"] == once.as_json()["official"]
    text = compared.as_text()
    assert f"best: {found['best']}" in text
    assert all(name in text for name in by_name)

    carried = PlanFigures.of_entries(load_model(own).metadata)
    assert carried == compared.figures
    detector = Detector(own, device="cpu")
    assert (detector.conf, detector.iou) == (carried.best.conf, 0.7)
    detector.conf = 0.4
    assert (detector.conf, detector.iou) == (0.4, 0.7)
    assert Detector(own, device="cpu", conf=0.3).conf == 0.3
    assert Detector(weights, device="cpu").conf == 0.25
    again = {**vars(options), "plans": False, "write": False}
    followed, auto, whole = (
        validate(ValOptions(**(again | other))).as_json()["protocol"]
        for other in ({}, {"tile": "auto"}, {"imgsz": (64,)})
    )
    assert followed["tiles"] == auto["tiles"]
    assert followed["tiles"]["tile"] == "auto"
    assert whole["tiles"] is None
    facts = {"precision": "fp32", "max_det": 300, "weights_sha256": "0"}
    same, larger, lying = (
        PlanFigures.of_entries(own_entries(load_model(own), imgsz_hw=size, **facts))
        for size in ((64, 64), (128, 128), (64, 96))
    )
    assert (same, lying) == (carried, None)
    assert [row.input_scale for row in larger.rows] == [0.5, 0.75, 1, 1.125]


def test_a_larger_input_enlarges_no_image_as_auto_does_not(weights: Path, tmp_path: Path) -> None:
    data = draw_dataset(tmp_path / "small", train=1, val=2, side_px=120)
    compared = compare_plans(
        ValOptions(
            weights=weights,
            data=str(data),
            map=("class 3=square", "class 8=bar"),
            device="cpu",
            plans=True,
            imgsz=(64,),
        )
    )
    whole = {row.input_scale: row for row in compared.figures.rows if not row.tiles}
    assert [whole[scale].megapixels for scale in (1, 1.5, 2, 2.25)] == [
        pytest.approx(side**2 / 1e6, abs=5e-5) for side in (64, 96, 128, 128)
    ]
    assert whole[2].ap == whole[2.25].ap


def test_what_a_file_of_fixed_size_carries_does_not_decide_what_is_measured(
    data: Path, tmp_path: Path
) -> None:
    carried = PlanFigures(
        (PlanRow(1, False, True, 30, 0.006, 4, 0.2), PlanRow(1, True, True, 30.1, 0.1, 1, 0.2)), 0.7
    )
    assert not carried.best.tiles
    compared = compare_plans(
        ValOptions(
            weights=write_onnx(tmp_path / "fixed.onnx", ENTRIES | carried.as_entries()),
            data=str(data),
            map=("class 0=square", "class 1=bar"),
            device="cpu",
            plans=True,
        )
    )
    by_name = {plan["plan"]: plan for plan in compared.as_json()["plans"]}
    assert set(by_name) == {"whole at 96x64", "tiles of 96x64", "tiles of 96x64 and whole"}
    both, alone = by_name["tiles of 96x64 and whole"], by_name["tiles of 96x64"]
    assert both["tiles"]["images_in_tiles"] == alone["tiles"]["images_in_tiles"] == 2
    assert both["megapixels"] - alone["megapixels"] == pytest.approx(96 * 64 / 1e6)


@pytest.mark.parametrize(
    ("carried_iou", "asked"),
    [
        (None, {}),
        (0.6, {"iou": 0.6}),
        (0.6, {"iou": 0.7}),
        (None, {"iou": 0.5, "merge": "ios-nms", "overlap": 0.3, "augment": True}),
        (None, {"nms_groups": ("class 0,class 1", "class 1,class 2"), "group_iou": 0.6}),
        (None, {"max_det": 50, "rectangular": False, "batch": 2}),
    ],
)
def test_the_flags_make_detect_do_what_was_measured(
    data: Path, tmp_path: Path, carried_iou: float | None, asked: dict[str, Any]
) -> None:
    row = PlanRow(1, False, True, 30, 0.006, 4, 0.2)
    carried = PlanFigures((row,), carried_iou).as_entries() if carried_iou else {}
    common = {"weights": write_onnx(tmp_path / "fixed.onnx", ENTRIES | carried), "device": "cpu"}
    names = ("class 0=square", "class 1=bar")
    compared = compare_plans(ValOptions(**common, data=str(data), map=names, plans=True, **asked))
    said = compared.as_text().partition("detect with it: ")[2].splitlines()[0]
    parser = argparse.ArgumentParser()
    add_arguments(parser, DetectOptions)
    words = ["footage", "--weights", str(common["weights"]), *shlex.split(said)]
    options = options_from_namespace(DetectOptions, parser.parse_args(words))
    detector, measured = Detector(config=options), compared.best.options
    assert detector.iou == measured.iou
    for name in ("device", "imgsz", "tile", "overlap", "merge", "augment", "nms_groups"):
        assert getattr(options, name) == getattr(measured, name)
    assert options.group_iou == measured.group_iou
    assert options.max_det == asked.get("max_det", 1000)
    assert ("--iou" in said) == (measured.iou != (carried_iou or 0.7))
    for name in ("merge", "overlap", "augment", "nms_groups", "max_det"):
        assert (f"--{name.replace('_', '-')} " in f"{said} ") == (name in asked)


def test_contradicting_options_are_refused(weights: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be combined with --tile, --report"):
        ValOptions(weights=weights, plans=True, tile="auto", report=Path("page"))
    with pytest.raises(ConfigError, match="--write is given without --plans"):
        ValOptions(weights=weights, write=True)
    script = ValOptions(weights=weights.with_suffix(".torchscript"), plans=True, write=True)
    script.weights.write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot carry figures"):
        compare_plans(script)
    other = ValOptions(weights=weights, plans=True, write=True, imgsz=(96,), augment=True)
    with pytest.raises(ConfigError, match="--write is given with --imgsz and --augment"):
        compare_plans(other)
    other = ValOptions(weights=weights, plans=True, write=True, nms_groups=("one,two",), conf=0.1)
    with pytest.raises(ConfigError, match="--write is given with --nms-groups and --conf"):
        compare_plans(other)
