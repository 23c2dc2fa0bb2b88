"""The checks of ``doctor --gpu``: that a fault is found, and that no check ends the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yolo_ema.doctor.gpu import detection_checks, ema_checks, run
from yolo_ema.doctor.gpu.catalog import CHECKS, Check
from yolo_ema.doctor.gpu.isolation import run_isolated
from yolo_ema.doctor.gpu.page import page
from yolo_ema.doctor.gpu.place import CannotRunError, Finding, Place
from yolo_ema.doctor.gpu.result import GpuResult, Outcome
from yolo_ema.doctor.gpu.training_checks import _Steps
from yolo_ema.errors import MachineError
from yolo_ema.nn.ema import EfficientMultiScaleAttention
from yolo_ema.options.doctor import GPU_CHECKS, DoctorOptions


@pytest.fixture
def place(tmp_path: Path) -> Place:
    shared = tmp_path / "shared"
    shared.mkdir()
    return Place("cpu", tmp_path, shared)


def outcome_of(check, tmp_path: Path, limit_s: float = 60.0) -> Outcome:
    return run_isolated("one", check, folder=tmp_path, limit_s=limit_s)


def test_the_catalog_and_the_options_name_the_same_checks():
    assert tuple(CHECKS) == GPU_CHECKS
    assert all(check.title and check.limit and check.limit_s > 0 for check in CHECKS.values())


def test_limits_apply_and_nan_is_a_problem():
    finding = Finding()
    finding.limit("small", 0.1, at_most=0.2)
    assert finding.problems == []
    finding.limit("large", 3.0, at_most=2.0, unit=" px")
    finding.limit("lost", float("nan"), at_most=2.0)
    assert finding.problems == [
        "large is 3 px; expected at most 2 px",
        "lost is nan; expected at most 2",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_block_passes(place, dtype):
    finding = ema_checks.precision(place, dtype)
    assert finding.problems == []
    assert 0 < finding.measured["result_error"] <= ema_checks.LIMITS[dtype]


def test_a_wrong_result_and_a_wrong_gradient_are_found(place, monkeypatch):
    right = EfficientMultiScaleAttention.forward
    monkeypatch.setattr(
        EfficientMultiScaleAttention, "forward", lambda self, x: right(self, x) * 1.001
    )
    assert any("result_error" in one for one in ema_checks.precision(place, "float32").problems)

    def without_its_gradient(self, x):
        exact = right(self, x)
        return exact + 0.01 * (x - x.detach())

    monkeypatch.setattr(EfficientMultiScaleAttention, "forward", without_its_gradient)
    [problem] = ema_checks.precision(place, "float32").problems
    assert problem.startswith("gradient_error")


def test_nan_in_a_parameters_gradient_is_found():
    errors = {"result": 0.0, "gradient": 0.0, "a": float("nan"), "b": 0.1}
    assert np.isnan(ema_checks._worst_of_parameters(errors)["parameter_gradient"])


def boxes(*rows) -> list[np.ndarray]:
    return [np.array(rows, dtype=np.float32).reshape(-1, 6)]


def test_missing_moved_or_surer_boxes_are_found():
    reference = boxes((10, 10, 60, 60, 0.9, 1), (100, 10, 150, 80, 0.8, 2))

    def problems(candidate):
        finding = Finding()
        detection_checks.compare_boxes(finding, reference, candidate, detection_checks.HALF)
        return " ".join(finding.problems)

    assert problems(reference) == ""
    assert "have a counterpart" in problems([reference[0][:1]])
    moved = [reference[0] + np.float32([3, 0, 3, 0, 0, 0])]
    assert "side_difference_px" in problems(moved)
    surer = [reference[0] + np.float32([0, 0, 0, 0, 0.09, 0])]
    assert "score_difference" in problems(surer)
    weak = [np.concatenate([reference[0], boxes((0, 0, 9, 9, 0.12, 1))[0]])]
    assert problems(weak) == ""  # so near the threshold a box may come and go
    finding = Finding()
    detection_checks.compare_boxes(finding, boxes(), boxes(), detection_checks.HALF)
    assert finding.problems == ["no box is sure enough to be compared"]


def test_steps_are_recorded_as_the_trainer_reports_them(place):
    steps = _Steps(place)
    for loss in (2.0, 1.0):
        steps.note(SimpleNamespace(loss=torch.tensor([loss]), batch_size=4, amp=False))
    assert (steps.losses, steps.batches, steps.amp) == ([2.0, 1.0], [4, 4], False)
    assert len(steps.seconds) == 2


def test_a_check_that_raises_crashes_or_lacks_memory_is_distinguished(tmp_path):
    def out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def lacks():
        raise CannotRunError("TensorRT is not installed here")

    def crashes():
        os.kill(os.getpid(), signal.SIGKILL)

    def leaves():
        print("last words")
        sys.stdout.flush()
        os._exit(3)

    passed = outcome_of(lambda: Finding({"x": float("inf"), "y": 1 / 3}), tmp_path)
    assert (passed.status, passed.measured) == ("passed", {"x": None, "y": 0.3333})
    for check, status, reason in (
        (lambda: 1 / 0, "failed", "ZeroDivisionError: division by zero"),
        (lambda: Finding(problems=["too far", "too late"]), "failed", "too far; too late"),
        (out_of_memory, "could not run", "OutOfMemoryError: CUDA out of memory"),
        (lacks, "skipped", "TensorRT is not installed here"),
        (crashes, "failed", "its process was ended by SIGKILL"),
        (leaves, "failed", "its process ended with code 3: last words"),
    ):
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        found = outcome_of(check, folder)
        assert found.status == status, found
        assert found.reason.startswith(reason), found


def test_a_check_that_hangs_is_ended_with_what_it_started(tmp_path):
    def hangs():
        child = subprocess.Popen(["sleep", "600"])
        (tmp_path / "pid").write_text(str(child.pid), encoding="ascii")
        child.wait()

    found = outcome_of(hangs, tmp_path, limit_s=2.0)
    assert (found.status, found.reason) == ("could not run", "ended after its limit of 2 s")
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text(encoding='ascii')}/stat")
    for _ in range(200):
        if not stat.exists() or stat.read_text(encoding="ascii").split()[2] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("what the check had started still runs")


def quick(place: Place) -> Finding:
    return Finding({"folder": place.folder.name})


def slow(place: Place) -> Finding:
    time.sleep(60)
    return Finding()


def test_checks_that_run_out_of_time_are_named(place, monkeypatch):
    monkeypatch.setattr(run, "_LEAST_S", 0.1)
    checks = {
        "a": Check("a", "", f"{__name__}:quick"),
        "b": Check("b", "", f"{__name__}:slow"),
        "c": Check("c", "", f"{__name__}:quick"),
    }
    own = place.folder / "checks"
    own.mkdir()
    outcomes = run.run_checks(checks, replace(place, folder=own), deadline=time.monotonic() + 4.0)
    assert [one.status for one in outcomes] == ["passed", "not run", "not run"]
    assert outcomes[0].measured == {"folder": "a"}
    assert outcomes[1].reason == "the budget was used up during it"
    assert outcomes[2].reason == "the budget was used up before"


def test_a_system_without_forks_is_refused_at_once(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(MachineError, match="in a fork of its process, and this system"):
        run.prove_gpu(DoctorOptions(gpu=True, device="cpu"))


def result_of(*statuses: str, is_gpu: bool = True) -> GpuResult:
    outcomes = tuple(
        Outcome(name, status, 1.5, "<b>" if status == "failed" else "")
        for name, status in zip(GPU_CHECKS, statuses, strict=False)
    )
    machine = {"schema": 1, "sections": {"versions": []}}
    return GpuResult("Some GPU", is_gpu, outcomes, machine, 480.0, 12.0, Path("out"))


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (("passed", "skipped"), 0),
        (("passed", "not run"), 6),
        (("could not run", "passed"), 6),
        (("could not run", "failed"), 7),
    ],
)
def test_a_failed_check_is_distinguished_from_one_that_could_not_run(statuses, code):
    assert result_of(*statuses).exit_code == code


def test_the_page_is_self_contained_and_says_what_it_is():
    real, miniature = page(result_of("passed", "failed")), page(result_of("passed", is_gpu=False))
    assert "in miniature" not in real
    assert "in miniature on the CPU" in miniature
    assert "&lt;b&gt;" in real
    assert "http://" not in real
    assert "https://" not in real
    assert "<script" not in real


def test_the_json_keeps_its_keys():
    said = result_of("passed", "failed", is_gpu=False).as_json()
    assert set(said) == {
        "schema", "device", "miniature_on_cpu", "verdict", "exit_code", "counts", "budget_s",
        "seconds", "checks", "machine", "files",
    }  # fmt: skip
    assert set(said["checks"][0]) == {
        "name", "title", "limit", "limit_s", "status", "reason", "seconds", "measured",
    }  # fmt: skip
    assert said["miniature_on_cpu"] is True
    assert said["counts"] == {
        "passed": 1,
        "failed": 1,
        "could not run": 0,
        "skipped": 0,
        "not run": 0,
    }


def test_without_that_gpu_it_says_so_and_names_the_cpu_option(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(MachineError, match=r"torch finds no GPU here; .*--gpu --device cpu"):
        run._place(torch, "auto", tmp_path)
    for folder in tmp_path.iterdir():
        folder.rmdir()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(MachineError, match=r"--device is '5', and this machine has 2 \(0 to 1\)"):
        run._place(torch, "5", tmp_path)


def test_without_tensorrt_the_export_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(detection_checks, "find_spec", lambda name: None)
    with pytest.raises(CannotRunError, match="TensorRT is not installed here"):
        detection_checks.export(Place("0", tmp_path, tmp_path))


def test_options_are_read_in_minutes():
    assert DoctorOptions(gpu=True).budget_s == 480
    assert DoctorOptions(gpu=True, budget=1.5).budget_s == 90
