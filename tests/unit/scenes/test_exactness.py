"""Labels against what is really in the image, measured another way: by painting a thing over a
white and over a black ground.

A pixel that differs by all of 255 levels between the two shows ground alone; any other is covered
by the thing, in part or whole.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from yolo_ema.scenes.actors import Actor
from yolo_ema.scenes.ground import Ground
from yolo_ema.scenes.light import Look
from yolo_ema.scenes.painter import paint
from yolo_ema.scenes.scene import MOST_CUT, Stage, draw_scene, set_stage
from yolo_ema.scenes.town import Town

SIZES = {"small": (320, 192), "tall": (192, 288)}

PLAIN = Look((0.0, 0.0, 1.0), 0.0, 1.0, 0.0, (1.0, 1.0, 1.0), 0.0, 0.0, 0.0, grain=0.0)
"""Even light without shadows, haze, noise or texture: what is left is geometry."""


def alone(stage: Stage, actor: Actor) -> np.ndarray:
    """Return (H, W): how much of each pixel the actor covers, 0 to 1."""
    shots = []
    for level in (255.0, 0.0):
        ground = Ground((-1000.0, -1000.0, 1000.0, 1000.0))
        ground.rect((-300.0, -300.0, 300.0, 300.0), (level, level, level), "paint")
        town = Town(ground, (), (), (), (level, level, level))
        image, _ = paint(town, [actor], stage.camera, PLAIN, np.random.default_rng(0))
        shots.append(image.astype(float).mean(axis=2))
    return 1 - (shots[0] - shots[1]) / 255


def box_of(cover: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = (
        np.flatnonzero((cover > 0.01).any(axis=1)),
        np.flatnonzero((cover > 0.01).any(axis=0)),
    )
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1


def visible_cover(stage: Stage, index: int) -> float:
    """Return how many pixels of one actor are in sight among all else: those that change with its
    colour.
    """
    shots = []
    for level in (255.0, 0.0):
        actors = list(stage.actors)
        actors[index] = replace(actors[index], palette=np.full((8, 3), level))
        image, _ = paint(stage.town, actors, stage.camera, PLAIN, np.random.default_rng(0))
        shots.append(image.astype(float).mean(axis=2))
    return float((shots[0] - shots[1]).sum() / 255)


@pytest.mark.parametrize(("seed", "size"), [(3, "small"), (11, "tall")])
def test_every_box_is_the_box_of_the_objects_pixels(seed, size):
    stage = set_stage(seed, image_wh=SIZES[size])
    scene = draw_scene(seed, image_wh=SIZES[size])
    actors = {actor.identity: actor for actor in stage.actors}
    checked = 0
    for row, identity in zip(scene.annotations, scene.identities, strict=True):
        if identity:
            assert tuple(row[:4]) == box_of(alone(stage, actors[identity])), f"row {row.tolist()}"
            assert row[5] == actors[identity].body.category
            checked += 1
    assert checked >= 10


def test_hidden_shares_are_counted():
    stage = set_stage(8, image_wh=(480, 270), objects=90, crowd=False)
    _, sights = paint(stage.town, stage.actors, stage.camera, PLAIN, np.random.default_rng(0))
    ranked = sorted(
        (index for index, sight in enumerate(sights) if sight),
        key=lambda index: sights[index].hidden,
    )
    chosen = [*ranked[:3], *ranked[-8:]]
    assert sights[chosen[-1]].hidden > 0.3, "the scene has something well hidden"
    for index in chosen:
        whole = alone(stage, stage.actors[index]).sum()
        assert sights[index].hidden == pytest.approx(
            1 - visible_cover(stage, index) / whole, abs=0.03
        )


def test_occlusion_and_truncation_follow_from_the_image():
    stage = set_stage(8, image_wh=(480, 270), objects=90)
    _, sights = paint(stage.town, stage.actors, stage.camera, stage.look, np.random.default_rng(0))
    seen = {
        actor.identity: sight for actor, sight in zip(stage.actors, sights, strict=True) if sight
    }
    scene = draw_scene(8, image_wh=(480, 270), objects=90)
    levels = set()
    for row, identity in zip(scene.annotations.tolist(), scene.identities.tolist(), strict=True):
        if not identity:
            continue
        sight = seen[identity]
        levels.add(row[7])
        assert row[7] == (0 if sight.hidden < 0.01 else 1 if sight.hidden <= 0.5 else 2)
        assert row[6] == int(sight.cut > 0)
        assert sight.cut <= MOST_CUT
    assert levels == {0, 1, 2}


def test_everything_visible_is_labelled_or_ignored():
    for seed in range(5):
        stage = set_stage(seed, image_wh=(480, 270))
        scene = draw_scene(seed, image_wh=(480, 270))
        _, sights = paint(
            stage.town, stage.actors, stage.camera, stage.look, np.random.default_rng(0)
        )
        labelled = set(scene.identities.tolist())
        regions = scene.annotations[scene.annotations[:, 5] == 0, :4]
        for actor, sight in zip(stage.actors, sights, strict=True):
            if sight is None or actor.identity in labelled - {0} or sight.hidden > 0.85:
                continue
            left, top, width, height = sight.box_ltwh
            across = np.minimum(left + width, regions[:, 0] + regions[:, 2]) - np.maximum(
                left, regions[:, 0]
            )
            down = np.minimum(top + height, regions[:, 1] + regions[:, 3]) - np.maximum(
                top, regions[:, 1]
            )
            assert ((across.clip(0) * down.clip(0)) >= 0.5 * width * height).any(), (
                f"seed {seed}: {actor.body.category} at {sight}"
            )
