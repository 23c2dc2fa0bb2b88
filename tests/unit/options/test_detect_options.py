"""The options import nothing heavy, so they list words that other rooms define: here the two are
held against each other.
"""

from __future__ import annotations

import argparse

import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.media.sinks.open_sinks import SINK_KINDS
from yolo_ema.options.detect import SAVED_KINDS, DetectOptions
from yolo_ema.options.parser import add_arguments, options_from_namespace
from yolo_ema.options.tiles import tile_size


def test_every_output_can_be_asked_for_by_name():
    assert {*SINK_KINDS, "none"} == set(SAVED_KINDS)


@pytest.mark.parametrize(
    ("word", "size"),
    [("auto", None), ("off", None), ("640x480", (640, 480)), ("640", None), ("ax4", None)],
)
def test_a_tile_is_written_width_x_height(word, size):
    assert tile_size(word) == size


@pytest.mark.parametrize(
    "wanting",
    [{"track": True}, {"count_line": ("0,0,1,1",)}, {"zone": ("0,0,1,1,0,1",)}, {"save": ("mot",)}],
)
def test_options_about_identities_turn_tracking_on(wanting):
    assert DetectOptions(source=("a.mp4",), **wanting).tracks
    assert not DetectOptions(source=("a.mp4",)).tracks


def test_all_problems_are_named_at_once():
    with pytest.raises(ConfigError) as raised:
        DetectOptions(source=("a.mp4",), conf=2, tile="x", overlap=1, read_timeout=0)
    for problem in (
        "--conf is 2; expected 0 to 1",
        "--tile is 'x'; expected auto, off, or width x height in pixels",
        "--overlap is 1; expected 0 to 0.9",
        "--read-timeout is 0; expected more than 0 seconds",
    ):
        assert problem in str(raised.value)


def test_names_may_be_separated_by_a_comma_and_a_space():
    parser = argparse.ArgumentParser()
    add_arguments(parser, DetectOptions)
    for word in ("car, bus", "car,bus", " car ,bus,"):
        namespace = parser.parse_args(["a.mp4", "--classes", word])
        assert options_from_namespace(DetectOptions, namespace).classes == ("car", "bus")


@pytest.mark.parametrize("asked", [{"follow_camera": False}, {"tracker": "bytetrack"}])
def test_lines_on_the_ground_need_the_cameras_motion(asked):
    line = {"source": ("x.mp4",), "count_line": ("0,0,1,1",), "count_on": "ground"}
    assert DetectOptions(**line).count_on == "ground"
    with pytest.raises(ConfigError, match="--count-on ground needs the camera's motion"):
        DetectOptions(**line, **asked)
