"""The validation page: what it holds, and that it holds everything itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from yolo_ema.evaluate.val_result import Evidence, ValResult
from yolo_ema.metrics.error_analysis import ImageErrors, diagnose
from yolo_ema.metrics.scorecard import make_scorecard
from yolo_ema.metrics.visdrone_protocol import Curve
from yolo_ema.report.validation_page.example_images import COLOURS, draw_errors
from yolo_ema.report.validation_page.html_page import MOST_EXAMPLES, validation_page
from yolo_ema.report.validation_page.line_chart import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Series,
    line_chart,
    precision_recall_chart,
)

PARTS = (
    "Figures",
    "AP by class",
    "COCO AP by object size",
    "Classes",
    "Precision over recall",
    "Kinds of error",
    "Confusion",
    "Images with the most misses and false alarms",
    "The training run",
    "How this was measured",
)
NAMES = ("cat", "<b>dog</b>", "never")


def made_up_result(folder, *, images=3, record=None, warnings=("look <here>",)):
    """Detections that miss some objects and see some that are not there, on drawn noise."""
    rng = np.random.default_rng(0)
    truth, found, files, sizes = {}, {}, {}, {}
    for n in range(images):
        name = f"img{n}"
        files[name] = folder / f"{name}.jpg"
        cv2.imwrite(str(files[name]), rng.integers(60, 90, (240, 320, 3), dtype=np.uint8))
        boxes = np.column_stack(
            [
                rng.integers(0, 280, (12, 2)) * [1, 0.7],
                rng.integers(12, 40, (12, 2)),
                np.ones(12),
                rng.integers(1, 3, 12),
            ]
        )
        truth[name] = np.vstack([boxes, [[250, 200, 60, 30, 0, 0]]])
        near = boxes[: 12 - n] + rng.normal(0, 1, (12 - n, 6)) * [1, 1, 1, 1, 0, 0]
        near[:, 4] = np.linspace(0.9, 0.4, len(near))
        found[name] = np.vstack([near, [[5, 5, 20, 20, 0.3, 1]]])
        sizes[name] = (320, 240)
    about = {"split": "val", "data": "my <data>.yaml", "imgsz": [96, 160]}
    card = make_scorecard(truth, found, sizes, class_names=NAMES, about=about, warnings=warnings)
    seconds = {"preprocess": 0.001, "inference": 0.02, "postprocess": 0.003}
    evidence = Evidence(NAMES, files, sizes, truth, found)
    return ValResult(
        card,
        {"path": "runs/x/weights/best.pt", "format": "pt"},
        seconds,
        (),
        evidence,
        run_record=record,
    )


def page_of(result):
    evidence = result.evidence
    return validation_page(
        result,
        diagnose(evidence.ground_truth, evidence.detections, evidence.sizes_wh, class_names=NAMES),
    )


class Reader(HTMLParser):
    """Collects addresses and text, and checks that tags close in order."""

    VOID = frozenset({"meta", "link", "img", "br", "line"})

    def __init__(self):
        super().__init__()
        self.addresses, self.open, self.texts, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [
            value
            for name, value in attributes
            if name in {"src", "href", "srcset", "action", "xlink:href"}
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    record = {
        "command": "yolo-ema train --epochs 3",
        "epochs": [
            {
                "epoch": n,
                "metrics/mAP50-95(B)": 0.1 * n,
                "metrics/mAP50(B)": None if n == 2 else 0.2 * n,
            }
            for n in (1, 2, 3)
        ],
    }
    return page_of(made_up_result(tmp_path_factory.mktemp("images"), record=record))


def test_tags_close_and_nothing_is_loaded_from_outside(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "script" not in reader.tags
    assert not re.search(r"url\(|@import|https?:", page.replace("http://www.w3.org/2000/svg", ""))


def test_names_from_outside_are_escaped(page):
    assert "<b>dog</b>" not in page
    assert "&lt;b&gt;dog" in page
    assert "look &lt;here&gt;" in page
    assert "my &lt;data&gt;.yaml" in page


def test_every_part_is_present(page):
    reader = Reader()
    reader.feed(page)
    text = " ".join(reader.texts)
    assert [part for part in PARTS if part not in text] == []
    for kind in ("class", "location", "duplicate", "background", "missed"):
        assert kind in reader.texts
    assert "yolo-ema train --epochs 3" in text
    assert reader.tags.count("img") == 3
    assert reader.tags.count("svg") == 2


def test_figures_are_those_of_the_scorecard(tmp_path):
    result = made_up_result(tmp_path)
    page = page_of(result)
    for value in (result.scorecard.official.official["AP"], result.scorecard.coco.summary["AP50"]):
        assert f"<b>{value:.1f}</b>" in page
    assert "<b>24 ms</b>" in page  # 1 + 20 + 3
    assert "training run" not in page


def test_worst_images_come_first_and_their_number_is_bounded(tmp_path):
    page = page_of(made_up_result(tmp_path, images=MOST_EXAMPLES + 3))
    shown = re.findall(r"<figcaption>(img\d+)<br>(\d+) missed, (\d+) false", page)
    assert len(shown) == MOST_EXAMPLES
    errors = [int(missed) + int(false) for _, missed, false in shown]
    assert errors == sorted(errors, reverse=True)


def test_a_faultless_detector_has_no_images_to_show(tmp_path):
    result = made_up_result(tmp_path, images=1)
    truth = result.evidence.ground_truth
    perfect = {name: rows[rows[:, 5] > 0] for name, rows in truth.items()}
    diagnosis = diagnose(truth, perfect, result.evidence.sizes_wh, class_names=NAMES)
    assert "every object was found" in validation_page(result, diagnosis)


def test_boxes_are_drawn_where_they_are_and_large_images_shrink():
    none = np.zeros((0, 6))
    errors = ImageErrors(
        "a", np.array([[0, 0, 20, 20, 1, 1.0]]), none, np.array([[100, 40, 60, 30, 1, 1.0]])
    )
    drawn = draw_errors(
        np.zeros((100, 200, 3), np.uint8), errors, np.array([[150.0, 80, 100, 100]])
    )

    def rgb(y, x):
        return "#" + "".join(f"{value:02x}" for value in drawn[y, x][::-1])

    assert rgb(0, 10) == COLOURS["found"]
    assert rgb(40, 130) == COLOURS["missed"]
    assert rgb(55, 130) == "#000000"
    assert len(set(drawn[90, 180].tolist())) == 1
    assert drawn[90, 180, 0] > 60  # greyed
    assert draw_errors(np.zeros((1000, 4000, 3), np.uint8), errors, none[:, :4]).shape == (
        320,
        1280,
        3,
    )


def test_chart_maps_values_to_the_plots_corners():
    chart = line_chart(
        [Series("s", np.array([0.0, 10]), np.array([0.0, 50]))],
        x_label="x",
        y_label="y",
        x_range=(0, 10),
        y_range=(0, 50),
    )
    assert chart.lines[0].points_xy.tolist() == [[LEFT, BOTTOM], [RIGHT, TOP]]
    assert chart.x_ticks == tuple(
        zip(np.linspace(LEFT, RIGHT, 5), ("0", "2", "5", "8", "10"), strict=True)
    )
    assert chart.y_ticks[0] == (BOTTOM, "0")
    assert chart.y_ticks[-1] == (TOP, "50")


def test_lines_beyond_the_colours_are_dashed():
    each = Series("s", np.array([0.0, 1]), np.array([0.0, 1]))
    chart = line_chart([each] * 12, x_label="x", y_label="y", x_range=(0, 1), y_range=(0, 1))
    assert [line.dashed for line in chart.lines] == [False] * 10 + [True] * 2
    assert chart.lines[10].colour == chart.lines[0].colour
    assert chart.x_ticks[1][1] == "0.25"


def test_precision_recall_draws_the_envelope_of_classes_that_occur():
    score = np.array([0.9, 0.7])
    curve = Curve(np.array([0.25, 0.5]), np.array([0.5, 0.8]), score, score)
    none = Curve(*np.zeros((4, 0)))
    chart = precision_recall_chart(("a", "b", "c"), (curve, none, none), (40.0, 0.0, None))
    assert [line.name for line in chart.lines] == ["a", "b"]  # c does not occur
    points = chart.lines[0].points_xy
    assert len(set(points[:-1, 1].tolist())) == 1  # 0.8 at every recall up to 0.5
    assert points[-1].tolist() == [points[-2, 0], BOTTOM]
    assert chart.lines[0].note == "40.0"


def test_the_page_draws_its_charts(page):
    """The polyline's points are the chart's, and each has its name for the pointer to show."""
    lines = re.findall(r'<polyline class="line" points="([^"]+)" stroke="#[0-9a-f]{6}">', page)
    assert len(lines) == 4  # two classes, two figures of the training
    x, y = map(float, lines[2].split()[0].split(","))
    assert (x, y) == (
        LEFT,
        pytest.approx(BOTTOM - 10 / 80 * (BOTTOM - TOP), abs=0.06),
    )  # 60 is 60.0…1
    assert "<title>mAP50 (%) 60.0</title>" in page
