"""Presets: each can be built, and its computed costs match those on real tensors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import ultralytics
from hypothesis import given
from hypothesis import strategies as st

from yolo_ema.engine.models.definition import find_definition
from yolo_ema.engine.models.presets import PRESETS, Cost, fitting_batch, training_cost
from yolo_ema.engine.models.registration import build_model
from yolo_ema.options.train import PRESET_NAMES, TrainOptions

REPOSITORY = Path(__file__).resolve().parents[4]


def test_the_options_name_the_presets_that_there_are():
    assert tuple(PRESETS) == PRESET_NAMES
    assert TrainOptions().preset in PRESETS


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_names_a_model_and_sizes_that_fit_it(preset):
    assert find_definition(preset.model).scale
    assert preset.model.endswith("-p2") == ("p2" in find_definition(preset.model).path.stem)
    assert preset.imgsz % 32 == 0


@pytest.mark.slow
def test_presets_cost_more_from_fast_to_accurate():
    costs = [training_cost(one.model, one.imgsz) for one in PRESETS.values()]
    assert costs[0].gflops < costs[1].gflops < costs[2].gflops
    assert costs[0].kept_gb < costs[1].kept_gb < costs[2].kept_gb


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo11n-ema", "yolov8n-ema-p2"])
def test_what_is_kept_is_what_autograd_keeps_of_real_tensors(name):
    model = build_model(name, 10).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor):
        alive.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand(1, 3, 128, 128))
    assert training_cost(name, 128).kept_gb == pytest.approx(sum(kept.values()) / 1e9, rel=0.15)


def test_operations_are_those_counted_by_the_catalog():
    from yolo_ema.engine.models.catalog import describe

    assert training_cost("yolo11n-ema", 640).gflops == pytest.approx(
        describe("yolo11n-ema").gflops, rel=0.01
    )


@pytest.mark.slow
def test_the_documented_table_is_what_the_presets_are_and_cost():
    text = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    rows = [row for row in rows if row[0] in PRESETS]
    assert [row[0] for row in rows] == list(PRESETS)
    for name, model, p2, imgsz, epochs, batch, gflops, kept, step in rows:
        preset, cost = PRESETS[name], training_cost(PRESETS[name].model, PRESETS[name].imgsz)
        assert (model, p2, int(imgsz)) == (
            preset.model,
            "yes" if preset.model.endswith("-p2") else "no",
            preset.imgsz,
        )
        assert (int(epochs), int(batch)) == (preset.epochs, preset.batch)
        assert float(gflops) == pytest.approx(cost.gflops, rel=0.02)
        assert float(kept.removesuffix(" GB")) == pytest.approx(cost.kept_gb, rel=0.05)
        assert float(step.removesuffix(" GB")) == pytest.approx(
            preset.batch * cost.kept_gb / 2, rel=0.05
        )


def test_the_help_says_what_each_preset_is_and_costs():
    text = next(
        field.metadata["help"]
        for field in dataclasses.fields(TrainOptions)
        if field.name == "preset"
    )
    costs = {name: training_cost(one.model, one.imgsz) for name, one in PRESETS.items()}
    for name, preset in PRESETS.items():
        said = text.partition(f"{name} (")[2].partition(")")[0]
        assert f"{preset.model} at {preset.imgsz}" in said
        assert f"{round(preset.batch * costs[name].kept_gb / 2)} GB" in said
        if name != "fast":
            assert f"{round(costs[name].gflops / costs['fast'].gflops)} times" in said


def test_costs_grow_with_the_area():
    small, large = training_cost("yolo11n-ema", 320), training_cost("yolo11n-ema", 640)
    assert large.kept_gb == pytest.approx(4 * small.kept_gb, rel=0.05)
    assert large.gflops == pytest.approx(4 * small.gflops, rel=0.05)


def test_a_size_counts_as_training_rounds_it(tmp_path):
    """A model with a level of stride 64 takes no other multiple of 32."""
    six_levels = tmp_path / "yolov8n-p6.yaml"  # its scale is read from the name
    published = Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8-p6.yaml"
    six_levels.write_text(published.read_text(encoding="utf-8"), encoding="utf-8")
    assert training_cost(six_levels, 800) == training_cost(six_levels, 832)
    assert training_cost("yolo11n-ema", 70) == training_cost("yolo11n-ema", 96)


@given(st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(0.05, 5), st.floats(1, 200))
def test_a_batch_fits_or_is_one_and_twice_of_it_would_not_fit(wanted, kept_gb, memory_gb):
    batch = fitting_batch(wanted, Cost(1.0, kept_gb), memory_gb)
    assert batch in {wanted >> shift for shift in range(7)} - {0}
    assert batch == 1 or batch * kept_gb / 2 <= 0.7 * memory_gb
    assert batch == wanted or 2 * batch * kept_gb / 2 > 0.7 * memory_gb
