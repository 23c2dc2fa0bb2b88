"""Clips: objects keep their numbers, the camera moves as asked, paths cross, objects are hidden and
come back.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.scenes import draw_clip

SIZE = (480, 270)


@pytest.fixture(scope="module")
def clip():
    return list(draw_clip(2, frames=48, fps=12.0, image_wh=SIZE, objects=70))


def boxes(scene):
    return {int(i): row for i, row in zip(scene.identities, scene.annotations, strict=True) if i}


def ground_shift(pair) -> float:
    grey = [cv2.cvtColor(scene.image_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32) for scene in pair]
    return float(np.hypot(*cv2.phaseCorrelate(*grey, cv2.createHanningWindow(SIZE, cv2.CV_32F))[0]))


def test_there_are_as_many_frames_as_requested(clip):
    assert len(clip) == 48
    assert all(scene.image_bgr.shape == (270, 480, 3) for scene in clip)


def test_at_least_thirty_objects_in_every_frame(clip):
    assert min(len(boxes(scene)) for scene in clip) >= 30


def test_an_identity_is_one_object(clip):
    category = {}
    for scene in clip:
        numbers = scene.identities[scene.identities > 0]
        assert len(np.unique(numbers)) == len(numbers)
        for identity, row in boxes(scene).items():
            assert category.setdefault(identity, row[5]) == row[5]


def test_objects_move_by_small_steps(clip):
    for before, after in itertools.pairwise(clip):
        old, new = boxes(before), boxes(after)
        for identity in old.keys() & new.keys():
            if old[identity][6] or new[identity][6]:
                continue  # the image's border moves the middle of what it cuts
            middles = [row[:2] + row[2:4] / 2 for row in (old[identity], new[identity])]
            assert np.abs(middles[1] - middles[0]).max() < 25


def test_paths_cross_and_objects_come_back(clip):
    tracks: dict[int, list[int]] = {}
    crossings = 0
    for frame, scene in enumerate(clip):
        for identity in boxes(scene):
            tracks.setdefault(identity, []).append(frame)
    first, last = boxes(clip[0]), boxes(clip[-1])
    both = sorted(first.keys() & last.keys())
    for one, other in itertools.combinations(both, 2):
        crossings += (first[one][0] < first[other][0]) != (last[one][0] < last[other][0])
    assert crossings >= 5
    assert any(frames[-1] - frames[0] >= len(frames) for frames in tracks.values()), (
        "one is lost and found again"
    )


def test_the_ground_moves_with_the_camera():
    still = list(draw_clip(4, frames=2, fps=4.0, image_wh=SIZE, objects=30, motions=()))
    panned = list(draw_clip(4, frames=2, fps=4.0, image_wh=SIZE, objects=30, motions=("pan",)))

    assert ground_shift(still) < 0.3
    assert ground_shift(panned) > 3


def test_climbing_makes_standing_objects_smaller():
    first, *_, last = draw_clip(4, frames=3, fps=0.5, image_wh=SIZE, objects=60, motions=("climb",))
    old, new = boxes(first), boxes(last)
    ratios = [
        new[i][2] * new[i][3] / (old[i][2] * old[i][3])
        for i in old.keys() & new.keys()
        if not old[i][6] and not new[i][6]
    ]
    assert np.median(ratios) < 0.85


def test_turning_rotates_the_view():
    first, *_, last = draw_clip(4, frames=3, fps=0.5, image_wh=SIZE, objects=80, motions=("turn",))
    old, new = boxes(first), boxes(last)
    shared = sorted(old.keys() & new.keys())
    middles = [
        np.array(
            [row[:2] + row[2:4] / 2 - np.array(SIZE) / 2 for row in (frame[i] for i in shared)]
        )
        for frame in (old, new)
    ]
    angles = np.angle(np.exp(1j * (np.arctan2(*middles[1].T) - np.arctan2(*middles[0].T))))
    assert abs(np.degrees(np.median(angles))) > 5


def test_the_same_seed_gives_the_same_clip(clip):
    again = next(iter(draw_clip(2, frames=48, fps=12.0, image_wh=SIZE, objects=70)))
    assert again.image_bgr.tobytes() == clip[0].image_bgr.tobytes()
    assert again.annotations.tobytes() == clip[0].annotations.tobytes()


def test_bridges_hide_what_passes_below_and_move_nothing_else():
    settings = {"frames": 1, "image_wh": SIZE, "objects": 70, "range_m": (48.0, 50.0)}
    plain, spanned = (next(draw_clip(2, bridges=count, **settings)) for count in (0, 1))
    changed = (plain.image_bgr != spanned.image_bgr).any(axis=2)
    assert 0.01 < changed.mean() < 0.3
    before, after = boxes(plain), boxes(spanned)
    assert after.keys() <= before.keys(), "a bridge has no row of its own"
    assert all(np.array_equal(before[i][:4], after[i][:4]) for i in after)
    assert sum(row[7] for row in after.values()) + 2 * len(before.keys() - after.keys()) > sum(
        row[7] for row in before.values()
    )


def test_pace_is_a_factor_on_the_cameras_speed():
    shifts = [
        ground_shift(
            list(
                draw_clip(
                    4, frames=2, fps=8.0, image_wh=SIZE, objects=30, motions=("pan",), pace=pace
                )
            )
        )
        for pace in (1.0, 2.0)
    ]
    assert 1.6 < shifts[1] / shifts[0] < 2.4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"fps": 0.0}, "fps is 0"),
        ({"motions": ("roll",)}, "'roll'"),
        ({"objects": 999}, "1 to 200"),
        ({"pace": 0.0}, "pace is 0"),
        ({"bridges": -1}, "bridges is -1"),
        ({"image_wh": (10, 10)}, "64 to 8192"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        next(iter(draw_clip(0, **wrong)))
