"""Records: whole ones are read, and those that don't belong together are refused."""

from __future__ import annotations

import copy

import pytest
from study_files import DATA, SPEC, made_up_record, small_study, write_record, write_records

from yolo_ema.errors import DataError
from yolo_ema.studies.records import Records

AT_BOTH = {"64": 5.0, "96": 6.0}


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "records" / "small"


def test_what_is_done_and_what_is_missing(study, folder):
    write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    write_record(folder, made_up_record(study, "ema", 0, {"64": 5.0}))
    records = Records.read(study, folder)
    assert records.is_done("none", 0)
    assert not records.is_done("ema", 0)
    assert [at.key for at in records.missing("ema", 0)] == ["96"]
    assert [at.key for at in records.missing("none", 1)] == ["64", "96"]
    assert records.evaluation("ema", 0, study.evaluations[1]) is None


def test_a_figure_of_another_setting_of_the_same_size_is_not_taken(study, folder, tmp_path):
    record = made_up_record(study, "none", 0, AT_BOTH)
    record["evaluations"]["64"]["settings"]["conf"] = 0.25
    write_record(folder, record)
    assert [at.key for at in Records.read(study, folder).missing("none", 0)] == ["64"]


def test_figures_of_another_split_are_not_taken(study, folder, tmp_path):
    write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    on_train = small_study(tmp_path, SPEC.replace("data: drawn", "data: drawn\nsplit: train"))
    assert [at.key for at in Records.read(on_train, folder).missing("none", 0)] == ["64", "96"]


def test_a_file_that_is_just_being_written_is_no_record(study, folder):
    path = write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    (folder / ".ema-seed0-x1y2.part.json").write_text('{"study": "sma')
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / ".ema-seed0-x1y2.part.json").write_text('{"study": "sma')
    assert list(Records.read(study, folder).runs) == [("none", 0)]
    assert path.is_file()


def test_a_run_beside_another_baseline_is_refused_unless_it_is_the_baseline_s_own(
    study, folder, tmp_path
):
    write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    write_record(folder, made_up_record(study, "ema", 0, AT_BOTH))
    swapped = small_study(tmp_path, SPEC.replace("baseline: none", "baseline: ema"))
    with pytest.raises(
        DataError, match=r"none-seed0.json was made beside another baseline than ema"
    ):
        Records.read(swapped, folder)
    (folder / "none-seed0.json").unlink()
    assert Records.read(swapped, folder).is_done("ema", 0)
    other = small_study(
        tmp_path / "other",
        SPEC.replace("name: small", "name: other").replace("baseline: none", "baseline: ema"),
    )
    found = Records.read(other, folder.parent / "other")
    assert found.is_done("ema", 0)
    write_record(folder, made_up_record(study, "none", 1, AT_BOTH))
    assert not Records.read(other, folder.parent / "other").is_done("none", 1)


def test_a_record_of_other_settings_is_refused_and_the_difference_is_named(study, folder, tmp_path):
    write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    changed = small_study(
        tmp_path, SPEC.replace("nbs: 4", "nbs: 8").replace("epochs: 4", "epochs: 5")
    )
    with pytest.raises(DataError) as caught:
        Records.read(changed, folder)
    said = str(caught.value)
    assert "none-seed0.json was made under other settings" in said
    assert "train.nbs was 4 and is 8" in said
    assert "budget.epochs was 4 and is 5" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data": {**DATA, "val": {"images": 4, "sha256": "x" * 64}}}, "their data differ, val"),
        ({"data": {**DATA, "names": ["square"]}}, "their data differ, names"),
        ({"pretrained": {"name": "yolo11n.pt", "sha256": "x"}}, "first weights differ"),
    ],
)
def test_records_of_other_data_or_weights_don_t_mix(study, folder, changed, said):
    write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    write_record(folder, made_up_record(study, "ema", 0, AT_BOTH, **changed))
    with pytest.raises(DataError, match=said):
        Records.read(study, folder)


