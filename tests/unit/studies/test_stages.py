"""What a run does before it trains or measures: it finds what lies in its place, and mixes
nothing.
"""

from __future__ import annotations

import json

import pytest
from study_files import made_up_record, small_study, write_record

from yolo_ema.errors import ConfigError, DataError, WeightsNotFoundError
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.studies.jobs import Job, Place
from yolo_ema.studies.stages import measure_run, train_run


@pytest.fixture
def job(tmp_path) -> Job:
    """The job of a run whose record has one of two settings."""
    study = small_study(tmp_path)
    records = tmp_path / "records" / "small"
    write_record(records, made_up_record(study, "ema", 0, {"64": 5.0}))
    place = Place(
        str(tmp_path / "drawn.yaml"), {}, None, None, tmp_path / "runs", records, "cpu", True
    )
    place.runs.mkdir()
    return Job.of(study, study.arm("ema"), 0, place)


def test_a_record_is_not_gone_on_with_where_its_weights_are_gone(job, tmp_path):
    with pytest.raises(
        WeightsNotFoundError, match=r"ema-seed0.json lacks settings .* are not at .*last.pt"
    ):
        train_run(job)
    assert not (tmp_path / "runs" / "ema-seed0").exists()


def test_a_record_does_not_take_figures_of_other_weights(job, tmp_path):
    weights = job.weights
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"of another training")
    before = (tmp_path / "records" / "small" / "ema-seed0.json").read_text()
    with pytest.raises(
        DataError, match=f"measured with other weights.*{'d' * 64}, and {sha256_of(weights)}"
    ):
        measure_run(job)
    assert (tmp_path / "records" / "small" / "ema-seed0.json").read_text() == before


def test_a_folder_that_is_not_the_study_s_is_left_alone(job, tmp_path):
    folder = tmp_path / "runs" / "ema-seed0"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="ema-seed0 exists, and is not a run of a study"):
        job.write()
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    folder.rmdir()
    job.write()
    folder.mkdir()
    job.write()  # the study's own, cut off early
    assert json.loads(job.file.read_text())["head"]["arm"] == "ema"
