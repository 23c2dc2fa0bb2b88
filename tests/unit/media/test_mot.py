"""MOT Challenge's and VisDrone-MOT's text, to the letter; sources side by side; nothing
replaced.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import ConfigError
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sinks import mot
from yolo_ema.media.sinks.mot import MotFiles

NAMES = dict(enumerate(VISDRONE_CLASSES))


def found(index: int, rows, ids, source: str = "a.mp4", names=NAMES) -> FrameDetections:
    rows = np.array(rows, float).reshape(-1, 6)
    frame = Frame(np.zeros((50, 60, 3), np.uint8), source, index, index / 30)
    ids = None if ids is None else np.array(ids, int)
    return FrameDetections(frame, rows[:, :4], rows[:, 4], rows[:, 5].astype(int), names, ids)


def context(stem: str):
    return SimpleNamespace(stem=stem, frame_rate=None, is_live=False)


ROWS = [[793.27, 246.59, 864.515, 421.47, 0.9, 3], [10, 20, 14, 26, 0.25, 0], [1, 2, 3, 4, 0.5, 9]]


def test_mot_challenge_rows(tmp_path):
    sink = MotFiles(tmp_path)
    sink.write(found(0, ROWS, [3, 1, -1]), context("clip"))
    sink.write(found(1, [], []), context("clip"))
    sink.write(found(4, ROWS[:1], [3]), context("clip"))
    sink.close()
    assert sink.paths == (tmp_path / "mot" / "clip.txt",)
    assert sink.paths[0].read_text() == (
        "1,1,11.00,21.00,4.00,6.00,0.250000,-1,-1,-1\n"
        "1,3,794.27,247.59,71.25,174.88,0.900000,-1,-1,-1\n"
        "5,3,794.27,247.59,71.25,174.88,0.900000,-1,-1,-1\n"
    )


def test_visdrone_rows(tmp_path):
    sink = MotFiles(tmp_path, "visdrone-mot")
    sink.write(found(0, ROWS, [3, 1, -1]), context("clip"))
    sink.close()
    assert sink.paths[0] == tmp_path / "visdrone-mot" / "clip.txt"
    assert sink.paths[0].read_text() == (
        "1,1,10.00,20.00,4.00,6.00,0.250000,1,-1,-1\n1,3,793.27,246.59,71.25,174.88,0.900000,4,-1,-1\n"
    )


def test_categories_are_visdrones():
    assert list(mot._VISDRONE_CATEGORIES.items()) == [
        (name, number) for number, name in enumerate(VISDRONE_CLASSES, start=1)
    ]


def test_sources_interleave_and_are_followed_while_they_grow(tmp_path):
    sink = MotFiles(tmp_path)
    for index in range(3):
        sink.write(found(index, ROWS[:1], [1]), context("a"))
        sink.write(found(index, ROWS[:1], [1], source="b.mp4"), context("b"))
        assert len(sink.paths[0].read_text().splitlines()) == index + 1, (
            "each frame is on disk at once"
        )
    sink.end_source("a.mp4")
    sink.end_source("never seen")
    sink.write(found(3, ROWS[:1], [1], source="b.mp4"), context("b"))
    sink.close()
    sink.close()
    assert [len(path.read_text().splitlines()) for path in sink.paths] == [3, 4]


def test_nothing_that_exists_is_replaced(tmp_path):
    (tmp_path / "mot").mkdir()
    (tmp_path / "mot" / "a.txt").write_text("mine")
    sink = MotFiles(tmp_path)
    sink.write(found(0, ROWS[:1], [1]), context("a"))
    sink.write(found(0, ROWS[:1], [1], source="other/a.mp4"), context("a"))
    sink.close()
    assert [path.name for path in sink.paths] == ["a-2.txt", "a-3.txt"]
    assert (tmp_path / "mot" / "a.txt").read_text() == "mine"


def test_what_is_not_tracked_gets_no_file(tmp_path):
    sink = MotFiles(tmp_path)
    sink.write(found(0, ROWS, None), context("image"))
    sink.write(found(0, ROWS, [-1, -1, -1], source="b.mp4"), context("b"))
    sink.close()
    assert [path.name for path in (tmp_path / "mot").iterdir()] == ["b.txt"]
    assert [path.read_text() for path in sink.paths] == [""]


def test_a_full_disk_leaves_whole_frames(tmp_path):
    """A file may grow to a certain size only: as on a full disk, a part of what is written last
    still fits.
    """
    script = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_mot import MotFiles, ROWS, context, found
from yolo_ema.errors import DiskFullError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = MotFiles(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for index in range(100):
        sink.write(found(index, ROWS, [1, 2, 3]), context("a"))
except DiskFullError as error:
    print(index, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (tmp_path / "mot" / "a.txt").read_text().splitlines()
    assert len(lines) % len(ROWS) == 0
    assert all(len(line.split(",")) == 10 for line in lines)
    assert 0 < len(lines) == int(done.stdout.split()[0]) * len(ROWS)


def test_only_the_requested_classes_must_be_visdrones(tmp_path):
    names = {0: "car", 1: "zebra"}
    with pytest.raises(ConfigError, match="no class zebra"):
        MotFiles(tmp_path, "visdrone-mot", names)
    assert not list(tmp_path.iterdir())
    sink = MotFiles(tmp_path, "visdrone-mot", {0: "car"})
    sink.write(found(0, [[10, 20, 14, 26, 0.25, 0]], [1], names=names), context("a"))
    sink.close()
    assert sink.paths[0].read_text() == "1,1,10.00,20.00,4.00,6.00,0.250000,4,-1,-1\n"


def test_wrong_style_and_foreign_classes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="'kitti'"):
        MotFiles(tmp_path, "kitti")
    with pytest.raises(ConfigError, match="no class person, dog"):
        MotFiles(tmp_path, "visdrone-mot").write(
            found(0, ROWS, [1, 2, 3], names={0: "person", 3: "car", 9: "dog"}), context("a")
        )