def test_records_of_other_data_than_the_one_at_hand_are_refused(study, folder):
    write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    records = Records.read(study, folder)
    records.require_data(DATA, "c" * 64)
    regions = {"regions_sha256": "e" * 64}  # which records had not in the past
    records.require_data({**DATA, "train": {**DATA["train"], **regions}}, "c" * 64)
    with pytest.raises(
        DataError, match="what is on this machine cannot be compared: their data differ, train"
    ):
        records.require_data({**DATA, "train": {"images": 13, "sha256": "a" * 64}}, "c" * 64)
    with pytest.raises(DataError, match="first weights differ"):
        records.require_data(DATA, "d" * 64)


def test_a_file_that_is_no_record_is_refused(study, folder):
    folder.mkdir(parents=True)
    (folder / "none-seed0.json").write_text("{")
    with pytest.raises(DataError, match=r"none-seed0.json is not JSON"):
        Records.read(study, folder)
    (folder / "none-seed0.json").write_text("{}")
    with pytest.raises(
        DataError, match="not a study's record: study: field required; arm: field required"
    ):
        Records.read(study, folder)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("evaluations",), [], r"evaluations: input should be a valid dictionary"),
        (
            ("evaluations", "64", "official", "AP"),
            "much",
            r"evaluations\.64\.official\.AP: input should be a valid number",
        ),
        (("training", "epochs"), 4.5, r"training\.epochs: input should be a valid integer"),
        (("data", "val"), "x", r"data\.val: input should be"),
        (("pretrained",), {}, r"pretrained\.sha256: field required"),
        (("curve",), {}, r"curve\.AP \(Ultralytics\): field required"),
    ],
)
def test_a_record_with_a_damaged_entry_is_refused_and_the_entry_named(
    study, folder, place, value, said
):
    record = copy.deepcopy(made_up_record(study, "none", 0, AT_BOTH))
    entry = record
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    path = write_record(folder, record)
    with pytest.raises(DataError, match=rf"none-seed0\.json is not a study's record: .*{said}"):
        Records.read(study, folder)
    path.rename(folder.parent / "moved.json")
    (folder.parent / "other").mkdir()
    (folder.parent / "moved.json").rename(folder.parent / "other" / "none-seed0.json")
    with pytest.raises(
        DataError, match=rf"other/none-seed0\.json is not a study's record: .*{said}"
    ):
        Records.read(study, folder)


def test_a_record_under_another_name_is_refused(study, folder):
    path = write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    path.rename(folder / "none-seed1.json")
    with pytest.raises(DataError, match=r"holds the run none:0 of small; expected none:1"):
        Records.read(study, folder)
    (folder / "none-seed1.json").rename(folder / "noen-seed1.json")
    with pytest.raises(DataError, match=r"belongs to no run.*did you mean 'none-seed1.json'"):
        Records.read(study, folder)


def test_a_run_that_another_study_has_made_is_not_made_again(study, folder, tmp_path):
    other = small_study(
        tmp_path / "other", SPEC.replace("name: small", "name: other").replace("  ema:", "  block:")
    )
    write_records(folder.parent / "other", other, {("block", 0): 7.0, ("none", 1): 3.0})
    partly = made_up_record(other, "block", 1, {"64": 7.0})
    write_record(folder.parent / "other", partly)
    write_record(
        folder.parent / "other",
        made_up_record(other, "block", 2, AT_BOTH, data={**DATA, "names": ["x"]}),
    )
    write_record(folder, made_up_record(study, "none", 0, AT_BOTH))
    records = Records.read(study, folder)
    assert records.is_done("ema", 0)
    assert records.is_done("none", 1)
    assert ("ema", 1) not in records.runs  # measured at less than this study wants
    assert ("ema", 2) not in records.runs  # of other data
    assert records.runs["ema", 0]["arm"] == "block"
    (folder.parent / "other" / "block-seed1.json").write_text("{")
    with pytest.raises(DataError, match=r"other/block-seed1.json is not JSON"):
        Records.read(study, folder)
