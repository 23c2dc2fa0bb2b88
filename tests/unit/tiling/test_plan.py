"""What ``auto`` decides, and what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yolo_ema.errors import ConfigError
from yolo_ema.inference.letterbox import Letterbox
from yolo_ema.tiling.grid import tile_grid
from yolo_ema.tiling.plan import ObjectSizes, plan_tiles

INPUT = (640, 640)


def test_an_image_that_fits_is_processed_whole():
    plan = plan_tiles((640, 360), INPUT)
    assert (len(plan.tiles_xyxy), plan.whole_frame) == (0, True)
    assert (
        plan.reason == "the whole frame: its 640x360 pixels fit into the network's input of 640x640"
    )


def test_an_image_that_hardly_shrinks_is_processed_whole():
    assert not len(plan_tiles((800, 600), INPUT).tiles_xyxy)
    assert len(plan_tiles((801, 600), INPUT).tiles_xyxy)
    assert "shrunk only 1.25 times" in plan_tiles((800, 600), INPUT).reason


def test_an_image_that_shrinks_is_processed_in_tiles_of_the_input_size():
    plan = plan_tiles((1920, 1080), INPUT)
    np.testing.assert_array_equal(plan.tiles_xyxy, tile_grid((1920, 1080), (640, 640), 128))
    assert (plan.whole_frame, plan.overlap_px) == (True, (128, 128))
    assert plan.reason == (
        "8 tiles of 640x640 pixels and the whole frame: "
        "1920x1080 pixels would be shrunk 3.0 times to fit into the network's input of 640x640"
    )
    assert not len(plan_tiles((1920, 1080), (1088, 1920)).tiles_xyxy)


def test_a_network_trained_on_large_objects_processes_the_whole_frame():
    large, small = (
        ObjectSizes(source_median=120, input_tenth=30),
        ObjectSizes(source_median=36, input_tenth=6),
    )
    whole = plan_tiles((1920, 1080), INPUT, objects=large)
    assert not len(whole.tiles_xyxy)
    assert "120 pixels in the median, would have 40 pixels, which is large enough" in whole.reason
    tiles = plan_tiles((1920, 1080), INPUT, objects=small)
    assert len(tiles.tiles_xyxy) == 8
    assert tiles.reason.endswith(
        "input of 640x640; objects like those it was trained on, 36 pixels in the median, would "
        "have 12 pixels"
    )
    fixed = plan_tiles((1920, 1080), INPUT, objects=small, size_fixed_by="file")
    assert "input of 640x640, the only size that the file takes; objects like" in fixed.reason
    # Shrunk below what it has learned, large objects need tiles too.
    assert len(
        plan_tiles(
            (1920, 1080), INPUT, objects=ObjectSizes(source_median=120, input_tenth=60)
        ).tiles_xyxy
    )


def test_words_and_sizes():
    assert not len(plan_tiles((1920, 1080), INPUT, tile="off").tiles_xyxy)
    plan = plan_tiles((1920, 1080), INPUT, tile=(1000, 500), overlap=0.1, whole_frame=False)
    np.testing.assert_array_equal(plan.tiles_xyxy, tile_grid((1920, 1080), (1000, 500), (100, 50)))
    assert not plan.whole_frame
    assert plan.reason == f"{len(plan.tiles_xyxy)} tiles of 1000x500 pixels: as asked for"
    small = plan_tiles((300, 200), INPUT, tile=(500, 500), whole_frame=False)
    assert (len(small.tiles_xyxy), small.whole_frame) == (0, True)
    for wrong in ("on", (0, 5), (1, 2, 3)):
        with pytest.raises(ConfigError, match="expected auto, off, or"):
            plan_tiles((10, 10), INPUT, tile=wrong)
    with pytest.raises(ConfigError, match=r"0 to 0\.9"):
        plan_tiles((10, 10), INPUT, overlap=1.0)


def test_tiles_are_no_larger_than_their_number_needs_where_the_input_may_be_smaller():
    plan = plan_tiles((1360, 765), INPUT, stride=32, size_fixed_by="imgsz")
    np.testing.assert_array_equal(plan.tiles_xyxy, tile_grid((1360, 765), (640, 448), 128))


@settings(max_examples=300, deadline=None)
@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.sampled_from((0.0, 0.2, 0.5)))
def test_smaller_tiles_are_as_many_and_keep_the_resolution(image_wh, overlap):
    full = plan_tiles(image_wh, INPUT, overlap=overlap)
    plan = plan_tiles(image_wh, INPUT, overlap=overlap, stride=32, size_fixed_by="imgsz")
    assert len(plan.tiles_xyxy) == len(full.tiles_xyxy)
    if not len(plan.tiles_xyxy):
        return
    width, height = plan.tiles_xyxy[0, 2:] - plan.tiles_xyxy[0, :2]
    assert max(width, height) == 640, "neither shrunk nor scaled up"
    assert width <= 640
    assert height <= 640
    for axis in (0, 1):
        starts, ends = np.unique(plan.tiles_xyxy[:, axis]), np.unique(plan.tiles_xyxy[:, axis + 2])
        assert (starts[0], ends[-1]) == (0, image_wh[axis])
        assert (ends[:-1] - starts[1:] >= plan.overlap_px[axis]).all()


@pytest.mark.parametrize("image_wh", [(5000, 1), (1, 5000), (1, 1)])
def test_lines_of_pixels(image_wh):
    plan = plan_tiles(image_wh, INPUT, stride=32)
    assert bool(len(plan.tiles_xyxy)) == (max(image_wh) > 2048)
    fixed = plan_tiles(image_wh, INPUT, stride=32, size_fixed_by="imgsz")
    assert bool(len(fixed.tiles_xyxy)) == (max(image_wh) > 800)


OWN, TILES = INPUT, "tiles"


@pytest.mark.parametrize(
    ("image_wh", "free", "otherwise"),
    [
        ((640, 360), OWN, OWN),
        ((800, 600), OWN, OWN),  # shrunk 1.25 times
        ((801, 600), (832, 832), TILES),
        ((960, 540), (960, 960), TILES),
        ((1000, 750), (1024, 1024), TILES),
        ((600, 1000), (1024, 1024), TILES),
        ((1280, 720), (1280, 1280), TILES),
        ((1360, 765), (1280, 1280), TILES),
        ((1920, 1080), (1280, 1280), TILES),
        ((1536, 2048), (1280, 1280), TILES),  # shrunk 1.6 times
        ((2049, 1536), TILES, TILES),
        ((3840, 2160), TILES, TILES),
        ((20000, 15000), TILES, TILES),
    ],
)
def test_auto_uses_a_larger_input_up_to_twice_the_weights_own_before_tiles(
    image_wh, free, otherwise
):
    for stride, fixed_by, expected in (
        (32, "", free),
        (None, "", otherwise),  # an input that is always filled
        (None, "file", otherwise),
        (32, "imgsz", otherwise),
    ):
        plan = plan_tiles(image_wh, INPUT, stride=stride, size_fixed_by=fixed_by)
        in_tiles = len(plan.tiles_xyxy) > 0
        assert in_tiles == (expected == TILES)
        assert plan.whole_frame
        assert plan.input_hw == (OWN if in_tiles else expected)
        assert plan.reason.startswith("the whole frame") != in_tiles
    without = plan_tiles(image_wh, INPUT, stride=32, whole_frame=False)
    assert (len(without.tiles_xyxy) > 0) == (otherwise == TILES), "tiles alone, as asked for"


def test_auto_says_which_input_it_uses_and_what_fixes_its_size():
    shrunk = "1920x1080 pixels would be shrunk 3.0 times to fit into the network's input of 640x640"
    assert plan_tiles((1920, 1080), INPUT, stride=32).reason == (
        f"the whole frame at a larger input of 1280x1280, shrunk 1.5 times: {shrunk}"
    )
    assert plan_tiles((1920, 1080), INPUT, size_fixed_by="file").reason == (
        f"8 tiles of 640x640 pixels and the whole frame: {shrunk}, the only size that the file "
        f"takes"
    )
    assert plan_tiles((1920, 1080), INPUT, stride=32, size_fixed_by="imgsz").reason == (
        f"8 tiles of 576x640 pixels and the whole frame: {shrunk}, the size asked for"
    )


def test_an_input_that_is_always_filled_grows_and_is_neither_turned_nor_trimmed():
    filled = plan_tiles((1360, 765), INPUT, stride=32, rectangular=False)
    assert filled.input_hw == (1280, 1280)
    assert plan_tiles((560, 1000), (384, 640), stride=32, rectangular=False).input_hw == (768, 1280)
    tiles = plan_tiles((4000, 2250), INPUT, stride=32, rectangular=False).tiles_xyxy
    assert {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in tiles.tolist()} == {(640, 640)}


def test_the_larger_input_has_the_shape_of_the_weights_own():
    plan = plan_tiles((1920, 1080), (384, 640), stride=32)
    assert plan.input_hw == (768, 1280)
    assert "larger input of 1280x768, shrunk 1.5 times" in plan.reason
    assert plan_tiles((1000, 562), (384, 640), stride=32).input_hw == (608, 1024)
    turned = plan_tiles((1080, 1920), (384, 640), stride=32)
    assert turned.input_hw == (1280, 768), "not shrunk 2.5 times, as in 768x1280"


def test_objects_that_stay_large_at_the_larger_input_keep_the_frame_whole():
    """Of a frame that is shrunk more than is accepted otherwise: 6 times, or 3 times at 1280."""
    frame = (3840, 2160)
    for median, whole in ((95, False), (97, True)):
        objects = ObjectSizes(source_median=median, input_tenth=10)
        plan = plan_tiles(frame, INPUT, stride=32, objects=objects)
        assert plan.input_hw == ((1280, 1280) if whole else INPUT)
        assert (len(plan.tiles_xyxy) == 0) == whole
    large = ObjectSizes(source_median=97, input_tenth=40)
    assert len(plan_tiles(frame, INPUT, stride=32, objects=large).tiles_xyxy)


@settings(max_examples=300, deadline=None)
@example((41, 83), (1, 4))  # 64x160 pixels, against 9,216 in tiles of 32x64 and whole
@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_the_larger_input_costs_fewer_pixels_than_tiles_and_is_bounded(image_wh, sides):
    input_hw = (32 * sides[0], 32 * sides[1])
    plan = plan_tiles(image_wh, input_hw, stride=32)
    if (image_wh[0] - image_wh[1]) * (input_hw[1] - input_hw[0]) < 0:
        input_hw = input_hw[::-1]  # one is portrait, the other landscape
    if plan.input_hw == input_hw:
        return
    assert not len(plan.tiles_xyxy)
    assert all(
        side <= larger <= 2 * side and larger % 32 == 0
        for side, larger in zip(input_hw, plan.input_hw, strict=True)
    )
    # letterboxed as the network gets it, against tiles of their own resolution and the frame
    letterbox = Letterbox.of(image_wh[::-1], plan.input_hw, 32)
    tiled = plan_tiles(image_wh, input_hw, stride=32, size_fixed_by="imgsz")
    views_hw = [(y2 - y1, x2 - x1) for x1, y1, x2, y2 in tiled.tiles_xyxy.tolist()]
    letterboxes = [Letterbox.of(hw, input_hw, 32) for hw in (*views_hw, image_wh[::-1])]
    # up to the stride, to whose multiple the larger input alone may have to be rounded up
    least_hw = [side - 32 for side in letterbox.input_hw]
    assert math.prod(least_hw) <= sum(math.prod(one.input_hw) for one in letterboxes)
