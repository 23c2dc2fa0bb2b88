from __future__ import annotations

import ast
import doctest
import inspect
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

import yolo_ema
from yolo_ema.io.resources import weights_dir
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.scenes import draw_clip, draw_scene, write_dataset

SOURCE = ast.parse(Path(yolo_ema.__file__).read_text(encoding="utf-8"))
NAMES = [name for name in yolo_ema.__all__ if name != "__version__"]
_CONSTANTS = {"VISDRONE_CLASSES"}


def test_every_public_name_exists():
    for name in yolo_ema.__all__:
        assert getattr(yolo_ema, name) is not None
    assert sorted(dir(yolo_ema)) == sorted(yolo_ema.__all__)


def test_what_is_imported_is_what_type_checkers_see():
    typed = next(node for node in SOURCE.body if isinstance(node, ast.If))
    seen = {
        name.asname: node.module
        for node in typed.body
        for name in node.names  # type: ignore[attr-defined]
    }
    assert seen == yolo_ema._PUBLIC
    assert {*seen, "__version__"} == set(yolo_ema.__all__)


def test_public_names_are_public_where_they_come_from():
    for name, module in yolo_ema._PUBLIC.items():
        __import__(module)
        assert name in sys.modules[module].__all__, f"{module}.__all__ lacks {name}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Detektor"):
        _ = yolo_ema.Detektor


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, yolo_ema, yolo_ema.cli; print(sorted({'torch', 'ultralytics', 'cv2', "
        "'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _examples(name: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(getattr(yolo_ema, name)) or "")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in _CONSTANTS])
def test_a_public_name_has_an_example(name):
    assert _examples(name), f"the docstring of {name} has no example"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    cv2.imwrite(str(folder / "junction.jpg"), draw_scene(3, image_wh=(640, 360)).image_bgr)
    with VideoWriter(folder / "flight.mp4", frame_rate=Fraction(10), image_wh=(320, 240)) as video:
        for scene in draw_clip(3, frames=8, fps=10, image_wh=(320, 240)):
            video.write(scene.image_bgr)
    for suffix in ("pt", "onnx"):
        shutil.copy(weights_dir() / f"yolo11n-ema-visdrone.{suffix}", folder / f"best.{suffix}")
    (folder / "detections.jsonl").write_text(
        '{"source": "seen.mp4", "frame": 0, "time_s": 0.0, "width": 1920, "height": 1080, '
        '"detections": [{"class": "car", "score": 0.9, "box_xyxy": [940, 520, 990, 560]}]}\n'
    )
    (folder / "poses.csv").write_text(
        "time_s,latitude_deg,longitude_deg,height_takeoff_m,yaw_deg,pitch_deg,hfov_deg\n"
        "0,47.1234,8.7654,60,92,-60,64\n"
    )
    (folder / "a.txt").write_text("10,20,30,15,1,4,0,0\n")
    write_dataset(folder / "scenes", train=8, val=4, image_wh=(320, 192))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in _CONSTANTS])
def test_the_example_runs_and_gives_what_it_shows(name, place, monkeypatch):
    monkeypatch.chdir(place)
    test = doctest.DocTest(
        _examples(name), {"yolo_ema": yolo_ema}, name, inspect.getsourcefile(yolo_ema), 0, ""
    )
    report: list[str] = []
    runner = doctest.DocTestRunner(
        verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
