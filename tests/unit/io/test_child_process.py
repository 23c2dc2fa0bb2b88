"""A module of ours as a process: from where its parent imports, and from nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from archive_files import archive_options, draw

from yolo_ema.io.child_process import module_command

CHILD = """
import json, sys
import statistics
if __name__ == "__main__":
    print(json.dumps([sys.argv, __spec__.name, sys.path, statistics.__file__]))
    raise SystemExit(3)
"""
SCRIPT = "import sys\nfrom yolo_ema.cli import main\nsys.exit(main())\n"
"""As the console script of an installation: ``sys.path`` begins with its folder."""


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder of files named as modules that ours import, which raise."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for name in ("statistics", "cv2", "runpy", "numpy", "json"):
        (folder / f"{name}.py").write_text("raise RuntimeError('foreign code')\n")
    return folder


def test_it_runs_as_a_program_and_imports_nothing_of_its_folder(strange, tmp_path, monkeypatch):
    place = tmp_path / "it's ünusual"
    place.mkdir()
    (place / "child_of_ours.py").write_text(CHILD)
    monkeypatch.syspath_prepend(str(place))
    done = subprocess.run(
        module_command("child_of_ours", "a", "b c"),
        cwd=strange,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    argv, name, path, statistics = json.loads(done.stdout)
    assert (argv, name) == ([str(place / "child_of_ours.py"), "a", "b c"], "child_of_ours")
    assert path[0] == str(place)
    assert str(strange) not in path
    assert Path(statistics).parent != strange


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The command line as it is installed."""
    path = tmp_path / "bin" / "yolo-ema"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["archive", "doctor"])
def test_python_files_of_the_current_folder_are_not_run(strange, script, tmp_path, verb):
    words = [verb, "--json"]
    if verb == "archive":
        pytest.importorskip("pyarrow")
        pytest.importorskip("onnxruntime")
        weights = archive_options(tmp_path, strange).weights
        draw(strange / "a.jpg")
        words += [".", "--weights", str(weights), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, str(script), *words],
        cwd=strange,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "foreign code" not in done.stdout + done.stderr
    if verb == "archive":
        assert json.loads(done.stdout)["done"] == 1
