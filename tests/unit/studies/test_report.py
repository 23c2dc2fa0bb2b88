"""What is said of records: figures against a form of their own, sentences, the page's section,
pictures.
"""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from study_files import SPEC, made_up_record, small_study, write_record, write_records

from yolo_ema.errors import ConfigError, DataError
from yolo_ema.io.atomic_files import write_json
from yolo_ema.options.ablate import AblateOptions
from yolo_ema.studies import plots
from yolo_ema.studies.ablation import ablate
from yolo_ema.studies.comparison import compare
from yolo_ema.studies.plots import draw_plots
from yolo_ema.studies.progress import progress_of
from yolo_ema.studies.records import Records
from yolo_ema.studies.tables import marks, renew_section, table

FIGURES = {
    ("none", 0): 8.0,
    ("none", 1): 9.0,
    ("none", 2): 8.5,
    ("ema", 0): 8.4,
    ("ema", 1): 9.6,
    ("ema", 2): 9.0,
}


def comparison_of(tmp_path, figures, spec=SPEC):
    study = small_study(tmp_path, spec)
    return compare(
        Records.read(study, write_records(tmp_path / "records" / "small", study, figures))
    )


def test_the_figures_are_those_of_numpy(tmp_path):
    found = comparison_of(tmp_path, FIGURES)
    none = np.array([8.0, 9.0, 8.5])
    ema = np.array([8.4, 9.6, 9.0])
    row = found.row("ema", found.study.evaluations[0])
    assert row.spread.mean == pytest.approx(ema.mean())
    assert row.spread.deviation == pytest.approx(ema.std(ddof=1))
    difference = ema - none
    half = 4.30265 * difference.std(ddof=1) / math.sqrt(3)
    assert row.to_baseline.interval == pytest.approx(
        (difference.mean() - half, difference.mean() + half), abs=1e-4
    )
    assert row.to_first is None
    assert found.row("ema", found.study.evaluations[1]).to_first.differences == pytest.approx(
        (1, 1, 1)
    )
    assert row.means["COCO AP"] == pytest.approx(ema.mean() - 1)
    assert row.means["COCO AP small"] is None
    assert (row.milliseconds.mean, row.milliseconds.deviation) == pytest.approx((74, 0))
    assert found.row("none", found.study.evaluations[0]).to_baseline is None


def test_only_equal_seeds_make_pairs(tmp_path):
    found = comparison_of(
        tmp_path, {("none", 0): 8.0, ("none", 2): 9.0, ("ema", 1): 5.0, ("ema", 2): 9.5}
    )
    assert found.row("ema", found.study.evaluations[0]).to_baseline.differences == pytest.approx(
        (0.5,)
    )
    assert "ema against none at 64: +0.50 in one pair, which shows nothing by itself." in table(
        found
    )


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        (
            (0.4, 0.6, 0.5),
            (
                "ema against none at 64: +0.50 ± 0.10 over 3 pairs (+0.40, +0.60, +0.50): higher, "
                "the "
                "95 % interval [+0.25, +0.75]"
            ),
        ),
        ((-0.4, -0.6, -0.5), "lower, the 95 % interval [-0.75, -0.25] lies below 0."),
        ((0.4, -0.6, 0.5), "no difference shown, the 95 % interval [-1.41, +1.61] holds 0."),
    ],
)
def test_the_sentence_follows_the_interval(tmp_path, differences, said):
    figures = {("none", seed): 8.0 for seed in range(3)} | {
        ("ema", seed): 8.0 + one for seed, one in enumerate(differences)
    }
    text = table(comparison_of(tmp_path, figures))
    assert said in text
    assert said.replace("at 64", "at 96") in text


