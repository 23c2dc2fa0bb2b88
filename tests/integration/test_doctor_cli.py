"""``yolo-ema doctor`` through the real command line; its GPU checks in miniature on the CPU."""

from __future__ import annotations

import json

import pytest

from yolo_ema.options.doctor import GPU_CHECKS


def test_the_text_names_its_sections_and_versions(yolo_ema_command):
    done = yolo_ema_command("doctor")
    assert done.code == 0, done.err
    for word in ("versions", "machine", "GPUs", "video", "features", "ultralytics", "libx264"):
        assert word in done.out


def test_without_a_gpu_the_gpu_checks_name_the_cpu_option(yolo_ema_command):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    for words in ((), ("--device", "3")):
        done = yolo_ema_command("doctor", "--gpu", *words)
        assert done.code == 6
        assert "torch finds no GPU here" in done.err
        assert "yolo-ema doctor --gpu --device cpu" in done.err


def test_a_folder_that_cannot_be_written_is_named_before_any_check(yolo_ema_command):
    done = yolo_ema_command("doctor", "--gpu", "--device", "cpu", "--out", "/proc/doctor")
    assert done.code == 6
    assert "/proc/doctor: " in done.err
    assert "[1/" not in done.err


@pytest.mark.slow
def test_every_check_passes_in_miniature(yolo_ema_command, tmp_path):
    # Busy machines need patience; a quiet one takes about a minute.
    done = yolo_ema_command(
        *("doctor", "--gpu", "--device", "cpu", "--budget", 9, "--out", tmp_path / "out", "--json"),
        timeout=590,
    )
    said = done.json
    ended = {check["name"]: (check["status"], check["reason"]) for check in said["checks"]}
    assert ended == dict.fromkeys(GPU_CHECKS, ("passed", ""))
    assert done.code == said["exit_code"] == 0
    assert said["miniature_on_cpu"] is True
    assert said == json.loads((tmp_path / "out" / "doctor.json").read_text(encoding="utf-8"))
    page = (tmp_path / "out" / "doctor.html").read_text(encoding="utf-8")
    assert "in miniature on the CPU" in page
    assert all(name in page for name in GPU_CHECKS)
    measured = {check["name"]: check["measured"] for check in said["checks"]}
    assert measured["resume"]["epochs"] == 4
    assert measured["video"]["frames"] == 4
    assert measured["half-boxes"]["boxes"] > 10
    assert measured["train-accurate"]["steps"] == 2
