"""Identities: given to the detections that came, lasting through misses, flickering classes,
dropped frames and a moving camera.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.detect.tracker import Tracker
from yolo_ema.errors import ConfigError
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.options.detector import TRACKERS
from yolo_ema.tracking.small_object_tracker import SmallObjectSettings

BLANK = np.zeros((120, 160, 3), np.uint8)
NAMES = {0: "pedestrian", 3: "car", 4: "van"}


def found(
    index: int, boxes, scores=0.8, classes=3, image=BLANK, fps: float = 30.0
) -> FrameDetections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores, classes = np.broadcast_to(scores, len(boxes)), np.broadcast_to(classes, len(boxes))
    return FrameDetections(
        Frame(image, "clip", index, index / fps),
        boxes,
        scores.astype(np.float32),
        classes.astype(int),
        NAMES,
    )


def box(x: float, y: float, side: float = 12.0) -> list[float]:
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def ids_of(tracker: Tracker, frames) -> list[list[int]]:
    return [tracker.update(frame).track_ids.tolist() for frame in frames]


@pytest.mark.parametrize("preset", TRACKERS)
@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_detections_pass_through_unchanged(preset, data):
    """Whatever goes in comes out: number, order and values; identities are −1 or 1 and
    more, and none twice a frame.
    """
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    tracker = Tracker(preset=preset, frame_rate=data.draw(st.sampled_from([1.0, 7.5, 30.0, 120.0])))
    index, last = 0, 0
    for _ in range(6):
        index += data.draw(st.integers(1, 90))
        count = data.draw(st.sampled_from([0, 0, 1, 2, 25]))
        corners = rng.uniform(-30, 200, (count, 2))
        boxes = np.concatenate(
            [corners, corners + rng.uniform(0, 40, (count, 2)) * (rng.random((count, 2)) > 0.05)],
            axis=1,
        )
        given_in = found(index, boxes, rng.uniform(0, 1, count), rng.choice([0, 3, 4], count))
        copies = [given_in.boxes_xyxy.copy(), given_in.scores.copy(), given_in.class_ids.copy()]
        out = tracker.update(given_in)
        assert out.frame is given_in.frame
        for kept, copy in zip((out.boxes_xyxy, out.scores, out.class_ids), copies, strict=True):
            assert np.array_equal(kept, copy)
        assert out.track_ids.shape == (count,)
        known = out.track_ids[out.track_ids >= 0]
        assert len(np.unique(known)) == len(known)
        assert (known >= 1).all()
        last = max([last, *known.tolist()])
    assert tracker._tracker._identities_given == last, "identities are numbered without gaps"


def test_identities_start_at_one_for_each_source():
    for _ in range(2):
        tracker = Tracker()
        assert ids_of(tracker, [found(0, [box(20, 20), box(80, 80)])]) == [[1, 2]]


def test_identities_follow_objects_not_rows():
    tracker = Tracker()
    one, other = [box(20 + k, 20) for k in range(6)], [box(80, 90 - k) for k in range(6)]
    rows = ids_of(
        tracker, [found(k, [one[k], other[k]] if k % 2 else [other[k], one[k]]) for k in range(6)]
    )
    assert rows == [[1, 2], [2, 1], [1, 2], [2, 1], [1, 2], [2, 1]]


def test_a_newcomer_is_reported_before_it_has_an_identity():
    tracker = Tracker()
    rows = ids_of(
        tracker,
        [found(0, []), found(1, [box(50, 50)]), found(2, [box(50, 50)]), found(3, [box(50, 50)])],
    )
    assert rows == [[], [-1], [1], [1]]


def test_a_flickering_class_keeps_its_identity():
    tracker = Tracker()
    classes = [3, 4, 4, 3, 4, 3, 3, 0, 4]
    rows = ids_of(
        tracker, [found(k, [box(30 + 2 * k, 40)], classes=kind) for k, kind in enumerate(classes)]
    )
    assert rows == [[1]] * len(classes)


def test_tiny_boxes_that_do_not_overlap_from_frame_to_frame():
    """8 pixels wide, 10 pixels a frame, 5 frames per second: nothing overlaps before the speed is
    known.
    """
    frames = [found(k, [box(20 + 10 * k, 60, side=8)], fps=5) for k in range(10)]
    assert ids_of(Tracker(frame_rate=5), frames) == [[1]] * 10
    assert len({tuple(row) for row in ids_of(Tracker(preset="botsort"), frames)}) > 1, (
        "this is why the preset is there"
    )


def test_a_moving_camera_is_followed():
    """The camera jumps to and fro over standing objects; what it sees of the ground says so."""
    rng = np.random.default_rng(1)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (400, 600, 3), dtype=np.uint8), (0, 0), 2)
    ground = cv2.normalize(ground, None, 0, 255, cv2.NORM_MINMAX)
    places = np.array([[200.0, 150], [260, 200], [330, 160]])
    corners = [(100 + 12 * (k % 2) + 9 * (k % 3), 80 + 7 * (k % 5)) for k in range(12)]
    frames = [
        found(
            k,
            [box(*place) for place in places - (x, y)],
            image=np.ascontiguousarray(ground[y : y + 240, x : x + 320]),
            fps=5,
        )
        for k, (x, y) in enumerate(corners)
    ]
    tracker = Tracker(frame_rate=5)
    for k, frame in enumerate(frames):
        assert tracker.update(frame).track_ids.tolist() == [1, 2, 3]
        if k:
            shift = np.subtract(corners[k - 1], corners[k])
            np.testing.assert_allclose(
                tracker.homography, [[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]], atol=0.3
            )
    blind = Tracker(frame_rate=5, compensate_motion=False)
    assert ids_of(blind, frames) != [[1, 2, 3]] * len(frames)
    assert np.array_equal(blind.homography, np.eye(3))


@pytest.mark.parametrize("preset", TRACKERS)
def test_in_an_image_of_another_size_objects_are_new(preset):
    """What is at the same pixels of another image is something else, and must not inherit an
    identity.
    """
    large, small = np.zeros((120, 160, 3), np.uint8), np.zeros((90, 120, 3), np.uint8)
    images = [large] * 5 + [small] * 5 + [large] * 5
    ids = ids_of(
        Tracker(preset=preset),
        [
            found(index, [box(30, 40), box(90, 60)], image=image)
            for index, image in enumerate(images)
        ],
    )
    parts = [
        {one for frame in ids[start : start + 5] for one in frame if one >= 0}
        for start in (0, 5, 10)
    ]
    assert all(len(part) == 2 for part in parts)
    assert set.union(*parts) == {1, 2, 3, 4, 5, 6}


def test_misses_are_bridged_and_time_counts_not_frames():
    tracker = Tracker(frame_rate=30)
    ids_of(tracker, [found(k, [box(10 + 2 * k, 60)]) for k in range(10)])
    nothing = [found(k, []) for k in range(10, 25)]
    ids_of(tracker, nothing)
    assert ids_of(tracker, [found(25, [box(60, 60)])]) == [[1]]
    dropped = Tracker(frame_rate=30)
    ids_of(dropped, [found(k, [box(10 + 2 * k, 60)]) for k in range(10)])
    assert ids_of(dropped, [found(25, [box(60, 60)])]) == [[1]], (
        "15 frames never arrived; the object went on"
    )


def test_an_object_lost_for_long_gets_a_new_identity():
    tracker = Tracker(frame_rate=10)
    ids_of(tracker, [found(k, [box(60, 60)], fps=10) for k in range(5)])
    assert ids_of(tracker, [found(k, [box(60, 60)], fps=10) for k in (100, 101)])[-1] == [2]


def test_weak_detections_keep_a_track_but_start_none():
    tracker = Tracker()
    rows = ids_of(
        tracker,
        [
            found(0, [box(60, 60)]),
            *(found(k, [box(60, 60), box(20, 20)], [0.15, 0.15]) for k in range(1, 6)),
        ],
    )
    assert rows == [[1], *[[1, -1]] * 5]


def test_memory_holds_only_live_tracks():
    tracker = Tracker(frame_rate=10)
    rng = np.random.default_rng(0)
    for index in range(300):
        tracker.update(found(index, [box(*rng.uniform(10, 110, 2)) for _ in range(4)], fps=10))
    assert len(tracker._tracker._tracks) < 150


def test_the_same_frames_give_the_same_identities():
    rng = np.random.default_rng(4)
    frames = [
        found(k, [box(*rng.uniform(10, 110, 2)) for _ in range(8)], rng.uniform(0.1, 1, 8))
        for k in range(20)
    ]
    assert ids_of(Tracker(), frames) == ids_of(Tracker(), frames)


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match="did you mean 'botsort'"):
        Tracker(preset="botsrt")
    with pytest.raises(ConfigError, match="belong to the preset 'drone'"):
        Tracker(preset="botsort", settings=SmallObjectSettings())
    for rate in (0, -5, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="frame_rate"):
            Tracker(frame_rate=rate)
