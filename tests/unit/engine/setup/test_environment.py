"""The environment is set before Ultralytics reads it, and the user's own choices stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from yolo_ema.engine.setup import environment
from yolo_ema.errors import ConfigError
from yolo_ema.io.machine import usable_cores

SETTINGS = ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_CONFIG_DIR", "ULTRALYTICS_SAFE_LOAD")


def in_fresh_process(script: str, **variables: str) -> dict:
    clean = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    script += "\nimport json, os, sys\nprint(json.dumps([dict(os.environ), list(sys.modules)]))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    found, modules = json.loads(done.stdout.splitlines()[-1])
    return {"environment": found, "modules": set(modules)}


def test_importing_the_package_imports_neither_ultralytics_nor_torch():
    assert (
        not {"ultralytics", "torch", "cv2", "numpy"}
        & in_fresh_process("import yolo_ema.engine")["modules"]
    )


def test_ultralytics_is_set_up(tmp_path):
    found = in_fresh_process("import yolo_ema.engine", YOLO_EMA_CACHE=str(tmp_path))["environment"]
    assert [found[key] for key in SETTINGS] == ["true", "false", str(tmp_path / "ultralytics"), "1"]
    assert list(tmp_path.iterdir()) == []


def test_the_users_choices_are_kept():
    chosen = {
        "YOLO_OFFLINE": "false",
        "YOLO_AUTOINSTALL": "true",
        "YOLO_CONFIG_DIR": "/somewhere",
        "ULTRALYTICS_SAFE_LOAD": "0",
    }
    found = in_fresh_process("import yolo_ema.engine", **chosen)["environment"]
    assert {key: found[key] for key in SETTINGS} == chosen


def test_waiting_threads_soon_sleep_unless_the_user_chose_otherwise():
    script = (
        "import os\nfor key in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY', 'KMP_BLOCKTIME'): "
        "os.environ.pop(key, None)\n"
    )
    assert (
        in_fresh_process(script + "import yolo_ema.engine")["environment"]["GOMP_SPINCOUNT"]
        == "10000"
    )
    for key, value in (
        ("GOMP_SPINCOUNT", "7"),
        ("OMP_WAIT_POLICY", "active"),
        ("KMP_BLOCKTIME", "200"),
    ):
        found = in_fresh_process(
            script + f"os.environ['{key}'] = '{value}'\nimport yolo_ema.engine"
        )["environment"]
        assert found[key] == value
        assert found.get("GOMP_SPINCOUNT") == (value if key == "GOMP_SPINCOUNT" else None)


def test_the_users_own_ultralytics_settings_stay_untouched(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    in_fresh_process(
        "import yolo_ema.engine, ultralytics; ultralytics.settings.update({'tensorboard': True})",
        HOME=str(home),
        XDG_CONFIG_HOME=str(home / ".config"),
        YOLO_EMA_CACHE=str(tmp_path / "cache"),
    )
    assert not (home / ".config").exists()
    assert (tmp_path / "cache/ultralytics/Ultralytics/settings.json").is_file()


def test_threads(monkeypatch):
    monkeypatch.setenv("YOLO_EMA_THREADS", "3")
    assert environment.use_all_cores() == torch.get_num_threads() == 3
    monkeypatch.setenv("YOLO_EMA_THREADS", "")
    assert environment.use_all_cores() == torch.get_num_threads() == usable_cores()
    for wrong in ("0", "many", "-1"):
        monkeypatch.setenv("YOLO_EMA_THREADS", wrong)
        with pytest.raises(ConfigError, match="YOLO_EMA_THREADS"):
            environment.use_all_cores()


@pytest.mark.slow
@pytest.mark.parametrize(("version", "times"), [("8.6.2", 1), ("8.4.12", 1), ("8.4.999", 0)])
def test_an_untested_ultralytics_is_named_once_with_the_tested_versions(tmp_path, version, times):
    """The installed package is the same; what it says of its version is another."""
    metadata = tmp_path / f"ultralytics-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: ultralytics\nVersion: {version}\n")
    done = subprocess.run(
        [sys.executable, "-m", "yolo_ema", "models", "yolo11n-ema"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = f"Ultralytics {version} is installed; yolo-ema is tested with 8.4.190 up to"
    assert done.stderr.count(said) == done.stderr.count("is installed") == times
    assert "is installed" not in done.stdout


def test_quiet_block_keeps_warnings(caplog):
    import logging

    logger = logging.getLogger("ultralytics")
    before = logger.level
    with environment.quiet_log():
        assert not logger.isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.WARNING)
    assert logger.level == before
