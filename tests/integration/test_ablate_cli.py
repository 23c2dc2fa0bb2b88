"""A whole study by the real command line: killed in the middle, gone on with, reported; and what it
refuses.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from command_server import RunningCommand
from tiny_dataset import draw_dataset

from yolo_ema.classify.checkpoints import save_checkpoint
from yolo_ema.classify.models import Architecture, build_classifier
from yolo_ema.classify.recipes import RECIPES
from yolo_ema.engine.models.catalog import forward_cost
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.studies.jobs import Job
from yolo_ema.studies.runner import run_jobs
from yolo_ema.studies.spec_reader import read_study
from yolo_ema.studies.tables import table

REPOSITORY = Path(__file__).resolve().parents[2]
EXPERIMENTS = REPOSITORY / "experiments"
EPOCHS = 4

SPEC = f"""
name: tiny
question: Does it run to its end?
data: tiny
seeds: [3]
budget: {{epochs: {EPOCHS}}}
pretrained: plain.pt
train: {{model: yolo11n, imgsz: 64, batch: 6, nbs: 6, close_mosaic: 0, lr0: 0.001,
  optimizer: AdamW}}
arms:
  none: {{}}
  ema: {{model: yolo11n-ema}}
baseline: none
evaluate: {{imgsz: [64, 96]}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a spec, a dataset and first weights."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(SPEC)
    draw_dataset(folder / "data" / "tiny")
    torch.manual_seed(0)
    torch.save({"model": build_model("yolo11n", 80), "train_args": {}}, folder / "weights.pt")
    return folder


WORDS = (
    "ablate",
    "tiny.yaml",
    "--data",
    "data/tiny",
    "--pretrained",
    "weights.pt",
    "--offline",
    "--device",
    "cpu",
)


def _wait(until, process: RunningCommand, place: Path) -> None:
    deadline = time.monotonic() + 400
    while not until():
        assert process.poll() is None, (place / "err.txt").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _child_is_gone(lock: Path) -> bool:
    fcntl = pytest.importorskip("fcntl")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.slow
@pytest.mark.timeout(
    1800
)  # a dozen starts of Python with torch, on machines that do other things besides
def test_a_study_that_was_killed_goes_on_to_its_end(place, commands, yolo_ema_command):
    runs, records = place / "runs" / "ablate" / "tiny", place / "records" / "tiny"
    process = commands.start([*WORDS], cwd=place)
    _wait((runs / "none-seed3" / "weights" / "last.pt").is_file, process, place)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while not _child_is_gone(runs / "none-seed3.lock"):  # it notices that its starter is gone
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not records.exists()
    listed = yolo_ema_command("ablate", "tiny.yaml", "--list", "--json", cwd=place).json
    assert [run["state"] for run in listed["runs"]] == ["training", "left"]
    assert 1 <= listed["runs"][0]["epochs"] <= EPOCHS

    done = yolo_ema_command(*WORDS, "--json", cwd=place, timeout=1500)
    assert done.code == 0, done.err[-3000:]
    assert {path.name for path in records.iterdir()} == {"none-seed3.json", "ema-seed3.json"}
    none, ema = (json.loads((records / f"{arm}-seed3.json").read_text()) for arm in ("none", "ema"))
    for record in (none, ema):
        assert record["training"]["epochs"] == EPOCHS
        assert len(record["curve"]["AP (Ultralytics)"]) == EPOCHS
        assert set(record["evaluations"]) == {"64", "96"}
        assert record["evaluations"]["64"]["images"] == 4
        assert record["evaluations"]["64"]["ms_per_image"]["process"] > 0
        assert str(place) not in json.dumps(record)
        assert len(json.dumps(record)) < 6000
    assert len(none["training"]["resumed_at_epochs"]) == 1
    assert none["start"]["own"] == 0
    assert ema["start"].pop("optimizer") == {"name": "AdamW", "lr": 0.001}
    assert ema["start"] == {"carried_over": 493, "of": 529, "equal_to_baseline": 499, "own": 30}
    assert ema["parameters"] > none["parameters"]
    for key, evaluation in ema["evaluations"].items():
        counted = evaluation["operations"]
        assert counted > none["evaluations"][key]["operations"] > 0
        layers = load_model(runs / "ema-seed3" / "weights" / "last.pt").model.model
        assert forward_cost(layers.to("meta"), int(key))[0] == counted
    assert none["weights_sha256"] == sha256_of(runs / "none-seed3" / "weights" / "last.pt")
    values = {row["arm"]: row["values"]["3"] for row in done.json["rows"] if row["at"] == "64"}
    assert values["ema"] == ema["evaluations"]["64"]["official"]["AP"]
    assert {Path(path).name for path in done.json["files"]} >= {
        "table.md",
        "figures.json",
        "tiny-pairs.png",
        "tiny-curves.png",
    }

    again = yolo_ema_command(*WORDS, cwd=place)
    assert again.code == 0
    assert "train (" not in again.err  # nothing is done twice
    assert "| none | 64 | 1 |" in again.out


@pytest.mark.slow
def test_an_interruption_ends_the_run_cleanly(place, commands, yolo_ema_command):
    others = ("--runs", "others", "--records", "other-records")
    process = commands.start([*WORDS, *others], cwd=place)
    lock = place / "others" / "tiny" / "none-seed3.lock"
    _wait(
        lambda: lock.is_file() and (place / "others" / "tiny" / "none-seed3").is_dir(),
        process,
        place,
    )
    child = int(
        subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    os.kill(
        child, signal.SIGSTOP
    )  # on a quick machine it would end before the second command has begun
    refused = yolo_ema_command(*WORDS, *others, "--only", "none:3", cwd=place)
    process.send_signal(signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    assert process.wait(60) == 130
    assert "none-seed3: stopped; the same command continues it" in (place / "err.txt").read_text()
    assert _child_is_gone(lock)
    assert refused.code == 7
    assert "another process is working on this run" in refused.err


@pytest.mark.slow
def test_other_data_and_other_settings_are_refused(place, yolo_ema_command):
    spec = place / "tiny.yaml"
    if not (place / "records" / "tiny" / "ema-seed3.json").is_file():
        pytest.skip("the study of the first test is not there")
    spec.write_text(SPEC.replace("seeds: [3]", "seeds: [3, 4]"))
    (place / "other").mkdir()
    draw_dataset(place / "other" / "tiny", seed=1)
    done = yolo_ema_command(*WORDS[:2], "--data", "other/tiny", *WORDS[4:], cwd=place)
    assert done.code == 3
    assert "their data differ, train" in done.err
    spec.write_text(SPEC.replace("nbs: 6", "nbs: 12"))
    done = yolo_ema_command(*WORDS, cwd=place)
    assert done.code == 3
    assert "train.nbs was 6 and is 12" in done.err
    done = yolo_ema_command(*WORDS, "--records", "new", cwd=place)
    assert done.code == 2
    assert (
        "none-seed3 holds a training of this run with other settings_sha256, settings" in done.err
    )
    spec.write_text(SPEC)
    done = yolo_ema_command("ablate", "tiny.yaml", "--records", "new", "--offline", cwd=place)
    assert done.code == 3
    assert "say with --data where it lies on this machine" in done.err


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_are_refused_before_the_first_run(
    place, yolo_ema_command, channels
):
    (whole,) = (place / "data" / "tiny").glob("*.yaml")
    grey = place / "grey.yaml"
    grey.write_text(f"{whole.read_text()}\nchannels: {channels}\n")
    words = ("--data", "grey.yaml", *WORDS[4:], "--runs", "grey", "--records", "none-yet")
    done = yolo_ema_command(*WORDS[:2], *words, cwd=place)
    assert done.code == 3
    assert f"images have {channels} channels; models of 3 are trained" in done.err
    assert not (place / "grey").exists()


def _classifier(path: Path) -> None:
    pytest.importorskip("timm")
    architecture = Architecture("resnet8-tiny", "none", (), ("a", "b"))
    save_checkpoint(
        path,
        architecture=architecture,
        recipe=RECIPES["cifar10-resnet8"],
        weights=build_classifier(architecture, seed=0).state_dict(),
        epoch=1,
        metrics={},
        resume=None,
    )


def _detector_of_another_family(path: Path) -> None:
    torch.save({"model": build_model("yolov8n", 2), "train_args": {}}, path)


def _text(path: Path) -> None:
    path.write_text("weights")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_classifier, "is a classifier; expected a detector"),
        (_detector_of_another_family, "the arm 'none' with "),
        (_text, "is not a weights file: it is a text file"),
    ],
)
def test_first_weights_that_no_run_can_start_from_are_refused_before_the_first(
    place, yolo_ema_command, make, said
):
    make(place / "wrong.pt")
    words = ("--pretrained", "wrong.pt", *WORDS[6:], "--runs", "wrong", "--records", "none-yet")
    done = yolo_ema_command(*WORDS[:4], *words, cwd=place)
    assert done.code == 4, done.err
    assert said in done.err
    assert done.err.count("\n") <= 2, "one error, and no run of its own"
    assert not (place / "wrong").exists()