def test_the_table_of_a_study_that_is_under_way(tmp_path):
    empty = table(comparison_of(tmp_path / "a", {}))
    assert "| ema | not run |" in empty
    assert "No run of the study small has ended yet. Budget of a run: 4 epochs; seeds 0, 1, 2." in (
        empty
    )
    text = table(comparison_of(tmp_path / "b", {("none", 0): 8.0}))
    assert "| none | 64 | 1 | 8.00 ± – | 8.00 to 8.00 | – | – | 16.00 | 7.00 | – " in text
    assert " | 2,590,230 | 0.64 | 74 ± – |" in text
    assert " | 2,590,230 | 0.96 | 106 ± – |" in text
    assert "| ema | 64 | 0 | – |" in text
    assert "no pair of equal seeds has ended yet" in text
    assert (
        "1 of 6 runs. Budget of a run: 4 epochs. Trained on 12 images, measured on the 4 of val."
        in text
    )
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_the_table_names_what_the_runs_differ_in(tmp_path):
    study = small_study(tmp_path)
    folder = tmp_path / "records" / "small"
    write_record(folder, made_up_record(study, "none", 0, {"64": 8.0}))
    alike = table(compare(Records.read(study, folder)))
    assert alike.endswith("with whatever else was running there.")
    other = made_up_record(
        study, "ema", 0, {"64": 8.4}, commit="abcdef0123", versions={"torch": "2.16.0"}
    )
    other["evaluations"]["64"]["commit"] = "9876543210"
    write_record(folder, other)
    text = table(compare(Records.read(study, folder)))
    assert (
        "Trained by commits eeeeeee (none); abcdef0 (ema). Measured by commits 9876543, fffffff."
        in text
    )
    assert "The runs differ in versions; see their records." in text


def test_times_of_different_hardware_are_not_mixed(tmp_path):
    study = small_study(tmp_path)
    folder = tmp_path / "records" / "small"
    figures = {"64": 8.0, "96": 9.0}
    for seed in range(2):
        write_record(folder, made_up_record(study, "none", seed, figures))
    other = made_up_record(study, "none", 2, figures, hardware={"processor": "quick", "threads": 1})
    other["training"]["process_seconds"] = 36.0
    slow = made_up_record(study, "ema", 0, figures, hardware={"processor": "quick", "threads": 1})
    for record in (other, slow):
        for one in record["evaluations"].values():
            one["ms_per_image"]["process"] = 1.0
        write_record(folder, record)
    # Two runs on each: the first seen wins.
    found = compare(Records.read(study, folder))
    assert {
        row.arm.name: row.milliseconds and row.milliseconds.mean
        for row in found.rows
        if row.at.imgsz == 64
    } == {
        "none": 74.0,
        "ema": None,
    }
    assert found.row("ema", study.evaluations[0]).to_baseline is not None, (
        "the figures are compared all the same"
    )
    text = table(found)
    assert "by processor time: none 1.00 h (4 epochs). ms an image" in text
    assert (
        "Times are those on made up; of the runs on other hardware (none, seed 2; ema, seed 0) "
        "they are left out." in text
    )


def test_on_a_gpu_the_wall_clock_counts(tmp_path):
    study = small_study(tmp_path)
    record = made_up_record(study, "none", 0, {"64": 8.0, "96": 9.0})
    for one in record["evaluations"].values():
        one["ms_per_image"]["clock"] = "wall"
    write_record(tmp_path / "records" / "small", record)
    found = compare(Records.read(study, tmp_path / "records" / "small"))
    assert [row.milliseconds.mean for row in found.rows if row.milliseconds] == [84, 116]
    assert "by the wall clock: none 2.00 h (4 epochs). ms an image: by the wall clock" in table(
        found
    )


def test_a_page_keeps_everything_but_the_studys_section(tmp_path):
    page, (begin, end) = tmp_path / "page.md", marks("small")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    renew_section(page, "small", "new")
    assert page.read_text() == f"before\n{begin}\nnew\n{end}\nafter\n"
    with pytest.raises(DataError, match="study other"):
        renew_section(page, "other", "new")
    assert page.read_text().count("new") == 1


def test_the_plots_show_something(tmp_path):
    found = comparison_of(tmp_path, FIGURES)
    paths = draw_plots(found, tmp_path / "out")
    assert [path.name for path in paths] == [
        f"small-{what}.png" for what in ("pairs", "differences", "curves", "milliseconds")
    ]
    for path in paths:
        image = cv2.imread(str(path))
        assert min(image.shape[:2]) > 400
        coloured = np.ptp(image.astype(int), axis=2) > 60
        assert coloured.sum() > 100, path


@pytest.mark.parametrize(("count", "is_turned"), [(2, False), (9, True)])
def test_names_of_arms_do_not_run_into_each_other(tmp_path, count, is_turned):
    names = [f"attention-{index}" for index in range(count)]
    arms = "".join(f"  {name}: {{model: yolo11n-ema}}\n" for name in names)
    figures = {(name, 0): 8.0 for name in names}
    spec = SPEC.replace("  none: {}\n  ema: {model: yolo11n-ema}\n", arms)
    comparison = comparison_of(
        tmp_path, figures, spec.replace("baseline: none", f"baseline: {names[0]}")
    )
    axes = Figure(figsize=(8, 4.8)).subplots()
    plots._pairs(axes, comparison)
    labels = axes.get_xticklabels()
    assert [label.get_text() for label in labels] == names
    assert {bool(label.get_rotation()) for label in labels} == {is_turned}


