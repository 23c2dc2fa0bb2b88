from __future__ import annotations

import pytest

from yolo_ema.geo.sightings import sigmas_for
from yolo_ema.options.locate import LocateOptions


def test_steps_of_positions_widen_what_the_kind_of_telemetry_assumes():
    """Four decimals are steps of 11 m, whose deviation is 3.2 m; beside the receiver's 1.5 m."""
    options = LocateOptions(results=("detections.jsonl",))
    assert sigmas_for("srt", options).position_m == 1.5
    assert sigmas_for("srt", options, 11.132).position_m == pytest.approx(3.546, abs=1e-3)
    stated = LocateOptions(results=("detections.jsonl",), sigma_position=0.5)
    assert sigmas_for("srt", stated, 11.132).position_m == 0.5
