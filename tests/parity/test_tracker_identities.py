"""The tracker on arrays gives the identities of the one that it was before: Ultralytics' BoT-SORT
with its hooks overridden, a track an object (`ultralytics_small_object_tracker`).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.engine.results import Boxes
from ultralytics_small_object_tracker import SmallObjectSettings as FormerSettings
from ultralytics_small_object_tracker import SmallObjectTracker as FormerTracker

from yolo_ema.scenes import draw_clip
from yolo_ema.tracking.small_object_tracker import SmallObjectSettings, SmallObjectTracker


class Former:
    """The former tracker, called as the present one is."""

    def __init__(self, frame_rate: float, *, compensate_motion: bool) -> None:
        self.tracker = FormerTracker(
            FormerSettings(), compensate_motion=compensate_motion, frame_rate=frame_rate
        )
        self.identities: dict[int, int] = {}
        self.last_time_s: float | None = None

    def update(self, boxes, scores, class_ids, *, image_bgr, time_s) -> np.ndarray:
        rows = np.column_stack([boxes, scores, class_ids]).astype(np.float32).reshape(-1, 6)
        passed = 0.0 if self.last_time_s is None else time_s - self.last_time_s
        self.tracker.advance(Boxes(rows, image_bgr.shape[:2]), image_bgr, passed)
        self.last_time_s = time_s
        track_ids = np.full(len(rows), -1)
        for track in self.tracker.tracked_stracks:
            if track.is_activated and track.frame_id == self.tracker.frame_id:
                number = self.identities.setdefault(track.track_id, len(self.identities) + 1)
                track_ids[int(track.idx)] = number
        return track_ids


def test_the_settings_are_unchanged():
    former, present = FormerSettings(), SmallObjectSettings()
    for name in FormerSettings.__dataclass_fields__:
        assert getattr(former, name) == getattr(present, name), name
    assert present.worst_new_cost == 0.7, "Ultralytics' own, for tracks that were seen once"
    assert present.duplicate_iou == 1 - 0.15, "Ultralytics' own"


@pytest.mark.parametrize("compensate_motion", [True, False])
@pytest.mark.parametrize(("fps", "pace"), [(5.0, 3.0), (30.0, 1.0)])
def test_identities_on_a_drawn_flight_are_the_same(fps, pace, compensate_motion):
    """Forty objects under a camera that pans, turns and climbs; a third of the frames dropped, a
    sixth of the objects missed, some boxes that are nothing.
    """
    rng = np.random.default_rng(7)
    former = Former(fps, compensate_motion=compensate_motion)
    present = SmallObjectTracker(compensate_motion=compensate_motion, frame_rate=fps)
    settings = {"image_wh": (480, 270), "objects": 70, "range_m": (60.0, 80.0), "pace": pace}
    given_ids, motion = set(), ("pan", "turn", "climb")
    for index, scene in enumerate(draw_clip(4, frames=24, fps=fps, motions=motion, **settings)):
        if rng.random() < 0.33:
            continue
        rows = scene.annotations[
            (scene.identities > 0) & (rng.random(len(scene.identities)) > 0.17)
        ]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1).astype(float)
        boxes = np.concatenate(
            [boxes + rng.normal(0, 0.7, boxes.shape), rng.uniform(0, 270, (3, 4))]
        )
        frame = boxes.astype(np.float32), rng.uniform(0.05, 1, len(boxes)).astype(np.float32)
        classes = np.append(rows[:, 5], [0, 0, 0])
        about = {"image_bgr": scene.image_bgr, "time_s": index / fps}
        expected = former.update(*frame, classes, **about)
        assert present.update(*frame, classes, **about).tolist() == expected.tolist(), index
        given_ids |= set(expected.tolist())
    assert len(given_ids) > 30


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([3.0, 25.0]))
def test_identities_among_objects_that_come_and_go_are_the_same(seed, fps):
    """Few places, many meetings: lost ones come back, duplicates arise, weak detections hold."""
    rng = np.random.default_rng(seed)
    image = np.zeros((90, 120, 3), np.uint8)
    former = Former(fps, compensate_motion=False)
    present = SmallObjectTracker(compensate_motion=False, frame_rate=fps)
    places, speeds = rng.uniform(10, 80, (8, 2)), rng.normal(0, 2, (8, 2))
    index = 0
    for _ in range(25):
        index += int(rng.choice([1, 1, 1, 2, 30]))
        places = np.clip(places + speeds, 5, 85)
        seen = rng.random(8) > 0.3
        centres = places[seen] + rng.normal(0, 0.5, (int(seen.sum()), 2))
        halves = rng.uniform(3, 7, centres.shape)
        boxes = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)
        frame = (
            boxes,
            rng.uniform(0, 1, len(boxes)).astype(np.float32),
            rng.choice([3, 4], len(boxes)),
        )
        about = {"image_bgr": image, "time_s": index / fps}
        assert present.update(*frame, **about).tolist() == former.update(*frame, **about).tolist()