def test_a_study_at_one_setting_has_no_plot_of_milliseconds(tmp_path):
    found = comparison_of(tmp_path, FIGURES, SPEC.replace("[64, 96]", "64"))
    names = [path.name for path in draw_plots(found, tmp_path / "out")]
    assert names == ["small-pairs.png", "small-differences.png", "small-curves.png"]
    assert [
        path.name for path in draw_plots(found, tmp_path / "one", only=["small-curves.png"])
    ] == ["small-curves.png"]


def test_report_only_writes_table_figures_and_the_plots_that_the_page_shows(tmp_path):
    study = small_study(tmp_path)
    write_records(tmp_path / "records" / "small", study, FIGURES)
    page, (begin, end) = tmp_path / "docs" / "page.md", marks("small")
    page.parent.mkdir()
    page.write_text(f"{begin}\n{end}\n![pairs](images/small-pairs.png)\n")
    result = ablate(AblateOptions(spec=study.path, report_only=True, markdown=page))
    assert result.exit_code == 0
    assert table(result.comparison) in page.read_text()
    assert (tmp_path / "small" / "table.md").read_text() == table(result.comparison) + "\n"
    assert [path.name for path in (tmp_path / "docs" / "images").iterdir()] == ["small-pairs.png"]
    figures = json.loads((tmp_path / "small" / "figures.json").read_text())
    assert figures["rows"][1]["to_baseline"]["verdict"] == "higher"
    assert json.loads(json.dumps(result.as_json()))["rows"] == figures["rows"]
    assert "6 of 6 runs done" in result.as_text()


def test_the_list_says_what_is_left_and_how_long_it_takes(tmp_path):
    study = small_study(tmp_path, SPEC.replace("{epochs: 4}", "{epochs: {none: 4, ema: 3}}"))
    write_record(
        tmp_path / "records" / "small", made_up_record(study, "none", 0, {"64": 5.0, "96": 6.0})
    )
    write_record(tmp_path / "records" / "small", made_up_record(study, "ema", 0, {"64": 5.0}))
    runs = tmp_path / "runs"
    write_record(tmp_path / "records" / "small", made_up_record(study, "ema", 1, {"64": 5.0}))
    (runs / "ema-seed0" / "weights").mkdir(parents=True)
    (runs / "ema-seed0" / "weights" / "last.pt").touch()
    epoch = {"train_process": 50.0, "train_wall": 900.0, "all_wall": 1000.0}
    write_json(runs / "none-seed1.clock.json", {"epochs": [{"epoch": 1, **epoch}]})
    found = progress_of(study, Records.read(study, tmp_path / "records" / "small"), runs)
    assert [(run.arm, run.seed, run.state, run.seconds_left) for run in found.runs] == [
        ("none", 0, "done", 0.0),
        ("ema", 0, "to measure", 0.0),
        ("none", 1, "training", 3000.0),
        ("ema", 1, "to measure, and its weights are not here", 0.0),
        ("none", 2, "left", 4000.0),
        ("ema", 2, "left", 3000.0),
    ]
    assert "1 of 6 runs done; time left, one run after the other: about 2.8 h" in found.as_text()
    assert "none  seed 1  training, 1 epoch done, about 50.0 min left" in found.as_text()


def test_nothing_is_guessed_before_an_epoch_is_timed(tmp_path):
    study = small_study(tmp_path)
    found = ablate(AblateOptions(spec=study.path, list=True, runs=tmp_path / "runs"))
    assert found.seconds_left is None
    assert "not known before an epoch is timed" in found.as_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": ("none",)}, "--only has 'none'; expected an arm, a colon and a seed"),
        ({"jobs": 0}, "--jobs is 0"),
        ({"list": True, "report_only": True}, "cannot be combined"),
        ({"device": "0,1"}, "one device"),
        ({"only": ("nnoe:0", "none:7")}, "nnoe:0; did you mean 'none:0'?, none:7"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, said):
    study = small_study(tmp_path)
    with pytest.raises(ConfigError) as caught:
        ablate(AblateOptions(spec=study.path, **options))
    assert said in str(caught.value)
