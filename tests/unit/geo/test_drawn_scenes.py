"""Drawn scenes whose cameras are known exactly: things lie where they were put."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flown_lot import HOME, pose_of

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.geo.sightings import FrameBoxes, locate_source
from yolo_ema.options.mapping import MapOptions
from yolo_ema.scenes.clip import clip_cameras, draw_clip
from yolo_ema.scenes.painter import paint
from yolo_ema.scenes.scene import set_stage

EXACT = MapOptions(
    sigma_position=0, sigma_height=0, sigma_yaw=0, sigma_pitch=0, sigma_roll=0, sigma_hfov=0
)


def _located(rows: np.ndarray, camera, image_wh):
    boxes = np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]).astype(float)
    frame = FrameBoxes(
        "scene.jpg",
        0,
        0.0,
        image_wh,
        boxes,
        tuple(VISDRONE_CLASSES[category - 1] for category in rows[:, 5]),
        np.ones(len(rows)),
        np.full(len(rows), -1),
        pose_of(camera, 0.0),
    )
    places = locate_source([frame], EXACT, is_video=False).sightings.places
    return HOME.to_metres(places.latitude_deg, places.longitude_deg), places


@pytest.mark.slow
def test_things_lie_within_30_cm_of_where_they_were_put():
    off: dict[str, list[float]] = {}
    for seed in range(6):
        stage = set_stage(seed, image_wh=(1920, 1080), objects=60, crowd=False)
        _, sights = paint(
            stage.town, stage.actors, stage.camera, stage.look, np.random.default_rng(0)
        )
        whole = [
            (actor, sight)
            for actor, sight in zip(stage.actors, sights, strict=True)
            if sight is not None
            and actor.identity
            and sight.cut == 0
            and 1 <= actor.body.category <= 10
            and VISDRONE_CLASSES[actor.body.category - 1] != "people"  # some sit on what they ride
            and min(sight.box_ltwh) > 2
        ]
        rows = np.array([(*sight.box_ltwh, 1, actor.body.category, 0, 0) for actor, sight in whole])
        metres, _ = _located(rows, stage.camera, (1920, 1080))
        truth = np.array([actor.position[:2] for actor, _ in whole])
        for (actor, _), metre in zip(whole, np.hypot(*(metres - truth).T).tolist(), strict=True):
            off.setdefault(VISDRONE_CLASSES[actor.body.category - 1], []).append(metre)
    assert sum(map(len, off.values())) > 150
    assert len(off["car"]) > 30
    # A box does not tell the middle of a long vehicle that stands askew, higher at one end.
    most = {name: 0.6 if name in {"van", "truck", "bus"} else 0.3 for name in off}
    assert {name: max(far) for name, far in off.items() if max(far) > most[name]} == {}
    assert np.median(np.concatenate(list(off.values()))) < 0.15


def test_cameras_of_a_clip_are_those_it_is_drawn_with():
    cameras = clip_cameras(3, frames=3, fps=2, image_wh=(320, 240))
    scenes = list(draw_clip(3, frames=3, fps=2, image_wh=(320, 240), objects=20))
    places = {}
    for scene, camera in zip(scenes, cameras, strict=True):
        named = (scene.identities > 0) & (scene.annotations[:, 5] <= 10)
        named &= scene.annotations[:, 6] == 0
        metres, _ = _located(scene.annotations[named], camera, (320, 240))
        for number, place in zip(scene.identities[named].tolist(), metres, strict=True):
            places.setdefault(number, []).append(place)
    spread = [np.ptp(np.array(seen), axis=0).max() for seen in places.values() if len(seen) > 2]
    # Most things stand; the rest moves by metres between frames half a second apart.
    assert len(spread) > 3
    assert np.median(spread) < 1.0
    assert math.isclose(cameras[0].rotation[2] @ cameras[0].rotation[2], 1)
