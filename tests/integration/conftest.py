"""What these tests share: weights whose way through the command line can be followed, and a real
browser.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.engine.models.registration import build_model


def save_random_weights(path: Path, *, class_bias: float | None = None) -> Path:
    """Write a checkpoint of random weights, for inputs of 96 pixels, whose class scores lie high
    enough to be reported.

    Args:
        path: where to.
        class_bias: the logit around which the class scores lie; without it the model's own, which
            is low.
    """
    torch.manual_seed(0)
    model = build_model("yolo11n-ema", class_count=10)
    model.names = dict(enumerate(VISDRONE_CLASSES))
    for branch in model.model[-1].cv3:
        torch.nn.init.normal_(branch[-1].weight, std=0.5)
        if class_bias is not None:
            torch.nn.init.constant_(branch[-1].bias, class_bias)
    torch.save({"model": model.half(), "train_args": {"imgsz": 96}}, path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with weak scores."""
    return save_random_weights(tmp_path_factory.mktemp("weights") / "random.pt")


@pytest.fixture(scope="session")
def sure_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights whose scores are high enough for identities."""
    return save_random_weights(tmp_path_factory.mktemp("weights") / "sure.pt", class_bias=1.0)


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["wide", "phone"])
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Chromium without a window, as a desktop shows pages and as a telephone in dark mode does;
    keeps console and network logs.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver_path = (
        shutil.which("chromium") or shutil.which("google-chrome"),
        shutil.which("chromedriver"),
    )
    if not (chromium and driver_path):
        pytest.skip(
            "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
        )
    width, height = request.param
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        f"--window-size={width},{height}",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if width < 600:
        options.add_argument("--force-dark-mode")
        options.add_experimental_option(
            "mobileEmulation",
            {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0}},
        )
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()