def test_a_study_of_classifiers_takes_no_detector_to_start_from(place, yolo_ema_command):
    pytest.importorskip("timm")
    (place / "classes.yaml").write_text(
        "name: classes\ntask: classify\nquestion: Does it run?\ndata: photos\nseeds: [0]\n"
        "budget: {epochs: 1}\npretrained: none\ntrain: {preset: cifar10-resnet8}\n"
        "arms: {none: {}, ema: {attention: ema}}\nbaseline: none\n"
    )
    done = yolo_ema_command("ablate", "classes.yaml", *WORDS[4:], "--runs", "wrong", cwd=place)
    assert done.code == 2
    assert "is a study of classifiers, which start from random values; leave it out" in done.err
    assert not (place / "wrong").exists()


@pytest.mark.slow
def test_runs_that_fail_don_t_end_the_rest(tmp_path):
    jobs = []
    for number in range(2):
        train = {
            "model": f"yolo11n-none{number}",
            "data": "x",
            "project": str(tmp_path),
            "name": f"{number}",
            "offline": True,
        }
        budget = {"epochs": 1, "seconds": None, "clock": "process"}
        job = Job(
            str(tmp_path / f"{number}"),
            str(tmp_path / "r.json"),
            {},
            train,
            budget,
            "yolo11n",
            [],
            "x",
            "cpu",
        )
        job.write()
        jobs.append(job)
    failures = run_jobs(jobs, at_once=2)
    assert {one.run for one in failures} == {"0", "1"}
    for one in failures:
        assert one.stage == "train"
        assert f"no model is named 'yolo11n-none{one.run}'" in one.said
        assert "(exit code 2)" in one.said


