"""What `engine.tracker` and `engine.small_object_tracker` assume about Ultralytics' trackers."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import lap
import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.trackers import bot_sort, byte_tracker
from ultralytics.trackers.basetrack import TrackState
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.trackers.utils import matching

from yolo_ema.engine.prediction.small_object_tracker import SmallObjectSettings, SmallObjectTracker


def rows(*rows_: list[float]) -> Boxes:
    return Boxes(np.array(rows_, np.float32).reshape(-1, 6), (100, 100))


def small() -> SmallObjectTracker:
    return SmallObjectTracker(SmallObjectSettings(), compensate_motion=False, frame_rate=30)


def test_lap_is_there_so_that_nothing_is_installed_when_matching_starts():
    assert matching.lap is lap


def test_the_map_of_trackers_has_a_yaml_for_each_name():
    assert set(TRACKER_MAP) == {
        "bytetrack",
        "botsort",
        "ocsort",
        "deepocsort",
        "fasttrack",
        "tracktrack",
    }


def test_update_calls_the_hooks_that_are_overridden():
    source = inspect.getsource(byte_tracker.BYTETracker.update)
    for hook in (
        "multi_predict(strack_pool)",
        "_pre_first_associate(",
        "_second_association(",
        "_unconfirmed_association(",
    ):
        assert hook in source
    assert (
        source.index("multi_predict")
        < source.index("_pre_first_associate")
        < source.index("_first_association(")
    )
    assert list(inspect.signature(byte_tracker.BYTETracker._second_association).parameters) == list(
        inspect.signature(SmallObjectTracker._second_association).parameters
    )


def test_a_track_says_row_frame_and_state():
    tracker = small()
    tracker.update(
        rows([10, 10, 20, 20, 0.05, 3], [40, 40, 50, 50, 0.9, 3]), np.zeros((100, 100, 3), np.uint8)
    )
    (track,) = tracker.tracked_stracks
    assert (int(track.idx), track.frame_id, tracker.frame_id, track.state, track.is_activated) == (
        1,
        1,
        1,
        TrackState.Tracked,
        True,
    )


def test_the_first_frame_confirms_at_once_and_later_ones_do_not():
    tracker = small()
    image = np.zeros((100, 100, 3), np.uint8)
    tracker.update(rows(), image)
    tracker.update(rows([40, 40, 50, 50, 0.9, 3]), image)
    assert [track.is_activated for track in tracker.tracked_stracks] == [False]


def test_identities_belong_to_a_tracker_and_start_at_one():
    image = np.zeros((100, 100, 3), np.uint8)
    for _ in range(2):
        tracker = small()
        tracker.update(rows([40, 40, 50, 50, 0.9, 3]), image)
        assert tracker.tracked_stracks[0].track_id == 1


def test_the_state_is_centre_size_and_their_speeds():
    tracker = small()
    tracker.update(rows([40, 30, 50, 50, 0.9, 3]), np.zeros((100, 100, 3), np.uint8))
    mean = tracker.tracked_stracks[0].mean
    assert mean.tolist() == [45, 40, 10, 20, 0, 0, 0, 0]


def test_lost_tracks_age_by_frame_number():
    source = inspect.getsource(byte_tracker.BYTETracker._remove_stale_lost)
    assert "self.frame_id - track.end_frame > self.max_frames_lost" in source


def test_botsort_builds_without_an_appearance_network():
    tracker = bot_sort.BOTSORT(
        SimpleNamespace(
            track_buffer=30,
            gmc_method="none",
            proximity_thresh=0.5,
            appearance_thresh=0.8,
            with_reid=False,
        )
    )
    assert tracker.encoder is None
    assert tracker.gmc.method is None
