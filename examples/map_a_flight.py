"""From a clip to the map, with nothing but this file: draw a flight whose camera is known exactly,
write the telemetry that a drone would have written, detect, and put what was found on the map.

    python examples/map_a_flight.py flight/

Afterwards ``flight/map/map.html`` opens in any browser and ``flight/map/objects.gpkg`` in QGIS. The
place is made up: a field near Null Island.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from pathlib import Path

from yolo_ema.cli import main
from yolo_ema.geo.geodesic import LocalFrame
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.scenes.camera import Camera
from yolo_ema.scenes.clip import clip_cameras, draw_clip

SEED, FRAMES, FPS, IMAGE_WH = 3, 60, 10, (960, 540)
HOME = LocalFrame(0.5, 0.5)


def draw(folder: Path) -> Path:
    """Draw the clip, and write its telemetry beside it."""
    video = folder / "flight.mp4"
    with VideoWriter(video, frame_rate=Fraction(FPS), image_wh=IMAGE_WH) as writer:
        for scene in draw_clip(SEED, frames=FRAMES, fps=FPS, image_wh=IMAGE_WH):
            writer.write(scene.image_bgr)
    cameras = clip_cameras(SEED, frames=FRAMES, fps=FPS, image_wh=IMAGE_WH)
    cues = [cue(number, camera) for number, camera in enumerate(cameras)]
    video.with_suffix(".SRT").write_text("\n".join(cues), encoding="utf-8")
    return video


def cue(number: int, camera: Camera) -> str:
    """Return one subtitle as a drone's camera writes it: angles to a tenth of a degree."""
    east, north, up = camera.position.tolist()
    latitude, longitude = HOME.to_degrees([east, north])
    yaw = (90 - math.degrees(camera.yaw) + 180) % 360 - 180
    focal_35mm = camera.focal * 36 / math.hypot(36, 20.25) * math.hypot(36, 24)
    return (
        f"{number + 1}\n{clock(number)} --> {clock(number + 1)}\n"
        f'<font size="28">FrameCnt: {number + 1}, DiffTime: {1000 // FPS}ms\n'
        f"[focal_len: {focal_35mm:.2f}] [latitude: {latitude:.7f}] [longitude: {longitude:.7f}] "
        f"[rel_alt: {up:.3f} abs_alt: {up + 100:.3f}] [gb_yaw: {yaw:.1f} "
        f"gb_pitch: {-math.degrees(camera.pitch):.1f} gb_roll: 0.0] </font>\n"
    )


def clock(number: int) -> str:
    """Return the time of a frame as subtitles write it."""
    seconds, thousandths = divmod(round(number * 1000 / FPS), 1000)
    return f"00:{seconds // 60:02d}:{seconds % 60:02d},{thousandths:03d}"


def run(folder: Path) -> int:
    """Draw, detect and map."""
    folder.mkdir(parents=True, exist_ok=True)
    video = draw(folder)
    kinds = "jsonl,geojson,gpkg,html"
    words = ["detect", str(video), "--track", "--hfov", "53.13", "--save", kinds]
    return main([*words, "--out", str(folder / "map")])


if __name__ == "__main__":
    raise SystemExit(run(Path(sys.argv[1] if len(sys.argv) > 1 else "flight")))
