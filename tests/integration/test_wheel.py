"""The wheel carries all that the package needs, and works outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


@pytest.mark.parametrize("kind", ["models", "data"])
def test_the_wheel_carries_every_yaml(wheel, kind):
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [path.name for path in (REPOSITORY / kind).glob("*.yaml")]
    assert shipped
    assert {f"yolo_ema/{kind}/{name}" for name in shipped} <= names


def test_the_wheel_carries_every_file_of_the_package(wheel):
    package = REPOSITORY / "yolo_ema"
    files = [
        path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {path.suffix for path in files} >= {".py", ".css", ".yaml"}
    assert {path.relative_to(REPOSITORY).as_posix() for path in files} <= set(
        zipfile.ZipFile(wheel).namelist()
    )


@pytest.mark.slow
def test_an_installed_wheel_builds_a_model_outside_the_checkout(wheel, tmp_path):
    """Installed without its dependencies into a folder of its own, next to the environment that
    runs the tests.
    """
    site = tmp_path / "site"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--target",
            str(site),
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import yolo_ema; from pathlib import Path\n"
        "assert Path(yolo_ema.__file__).is_relative_to(sys.argv[1]), yolo_ema.__file__\n"
        "from yolo_ema.engine.models.registration import build_model\n"
        "model = build_model('yolo11n-ema', class_count=10)\n"
        "print(sum(type(one).__name__ == 'EfficientMultiScaleAttention' for one in "
        "model.modules()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(site)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == 5


def test_an_installed_wheel_finds_the_shipped_weights(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from yolo_ema.detect.detector import default_weights\n"
        "print(default_weights())\n"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = Path(done.stdout.strip())
    assert found.is_relative_to(tmp_path)
    assert found.read_bytes() == (REPOSITORY / "weights" / found.name).read_bytes()


def test_an_installed_wheel_knows_the_shipped_weights_by_name_and_writes_nothing_next_to_them(
    wheel, tmp_path
):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from yolo_ema.engine.export.artifact_files import final_path\n"
        "from yolo_ema.options.export import ExportOptions\n"
        "options = ExportOptions(weights=Path('yolo11n-ema-visdrone.pt'), format=('onnx',))\n"
        "print(options.weights, final_path(Path('somewhere/yolo11n-ema-visdrone.onnx'), options))\n"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "site/yolo_ema/weights/yolo11n-ema-visdrone.pt"),
        "yolo11n-ema-visdrone.onnx",
    ]
