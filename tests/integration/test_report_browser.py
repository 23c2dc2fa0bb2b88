"""The page in a real browser: nothing on the console, nothing loaded from outside, no sideways
scrolling on a telephone.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

TEXT_HEIGHT = """(
parseFloat(getComputedStyle(document.querySelector('.chart text')).fontSize)
* document.querySelector('.chart svg').getBoundingClientRect().width
/ document.querySelector('.chart svg').viewBox.baseVal.width
)"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    beside = Path(__file__).parent.parent / "unit" / "report" / "test_page.py"
    spec = importlib.util.spec_from_file_location("page_for_the_browser", beside)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("page")
    epochs = [{"epoch": n, "metrics/mAP50-95(B)": 0.05 * n} for n in range(1, 6)]
    path = folder / "report.html"
    path.write_text(
        module.page_of(
            module.made_up_result(folder, images=4, record={"command": "train", "epochs": epochs})
        )
    )
    return path


def test_page_is_complete_and_logs_no_errors(browser, page):
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in asked
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []
    inner, scroll = browser.execute_script(
        "return [window.innerWidth, document.documentElement.scrollWidth]"
    )
    assert scroll <= inner
    broken = (
        "return [...document.images].filter(image => !image.complete || image.naturalWidth < "
        "100).length"
    )
    assert browser.execute_script(broken) == 0
    assert browser.execute_script("return document.images.length") == 4
    assert (
        browser.execute_script(f"return {TEXT_HEIGHT}") > 8
    )  # pixels: text in charts stays readable
    outside = (
        "return [...document.querySelectorAll('section')].filter(one => "
        "one.getBoundingClientRect().right > innerWidth).length"
    )
    assert browser.execute_script(outside) == 0
