"""Sizes of networks: those of records, and for older ones those of the models that were trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from study_files import made_up_record, small_study, write_record
from torch.utils.flop_counter import FlopCounterMode

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.transfer import transfer_weights
from yolo_ema.studies.comparison import compare
from yolo_ema.studies.network_size import NetworkSize, network_size
from yolo_ema.studies.records import Records
from yolo_ema.studies.spec_reader import read_study

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
FIGURES = {"64": 5.0, "96": 6.0}


def _sizes(tmp_path, change) -> list[NetworkSize]:
    """Sizes of the arm ema at both settings, by a record that ``change`` has changed."""
    study = small_study(tmp_path)
    record = made_up_record(study, "ema", 0, FIGURES)
    change(record)
    folder = tmp_path / "records" / "small"
    write_record(folder, record)
    records = Records.read(study, folder)
    return [network_size(records, study.arm("ema"), at) for at in study.evaluations]


def _forget(record) -> None:
    """Leave out what records did not have at first."""
    del record["parameters"]
    for evaluation in record["evaluations"].values():
        del evaluation["operations"]


def test_a_record_says_the_size(tmp_path):
    assert _sizes(tmp_path, lambda record: None) == [
        NetworkSize(2_590_230, 640_000_000),
        NetworkSize(2_590_230, 960_000_000),
    ]
    study = small_study(tmp_path)
    records = Records.read(study, tmp_path / "records" / "small")
    assert network_size(records, study.arm("none"), study.evaluations[0]) == NetworkSize()
    rows = {(row.arm.name, row.at.key): row.as_json() for row in compare(records).rows}
    assert rows["ema", "96"]["operations"] == 960_000_000
    assert rows["none", "64"]["parameters"] is None


@pytest.mark.parametrize("has_weights", [True, False])
def test_of_an_older_record_the_trained_model_is_counted(tmp_path, has_weights):
    """By torch's own counter, on a model that took over COCO's weights as a training does."""
    trained = build_model("yolo11n-ema", 2)
    if has_weights:
        transfer_weights(build_model("yolo11n", 80), trained)

    def change(record) -> None:
        _forget(record)
        if not has_weights:
            record["pretrained"]["sha256"] = None

    found = _sizes(tmp_path, change)
    for size, side in zip(found, (64, 96), strict=True):
        trained.eval().model[-1].training = True
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            trained(torch.zeros(1, 3, side, side))
        assert size == NetworkSize(
            sum(one.numel() for one in trained.parameters()), counter.get_total_flops()
        )


def test_operations_that_cannot_be_known_are_not_guessed(tmp_path):
    """A head that took over the width of other weights than COCO's."""

    def change(record) -> None:
        _forget(record)
        record["parameters"] = 2_600_000

    assert _sizes(tmp_path, change) == [NetworkSize(2_600_000, None)] * 2


@pytest.mark.parametrize("name", ["placement", "p2"])
def test_the_repositorys_records_have_the_parameters_that_are_counted(name):
    study = read_study(EXPERIMENTS / f"{name}.yaml")
    for row in compare(Records.read(study, study.records_folder)).rows:
        assert row.size.parameters
        assert row.size.operations, f"{row.arm.name}: other parameters are counted than recorded"
