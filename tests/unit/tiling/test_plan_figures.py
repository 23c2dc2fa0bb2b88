"""Figures that weights carry: kept and read again, checked, and followed by ``auto``."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.tiling.plan import plan_tiles
from yolo_ema.tiling.plan_figures import (
    AP_PER_DOUBLING,
    PlanFigures,
    PlanRow,
    worth_its_pixels,
)

OWN = PlanRow(1.0, False, True, 11.6, 0.25, 2.1, 0.16)
LARGER = PlanRow(1.5, False, True, 15.6, 0.52, 1.4, 0.18)
TWICE = PlanRow(2.0, False, True, 17.3, 0.94, 1.06, 0.17)
TILES = PlanRow(1.0, True, False, 16.6, 1.4, 1.0, 0.19)
BOTH = PlanRow(1.0, True, True, 17.1, 1.6, 1.0, 0.19)
MEASURED = PlanFigures((OWN, LARGER, TWICE, TILES, BOTH), 0.65)
HD, INPUT = (1920, 1080), (640, 640)


def figures(*rows: PlanRow) -> PlanFigures:
    return PlanFigures(rows, 0.7)


def test_more_pixels_are_taken_where_they_bring_a_point_a_doubling() -> None:
    assert MEASURED.best == TWICE
    assert figures(OWN, PlanRow(2.0, False, True, 12.0, 0.94, 1.0, 0.2)).best == OWN
    assert figures(TILES, BOTH).best == BOTH, "half a point for a fifth of a doubling"
    assert figures(TWICE, PlanRow(1.0, True, True, 17.9, 1.88, 1.0, 0.2)).best == TWICE
    assert figures(TWICE, PlanRow(1.0, True, True, 18.4, 1.88, 1.0, 0.2)).best.tiles


@given(
    st.lists(st.tuples(st.integers(0, 160).map(lambda n: n / 4), st.integers(1, 64)), min_size=1)
)
def test_against_the_best_every_plan_gains_too_little_or_loses_too_much(
    plans: list[tuple[float, float]],
) -> None:
    ap, cost = plans[worth_its_pixels(plans)]
    for other_ap, other_cost in plans:
        doublings = math.log2(other_cost / cost)
        assert other_ap - ap <= AP_PER_DOUBLING * doublings + 1e-9


def test_files_keep_them() -> None:
    entries = MEASURED.as_entries()
    assert PlanFigures.of_entries(entries) == MEASURED
    # As an ONNX file or a metadata.yaml has them, beside others.
    assert ArtifactMetadata.from_entries({"stride": "32", **entries}).plan_figures == MEASURED
    assert PlanFigures.of_entries({}) is None


@pytest.mark.parametrize(
    "found",
    [
        "",
        "[",
        "3",
        [],
        {"rows": []},
        {"iou": 0.7, "rows": []},
        {"iou": 0.7, "rows": [[1, 0, 1, 11, 0.2, 2]]},
        {"iou": 0.7, "rows": [[1, 0, 1, 11, 0.2, 2, "0.1"]]},
        {"iou": 0.7, "rows": [[1, 0, 1, 11, 0.2, 2, 1.5]]},
        {"iou": 0.7, "rows": [[float("nan"), 0, 1, 11, 0.2, 2, 0.1]]},
        {"iou": 0.7, "rows": [[1e300, 0, 1, 11, 0.2, 2, 0.1]]},
        {"iou": True, "rows": [[1, 0, 1, 11, 0.2, 2, 0.1]]},
        {"iou": 0.7, "rows": [[1, 0, 1, 11, 0.2, 2, 0.1]] * 1000},
    ],
)
def test_nonsensical_plans_are_ignored(found: object) -> None:
    assert PlanFigures.of_entries({"plan_figures": found}) is None
    if not isinstance(found, str):
        assert PlanFigures.of_entries({"plan_figures": json.dumps(found)}) is None


def test_auto_uses_the_input_of_the_best_plan() -> None:
    measured = plan_tiles(HD, INPUT, stride=32, figures=MEASURED)
    by_rule = plan_tiles(HD, INPUT, stride=32)
    assert (
        (measured.input_hw, len(measured.tiles_xyxy)) == (by_rule.input_hw, 0) == ((1280,) * 2, 0)
    )
    assert measured.reason.endswith("the figures that the weights carry recommend it")
    smaller = plan_tiles((1360, 765), INPUT, stride=32, figures=figures(OWN, LARGER))
    assert smaller.input_hw == (960, 960)


def test_auto_uses_tiles_where_they_are_worth_their_pixels() -> None:
    alone = plan_tiles(HD, INPUT, stride=32, figures=figures(OWN, TILES))
    assert len(alone.tiles_xyxy) == 8
    assert not alone.whole_frame
    better = PlanRow(1.0, True, True, 18.4, 1.6, 1.0, 0.19)
    both = plan_tiles(HD, INPUT, stride=32, figures=figures(OWN, TWICE, TILES, better))
    assert (len(both.tiles_xyxy), both.whole_frame) == (8, True)
    asked = plan_tiles(HD, INPUT, stride=32, figures=figures(TILES), whole_frame=True)
    assert asked.whole_frame


def test_auto_stays_at_the_weights_input_where_nothing_else_gains() -> None:
    own = figures(OWN)
    for fixed in ("", "file"):
        plan = plan_tiles((1280, 720), INPUT, stride=32, figures=own, size_fixed_by=fixed)
        assert (len(plan.tiles_xyxy), plan.input_hw) == (0, INPUT)
        assert "larger input" not in plan.reason
    # Shrunk further than in the measurement: nothing says that objects would still be found.
    assert len(plan_tiles((3840, 2160), INPUT, stride=32, figures=own).tiles_xyxy) > 0


def test_a_fixed_size_and_the_users_choice_come_first() -> None:
    fixed = plan_tiles(HD, INPUT, figures=MEASURED, size_fixed_by="file")
    assert (len(fixed.tiles_xyxy), fixed.whole_frame) == (8, True)
    assert fixed.reason.endswith(
        "640x640, the only size that the file takes; the figures that the weights carry recommend "
        "it among the plans that the file can run"
    )
    # Of what such a file can run, tiles alone are best here, and here the whole image.
    alone = plan_tiles(HD, INPUT, figures=figures(OWN, TWICE, TILES), size_fixed_by="file")
    assert (len(alone.tiles_xyxy), alone.whole_frame) == (8, False)
    whole = plan_tiles((1280, 720), INPUT, figures=figures(OWN, TWICE), size_fixed_by="file")
    assert (len(whole.tiles_xyxy), whole.input_hw) == (0, INPUT)
    for asked in ({"size_fixed_by": "imgsz"}, {"whole_frame": False}, {"tile": (640, 640)}):
        with_figures = plan_tiles(HD, INPUT, stride=32, figures=figures(OWN), **asked)
        without = plan_tiles(HD, INPUT, stride=32, **asked)
        assert with_figures.reason == without.reason
        assert with_figures.tiles_xyxy.tolist() == without.tiles_xyxy.tolist()


@pytest.mark.parametrize("wh", [(1280, 720), (1360, 765), (1920, 1080), (3840, 2160)])
def test_a_portrait_frame_is_planned_like_a_landscape_one(wh: tuple[int, int]) -> None:
    lying = plan_tiles(wh, (384, 640), stride=32)
    upright = plan_tiles(wh[::-1], (384, 640), stride=32)
    assert upright.input_hw == lying.input_hw[::-1]
    assert len(upright.tiles_xyxy) == len(lying.tiles_xyxy)
    for fixed in ({"size_fixed_by": "file"}, {"size_fixed_by": "imgsz", "stride": 32}):
        assert plan_tiles(wh[::-1], (384, 640), **fixed).input_hw == (384, 640)


def test_a_file_with_another_input_than_the_weights_is_not_enlarged_once_more() -> None:
    assert MEASURED.for_input(1) == MEASURED
    larger = MEASURED.for_input(2)
    assert larger is not None
    assert [row.input_scale for row in larger.rows] == [0.5, 0.75, 1]
    assert PlanFigures.of_entries(larger.as_entries()) == larger
    plan = plan_tiles(HD, (1280, 1280), stride=32, figures=larger)
    assert plan.input_hw == (1280, 1280)
    assert not len(plan.tiles_xyxy)
    assert plan_tiles(HD, (1280, 1280), stride=32, figures=MEASURED).input_hw == (1920, 1920)
    assert figures(TILES, BOTH).for_input(2) is None
