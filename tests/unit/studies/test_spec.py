"""The spec: what a right one means, and that everything wrong with a wrong one is said at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from study_files import SPEC, small_study, write_spec

from yolo_ema.engine.models.definition import find_definition
from yolo_ema.errors import ConfigError
from yolo_ema.io.resources import models_dir
from yolo_ema.options.train import TrainOptions
from yolo_ema.studies.spec_reader import read_study

REPOSITORY = Path(__file__).resolve().parents[3]


def test_a_spec_says_what_each_arm_trains_with(tmp_path):
    study = small_study(tmp_path)
    assert [arm.name for arm in study.arms] == ["none", "ema"]
    assert study.arm("ema").train == {"model": "yolo11n-ema", "imgsz": 64, "batch": 4, "nbs": 4}
    options = TrainOptions(**study.train_options(study.arm("ema"), 2))
    assert (options.model, options.imgsz, options.batch, options.epochs, options.seed) == (
        "yolo11n-ema",
        64,
        4,
        4,
        2,
    )
    assert options.settings == {
        "nbs": "4",
        "patience": "0",
        "plots": "false",
        "val": "true",
        "save": "true",
    }
    assert [at.key for at in study.evaluations] == ["64", "96"]
    assert (study.split, study.primary) == ("val", "official AP")


def test_sizes_and_tiles_are_crossed_and_a_bare_off_is_off(tmp_path):
    study = small_study(
        tmp_path,
        SPEC.replace("imgsz: [64, 96]", "imgsz: [64, 96], tile: [off, auto, 64x64], overlap: 0.1"),
    )
    assert [at.key for at in study.evaluations] == [
        "64",
        "96",
        "64@auto",
        "96@auto",
        "64@64x64",
        "96@64x64",
    ]
    assert {at.overlap for at in study.evaluations} == {0.1}


def test_without_an_evaluation_the_trained_size_is_measured(tmp_path):
    assert [
        at.key
        for at in small_study(tmp_path, SPEC.replace("evaluate: {imgsz: [64, 96]}", "")).evaluations
    ] == ["64"]


def test_everything_wrong_is_named_at_once_with_the_closest_name(tmp_path):
    wrong = """
name: a b
questoin: Does it help?
data: drawn
seeds: [0, 0]
split: vall
budget: {epochs: 0, clok: wall}
pretrained: yolo11n.pt
train: {model: yolo11n, imgsz: 64, batch: 4, lr00: 0.1, epochs: 3, mask_ignored: 1, plots: true}
arms:
  none: {}
  ema: {mdoel: yolo11n-ema}
  off: {}
