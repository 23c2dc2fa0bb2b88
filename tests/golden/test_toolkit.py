"""The official MATLAB toolkit's own figures."""

from __future__ import annotations

import csv
import json

import pytest

from yolo_ema.metrics.visdrone_protocol import evaluate_official
from yolo_ema.visdrone.annotations import read_annotations, read_results

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "visdrone-det-toolkit"
    if not folder.is_dir():
        pytest.skip(f"the toolkit's figures are not here: {folder} is missing")
    return folder


def read_set(folder):
    ground_truth = {
        path.stem: read_annotations(path).rows
        for path in sorted((folder / "annotations").glob("*.txt"))
    }
    detections = {
        path.stem: read_results(path) for path in sorted((folder / "results").glob("*.txt"))
    }
    with (folder / "image_sizes.csv").open(newline="") as file:
        sizes_wh = {
            row["image"]: (int(row["width"]), int(row["height"])) for row in csv.DictReader(file)
        }
    return ground_truth, detections, sizes_wh


@pytest.mark.parametrize("name", ["setA", "setB", "setD"])
def test_equals_the_toolkit(golden, name):
    expected = json.loads((golden / "expected.json").read_text())[name]
    assert evaluate_official(*read_set(golden / name)).official == pytest.approx(
        expected, rel=0, abs=1e-8
    )


def test_order_of_files_in_the_mappings_does_not_matter(golden):
    ground_truth, detections, sizes_wh = read_set(golden / "setD")
    turned = [dict(reversed(list(one.items()))) for one in (ground_truth, detections, sizes_wh)]
    assert (
        evaluate_official(*turned).official
        == evaluate_official(ground_truth, detections, sizes_wh).official
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["setA", "setD"])
def test_the_command_gives_the_toolkits_figures(golden, name, yolo_ema_command):
    expected = json.loads((golden / "expected.json").read_text())[name]
    folder = golden / name
    done = yolo_ema_command(
        "score",
        "--annotations",
        folder / "annotations",
        "--results",
        folder / "results",
        "--sizes",
        folder / "image_sizes.csv",
        "--as-is",
        "--json",
    )
    assert done.code == 0, done.err
    assert done.json["official"] == pytest.approx(expected, rel=0, abs=1e-8)
