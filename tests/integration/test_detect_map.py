"""``yolo-ema detect --save geojson``: from footage to the map in one run."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from yolo_ema.io.resources import weights_dir
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.scenes import draw_clip

POSES = "time_s,latitude_deg,longitude_deg,height_takeoff_m,yaw_deg,pitch_deg,hfov_deg\n" + "".join(
    f"{number / 2},47.1234,8.7654,42,92,-60,53\n" for number in range(4)
)


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(
        tmp_path / "flight.mp4", frame_rate=Fraction(2), image_wh=(320, 240)
    ) as writer:
        for scene in draw_clip(3, frames=4, fps=2, image_wh=(320, 240), objects=20):
            writer.write(scene.image_bgr)
    return tmp_path


WEIGHTS = weights_dir() / "yolo11n-ema-visdrone.onnx"
WORDS = ("detect", "flight.mp4", "--weights", WEIGHTS, "--conf", "0.2", "--out", "out", "--json")


@pytest.mark.slow
def test_detections_are_on_the_map_beside_what_else_is_saved(yolo_ema_command, clip):
    (clip / "poses.csv").write_text(POSES)
    kinds = "jsonl,geojson,gpkg,kml,html,positions"
    done = yolo_ema_command(*WORDS, "--telemetry", "poses.csv", "--save", kinds)
    assert done.code == 0, done.err
    assert sorted(done.json["files"]) == sorted(kinds.split(","))
    assert done.json["map"]["sightings"] == done.json["sources"][0]["objects"] > 0
    content = json.loads((clip / "out" / "objects.geojson").read_text())
    assert content["yolo_ema"]["objects_per_class"] == done.json["map"]["objects_per_class"]
    assert (clip / "out" / "map.html").exists()
    again = yolo_ema_command(*WORDS, "--telemetry", "poses.csv", "--save", "geojson")
    assert again.json["files"]["geojson"] == ["out/objects-2.geojson"]


@pytest.mark.slow
def test_without_telemetry_detections_are_kept_and_the_map_is_missed(yolo_ema_command, clip):
    done = yolo_ema_command(*WORDS, "--save", "jsonl,geojson")
    assert done.code == 5
    assert "flight.mp4 is not on the map" in done.json["sources"][0]["problem"]
    assert "geojson" not in done.json["files"]
    assert len((clip / "out" / "detections.jsonl").read_text().splitlines()) == 4
    done = yolo_ema_command(*WORDS, "--save", "geojson", "--dem", "no.tif")
    assert done.code == 3
    assert "there is no surface model no.tif" in done.err
