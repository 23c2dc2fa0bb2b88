"""The live page's map in a real browser: table, drawing, and the reason where there is no pose."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.detect.live_places import LivePlaces
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.live_page.live_page import LivePage
from yolo_ema.options.mapping import MapOptions
from yolo_ema.scenes import draw_clip

wait_module = pytest.importorskip("selenium.webdriver.support.wait")
pytestmark = pytest.mark.slow
POSE = Pose(
    0.0, 47.1234, 8.7654, height_takeoff_m=42.0, yaw_deg=62.0, pitch_deg=-45.0, roll_deg=1.0,
    hfov_deg=66.0, source="mavlink",
)  # fmt: skip
NAMES = dict(enumerate(VISDRONE_CLASSES))
INK = """
const canvas = document.querySelector('.map canvas'), pen = canvas.getContext('2d');
const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
let drawn = 0;
for (let at = 3; at < pixels.length; at += 4) if (pixels[at] > 200) drawn += 1;
return drawn;
"""


class Told:
    """Telemetry of one pose, which ends."""

    max_age_s = 2.0
    pose: Pose | NoPose = POSE

    def at(self, monotonic_s: float) -> Pose | NoPose:
        return self.pose

    def age_s(self, pose: Pose, monotonic_s: float) -> float:
        return 0.1


def detections(count: int) -> FrameDetections:
    """A drawn scene with so many boxes, the first half in sight of the ground nearby."""
    image = next(iter(draw_clip(3, frames=1, fps=2, image_wh=(1280, 720), objects=20))).image_bgr
    rng = np.random.default_rng(1)
    corners = rng.uniform([0, 60], [1200, 650], (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(14, 50, (count, 2))])
    frame = Frame(image, "rtsp://10.0.0.7/roof", 3, 0.3, 12.0)
    class_ids, scores = rng.integers(0, 10, count), np.sort(rng.uniform(0.3, 1, count))[::-1]
    return FrameDetections(frame, boxes, scores, class_ids, NAMES, np.arange(count))


def publish(page: LivePage, places: LivePlaces, found: FrameDetections) -> dict:
    located = places.locate(found)
    page.publish(located.detections, draw_detections(located.detections), located.on_map())
    return located.on_map()


def text_of(browser, what: str, has: str) -> str:
    script = f"return document.querySelector('.map {what}')?.innerText ?? ''"
    wait = wait_module.WebDriverWait(browser, 30, 0.1)
    wait.until(lambda one: has in one.execute_script(script))
    return browser.execute_script(script)


def test_the_map_shows_the_state(browser):
    told = Told()
    with LivePage(0) as page:
        places = LivePlaces(told, MapOptions(max_error=12))
        shown = publish(page, places, detections(60))
        browser.get(page.url)
        table = text_of(browser, "table", "±").splitlines()[1:]
        assert len(table) == 40 < len(shown["objects"])
        for line, one in zip(table, shown["objects"], strict=False):
            for word in (one["class"], f"{one['longitude']:.7f}", f"{one['latitude']:.7f}"):
                assert word in line
        assert f"and {len(shown['objects']) - 40} more" in text_of(browser, ".more", "more")
        assert "pose 0.1 s older than the frame, at most 2 s" in text_of(browser, ".camera", "pose")
        unplaced = text_of(browser, ".unplaced", "without a place")
        assert f"{60 - len(shown['objects'])} without a place" in unplaced
        assert browser.execute_script(INK) > 500
        stretched = "return {0}.width / {0}.height * {0}.clientHeight / {0}.clientWidth"
        canvas = "document.querySelector('.map canvas')"
        assert browser.execute_script(stretched.format(canvas)) == pytest.approx(1, abs=0.01)
        keep(browser, "live-map")
        told.pose = NoPose("stale", "the newest position that can be used is 3.1 s old")
        publish(page, places, detections(5))
        assert "3.1 s old" in text_of(browser, ".no-camera", "No positions")
        assert "5 without a place" in text_of(browser, ".unplaced", "frames without a pose so far")
        assert browser.execute_script("return document.querySelector('.map canvas').hidden")
        inner, scroll = browser.execute_script(
            "return [window.innerWidth, document.documentElement.scrollWidth]"
        )
        assert scroll <= inner
        keep(browser, "live-map-stale")
        assert browser.get_log("browser") == []


def test_without_live_telemetry_there_is_no_map(browser):
    with LivePage(0) as page:
        found = detections(3)
        page.publish(found, draw_detections(found))
        browser.get(page.url)
        wait = wait_module.WebDriverWait(browser, 30, 0.1)
        wait.until(lambda one: one.execute_script("return document.querySelector('.classes li')"))
        assert browser.execute_script("return document.querySelector('.map').hidden")


def keep(browser, name: str) -> None:
    """Keep an image for anyone who wants to look, where ``YOLO_EMA_SCREENSHOTS`` names a folder."""
    folder = os.environ.get("YOLO_EMA_SCREENSHOTS")
    if folder:
        browser.execute_script("document.querySelector('.map').scrollIntoView()")
        width = browser.execute_script("return window.innerWidth")
        browser.save_screenshot(str(Path(folder) / f"{name}-{width}.png"))
