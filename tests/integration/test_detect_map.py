"""``yolo-ema detect --save geojson``: from footage to the map in one run."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from PIL import Image
from telemetry_files import xmp

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
def test_detections_are_on_the_map_next_to_the_other_outputs(yolo_ema_command, clip):
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
def test_without_telemetry_detections_are_kept_and_the_map_is_reported_missing(
    yolo_ema_command, clip
):
    done = yolo_ema_command(*WORDS, "--save", "jsonl,geojson")
    assert done.code == 5
    assert "flight.mp4 is not on the map" in done.json["sources"][0]["problem"]
    assert "geojson" not in done.json["files"]
    assert len((clip / "out" / "detections.jsonl").read_text().splitlines()) == 4
    done = yolo_ema_command(*WORDS, "--save", "geojson", "--dem", "no.tif")
    assert done.code == 3
    assert "there is no surface model no.tif" in done.err


@pytest.mark.slow
def test_locate_makes_the_same_map_of_the_results_to_the_last_digit(yolo_ema_command, tmp_path):
    """Of a clip whose frames come irregularly, with subtitles, and of stills with XMP."""
    times = [0.0, 0.1, 0.4, 0.5, 1.1, 1.2, 1.9, 2.0]
    scenes = list(draw_clip(3, frames=len(times), fps=4, image_wh=(320, 240), objects=20))
    with VideoWriter(
        tmp_path / "flight.mp4", frame_rate=Fraction(10), image_wh=(320, 240)
    ) as writer:
        for scene, time_s in zip(scenes, times, strict=True):
            writer.write(scene.image_bgr, time_s)
    cues = [
        f"{number + 1}\n00:00:0{number / 4:.3f} --> 00:00:0{number / 4 + 0.25:.3f}\n[focal_len: 24]"
        f" [latitude: {47.1234 + number * 3e-6:.6f}] [longitude: 8.765432] [rel_alt: 42.000 "
        f"abs_alt: 450.000] [gb_yaw: {number * 2}.0 gb_pitch: -60.0 gb_roll: 0.0]\n"
        for number in range(9)
    ]
    (tmp_path / "flight.SRT").write_text("\n".join(cues))
    (tmp_path / "stills").mkdir()
    for number, scene in enumerate(scenes[:3]):
        packet = xmp(
            f'drone-dji:GpsLatitude="47.1234{number}" drone-dji:GpsLongitude="8.765432" '
            'drone-dji:GimbalPitchDegree="-60.0" drone-dji:GimbalYawDegree="+92.4" '
            'drone-dji:GimbalRollDegree="+0.50" drone-dji:RelativeAltitude="+42.10"'
        )
        image = Image.fromarray(scene.image_bgr[..., ::-1])
        image.save(tmp_path / "stills" / f"{number}.jpg", quality=92, xmp=packet)
    how = ("--hfov", "53", "--telemetry", "auto")
    words = ("detect", "flight.mp4", "stills", *WORDS[2:], "--track", *how)
    done = yolo_ema_command(*words, "--save", "jsonl,geojson,positions")
    assert done.code == 0, done.err
    assert [one["source"] for one in done.json["map"]["sources"]] == ["flight.mp4", "stills"]
    assert min(one["placed"] for one in done.json["map"]["sources"]) > 10
    again = yolo_ema_command("locate", "out/detections.jsonl", *how, "--out", "o.geojson", "p.csv")
    assert again.code == 0, again.err
    for first, second in (("objects.geojson", "o.geojson"), ("positions.csv", "p.csv")):
        assert (tmp_path / "out" / first).read_text() == (tmp_path / second).read_text()
