"""The weights in ``weights/``: each has its card, is the file that the card describes, and finds
objects.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.inference.object_sizes import recorded_sizes
from yolo_ema.report.weights_card import BEGIN, END, Setting, card_tables, write_tables
from yolo_ema.scenes.scene import draw_scene

REPOSITORY = Path(__file__).resolve().parents[2]
CARDS = sorted((REPOSITORY / "weights").glob("*.json"))
FILES = sorted(
    path
    for path in (REPOSITORY / "weights").rglob("*")
    if path.suffix in {".pt", ".onnx", ".xml", ".bin"}
)
RUN = [path for path in FILES if path.suffix in {".pt", ".onnx"}] + sorted(
    (REPOSITORY / "weights").glob("*_openvino_model")
)
LARGEST_BYTES = 8_000_000


@pytest.fixture(params=CARDS, ids=lambda path: path.stem)
def card_file(request) -> Path:
    return request.param


@pytest.fixture
def card(card_file) -> dict:
    return json.loads(card_file.read_text(encoding="utf-8"))


def test_the_default_is_among_them():
    from yolo_ema.detect.detector import default_weights

    assert default_weights().with_suffix(".json") in CARDS


def test_a_detector_knows_them_by_name(monkeypatch, tmp_path):
    from yolo_ema.detect.detector import DEFAULT_WEIGHTS, Detector, default_weights

    monkeypatch.chdir(tmp_path)
    assert Detector(DEFAULT_WEIGHTS, device="cpu").weights == default_weights()


def test_every_file_has_a_card_and_its_hash():
    described = {}
    for card_file in CARDS:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        described |= {card["file"]: card["sha256"]} | card.get("exported", {})
    assert {
        path.relative_to(REPOSITORY / "weights").as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in FILES
    } == described


def test_the_int8_file_is_small():
    (folder,) = (REPOSITORY / "weights").glob("*-int8_openvino_model")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6_000_000


def test_it_is_small_half_precision_and_knows_visdrone(card_file, card):
    weights = card_file.with_name(card["file"])
    assert weights.stat().st_size == card["bytes"] < LARGEST_BYTES
    loaded = load_model(weights)
    assert tuple(loaded.names.values()) == tuple(card["classes"]) == VISDRONE_CLASSES
    assert recorded_sizes(loaded.metadata) is not None
    assert "non-commercial" in loaded.metadata["license"]


def test_it_names_no_folder_of_the_machine_that_made_it(card_file, card):
    with zipfile.ZipFile(card_file.with_name(card["file"])) as archive:
        held = archive.read(
            next(name for name in archive.namelist() if name.endswith("data.pkl"))
        ).decode("latin-1")
    for text in (
        held,
        card_file.read_text(encoding="utf-8"),
        card_file.with_suffix(".md").read_text(encoding="utf-8"),
    ):
        assert not [
            word
            for word in ("/home/", "/root", "/tmp/", "/work", "/opt/", "/Users/")
            if word in text
        ]


def test_the_page_holds_the_figures_of_the_card_and_its_terms(card_file, card):
    page = card_file.with_suffix(".md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0].strip() == card_tables(card)
    assert "non-commercial" in page
    assert "AGPL-3.0" in page
    assert card["recommended"] in {one["setting"] for one in card["figures"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "weights", [None, *RUN], ids=lambda path: path.name if path else "none given"
)
def test_detect_finds_drawn_cars(yolo_ema_command, tmp_path, weights):
    import cv2

    cv2.imwrite(str(tmp_path / "scene.png"), draw_scene(4).image_bgr)
    given = ["--weights", weights] if weights else []
    done = yolo_ema_command(
        "detect",
        tmp_path / "scene.png",
        *given,
        "--conf",
        "0.1",
        "--save",
        "jsonl",
        "--out",
        tmp_path / "out",
    )
    assert done.code == 0, done.err
    rows = [
        json.loads(line)
        for line in next((tmp_path / "out").rglob("*.jsonl"))
        .read_text(encoding="utf-8")
        .splitlines()
    ]
    assert sum(len(row["detections"]) for row in rows) > 0


def test_settings_as_text():
    assert (Setting.parse("960").text, Setting.parse("640@auto").text) == (
        "960, whole",
        "640, tiles auto",
    )
    with pytest.raises(ValueError, match="640@640x640"):
        Setting.parse("640x640")


def test_a_page_without_its_marks_is_refused(tmp_path, card):
    (tmp_path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    (tmp_path / "card.md").write_text("# no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="exactly once"):
        write_tables(tmp_path / "card.json")
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == "# no marks"
