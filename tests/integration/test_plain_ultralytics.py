"""Our weights and models in processes of plain Ultralytics, which it starts by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lively_weights import lively_model, save
from tiny_dataset import NAMES, draw_dataset

from yolo_ema.engine.setup.child_processes import python_path

SETTINGS = {
    "imgsz": 64,
    "epochs": 1,
    "batch": 2,
    "workers": 0,
    "device": "cpu",
    "plots": False,
    "val": False,
    "amp": False,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    draw_dataset(folder / "tiny", train=2, val=2).rename(folder / "tiny" / "data.yaml")
    model = lively_model("tiny", classes=2)
    model.names = dict(enumerate(NAMES))
    save(model, folder / "best.pt")
    return folder


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("YOLO_", "ULTRALYTICS_")) and key != "PYTHONPATH"
    }
    environment |= {"YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder / "config")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment | {"YOLO_EMA_CACHE": str(folder / "cache")} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


WORDS = [f"{key}={value}" for key, value in SETTINGS.items()]
YOLO = ("-c", "from ultralytics.cfg import entrypoint; entrypoint()", "train")


@pytest.mark.slow
def test_plain_yolo_train_continues_from_our_weights(place):
    words = [*YOLO, "model=best.pt", "data=tiny/data.yaml", f"project={place / 'one'}", *WORDS]
    done = run(place, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((place / "one").rglob("best.pt"))


def test_plain_yolo_builds_our_yaml_with_pythonpath_set(place):
    build = (
        "import sys; assert 'yolo_ema' not in sys.modules and 'torch' not in sys.modules\n"
        "from ultralytics import YOLO; print(YOLO('yolo11n-ema.yaml').task)"
    )
    from yolo_ema.engine.models.definition import shipped_models

    (place / "yolo11n-ema.yaml").write_bytes(shipped_models()["yolo11-ema"].read_bytes())
    assert "KeyError: 'EMA'" in run(place, "-c", build).stderr
    printed = run(place, "-m", "yolo_ema.engine.setup.child_processes")
    assert printed.stdout.strip() == python_path().split(os.pathsep)[0]
    done = run(place, "-c", build, PYTHONPATH=printed.stdout.strip())
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == "detect"


def test_another_sitecustomize_still_runs(place, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.the_users_own = 7\n")
    path = os.pathsep.join([python_path().split(os.pathsep)[0], str(tmp_path)])
    done = run(place, "-c", "print(the_users_own)", PYTHONPATH=path)
    assert done.stdout.strip() == "7", done.stderr


@pytest.mark.slow
def test_tuning_starts_processes_that_know_the_block(place):
    """With the allow-list on, as this project's own import turns it on, they need to be told."""
    tune = f"""
import yolo_ema
yolo_ema.register(child_processes=True)
from ultralytics import YOLO
settings = {SETTINGS!r}
project = {str(place / "tuned")!r}
YOLO("best.pt").tune(data="tiny/data.yaml", iterations=1, project=project, **settings)
"""
    done = run(place, "-c", tune)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "failed, skipping" not in done.stderr + done.stdout, done.stderr[-3000:]
    assert list((place / "tuned").rglob("best_hyperparameters.yaml"))
