"""The run record: complete at every moment, and honest about resumed epochs."""

from __future__ import annotations

import json
import subprocess

import pytest

import yolo_ema
from yolo_ema.engine.training import run_record
from yolo_ema.engine.training.run_record import RunRecord, hardware, source_commit, versions


def test_a_run_is_recorded_from_start_to_end(tmp_path):
    record = RunRecord(tmp_path / "run.json")
    record.start(command="yolo-ema train", seed=3, settings={"lr0": 0.01})
    started = json.loads((tmp_path / "run.json").read_text())
    assert started["status"] == "running"
    assert started["ended"] is None
    record.add_epoch(1, {"train/box_loss": 1.5, "metrics/mAP50(B)": float("nan")})
    record.add_epoch(2, {"train/box_loss": float("inf"), "metrics/mAP50(B)": 0.25})
    record.finish("finished", {"metrics/mAP50(B)": 0.25})
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["epochs"] == [
        {"epoch": 1, "train/box_loss": 1.5, "metrics/mAP50(B)": None},
        {"epoch": 2, "train/box_loss": None, "metrics/mAP50(B)": 0.25},
    ]
    assert content["final"] == {"metrics/mAP50(B)": 0.25}
    assert content["status"] == "finished"
    assert content["ended"] >= content["started"]
    assert (content["command"], content["seed"], content["resumed"]) == ("yolo-ema train", 3, [])


def test_a_resumed_run_drops_the_epochs_it_repeats(tmp_path):
    record = RunRecord(tmp_path / "run.json")
    record.start(command="first", processes={"count": 1})
    for epoch in (1, 2, 3):
        record.add_epoch(epoch, {"loss": epoch})
    record.finish("interrupted")
    again = RunRecord(tmp_path / "run.json")
    again.resume(command="second", epoch=3, processes={"count": 2}, data={})
    assert again.content["processes"] == {"count": 2}
    again.add_epoch(3, {"loss": 30})
    content = json.loads((tmp_path / "run.json").read_text())
    assert [one["loss"] for one in content["epochs"]] == [1, 2, 30]
    assert content["command"] == "first"
    assert [(one["command"], one["epoch"]) for one in content["resumed"]] == [("second", 3)]
    assert (content["status"], content["ended"]) == ("running", None)


@pytest.mark.parametrize(
    ("train", "warning"),
    [
        ({"images": 3, "sha256": "a"}, None),
        ({"images": 3, "sha256": "a", "regions_sha256": "r"}, None),
        ({"images": 2, "sha256": "b"}, "train has 2 images, it had 3 images"),
        (
            {"images": 3, "sha256": "c"},
            "train has 3 images, other files, labels or ignored regions",
        ),
    ],
)
def test_data_that_changed_before_a_resume_is_warned_of_and_recorded(
    tmp_path, monkeypatch, train, warning
):
    said = []
    monkeypatch.setattr(run_record.LOGGER, "warning", said.append)
    val = {"images": 1, "sha256": "v"}
    before = {"splits": {"train": {"images": 3, "sha256": "a"}, "val": val}}
    record = RunRecord(tmp_path / "run.json")
    record.start(command="first", data=before)
    after = {"splits": {"train": train, "val": val}}
    record.resume(command="second", epoch=1, processes={}, data=after)
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["data"] == after
    assert content["resumed"][0].get("data_before") == (before if warning else None)
    assert said == ([f"the data is not what this run began with: {warning}"] if warning else [])


def test_versions_name_this_project_and_what_computes():
    found = versions()
    assert found["yolo-ema"] == yolo_ema.__version__
    assert {"python", "torch", "ultralytics", "numpy", "opencv-python"} <= set(found)


def test_hardware_counts_the_cores_that_this_process_may_use():
    import os

    assert hardware()["cores"] == len(os.sched_getaffinity(0))


def test_the_commit_is_that_of_the_checkout_and_marks_changes(tmp_path, monkeypatch):
    def git(*words):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "yolo_ema"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(run_record._version, "__file__", str(package / "__init__.py"))
    assert source_commit() is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert source_commit() == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed")
    assert source_commit() == git("rev-parse", "HEAD") + "-dirty"


@pytest.mark.parametrize(
    "missing", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 30)]
)
def test_a_machine_without_git_has_no_commit(monkeypatch, missing):
    def run(*_, **__):
        raise missing

    monkeypatch.setattr(run_record.subprocess, "run", run)
    assert source_commit() is None
