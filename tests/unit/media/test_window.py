from __future__ import annotations

import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from yolo_ema.errors import MachineError
from yolo_ema.media.sinks.window import Window

PICTURE = np.full((40, 60, 3), 90, np.uint8)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only on Linux is a display optional"
)
def test_without_a_desktop_the_error_names_the_web_page(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(MachineError, match=r"DISPLAY is not set.*--serve PORT"):
        Window("boxes")


def test_an_opencv_without_windows_is_named(monkeypatch):
    def refuse(*_):
        raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(MachineError, match="opencv-python-headless"):
        Window("boxes")


class _Desktop:
    """Stands in for OpenCV's windows: keeps what was shown, answers with a key."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []
        self.size_wh, self.key, self.visible, self.closed = (0, 0), -1, 1.0, False

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(
            cv2, "resizeWindow", lambda _, width, height: setattr(self, "size_wh", (width, height))
        )
        monkeypatch.setattr(cv2, "imshow", lambda _, image: self.shown.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda _: self.key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: self.visible)
        monkeypatch.setattr(cv2, "destroyWindow", lambda _: setattr(self, "closed", True))


@pytest.fixture
def desktop(monkeypatch):
    desktop = _Desktop()
    desktop.use(monkeypatch)
    return desktop


@pytest.mark.parametrize(
    ("image_hw", "size_wh"),
    [((1080, 1920), (1600, 900)), ((40, 60), (60, 40)), ((3000, 1000), (300, 900))],
)
def test_an_image_is_shown_at_a_size_that_fits_the_screen(desktop, image_hw, size_wh):
    window = Window("boxes")
    assert window.show(np.zeros((*image_hw, 3), np.uint8))
    assert desktop.size_wh == size_wh
    assert window.show(None)  # nothing new: the last one stays
    assert len(desktop.shown) == 1
    window.close()
    assert desktop.closed


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_a_key_ends_it(desktop, key):
    window = Window("boxes")
    desktop.key = key
    assert not window.show(PICTURE)


def test_closing_the_window_ends_it(desktop):
    window = Window("boxes")
    desktop.visible = 0.0
    assert not window.show(PICTURE)


@pytest.mark.skipif(
    shutil.which("xvfb-run") is None, reason="needs xvfb-run (Debian's package xvfb)"
)
def test_on_a_real_display():
    script = (
        "import numpy as np; from yolo_ema.media.sinks.window import Window; window = "
        "Window('boxes'); "
        "print([window.show(np.full((40, 60, 3), 90, np.uint8)) for _ in range(3)]); window.close()"
    )
    environment = {
        key: value for key, value in os.environ.items() if key not in {"DISPLAY", "WAYLAND_DISPLAY"}
    }
    done = subprocess.run(
        ["xvfb-run", "-a", sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[True, True, True]"
