from __future__ import annotations

from pathlib import Path

import pytest

from yolo_ema.detect.result import DetectResult, SourceSummary


def _result(*sources: SourceSummary, interrupted: bool = False) -> DetectResult:
    return DetectResult(
        Path("out"),
        {"jsonl": (Path("out/detections.jsonl"),)},
        sources,
        {"car": 3},
        {},
        interrupted,
    )


def test_all_frames_at_the_limit_are_counted_and_up_to_a_hundred_named():
    summary = SourceSummary("a.mp4")
    for frame in range(0, 600, 2):
        summary.reached_limit(frame)
    found = summary.as_json()
    assert found["count_at_max_det"] == 300
    assert found["frames_at_max_det"] == list(range(0, 200, 2))
    assert "frames 0, 2, 4, 6, 8 and 295 more: raise --max-det" in _result(summary).as_text()


@pytest.mark.parametrize(
    ("sources", "interrupted", "code"),
    [
        ([SourceSummary("a.mp4")], False, 0),
        ([SourceSummary("a.mp4")], True, 130),
        ([SourceSummary("rtsp://host", is_live=True)], True, 0),
        ([SourceSummary("rtsp://host", is_live=True), SourceSummary("a.mp4")], True, 130),
        ([SourceSummary("a.mp4", problem="a.mp4 is empty"), SourceSummary("b.mp4")], True, 5),
    ],
)
def test_the_exit_code_says_how_it_ended(sources, interrupted, code):
    assert _result(*sources, interrupted=interrupted).exit_code == code


def test_counts_of_lines_and_zones_are_reported():
    line = {"in": {"car": 2, "bus": 1}, "out": {}}
    zone = {"now": {"car": 1}, "entered": {"car": 1}, "left": {}, "visitors": {"car": 2}}
    one = SourceSummary(
        "a.mp4", counts={"objects": {"car": 3}, "lines": {"gate": line}, "zones": {"lot": zone}}
    )
    text = _result(one).as_text()
    assert "line gate: 3 in (2 car, 1 bus), 0 out" in text
    assert "zone lot: 1 now (1 car), 1 entered (1 car), 0 left, 2 visitors (2 car)" in text
    assert "line gate of a.mp4: 3 in" in _result(one, SourceSummary("b.mp4")).as_text()


def test_what_happened_to_live_sources_is_reported():
    live = SourceSummary("rtsp://host", is_live=True, frames=7, frames_dropped=40, reconnects=2)
    assert "rtsp://host: 40 frames dropped for newer ones, 2 reconnects" in _result(live).as_text()
    assert live.as_json()["reconnects"] == 2