SHOWN = {"experiments": "experiments.md", "paper": "paper-tables.md"}
"""The page in docs/ with the tables of the studies in a folder."""


@pytest.mark.parametrize(
    "spec",
    sorted([*EXPERIMENTS.glob("*.yaml"), *EXPERIMENTS.glob("paper/*.yaml")]),
    ids=lambda path: path.stem,
)
def test_the_tables_in_the_documentation_are_those_of_the_records(spec):
    """After new records: ``yolo-ema ablate SPEC --report-only --markdown docs/PAGE``."""
    from yolo_ema.studies.comparison import compare
    from yolo_ema.studies.records import Records
    from yolo_ema.studies.tables import marks

    study = read_study(spec)
    begin, end = marks(study.name)
    page = (REPOSITORY / "docs" / SHOWN[spec.parent.name]).read_text(encoding="utf-8")
    shown = page.partition(begin)[2].partition(end)[0].strip()
    assert shown == table(compare(Records.read(study, study.records_folder)))


def test_the_repositorys_records_tell_nothing_of_the_machine_that_made_them():
    for path in sorted((EXPERIMENTS / "records").rglob("*.json")):
        text = path.read_text(encoding="utf-8")
        assert "/work" not in text
        assert "/tmp" not in text
        assert "/home" not in text
        assert len(text) < 60_000
        assert not json.loads(text)["commit"].endswith("-dirty")