baseline: nnoe
evaluate: {imgsz: [64, 16], tiel: auto}
primary: AP
"""
    with pytest.raises(ConfigError) as caught:
        read_study(write_spec(tmp_path, wrong))
    said = str(caught.value)
    for part in (
        "small.yaml",
        "'questoin'; did you mean 'question'?",
        "'question' is missing",
        "name is 'a b'",
        "seeds is [0, 0]",
        "split is 'vall'; expected one of train, val, test",
        "epochs is 0",
        "'clok'; did you mean 'clock'?",
        "setting 'lr00'; did you mean 'lr0'?",
        "'epochs' is the same for all arms and belongs to the study's budget",
        "mask_ignored is 1; expected true or false",
        "'plots' is set by the study itself",
        "the arm 'ema': there is no training setting 'mdoel'; did you mean 'model'?",
        "the arm's name False",
        "evaluate: imgsz is 16; expected a whole number from 32",
        "'tiel'; did you mean 'tile'?",
        "primary is 'AP'",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "baseline: none",
            "baseline: nnoe",
            "baseline is 'nnoe', which is not an arm; did you mean 'none'?",
        ),
        (
            "baseline: none",
            "baseline: none\ncandidate: emma",
            "candidate is 'emma', which is not an arm; did you mean 'ema'?",
        ),
        (
            "baseline: none",
            "baseline: none\ncandidate: none",
            "candidate is 'none', which is the baseline already",
        ),
        (
            "yolo11n-ema}",
            "yolo11n-emma}",
            "the arm 'ema': no model is named 'yolo11n-emma'; did you mean 'yolo11n-ema'?",
        ),
        ("yolo11n-ema}", "models/yolo11n-x.yaml}", "no model YAML at"),
        ("nbs: 4}", "nbs: many}", "nbs"),
        ("batch: 4", "batch: 0", "--batch is 0"),
        ("[0, 1, 2]", "[0, 4294901761]", "different whole numbers from 0 to 4294901760"),
        ("imgsz: 64, batch: 4, ", "", "neither it nor train gives imgsz, batch"),
        ("budget: {epochs: 4}", "budget: {}", "either epochs or seconds"),
        (
            "budget: {epochs: 4}",
            "budget: {epochs: {none: 4, ma: 3}}",
            "budget's epochs lacks the arm 'ema'",
        ),
        (
            "budget: {epochs: 4}",
            "budget: {epochs: {none: 4, ma: 3}}",
            "has 'ma', which is not an arm; did you mean 'ema'?",
        ),
        (
            "budget: {epochs: 4}",
            "budget: {epochs: {none: 4, ema: 0}}",
            "epochs is 0; expected a whole number from 1",
        ),
        (
            "budget: {epochs: 4}",
            "budget: {seconds: -1, clock: sun}",
            "clock is 'sun'; expected process or wall",
        ),
        ("  ema:", "  none:", "'none' is given twice"),
        ("arms:", "arms: [1]\nx:", "arms is [1]"),
        ("[64, 96]", "[64, 64]", "twice"),
        ("[64, 96]", "64, iou: 2", "--iou is 2"),
        ("[64, 96]", "64, conf: low", "conf is 'low'; expected a number"),
        ("[64, 96]", "64, conf: .nan", "conf is nan; expected a number"),
        ("[64, 96]", "64, split: train", "'split' is the same for all settings"),
        ("[64, 96]", "[]", "lists no input size"),
        ("Does it help?", "7", "question is 7; expected text, in quotes"),
        ("nbs: 4}", "nbs: [4]}", "train: nbs is [4]; expected a number, a word, true or false"),
        ("nbs: 4}", "augment: haze}", "augment is 'haze'; expected a list of words"),
        ("nbs: 4}", "5: x}", "there is no training setting '5'"),
        ("ema: {model: yolo11n-ema}", "ema: 3", "the arm 'ema' is 3; expected what it changes"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, before, after, said):
    assert before in SPEC
    with pytest.raises(ConfigError) as caught:
        small_study(tmp_path, SPEC.replace(before, after, 1))
    assert said in str(caught.value)


def test_an_entry_may_take_over_another_s(tmp_path):
    shared = SPEC.replace("train: {model", "train: &shared {model").replace(
        "none: {}", "none: {<<: *shared, lr0: 0.002}"
    )
    assert small_study(tmp_path, shared).arm("none").train == {
        "model": "yolo11n",
        "imgsz": 64,
        "batch": 4,
        "nbs": 4,
        "lr0": 0.002,
    }


def test_an_arm_may_take_over_another_s_settings_and_change_one(tmp_path):
    shared = SPEC.replace("train: {model", "train: &shared {model").replace(
        "none: {}", "none: {<<: *shared, batch: 8}"
    )
    assert small_study(tmp_path, shared).arm("none").train["batch"] == 8


def test_a_file_that_expands_through_aliases_is_refused_before_it_does(tmp_path):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    with pytest.raises(ConfigError, match="more than 1,000,000 characters through its aliases"):
        small_study(tmp_path, bomb + SPEC)
    with pytest.raises(ConfigError) as caught:  # a long value is not repeated whole
        small_study(tmp_path, SPEC.replace("nbs: 4", f"nbs: [{'9, ' * 5000}]"))
    assert len(str(caught.value)) < 500


def test_no_file_and_no_yaml(tmp_path):
    write_spec(tmp_path)
    with pytest.raises(ConfigError, match=r"no study at .*smal.yaml; did you mean 'small.yaml'"):
        read_study(tmp_path / "smal.yaml")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_study(write_spec(tmp_path, "a: [", "broken.yaml"))
    with pytest.raises(ConfigError, match="holds list"):
        read_study(write_spec(tmp_path, "- a", "list.yaml"))


def test_the_digest_follows_what_a_run_is_made_of_and_nothing_else(tmp_path):
    study = small_study(tmp_path / "a")
    digest = study.settings_sha256(study.arm("ema"))

    def with_(before: str, after: str, folder: str) -> str:
        other = small_study(tmp_path / folder, SPEC.replace(before, after))
        return other.settings_sha256(other.arm("ema"))

    assert with_("Does it help?", "Does it hurt?", "b") == digest
    assert with_("[64, 96]", "[128]", "c") == digest
    assert with_("baseline: none", "baseline: ema", "d") == digest
    assert with_("nbs: 4", "nbs: 8", "e") != digest
    assert with_("epochs: 4", "epochs: 5", "f") != digest
    assert with_("yolo11n-ema", "yolo11n-ema-p2", "g") != digest
    assert study.settings_sha256(study.arm("none")) != digest


def test_arms_may_have_epochs_of_their_own(tmp_path):
    """So that they take the same time, or are runs that another study has made."""
    alike = small_study(tmp_path / "a")
    study = small_study(tmp_path / "b", SPEC.replace("{epochs: 4}", "{epochs: {none: 4, ema: 3}}"))
    assert study.train_options(study.arm("none"), 0)["epochs"] == 4
    assert study.train_options(study.arm("ema"), 0)["epochs"] == 3
    assert (alike.budget_text, study.budget_text) == ("4 epochs", "none 4 epochs, ema 3 epochs")
    for name, same in (("none", True), ("ema", False)):
        assert (
            study.settings_sha256(study.arm(name)) == alike.settings_sha256(alike.arm(name))
        ) is same


def test_a_model_given_by_path_is_looked_for_beside_the_spec_and_its_content_counts(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(models_dir() / "yolo11-ema.yaml", models / "yolo11-mine.yaml")
    text = SPEC.replace("model: yolo11n-ema", "model: models/yolo11n-mine.yaml")
    study = small_study(tmp_path, text)
    assert study.arm("ema").model == str(models / "yolo11n-mine.yaml")
    assert (
        study.settings(study.arm("ema"))["train"]["model"] == "yolo11n-mine.yaml"
    )  # no folder of this machine
    before = study.settings_sha256(study.arm("ema"))
    mine = models / "yolo11-mine.yaml"
    mine.write_text(mine.read_text() + "\n# a comment\n")
    again = small_study(tmp_path, text)
    assert again.settings_sha256(again.arm("ema")) == before
    mine.write_text(mine.read_text().replace("[c2, 8]", "[c2, 4]"))
    again = small_study(tmp_path, text)
    assert again.settings_sha256(again.arm("ema")) != before


EXPERIMENTS = REPOSITORY / "experiments"


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_repositorys_own_specs_are_right(path):
    if path.parent.name == "models":
        assert find_definition(path).path == path
        return
    study = read_study(path)
    assert study.name == (f"full-{path.stem}" if path.parent.name == "full" else path.stem)
    assert len(study.seeds) >= 3
    if study.task == "detect":
        assert all(arm.train["imgsz"] >= 416 for arm in study.arms)


@pytest.mark.parametrize("folder", [EXPERIMENTS, EXPERIMENTS / "full"], ids=lambda path: path.name)
def test_masking_is_compared_with_runs_of_the_first_study(folder):
    placement, ignored = (
        read_study(folder / "placement.yaml"),
        read_study(folder / "ignored-regions.yaml"),
    )
    assert ignored.settings_sha256(ignored.arm("masked")) == placement.settings_sha256(
        placement.arm("both")
    )
