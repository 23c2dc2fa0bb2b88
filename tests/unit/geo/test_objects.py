"""Objects of calculated flights: counts, places, ellipses, motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flown_lot import (
    HOME,
    Standing,
    box_of,
    camera_at,
    fly,
    off_by,
    parking_lot,
    there_and_back,
)

from yolo_ema.geo.objects import map_objects
from yolo_ema.geo.sightings import FrameBoxes, locate_source
from yolo_ema.geo.uncertainty import CHI2_95
from yolo_ema.options.mapping import MapOptions

OPTIONS = MapOptions()
LOT = parking_lot(rows=2)


def flown(*flights: list[FrameBoxes], options=OPTIONS, is_video=True, **settings):
    sources = [locate_source(frames, options, is_video=is_video) for frames in flights]
    return map_objects(sources, **settings)


def metres(objects) -> np.ndarray:
    return HOME.to_metres(
        [one.latitude_deg for one in objects], [one.longitude_deg for one in objects]
    )


def away(objects, things) -> np.ndarray:
    """Return how far each object lies from the nearest thing."""
    truth = np.array([(thing.east_m, thing.north_m) for thing in things])
    return np.hypot(*(metres(objects)[:, None] - truth).transpose(2, 0, 1)).min(axis=1)


def one_car(noise_px=0.0, seconds=8.0, **settings) -> list[FrameBoxes]:
    return fly(
        [Standing("car", 0, 0)],
        lambda time_s: camera_at(0, -40 + time_s, 50, 0, -50),
        seconds=seconds,
        box_noise_px=noise_px,
        **settings,
    )


def test_what_the_border_cuts_is_where_it_was_last_whole():
    """A car that has stopped there is not followed at the speed that it had."""
    car = Standing("car", -20, 0, velocity=(8, 0))
    seen = fly([car], lambda _: camera_at(0, 0, 50, 0, -89), seconds=6, fps=5)
    inside = [frame for frame in seen if len(frame.boxes_xyxy)]
    last = inside[-1]
    left, top, _, bottom = last.boxes_xyxy[0]
    cut = np.array([[left + 40, top, 1920, bottom]])
    standing = [
        replace(last, frame=number, time_s=number / 5, boxes_xyxy=cut)
        for number in range(last.frame + 1, 200)
    ]
    (found,) = flown([*inside, *standing])
    assert found.motion.is_moving
    assert found.moments_s[1] == pytest.approx(199 / 5)
    assert np.hypot(*(metres([found])[0] - car.at(last.time_s))) < 1


def test_a_flight_that_returns_counts_each_car_once_and_finds_it():
    objects = flown(fly(LOT, there_and_back, seconds=56, fps=3))
    assert len(objects) == len(LOT)
    assert {len(one.tracklets) for one in objects} == {2}
    assert away(objects, LOT).max() < 0.3
    assert not any(one.motion.is_moving for one in objects)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_counts_hold_with_poses_that_are_wrong_throughout(seed):
    rng = np.random.default_rng(seed)
    wrong = off_by(
        east_m=rng.normal(0, 1.5),
        north_m=rng.normal(0, 1.5),
        height_m=rng.normal(0, 2),
        yaw_deg=rng.normal(0, 2),
        pitch_deg=rng.normal(0, 0.5),
        roll_deg=rng.normal(0, 0.5),
    )
    flight = fly(LOT, there_and_back, seconds=56, fps=3, wrong=wrong, box_noise_px=2, seed=seed)
    objects = flown(flight)
    assert abs(len(objects) - len(LOT)) <= 0.05 * len(LOT)


def test_without_joining_every_identity_is_an_object():
    flight = fly(LOT, there_and_back, seconds=56, fps=3)
    assert len(flown(flight, unique=False)) == 2 * len(LOT)


def test_another_video_of_the_flight_shows_the_same_cars():
    first = fly(LOT, there_and_back, seconds=20, fps=3, box_noise_px=1)
    second = fly(
        LOT,
        lambda time_s: there_and_back(time_s + 34),
        seconds=22,
        fps=3,
        box_noise_px=1,
        source="second.mp4",
    )
    objects = flown(first, second)
    assert len(objects) == len(LOT)
    assert {source for one in objects for source, _, _ in one.tracklets} == {
        "flight.mp4",
        "second.mp4",
    }


def test_overlapping_stills_show_the_same_cars():
    stills = []
    for number in range(4):
        camera = camera_at(0, -45 + 8 * number, 50, 0, -50)
        frames = fly(LOT, lambda _, camera=camera: camera, seconds=1, fps=1, tracked=False)
        stills.append([replace(frames[0], source=f"{number}.jpg")])
    objects = flown(*stills, is_video=False)
    assert len(objects) == len(LOT)
    assert away(objects, LOT).max() < 0.3


def test_without_identities_two_frames_a_second_make_objects():
    frames = fly(LOT[:4], there_and_back, seconds=20, fps=5, tracked=False)
    objects = flown(frames)
    assert len(objects) == 4
    seen = sum(len(frame.scores) for frame in frames)
    assert 0.3 * seen < sum(one.sightings for one in objects) < 0.6 * seen


def test_classes_must_allow_it():
    frames = one_car()
    half = len(frames) // 2
    renamed = [
        replace(
            frame, class_names=("pedestrian",) * len(frame.scores), track_ids=frame.track_ids + 9
        )
        for frame in frames[half:]
    ]
    assert len(flown([*frames[:half], *renamed])) == 2
    alike = [replace(frame, class_names=("van",) * len(frame.scores)) for frame in renamed]
    assert len(flown([*frames[:half], *alike])) == 1


def test_one_box_found_twice_is_one_thing_and_two_neighbours_are_two():
    frames = [
        replace(
            frame,
            boxes_xyxy=np.vstack([frame.boxes_xyxy, frame.boxes_xyxy + np.array([1, 0, 2, 1])]),
            class_names=("car", "van"),
            scores=np.array([0.9, 0.4]),
            track_ids=np.array([1, 2]),
        )
        for frame in one_car()
    ]
    objects = flown(frames)
    assert [one.class_name for one in objects] == ["car"]
    neighbours = [Standing("car", 0, 0, np.pi / 2), Standing("car", 2.2, 0, np.pi / 2)]
    assert len(flown(fly(neighbours, there_and_back, seconds=20, fps=3))) == 2


def test_what_a_tracker_has_not_confirmed_is_no_object():
    frames = one_car()
    first = replace(frames[0], track_ids=np.array([-1]))
    objects = flown([first, *frames[1:]])
    assert [one.sightings for one in objects] == [len(frames) - 1]


@pytest.mark.slow
def test_ellipses_of_sightings_hold_95_percent_of_true_places():
    rng = np.random.default_rng(4)

    def wrong(pose, time_s):
        return off_by(
            east_m=rng.normal(0, 1.0),
            north_m=rng.normal(0, 1.0),
            height_m=rng.normal(0, 1.5),
            yaw_deg=rng.normal(0, 1.5),
            pitch_deg=rng.normal(0, 0.4),
            roll_deg=rng.normal(0, 0.4),
        )(pose, time_s)

    options = MapOptions(
        sigma_position=1.0,
        sigma_height=1.5,
        sigma_yaw=1.5,
        sigma_pitch=0.4,
        sigma_roll=0.4,
        sigma_hfov=0.0,
        sigma_box=2.0 / np.sqrt(2),
    )
    frames = fly(
        LOT[:5],
        lambda time_s: camera_at(-8, -45 + time_s / 20, 50, 8, -48),
        seconds=160,
        fps=3,
        wrong=wrong,
        box_noise_px=2,
    )
    sightings = locate_source(frames, options).sightings
    truth = np.array([(thing.east_m, thing.north_m) for thing in LOT[:5]])
    places = HOME.to_metres(sightings.places.latitude_deg, sightings.places.longitude_deg)
    # Identities count from 1 in the order of the things.
    off = places - truth[sightings.track_ids - 1]
    test = np.einsum("ni,nij,nj->n", off, np.linalg.inv(sightings.places.covariances), off)
    assert len(off) > 2000
    assert (test <= CHI2_95).mean() == pytest.approx(0.95, abs=0.03)


def test_repeated_sightings_do_not_shrink_what_they_share():
    few = flown(one_car(seconds=2, noise_px=2))[0].ellipse
    many = flown(one_car(seconds=8, fps=20, noise_px=2))[0].ellipse
    assert many.semi_major_m > 0.8 * few.semi_major_m
    sure = MapOptions(
        sigma_position=0, sigma_height=0, sigma_yaw=0, sigma_pitch=0, sigma_roll=0, sigma_hfov=0
    )
    few_sure, many_sure = (
        flown(one_car(seconds=seconds, noise_px=2), options=sure)[0].ellipse for seconds in (0.2, 8)
    )
    assert many_sure.semi_major_m < 0.9 * few_sure.semi_major_m


def test_the_ellipse_of_an_object_holds_it_where_poses_are_wrong_throughout():
    rng = np.random.default_rng(8)
    inside = []
    for seed in range(60):
        wrong = off_by(
            east_m=rng.normal(0, 1.5),
            north_m=rng.normal(0, 1.5),
            height_m=rng.normal(0, 2),
            yaw_deg=rng.normal(0, 2),
            pitch_deg=rng.normal(0, 0.5),
            roll_deg=rng.normal(0, 0.5),
        )
        found = flown(one_car(noise_px=1, seconds=3, wrong=wrong, seed=seed))[0]
        off = metres([found])[0]
        inside.append(off @ np.linalg.solve(found.covariance, off) <= CHI2_95)
    assert np.mean(inside) >= 0.9


def test_speed_and_heading_of_what_moves_from_a_moving_drone():
    car = Standing("car", -20, 2, 0.0, velocity=(8.0, 0.0))
    walker = Standing("pedestrian", 3, -5, 0, velocity=(1.2, 0.5))
    frames = fly(
        [car, walker],
        lambda time_s: camera_at(time_s, -50 + 2 * time_s, 50, 5 * time_s, -50),
        seconds=5,
        fps=6,
        box_noise_px=1,
    )
    found = {one.class_name: one for one in flown(frames)}
    for thing in (car, walker):
        motion = found[thing.class_name].motion
        assert motion.is_moving
        speed = np.hypot(*thing.velocity)
        heading = np.degrees(np.arctan2(*thing.velocity)) % 360
        assert abs(motion.speed_m_s - speed) < max(3 * motion.speed_sigma_m_s, 0.05)
        assert abs(motion.heading_deg - heading) < 3 * motion.heading_sigma_deg
        assert 0 < motion.speed_sigma_m_s < 1
        last = thing.at(max(frame.time_s for frame in frames if len(frame.scores)))
        assert np.hypot(*(metres([found[thing.class_name]])[0] - last)) < 1.5
        assert len(found[thing.class_name].path_deg) > 3


def test_a_wobbling_receiver_moves_no_car():
    rng = np.random.default_rng(5)

    def wobble(pose, time_s):
        return off_by(east_m=rng.normal(0, 0.5), north_m=rng.normal(0, 0.5))(pose, time_s)

    objects = flown(fly(LOT, there_and_back, seconds=20, fps=5, wrong=wobble, box_noise_px=2))
    assert not any(one.motion.is_moving for one in objects)


def test_what_was_seen_briefly_is_neither_standing_nor_moving():
    assert flown(one_car(seconds=0.6))[0].motion.is_moving is None


def test_a_moving_car_that_was_lost_for_a_moment_goes_on():
    car = Standing("car", -20, 0, 0.0, velocity=(8.0, 0.0))
    frames = fly([car], lambda _: camera_at(0, -50, 50, 0, -50), seconds=5, fps=6)
    lost = [
        replace(
            frame,
            boxes_xyxy=np.zeros((0, 4)),
            class_names=(),
            scores=np.zeros(0),
            track_ids=np.zeros(0, int),
        )
        if 14 <= frame.frame < 20
        else replace(frame, track_ids=frame.track_ids + 7 * (frame.frame >= 20))
        for frame in frames
    ]
    objects = flown(lost)
    assert len(objects) == 1
    assert objects[0].motion.speed_m_s == pytest.approx(8, abs=0.5)


def test_sightings_that_the_border_cuts_count_only_where_there_are_no_others():
    frames = one_car(seconds=2)
    whole = flown(frames)
    cut = replace(frames[0], boxes_xyxy=np.array([[0.0, 500.0, 30.0, 540.0]]))
    assert metres(flown([cut, *frames[1:]])) == pytest.approx(metres(whole), abs=0.1)
    assert len(flown([cut])) == 1


def test_a_flight_that_shows_nothing_has_no_objects():
    empty = fly([], there_and_back, seconds=2)
    assert flown(empty) == []
    assert box_of(Standing("car", 500, 500), there_and_back(0), 0) is None
