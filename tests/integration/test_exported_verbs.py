"""``detect`` and ``val`` with exported files: tiled, tracked, and with the boxes of the weights at
the same input.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from lively_weights import lively_model, save
from tiny_dataset import NAMES, draw_dataset

from yolo_ema.cli import main
from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.evaluate.validation import validate
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.options.export import ExportOptions
from yolo_ema.options.val import ValOptions
from yolo_ema.scenes.clip import draw_clip

pytestmark = pytest.mark.usefixtures("openvino_in_f32")
FORMATS = ("onnx", "openvino", "torchscript", "ncnn")
SIDE = 96


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Weights of two classes, sure and with small boxes, a clip of a moving camera, and a
    dataset.
    """
    folder = tmp_path_factory.mktemp("exported")
    model = lively_model("tiny", classes=2)
    model.names = dict(enumerate(NAMES))
    with torch.no_grad():
        for boxes, classes in zip(model.model[-1].cv2, model.model[-1].cv3, strict=True):
            classes[-1].bias += 2.5
            boxes[-1].bias -= 0.4 * torch.arange(16).repeat(4)
    save(model, folder / "tiny.pt")
    with VideoWriter(folder / "clip.mp4", frame_rate=Fraction(10), image_wh=(320, 180)) as writer:
        for frame in draw_clip(1, frames=4, fps=10.0, image_wh=(320, 180), objects=20):
            writer.write(frame.image_bgr)
    draw_dataset(folder / "data", train=1, val=3, side_px=160)
    return folder


@pytest.fixture(scope="module")
def exported(place):
    """Return a function that exports the weights once in each format."""
    made: dict[str, Path] = {}

    def export(name: str) -> Path:
        if name not in made:
            (place / name).mkdir()
            options = ExportOptions(weights=place / "tiny.pt", format=(name,), imgsz=(SIDE,))
            made[name] = export_artifact(
                name, options, load_model(options.weights), place / name
            ).path
        return made[name]

    return export


def hold(found: np.ndarray, wanted: np.ndarray, *, px: float) -> None:
    """Hold boxes (N, 5), score last, to others, whatever the order of those that score alike."""
    assert found.shape == wanted.shape
    free = np.ones(len(wanted), bool)
    for row in found:
        apart = np.abs(wanted - row).max(axis=1) + np.where(free, 0, np.inf)
        nearest = int(apart.argmin())
        assert apart[nearest] <= px
        free[nearest] = False


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_detect_in_tiles_with_identities(name, place, exported, capsys):
    artifact, out = exported(name), place / f"out-{name}"
    words = (
        "--weights",
        artifact,
        "--tile",
        "128x128",
        "--track",
        "--conf",
        "0.3",
        "--save",
        "jsonl",
        "--out",
        out,
    )
    assert (
        main(list(map(str, ("detect", place / "clip.mp4", *words, "--device", "cpu", "--trust"))))
        == 0
    ), capsys.readouterr()
    rows = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    frames = list(open_sources([str(place / "clip.mp4")])[0].open())
    assert len(rows) == len(frames) == 4
    # The file takes one size only, so the weights look at each tile at that size, too.
    weights = TiledPredictor(
        open_predictor(place / "tiny.pt", device="cpu", imgsz=SIDE, conf=0.3, rectangular=False),
        tile=(128, 128),
    )
    identities = set()
    for row, frame in zip(rows, frames, strict=True):
        wanted = weights([frame.image_bgr])[0][:, :5]
        found = np.array([[*one["box_xyxy"], one["score"]] for one in row["detections"]])
        assert len(found) > 10
        hold(found, wanted, px=0.02)
        identities |= {one["track_id"] for one in row["detections"]} - {None, -1}
    assert len(weights.last_plans[0].tiles_xyxy) > 2
    assert identities


@pytest.fixture(scope="module")
def scored(place):
    """Return a function that scores weights in tiles, and writes what they find."""

    def score(weights: Path, name: str, **more) -> dict:
        options = ValOptions(
            weights=weights,
            data=str(place / "data" / "data.yaml"),
            tile="128x128",
            conf=0.1,
            device="cpu",
            trust=True,
            save_results=place / f"results-{name}",
            **more,
        )
        return validate(options).as_json()

    return score


@pytest.fixture(scope="module")
def scored_weights(place, scored):
    return scored(place / "tiny.pt", "pt", imgsz=(SIDE,), rectangular=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_val_in_tiles_finds_what_the_weights_find(name, place, exported, scored, scored_weights):
    file = scored(exported(name), name)
    assert file["protocol"]["tiles"] == scored_weights["protocol"]["tiles"]
    assert file["protocol"]["tiles"]["images_in_tiles"] == 3
    assert file["protocol"]["imgsz"] == scored_weights["protocol"]["imgsz"] == [SIDE, SIDE]
    for path in sorted((place / "results-pt").glob("*.txt")):
        found, wanted = (
            np.loadtxt(one, delimiter=",", ndmin=2)[:, :5]
            for one in (place / f"results-{name}" / path.name, path)
        )
        assert len(wanted) > 10
        hold(found, wanted, px=0.02)
