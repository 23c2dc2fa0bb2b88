"""The live page in a real browser: images change, counts and rates appear, a failed source is
shown as failed.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.live_page.live_page import LivePage

wait_module = pytest.importorskip("selenium.webdriver.support.wait")
pytestmark = pytest.mark.slow
TOKEN = "a-long-token"
NAMES = dict(enumerate(VISDRONE_CLASSES))
BAD = {
    "name": "rtsp://10.0.0.9/stream",
    "state": "failed",
    "frames_read": 0,
    "frames_dropped": 0,
    "problem": "no answer in 3 s",
}


class Flight(threading.Thread):
    """Two sources that move, and one that failed."""

    def __init__(self, page: LivePage) -> None:
        super().__init__(daemon=True)
        self._page, self._ended = page, threading.Event()

    def run(self) -> None:
        index = 0
        while not self._ended.wait(0.05):
            for number, source in enumerate(("flight/harbour.mp4", "rtsp://10.0.0.7/roof")):
                self._show(source, index, 12 + 5 * number)
            live = [
                {
                    "name": "flight/harbour.mp4",
                    "state": "live",
                    "frames_read": index,
                    "frames_dropped": 0,
                },
                {
                    "name": "rtsp://10.0.0.7/roof",
                    "state": "live",
                    "frames_read": 3 * index,
                    "frames_dropped": 2 * index,
                }
                | {"reconnects": 1, "counts": {"gate: in": 4, "gate: out": 2}},
            ]
            self._page.publish_status([*live, BAD])
            index += 1

    def _show(self, source: str, index: int, objects: int) -> None:
        rng = np.random.default_rng(objects)
        ground = cv2.resize(
            rng.integers(60, 150, (36, 64, 3), dtype=np.uint8),
            (1280, 720),
            interpolation=cv2.INTER_CUBIC,
        )
        corners = (rng.uniform([0, 60], [1200, 660], (objects, 2)) + np.array([index * 3, 0])) % [
            1200,
            661,
        ]
        boxes = np.hstack([corners, corners + rng.uniform(12, 60, (objects, 2))])
        frame = Frame(ground, source, index, index / 20)
        found = FrameDetections(
            frame, boxes, rng.uniform(0.3, 1, objects), rng.integers(0, 10, objects), NAMES
        )
        self._page.publish(found, draw_detections(found))

    def stop(self) -> None:
        self._ended.set()
        self.join(5)


@pytest.fixture
def page():
    with LivePage(0) as page:
        flight = Flight(page)
        flight.start()
        yield page, flight
        flight.stop()


def until(browser, script: str):
    return wait_module.WebDriverWait(browser, 30, 0.1).until(
        lambda one: one.execute_script(f"return {script}")
    )


CARD = "[...document.querySelectorAll('.card')]"


def test_the_page_follows_the_flight(browser, page, tmp_path):
    live, flight = page
    browser.get(live.url)
    until(
        browser,
        f"{CARD}.length === 3 && {CARD}.filter(one => one.querySelector('img').naturalWidth > "
        f"100).length >= 1",
    )
    before = browser.execute_script("return document.querySelector('.card img').src")
    until(browser, f"document.querySelector('.card img').src !== {before!r}")
    text = until(
        browser,
        f"{CARD}[0].querySelector('dl').innerText.includes('frames/s') && {CARD}.map(one => "
        f"one.innerText)",
    )
    assert "flight/harbour.mp4" in text[0]
    assert "12\nobjects" in text[0] or "objects\n12" in text[0]
    assert "dropped" in text[1]
    assert "gate: in" in text[1]
    assert "failed" in text[2]
    assert "no answer in 3 s" in text[2]
    rate = until(browser, f"parseFloat({CARD}[0].querySelectorAll('dd')[1].innerText)")
    assert 1 < rate < 25
    inner, scroll = browser.execute_script(
        "return [window.innerWidth, document.documentElement.scrollWidth]"
    )
    assert scroll <= inner
    _keep(browser, "page")
    assert browser.get_log("browser") == []
    flight.stop()
    live.close()
    until(browser, "document.getElementById('summary').innerText.includes('ended')")


def test_the_token_opens_the_page(browser):
    with LivePage(0, "0.0.0.0", TOKEN) as live:
        flight = Flight(live)
        flight.start()
        address = live.url.replace("0.0.0.0", "127.0.0.1")
        browser.get(address)
        _keep(browser, "door")
        field = browser.find_element("id", "token")
        field.send_keys("wrong-token")
        field.submit()
        until(browser, "location.pathname === '/enter' && document.readyState === 'complete'")
        field = browser.find_element("id", "token")
        field.send_keys(TOKEN)
        field.submit()
        until(
            browser,
            f"{CARD}.length === 3 && {CARD}.filter(one => one.querySelector('img').naturalWidth > "
            f"100).length >= 1",
        )
        assert TOKEN not in browser.current_url
        flight.stop()


def _keep(browser, name: str) -> None:
    """Keep an image for anyone who wants to look, where ``YOLO_EMA_SCREENSHOTS`` names a folder."""
    folder = os.environ.get("YOLO_EMA_SCREENSHOTS")
    if folder:
        width = browser.execute_script("return window.innerWidth")
        browser.save_screenshot(str(Path(folder) / f"{name}-{width}.png"))


def test_a_source_whose_image_was_dropped_comes_back(browser):
    """Sixteen others took its place meanwhile; its images are renumbered, and must be fetched
    all the same.
    """
    with LivePage(0) as page:
        flight = Flight(page)
        page.publish_status([{"name": "cam 0", "state": "live"}])
        for index in range(5):
            flight._show("cam 0", index, 3)
        browser.get(page.url)
        before = until(browser, "document.querySelector('.card img')?.src")
        for number in range(1, 17):
            flight._show(f"cam {number}", 0, 3)
        flight._show("cam 0", 9, 3)
        until(browser, f"document.querySelector('.card img').src !== {before!r}")
        assert (
            browser.execute_script("return document.querySelector('.card h2').textContent")
            == "cam 0"
        )
