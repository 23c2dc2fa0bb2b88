"""How identities score on a drawn clip, by TrackEval: the relations that the published table rests
on.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from yolo_ema.boxes import box_iou

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import tracking

pytest.importorskip("trackeval")
FPS = 6.0


@pytest.fixture(scope="module")
def clip():
    settings = {
        "image_wh": (480, 270),
        "objects": 70,
        "range_m": (60.0, 80.0),
        "pace": 4.0,
        "bridges": 1,
    }
    return tracking.drawn(3, tracking.MOTIONS["all"], frames=24, fps=FPS, **settings)


@pytest.fixture(scope="module")
def detections(clip):
    return tracking.faulty(clip, 3)


def scored(clip, found, preset: str, follow: bool) -> dict[str, float]:
    given, _ = tracking.tracked(found, preset, follow, FPS)
    return tracking.combined([tracking.scores(clip, given)])


def test_the_clip_is_as_described(clip, detections):
    """Thirty objects and more, half of them small, and detections with the faults of a real
    detector.
    """
    counts = [len(frame.identities) for frame in clip]
    assert np.mean(counts) >= 30
    sides = np.concatenate(
        [
            np.sqrt((frame.boxes_xyxy[:, 2:] - frame.boxes_xyxy[:, :2]).prod(axis=1))
            for frame in clip
        ]
    )
    assert np.median(sides) < 20
    assert any((frame.hidden == 2).any() for frame in clip), "something is hidden"
    true = sum(
        (box_iou(frame.boxes_xyxy[:, None], one.boxes_xyxy) > 0.4).any(axis=1).sum()
        for frame, one in zip(clip, detections, strict=True)
    )
    assert 0.7 < true / sum(counts) < 0.87


def test_identities_are_perfect_on_perfect_detections(clip):
    """Every identity given belongs to one object, and every object has one; only its first frame
    may be without.
    """
    given, _ = tracking.tracked(tracking.perfect(clip), "drone", True, FPS)
    pairs = {
        pair
        for frame, one in zip(clip, given, strict=True)
        for pair in zip(frame.identities, one.track_ids, strict=True)
        if pair[1] > 0
    }
    owners = [number for _, number in pairs]
    assert len(set(owners)) == len(owners)
    found = tracking.combined([tracking.scores(clip, given)])
    assert found["IDSW"] == 0
    assert found["IDF1"] > 96


def test_following_the_camera_is_better_than_not(clip, detections):
    followed, left = (scored(clip, detections, "drone", follow) for follow in (True, False))
    for what in ("HOTA", "MOTA", "IDF1"):
        assert followed[what] > left[what] + 1, what


def test_the_preset_is_better_than_ultralytics_own_settings(clip, detections):
    ours, theirs = (
        scored(clip, detections, preset, follow=True) for preset in ("drone", "botsort")
    )
    for what in ("HOTA", "MOTA", "IDF1"):
        assert ours[what] > theirs[what] + 1, what


def test_no_detection_goes_missing(clip, detections):
    given, _ = tracking.tracked(detections, "drone", True, FPS)
    for before, after in zip(detections, given, strict=True):
        assert np.array_equal(before.boxes_xyxy, after.boxes_xyxy)
        assert len(after.track_ids) == len(before)


def test_the_scores_are_those_of_a_known_case():
    """Two objects, one swap of identities half way: figures that can be worked out by hand."""
    frames = [
        tracking.TrueFrame(
            np.zeros((9, 9, 3), np.uint8),
            np.array([[0, 0, 4, 4], [5, 5, 9, 9.0]]),
            np.zeros(2, int),
            np.array([1, 2]),
            np.zeros(2, int),
            0.0,
        )
    ] * 4
    found = tracking.perfect(frames)
    from dataclasses import replace

    given = [
        replace(one, track_ids=np.array(ids))
        for one, ids in zip(found, ([7, 8], [7, 8], [8, 7], [8, 7]), strict=True)
    ]
    result = tracking.combined([tracking.scores(frames, given)])
    assert result["IDSW"] == 2
    assert result["MOTA"] == pytest.approx(100 * (1 - 2 / 8))
    assert result["IDF1"] == pytest.approx(50)
    assert result["AssA"] == pytest.approx(100 / 3)
    assert result["HOTA"] == pytest.approx(100 / 3**0.5)
