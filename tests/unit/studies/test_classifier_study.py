"""Studies of classifiers: what their file may say, a whole small one, and what is refused."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from study_files import small_study

from yolo_ema.classify import training
from yolo_ema.classify.checkpoints import load_classifier
from yolo_ema.classify.models import build_classifier, parameter_count
from yolo_ema.classify.validation import val
from yolo_ema.errors import ConfigError, DataError, WeightsError
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.options.ablate import AblateOptions
from yolo_ema.options.classify import ClassifyValOptions
from yolo_ema.studies import classify_stages
from yolo_ema.studies.ablation import ablate
from yolo_ema.studies.classify_arms import architecture_of, find_classes
from yolo_ema.studies.jobs import Job, Place, find_place
from yolo_ema.studies.runner import STAGES
from yolo_ema.studies.spec import Study
from yolo_ema.studies.tables import marks

pytest.importorskip("timm")

SPEC = """
name: shades
task: classify
question: Does it run?
data: drawn
seeds: [5]
budget: {epochs: 2}
pretrained: none
train: {preset: cifar10-resnet8, batch: 8, lr: 0.01}
arms:
  none: {}
  ema: {attention: ema}
  wide: {attention: ema-no-cross, attention_arguments: [4]}
baseline: none
published: {source: someone's page, budget: 9 epochs, figures: {ema: "88.8"}}
"""


@pytest.fixture(scope="module")
def shades(tmp_path_factory) -> Path:
    """A folder with train (4 images a class) and test (2) of six shades."""
    folder = tmp_path_factory.mktemp("shades")
    numbers = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for shade in range(6):
            (folder / split / f"s{shade}").mkdir(parents=True)
            for index in range(count):
                pixels = numbers.integers(0, 30, (32, 32, 3)) + 40 * shade
                Image.fromarray(pixels.astype(np.uint8)).save(
                    folder / split / f"s{shade}" / f"{index}.png"
                )
    return folder


def _place(study: Study, tmp_path: Path, *, data: Path | None) -> Place:
    options = AblateOptions(
        spec=study.path,
        data=data and str(data),
        device="cpu",
        runs=tmp_path / "runs",
        offline=True,
    )
    return find_place(study, options, study.records_folder)


def _jobs(study: Study, data: Path, tmp_path: Path) -> list[Job]:
    place = _place(study, tmp_path, data=data)
    place.runs.mkdir(parents=True, exist_ok=True)
    jobs = [Job.of(study, study.arm(arm), seed, place) for arm, seed in study.runs]
    for job in jobs:
        job.write()
    return jobs


@pytest.mark.slow
def test_a_whole_study_starts_equal_goes_on_and_is_reported(shades, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    study = small_study(tmp_path, SPEC)
    jobs = [Job.read(job.file) for job in _jobs(study, shades, tmp_path)]

    def stop(_path, record):
        if len(record.content["epochs"]) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        classify_stages.train_run(jobs[0])
    monkeypatch.undo()
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    for job in jobs:
        assert importlib.import_module(STAGES[job.task]) is classify_stages
        classify_stages.train_run(job)
        classify_stages.train_run(job)  # what is trained is left alone
        classify_stages.measure_run(job)
    none, ema, _ = (json.loads(Path(job.record).read_text()) for job in jobs)
    assert str(tmp_path) not in json.dumps(none)
    assert none["training"]["resumed_at_epochs"] == [2]
    assert none["start"]["own"] == 0
    assert ema["start"]["equal_to_baseline"] == none["start"]["of"]
    assert ema["start"]["own"] > 0
    classes = tuple(none["data"]["names"])
    network = build_classifier(architecture_of(study.arm("ema").train, classes), seed=0)
    assert ema["parameters"] == parameter_count(network) > none["parameters"]
    assert ema["operations"] > none["operations"]
    assert (none["training"]["epochs"], len(none["curve"]["top-1"])) == (2, 2)

    weights = jobs[1].weights
    assert ema["weights_sha256"] == sha256_of(weights)
    assert load_classifier(weights).architecture.attention == "ema"
    found = val(
        ClassifyValOptions(weights=weights, data=str(shades), split="val", device="cpu", workers=0)
    ).scores
    figures = ema["evaluations"]["32"]["classification"]
    assert (figures["top1"], figures["top5"]) == (found.top1, found.top5)
    assert found.images == 12

    page, (begin, end) = tmp_path / "page.md", marks("shades")
    page.write_text(f"{begin}\n{end}\n")
    done = ablate(AblateOptions(spec=study.path, report_only=True, markdown=page))
    assert done.exit_code == 0
    assert len([path for path in done.files if path.suffix == ".png"]) == 3
    rows = [line.split(" | ") for line in page.read_text().splitlines() if "| ema |" in line]
    assert f"{ema['parameters']:,}" in rows[0]
    assert rows[0][-1] == "88.8 |"
    assert "published (9 epochs)" in page.read_text()
    assert "Published: someone's page." in page.read_text()
    listed = ablate(AblateOptions(spec=study.path, list=True, runs=tmp_path / "runs"))
    assert [run.state for run in listed.runs] == ["done"] * 3


def test_without_runs_the_page_shows_what_is_published_and_the_budget(tmp_path):
    study = small_study(tmp_path, SPEC)
    page, (begin, end) = tmp_path / "page.md", marks("shades")
    page.write_text(f"{begin}\n{end}\n")
    done = ablate(AblateOptions(spec=study.path, report_only=True, markdown=page))
    assert done.files == (page,)
    text = page.read_text()
    assert "| ema | not run | 88.8 |" in text
    assert "| none | not run | – |" in text
    assert "Budget of a run: 2 epochs; seeds 5." in text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "attention: ema}",
            "attention: emma}",
            "the arm 'ema': no attention block is named 'emma'; did you mean 'ema'?",
        ),
        (
            "none: {}",
            "none: {model: resnet8-tny}",
            "no classifier is named 'resnet8-tny'; did you mean 'resnet8-tiny'?",
        ),
        ("none: {}", "none: {model: yolo11n}", "no classifier is named 'yolo11n'; there are"),
        ("none: {}", "none: {imgsz: 64}", "'imgsz' is the same for all arms and belongs to"),
        ("none: {}", "none: {epochs: 3}", "'epochs' is the same for all arms and belongs to"),
        ("none: {}", "none: {atention: se}", "'atention'; did you mean 'attention'?"),
        ("none: {}", "none: {attention_arguments: 4}", "expected a list of whole numbers"),
        ("batch: 8", "batch: 1", "--batch is 1"),
        ("preset: cifar10-resnet8", "preset: cifar10-resnet", "--preset is 'cifar10-resnet'"),
        ("{epochs: 2}", "{seconds: 2}", "a classifier's budget is a number of epochs"),
        ("pretrained: none", "pretrained: yolo11n.pt", "classifiers start from random values"),
        ("baseline: none", "evaluate: {imgsz: 64}\nbaseline: none", "evaluate is given"),
        ("baseline: none", "split: test\nbaseline: none", "a class folder's test stands in"),
        ("baseline: none", "primary: official AP\nbaseline: none", "one of top-1, top-5"),
        ("{ema: ", "{emma: ", "figures has 'emma', which is not an arm; did you mean 'ema'?"),
        ('"88.8"', "88.8", "published: figures is {'ema': 88.8}; expected text by arm, in quotes"),
        ("task: classify", "task: clasify", "task is 'clasify'; expected detect or classify"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, before, after, said):
    assert before in SPEC
    with pytest.raises(ConfigError) as caught:
        small_study(tmp_path, SPEC.replace(before, after, 1))
    assert said in str(caught.value)


def test_what_cannot_be_trained_is_said_before_anything_is(shades, tmp_path):
    misfit = "{attention: se, attention_arguments: [0]}"
    study = small_study(tmp_path, SPEC.replace("{attention: ema}", misfit))
    with pytest.raises(ConfigError, match=r"the arm 'ema': .* does not fit resnet8-tiny at layer1"):
        _jobs(study, shades, tmp_path)
    study = small_study(tmp_path, SPEC)
    with pytest.raises(DataError, match=r"no folder drawn.*say with --data where it lies"):
        _place(study, tmp_path, data=None)
    with pytest.raises(ConfigError, match="--pretrained is given"):
        find_classes(study, AblateOptions(spec=study.path, data=str(shades), pretrained="a.pt"))
    hollow = tmp_path / "hollow"
    for split in ("train", "val"):
        for name in ("a", "b"):
            (hollow / split / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"class folder .*train/a has no image"):
        _place(study, tmp_path, data=hollow)
    assert not (tmp_path / "runs").exists()

    (job, *_) = _jobs(study, shades, tmp_path)
    job.weights.parent.mkdir(parents=True)
    torch.save({"model": {}, "train_args": {}}, job.weights)  # a detector's
    with pytest.raises(WeightsError, match="is not a classifier"):
        classify_stages.train_run(job)
