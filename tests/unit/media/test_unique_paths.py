"""What a killed run leaves behind, and what the next one makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from as_on_windows import keep_files_that_are_open

from yolo_ema.media.sinks import unique_paths
from yolo_ema.media.sinks.open_sinks import open_sinks
from yolo_ema.media.sinks.unique_paths import (
    assemble_unique,
    create_part,
    remove_stale_parts,
    write_unique,
)
from yolo_ema.media.sinks.video_writer import VideoWriter

WRITES = """
import sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from yolo_ema.media.sinks.video_writer import VideoWriter
writer = VideoWriter(Path(sys.argv[1]) / "x.mp4", frame_rate=Fraction(25), image_wh=(64, 48))
for number in range(int(sys.argv[2])):
    writer.write(np.full((48, 64, 3), number, np.uint8))
print("written", flush=True)
time.sleep(60)
"""


def killed_after(frames: int, folder: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(folder), str(frames)], stdout=subprocess.PIPE
    )
    assert writer.stdout.readline() == b"written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 5, 8, 40])
def test_a_named_file_plays_after_a_kill(tmp_path, frames):
    killed_after(frames, tmp_path)
    named = list(tmp_path.glob("*.mp4"))
    if frames not in {3, 5}:  # the encoder holds a few frames
        assert bool(named) == (frames >= 8)
    for path in named:
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) >= 1
    assert len(named) + len(list(tmp_path.glob(".*.part"))) == 1


def test_the_next_run_deletes_what_a_killed_one_left(tmp_path):
    killed_after(0, tmp_path)
    (left,) = tmp_path.glob(".*.part")
    old = time.time() - 5
    os.utime(left, (old, old))
    mine, file = create_part(tmp_path)
    os.utime(mine, (old, old))
    others = [tmp_path / ".notes.part", tmp_path / "x.part", tmp_path / ".abc.part"]
    for other in others:
        other.write_bytes(b"somebody's")
    for sink in open_sinks(["jsonl"], tmp_path, names={0: "car"}):
        sink.close()
    assert not left.exists()
    assert mine.exists(), "a part that is being written stays"
    assert all(other.exists() for other in others)
    file.close()
    remove_stale_parts(tmp_path)
    assert not mine.exists()


def test_a_young_part_stays_because_its_lock_may_follow(tmp_path):
    part, file = create_part(tmp_path)
    file.close()
    remove_stale_parts(tmp_path)
    assert part.exists()


def test_nothing_hidden_stays_after_a_regular_end(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", frame_rate=Fraction(25), image_wh=(16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    VideoWriter(tmp_path / "empty.mp4", frame_rate=Fraction(25), image_wh=(16, 16)).close()
    write_unique(tmp_path, "a", ".txt", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "x.mp4"]
    assert writer.path == tmp_path / "x.mp4"


def test_files_get_their_names_where_open_ones_cannot_be_moved(tmp_path, monkeypatch):
    monkeypatch.setattr(unique_paths, "fcntl", None)
    keep_files_that_are_open(monkeypatch)
    small = write_unique(tmp_path, "a", ".txt", b"small")
    large = assemble_unique(tmp_path, "a", ".txt", lambda file: file.write(b"large"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        small.name: b"small",
        large.name: b"large",
    }
