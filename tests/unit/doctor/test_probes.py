"""Each probe of the plain doctor: what it says, and that its failure is a row."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.doctor import examination, hardware, native, packages
from yolo_ema.doctor.row import Row, private, probed
from yolo_ema.errors import ConfigError
from yolo_ema.options.doctor import GPU_CHECKS, DoctorOptions

ROW_KEYS = {"name", "value", "problem", "command"}


def fail() -> list[Row]:
    raise RuntimeError(f"no luck in {Path.home()}/secret/place")


def test_a_failing_probe_is_a_row_with_its_reason(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    [row] = probed("the thing", fail)
    assert (row.name, row.value) == ("the thing", None)
    assert row.problem == "RuntimeError: no luck in ~/secret/place"


def test_the_users_name_and_home_are_not_revealed(monkeypatch):
    monkeypatch.setenv("HOME", "/home/mallory")
    monkeypatch.setattr(getpass, "getuser", lambda: "mallory")
    assert private("/home/mallory/x and /data/mallory/y") == "~/x and /data/USER/y"
    assert len(private("x" * 1000)) == 200


def test_a_user_without_a_home_has_nothing_to_hide(monkeypatch):
    monkeypatch.setattr("yolo_ema.doctor.row.home_folder", lambda: None)
    assert private("in /home/mallory/x") == "in /home/mallory/x"


def test_one_failing_probe_leaves_the_other_sections(monkeypatch):
    monkeypatch.setattr(examination, "versions", fail)
    monkeypatch.setattr(examination, "asked", lambda names: {name: [Row(name)] for name in names})
    sections = examination.examine().as_json()["sections"]
    assert len(sections["versions"]) == 1
    assert sections["versions"][0]["problem"].startswith("RuntimeError")
    assert len(sections["machine"]) > 5


def test_the_json_has_its_sections_and_every_row_all_keys():
    said = json.loads(json.dumps(examination.examine().as_json()))
    assert said["schema"] == 1
    assert list(said["sections"]) == [
        "versions",
        "machine",
        "GPUs",
        "backends and their precision",
        "threads",
        "video",
        "features",
    ]
    assert all(set(row) == ROW_KEYS for rows in said["sections"].values() for row in rows)
    versions = {row["name"]: row["value"] for row in said["sections"]["versions"]}
    assert versions["numpy"] == np.__version__
    video = {row["name"]: row["value"] for row in said["sections"]["video"]}
    assert "h264" in video["H.264"]
    assert "libx264" in video["H.264"]


def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    lines = [
        "numpy>=1.26",
        'no-such-package>=2; extra == "geo"',
        'pillow>=9999; extra == "mavlink"',
        'yolo-ema[geo]; extra == "deploy"',
        'no-such-linter; extra == "dev"',
    ]
    monkeypatch.setattr(packages, "requires", lambda name: lines)
    rows = {row.name: row for row in packages.features()}
    assert rows["yolo-ema"].problem == ""
    assert rows["[geo]"].problem == "missing: no-such-package"
    assert rows["[geo]"].command == 'pip install "yolo-ema[geo]"'
    assert rows["[deploy]"].problem == "missing: no-such-package"
    assert rows["[mavlink]"].problem.startswith("missing: pillow>=9999 (here: ")
    assert "does not know it" in rows["[onnx]"].problem
    assert "[dev]" not in rows


def test_every_extra_of_the_package_is_explained():
    if sys.version_info < (3, 11):
        pytest.skip("the standard library reads no TOML yet")
    import tomllib

    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(packages._BRINGS) == {""} | set(extras) - packages._FOR_DEVELOPERS


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo '0, Some GPU, 24564, 550.54, 8.9'",
            [Row("GPU 0", "Some GPU, 24564 MiB, driver 550.54, compute capability 8.9")],
        ),
        ("echo 'driver mismatch' >&2; exit 9", "nvidia-smi fails: driver mismatch"),
        ("true", "the driver knows none"),
    ],
)
def test_gpus_are_what_the_driver_reports(tmp_path, monkeypatch, script, said):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: str(program))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    rows = hardware.gpus()
    assert rows == said if isinstance(said, list) else rows[0].problem == said


def test_a_missing_driver_is_reported(monkeypatch):
    monkeypatch.setattr(hardware.shutil, "which", lambda name: None)
    [row] = hardware.gpus()
    assert "nvidia-smi" in row.problem


def test_limits_are_those_of_the_cgroup(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{3 * 2**30}\n", encoding="ascii")
    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="ascii")
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    rows = {row.name: row.value for row in hardware.processor()}
    assert rows["cgroup's limit of memory"] == "3.0 GiB"
    assert rows["cgroup's limit of cores"] is None


def test_a_package_that_crashes_or_hangs_ends_its_own_row(tmp_path, monkeypatch):
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n", encoding="ascii")
    crash.chmod(0o755)
    monkeypatch.setattr(native.sys, "executable", str(crash))
    [row] = native.asked(["cv2"])["cv2"]
    assert row.problem.startswith("ends with signal 11 (Segmentation fault")
    crash.write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    monkeypatch.setattr(native, "LIMIT_S", 0.2)
    [row] = native.asked(["cv2"])["cv2"]
    assert row.problem == "no answer within 0.2 s"


def test_a_package_that_is_not_installed_is_a_row(monkeypatch):
    monkeypatch.setattr(native, "find_spec", lambda name: None)
    assert "not installed" in native.asked(["ncnn"])["ncnn"][0].problem
    assert "--gpu need it" in native.torch_build()[0].problem


def test_the_plain_doctor_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from yolo_ema.cli import main\n"
        "assert main(['doctor', '--json']) == 0\n"
        "heavy = {'torch', 'ultralytics', 'cv2', 'numpy', 'openvino', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == 1


def test_it_works_without_torch_numpy_and_metadata():
    code = (
        "import sys, importlib.util\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'torch', 'numpy', 'cv2', 'av', 'packaging'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from yolo_ema.cli import main\n"
        "raise SystemExit(main(['doctor', '--json']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    sections = json.loads(done.stdout)["sections"]
    assert sections["features"][0]["problem"]
    assert sections["video"][0]["problem"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device": "cpu"}, "--device is for --gpu; add it"),
        ({"budget": 3.0, "only": ("tiles",)}, "--budget, --only are for --gpu; add it"),
        ({"gpu": True, "device": "mps"}, "NVIDIA GPUs"),
        ({"gpu": True, "device": "gpu"}, "--device is 'gpu'"),
        ({"gpu": True, "only": ("tile",)}, "did you mean 'tiles'?"),
        ({"gpu": True, "budget": 0.0}, "--budget is 0.0; expected more than 0 minutes"),
        ({"gpu": True, "out": Path(__file__)}, "which is a file; expected a folder"),
    ],
)
def test_wrong_options_are_refused(given, said):
    with pytest.raises(ConfigError) as caught:
        DoctorOptions(**given)
    assert said in str(caught.value)


def test_checks_run_in_catalog_order():
    assert DoctorOptions(gpu=True, only=("tiles", "ema-float16")).checks == ("ema-float16", "tiles")
    assert DoctorOptions(gpu=True).checks == GPU_CHECKS
