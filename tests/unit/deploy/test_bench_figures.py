"""Rows, agreement and advice of ``bench``: figures against their definitions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from as_on_windows import open_images_by_ascii_names_alone

from yolo_ema.deploy.bench.result import BenchResult, advice
from yolo_ema.deploy.bench.row import EXACT, BenchRow, BoxAgreement, Round, box_agreement
from yolo_ema.deploy.bench.run import _images, export_settings
from yolo_ema.errors import ConfigError
from yolo_ema.options.bench import DEFAULT_FORMATS, BenchOptions
from yolo_ema.options.export import ExportOptions

SAME = BoxAgreement(boxes=50, unmatched=0, ties=0, box_px=1e-4, score=1e-5, score_share=1e-5)
ABOUT = {
    "image_sizes_wh": [[960, 540]],
    "rounds": 2,
    "conf": 0.25,
    "hardware": {"processor": "Z80", "cores": 1, "system": "CP/M", "gpus": []},
    "load_average": [None, None],
}


def turn(*milliseconds: float, network: float = 0.5, batch: float | None = None) -> Round:
    seconds = tuple(one / 1000 for one in milliseconds)
    return Round(seconds, tuple(one * network for one in seconds), sum(seconds), batch)


def row(
    name: str,
    ms: float,
    *,
    agreement: BoxAgreement | None = SAME,
    memory: int = 500,
    precision: str = "fp32",
    **more,
) -> BenchRow:
    facts = {
        "device": "cpu",
        "threads": 2,
        "imgsz_hw": [384, 640],
        "stored_precision": precision,
        "computed_precision": precision,
        "peak_memory_bytes": memory * 10**6,
        "memory_before_bytes": 400 * 10**6,
        "version": f"{name} 1.0",
    }
    facts |= more.pop("facts", {})
    rounds = (turn(ms, ms), turn(ms, ms))
    pt_rounds = () if name == "pt" else (turn(100, 100), turn(100, 100))
    agreement = None if name == "pt" else agreement
    return BenchRow(
        name,
        facts=facts,
        rounds=rounds,
        pt_rounds=pt_rounds,
        agreement=agreement,
        file_bytes=10**7,
        **more,
    )


def test_a_rows_figures_are_what_their_names_say():
    one = BenchRow(
        "onnx",
        rounds=(turn(10, 20, 90), turn(30, 40, 50), turn(1, 2, 3)),
        pt_rounds=(turn(40, 40, 40), turn(20, 20, 20), turn(20, 20, 20)),
    )
    assert one.latency == pytest.approx(0.020)  # of the medians 20, 40 and 2
    assert one.network == pytest.approx(0.010)
    assert one.p95 == pytest.approx(
        0.090 - 0.4 * (0.090 - 0.050)
    )  # 95 % of the way from the first to the ninth call
    assert one.times_as_fast[0] == pytest.approx(2.0)  # of 2, 0.5 and 10
    assert one.cpu == pytest.approx(0.120)
    images, together = one.throughput
    assert (images, together) == (pytest.approx(1 / 0.040), 1)


def test_throughput_is_that_of_batched_calls_where_there_are_any():
    one = BenchRow(
        "pt", rounds=(turn(100, batch=0.2), turn(100, batch=0.4), turn(100, batch=0.25)), batch=4
    )
    assert one.throughput == (pytest.approx(16.0), 4)


def boxes(count: int) -> np.ndarray:
    """So many boxes of 40 pixels on a grid, none near another, of three classes."""
    corners = np.array([[60 * (k % 20), 60 * (k // 20)] for k in range(count)], np.float32) + 10
    return np.column_stack(
        [corners, corners + 40, np.linspace(0.9, 0.5, count), np.arange(count) % 3]
    ).astype(np.float32)


def test_agreement_counts_in_pixels_of_the_input_and_by_class():
    reference = boxes(100)
    other = reference + np.float32([EXACT.px, 0, 0, 0, 0.4 * EXACT.score, 0])
    close = box_agreement([reference], [other], [(768, 1280)], (384, 640), conf=0.25)
    assert (close.boxes, close.unmatched, close.ties) == (100, 0, 0)
    assert close.box_px == pytest.approx(
        EXACT.px / 2, rel=0.01
    )  # the input shows the image at half its size
    assert close.score == pytest.approx(0.4 * EXACT.score, rel=0.01)
    assert close.score_share == pytest.approx(0.8 * EXACT.score, rel=0.01)  # of the lowest score
    assert close.same
    far = other.copy()
    far[0, :4] += 4 * EXACT.px
    assert not box_agreement([reference], [far], [(768, 1280)], (384, 640), conf=0.25).same
    far[1, 5] = 7  # another class
    found = box_agreement([reference], [far[:99]], [(768, 1280)], (384, 640), conf=0.25, lossy=True)
    assert found.unmatched == 3  # the box of another class on both sides, and the one that is gone


def test_where_all_boxes_differ_none_of_them_is_called_a_tie():
    reference = boxes(100)
    found = box_agreement(
        [reference],
        [reference + np.float32([5, 5, 5, 5, 0, 0])],
        [(640, 640)],
        (640, 640),
        conf=0.25,
    )
    assert (found.unmatched, found.ties) == (0, 0)
    assert found.box_px == pytest.approx(5)
    assert not found.same


def test_a_box_on_the_edge_is_a_tie_only_in_float32():
    reference = np.concatenate([boxes(99), [[1210, 10, 1250, 50, 0.25, 1]]]).astype(np.float32)
    given = {"sizes_hw": [(640, 1280)], "input_hw": (640, 1280), "conf": 0.25}
    exact, lossy = (
        box_agreement([reference], [reference[:99]], **given, lossy=one) for one in (False, True)
    )
    assert (exact.unmatched, exact.ties, exact.same) == (0, 1, True)
    assert (lossy.unmatched, lossy.ties) == (1, 0)


def test_no_boxes_give_no_agreement():
    empty = np.empty((0, 6), np.float32)
    assert not box_agreement([empty], [empty], [(10, 10)], (32, 32), conf=0.25).same


def test_the_fastest_of_equal_boxes_is_recommended():
    said = advice([row("pt", 100), row("onnx", 50), row("openvino", 30)])
    assert said.startswith(
        "Take openvino: 30 ms per image, 3.33 times as fast as the .pt, with its boxes (50 within "
        "0.0001 px)."
    )


def test_of_equally_fast_rows_the_one_with_least_processor_time_is_recommended():
    frugal = replace(row("onnx", 51), rounds=(Round((0.051,), (0.05,), 0.06, None),) * 2)
    said = advice([row("pt", 100), frugal, row("openvino", 50)])
    assert said.startswith("Take onnx: 51 ms")
    assert "within 5% of the fastest (openvino 50 ms) it takes the least processor time" in said


def test_a_faster_row_with_other_boxes_is_named_with_what_is_unknown():
    differing = BoxAgreement(boxes=50, unmatched=4, ties=0, box_px=3.2, score=0.08, score_share=0.1)
    said = advice(
        [
            row("pt", 100),
            row("onnx", 50),
            row("onnx", 20, agreement=differing, precision="int8", quantize="int8"),
        ]
    )
    assert said.startswith("Take onnx: 50 ms")
    assert (
        "onnx int8 is faster (20 ms), but its boxes are not those of the weights (4 without "
        "counterpart among 50" in said
    )
    assert "measured by yolo-ema verify FILE --weights W --data D" in said


def test_a_float_file_with_other_boxes_gives_a_warning():
    said = advice(
        [row("pt", 100), row("ncnn", 10, agreement=BoxAgreement(50, 0, 0, 9.0, 0.5, 0.5))]
    )
    assert said.startswith("Take the .pt")
    assert "Don't use ncnn before yolo-ema verify says why" in said


def test_advice_names_what_it_could_not_compare():
    said = advice([row("pt", 100), row("onnx", 5, facts={"imgsz_hw": [96, 160]})])
    assert said.startswith("Take the .pt")
    assert "Not compared, since their input size is not the .pt's: onnx." in said
    nothing_found = advice(
        [row("pt", 100), row("onnx", 5, agreement=BoxAgreement(0, 0, 0, 0.0, 0.0, 0.0))]
    )
    assert nothing_found.startswith("Take the .pt")
    assert "found nothing in these images" in nothing_found
    assert "did not run" in advice([BenchRow("pt", reason="no"), row("onnx", 5)])
    assert "Nothing ran" in advice([BenchRow("pt", reason="no")])


def test_the_exit_code_is_zero_unless_nothing_ran():
    failed = BenchRow("onnx", reason="onnxruntime is missing")
    assert BenchResult(Path("w.pt"), (row("pt", 100), failed), ABOUT).exit_code == 0
    assert BenchResult(Path("w.pt"), (failed,), ABOUT).exit_code == 6


def test_table_and_json_hold_every_row():
    result = BenchResult(
        Path("w.pt"),
        (row("pt", 100), row("onnx", 50), BenchRow("ncnn", reason="it is missing")),
        ABOUT,
    )
    lines = result.as_text().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["runtime", "pt", "onnx", "ncnn:"]
    assert lines[3] == "ncnn: did not run: it is missing"
    assert "2.00" in lines[2].split()
    assert "Z80, 1 cores; CP/M" in lines
    told = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert [one["ran"] for one in told["rows"]] == [True, True, False]
    assert told["rows"][1]["times_as_fast_as_pt"]["median"] == pytest.approx(2.0)
    assert told["rows"][1]["agreement"]["same"] is True
    assert told["rows"][2]["reason"] == "it is missing"


def test_a_busy_machine_is_reported():
    busy = BenchResult(Path("w.pt"), (row("pt", 100),), ABOUT | {"load_average": [7.0, 8.0]})
    assert "trust the ratios" in busy.as_text()
    assert (
        "trust the ratios"
        not in BenchResult(
            Path("w.pt"), (row("pt", 100),), ABOUT | {"load_average": [0.2, 1.4]}
        ).as_text()
    )


@pytest.mark.parametrize("quantize", [None, "fp16", "int8"])
def test_every_row_asks_for_an_export_that_makes_sense(quantize):
    options = BenchOptions(
        weights=Path("w.pt"),
        quantize=("fp16", "int8"),
        calibrate=(Path("photos"),),
        imgsz=(96, 160),
    )
    asked = export_settings(BenchRow("onnx", quantize), options)
    assert bool(asked["calibrate"]) == (quantize == "int8")
    format_name, paths = asked.pop("format_name"), [Path(one) for one in asked.pop("calibrate")]
    asked |= {"weights": Path(asked["weights"]), "imgsz": tuple(asked["imgsz"])}
    assert (
        ExportOptions(format=(format_name,), calibrate=tuple(paths), **asked).quantize == quantize
    )  # it refuses what does not fit


def test_options_name_every_mistake():
    with pytest.raises(
        ConfigError, match=r"--rounds is 0.*--time-limit is 0.*--quantize int8 needs images"
    ):
        BenchOptions(weights=Path("w.pt"), rounds=0, time_limit=0, quantize=("int8",))
    with pytest.raises(ConfigError, match="--quantize is for exported formats"):
        BenchOptions(weights=Path("w.pt"), artifact=(Path("a.onnx"),), quantize=("fp16",))
    assert BenchOptions(weights=Path("w.pt")).formats == DEFAULT_FORMATS
    assert BenchOptions(weights=Path("w.pt"), artifact=(Path("a.onnx"),)).formats == ()


def test_its_scenes_are_there_whatever_the_folder_is_called(tmp_path, monkeypatch):
    """A user's name is part of the temporary folder's on Windows."""
    open_images_by_ascii_names_alone(monkeypatch)
    folder = tmp_path / "Jürgen"
    folder.mkdir()
    paths = _images(BenchOptions(weights="best.pt"), folder)
    assert {cv2.imdecode(np.fromfile(path, np.uint8), -1).shape for path in paths} == {
        (1080, 1920, 3)
    }
