"""What `engine.prediction.trackers` assumes about Ultralytics' trackers."""

from __future__ import annotations

import lap
import numpy as np
import pytest
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.trackers.utils import matching

from yolo_ema.engine.prediction.trackers import UltralyticsTracker
from yolo_ema.options.detector import TRACKERS

IMAGE = np.zeros((100, 100, 3), np.uint8)
CAR = [40, 40, 50, 50, 0.9, 3]


def update(tracker: UltralyticsTracker, *rows: list[float]) -> None:
    tracker._tracker.update(Boxes(np.array(rows, np.float32).reshape(-1, 6), (100, 100)), IMAGE)


def test_lap_is_installed_so_matching_installs_nothing():
    assert matching.lap is lap


def test_the_selectable_trackers_are_those_of_the_map():
    assert {"drone", *TRACKER_MAP} == set(TRACKERS)


@pytest.mark.parametrize("name", sorted(TRACKER_MAP))
def test_every_tracker_has_settings_and_needs_no_appearance_network(name):
    for follow in (True, False):
        tracker = UltralyticsTracker(name, compensate_motion=follow)
        assert getattr(tracker._tracker, "encoder", None) is None


@pytest.mark.parametrize("name", sorted(TRACKER_MAP))
def test_a_track_has_row_frame_and_whether_it_is_confirmed(name):
    tracker = UltralyticsTracker(name)
    for _ in range(4):  # ocsort confirms late
        update(tracker, [10, 10, 20, 20, 0.01, 3], CAR)
    (track,) = tracker._tracker.tracked_stracks
    assert int(track.idx) == 1
    assert track.frame_id == tracker._tracker.frame_id == 4
    assert track.is_activated
    assert tracker._tracker.lost_stracks == []


@pytest.mark.parametrize("name", sorted(TRACKER_MAP))
def test_a_missed_track_stays_in_one_of_two_lists_under_its_number(name):
    tracker = UltralyticsTracker(name)
    for _ in range(4):
        update(tracker, CAR)
    (track,) = tracker._tracker.tracked_stracks
    update(tracker)
    alive = [*tracker._tracker.tracked_stracks, *tracker._tracker.lost_stracks]
    assert [one.track_id for one in alive] == [track.track_id]
