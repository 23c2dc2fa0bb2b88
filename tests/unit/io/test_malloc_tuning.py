"""Blocks that come and go cost no new pages once freed memory is kept; a user who configures the
allocator is left alone.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from lively_weights import lively_model, save

from yolo_ema.engine.prediction import torch_predictor
from yolo_ema.engine.training import cpu_group, trainer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integration"))
from tiny_dataset import draw_dataset

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is set up")

CHILD = """
import json, resource, sys
from yolo_ema.io.malloc_tuning import keep_freed_memory
import numpy as np
mode, megabytes = sys.argv[1], int(sys.argv[2])
taken = keep_freed_memory(of_any_size=mode == "any size") if mode else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def one_round():
    blocks = [np.ones(megabytes << 20, np.uint8) for _ in range(3)]
    del blocks
one_round()
before = faults()
for _ in range(10):
    one_round()
print(json.dumps([taken, (faults() - before) / 10]))
"""


def faults_a_round(mode: str, megabytes: int, **variables: str) -> tuple[bool | None, float]:
    """Return whether glibc took the setting, and the page faults of allocating and freeing three
    blocks.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
    }
    command = [sys.executable, "-c", CHILD, mode, str(megabytes)]
    taken, faults = json.loads(
        subprocess.run(
            command, env=clean | variables, check=True, capture_output=True, text=True
        ).stdout
    )
    return taken, faults


@pytest.mark.parametrize(
    ("mode", "megabytes"), [("usual sizes", 24), ("any size", 24), ("any size", 80)]
)
def test_reused_blocks_need_no_new_pages(mode, megabytes):
    taken, faults = faults_a_round(mode, megabytes)
    plain = faults_a_round("", megabytes)[1]
    assert taken
    assert faults < 20 < 100 < plain


def test_detection_and_training_on_a_cpu_use_it(tmp_path, monkeypatch):
    asked = []
    for module in (torch_predictor, cpu_group):
        monkeypatch.setattr(module, "keep_freed_memory", lambda **how: asked.append(how))
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    torch_predictor.open_predictor(weights, device="cpu")
    assert asked == [{}]
    data = draw_dataset(tmp_path / "tiny")
    trainer.EmaTrainer(
        overrides={
            "model": str(weights),
            "data": str(data),
            "device": "cpu",
            "save_dir": str(tmp_path / "run"),
        }
    )
    assert asked == [{}, {"of_any_size": True}]


def test_huge_blocks_are_returned_to_the_system_by_default():
    assert faults_a_round("usual sizes", 80)[1] > 100


@pytest.mark.parametrize(
    "variables",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
)
def test_a_users_own_settings_are_kept(variables):
    taken, faults = faults_a_round("any size", 24, **variables)
    assert taken is False
    assert faults > 100
