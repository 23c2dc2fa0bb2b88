"""Several sources at once."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest
from played_sources import Played, endless, forever, image, source

from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources import source_reader as feeds_module
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source_reader import SourceReader


@pytest.fixture
def folder(tmp_path):
    for index in range(6):
        assert cv2.imwrite(
            str(tmp_path / f"{index}.png"), np.full((16, 24, 3), 40 * index, np.uint8)
        )
    with VideoWriter(tmp_path / "v.mp4", frame_rate=Fraction(10), image_wh=(32, 32)) as writer:
        for index in range(25):
            writer.write(np.full((32, 32, 3), index * 10, np.uint8))
    return tmp_path


def test_files_are_read_in_order_and_completely_each_with_its_end(folder):
    with SourceReader(open_sources([str(folder)])) as reader:
        events = list(reader)
    assert [
        (event.source.stem, event.frame.index if event.frame else "end") for event in events
    ] == [
        *((str(index), what) for index in range(6) for what in (0, "end")),
        *(("v", index) for index in range(25)),
        ("v", "end"),
    ]
    assert [
        round(event.frame.time_s, 2) for event in events if event.source.stem == "v" and event.frame
    ] == [n / 10 for n in range(25)]
    assert not any(event.problem for event in events)


def test_a_damaged_file_ends_with_its_reason_and_the_next_continues(folder):
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[:40])
    (folder / "2.png").write_bytes(b"")
    (folder / "v.mp4").write_bytes(b"no video" * 100)
    with SourceReader(open_sources([str(folder)])) as reader:
        events = list(reader)
        assert reader.status()[0].state == "failed"
    ends = {event.source.stem: event.problem for event in events if event.ended}
    assert sum(1 for event in events if event.frame) == 4
    assert "truncated" in ends["1"] or "damaged" in ends["1"]
    assert "is empty (0 bytes)" in ends["2"]
    assert "cannot be opened as video" in ends["v"]
    assert ends["0"] == ends["3"] == ""


def test_an_unexpected_error_ends_one_file_only(folder, monkeypatch):
    read = cv2.imdecode

    def breaks(content, flags):
        if breaks.count == 2:
            breaks.count += 1
            raise MemoryError("no room")
        breaks.count += 1
        return read(content, flags)

    breaks.count = 0
    monkeypatch.setattr(cv2, "imdecode", breaks)
    with SourceReader(open_sources([str(folder / "*.png")])) as reader:
        ends = [event.problem for event in reader if event.ended]
    assert [one.rpartition("/")[2] for one in ends] == [
        "",
        "",
        "2.png failed: MemoryError: no room",
        "",
        "",
        "",
    ]


def test_live_sources_and_files_take_turns(folder):
    cams = [source(Played(endless(0.0)), name=f"cam{number}") for number in range(3)]
    with SourceReader([*open_sources([str(folder / "v.mp4")]), *cams]) as reader:
        time.sleep(0.5)
        seen = []
        for event in reader:
            seen.append(event.source.name)
            time.sleep(0.002)
            if len(seen) == 60:
                break
    for name in ("cam0", "cam1", "cam2"):
        assert 8 <= seen.count(name) <= 24
    assert sum(1 for one in seen if one.endswith("v.mp4")) >= 8


def test_nothing_is_decoded_far_ahead(folder, monkeypatch):
    decoded = []
    read = cv2.imdecode
    monkeypatch.setattr(
        cv2, "imdecode", lambda content, flags: decoded.append(1) or read(content, flags)
    )
    many = [str(folder / f"{index % 6}.png") for index in range(6)]
    with SourceReader(open_sources(many)) as reader:
        event = next(iter(reader))
        time.sleep(0.3)
        assert event.frame is not None
        assert 2 <= len(decoded) <= 1 + 4 + 1  # taken, waiting, and one that waits for room


@pytest.mark.slow
def test_large_images_are_not_decoded_ahead_of_their_use(folder, monkeypatch):
    monkeypatch.setattr(feeds_module, "_LOOK_AHEAD_BYTES", 2 * 16 * 24 * 3)
    decoded = []
    read = cv2.imdecode
    monkeypatch.setattr(
        cv2, "imdecode", lambda content, flags: decoded.append(1) or read(content, flags)
    )
    kept = []
    with SourceReader(open_sources([str(folder / "*.png")])) as reader:
        for event in reader:
            if event.frame is not None:
                kept.append(event.frame)
                del event
                gc.collect()
                time.sleep(0.05)
                assert len(decoded) <= max(
                    2, len(kept)
                )  # what is kept counts; only what is asked for is decoded then
    assert len(kept) == 6


def test_large_images_get_their_turn_next_to_a_busy_stream(folder, monkeypatch):
    """A stream that always has a frame leaves no idle moment; images above the look-ahead are read
    all the same.
    """
    monkeypatch.setattr(feeds_module, "_LOOK_AHEAD_BYTES", 16 * 24 * 3 - 1)
    camera = source(Played(image(number) for number in range(10**6)), name="cam")
    images, until = 0, time.monotonic() + 20
    with SourceReader(
        [camera, *open_sources([str(folder / f"{index}.png") for index in range(6)])]
    ) as reader:
        for event in reader:
            images += event.frame is not None and not event.source.is_live
            if images == 6 or time.monotonic() > until:
                break
            time.sleep(0.02)  # detection, while the next frame of the camera comes
    assert images == 6


def test_stopping_ends_every_source_that_had_begun(folder):
    with SourceReader(
        [*open_sources([str(folder / "v.mp4")]), source(Played(endless()), name="cam")]
    ) as reader:
        begun, ended = set(), []
        for event in reader:
            if event.frame is not None:
                begun.add(event.source.name)
            if event.ended:
                ended.append(event.source.name)
            if len(begun) == 2:
                reader.stop()
    assert sorted(ended) == sorted(begun)


def test_a_signal_handler_can_stop_while_the_iteration_waits():
    script = (
        "import signal, sys, time, threading, os\n"
        "from yolo_ema.media.sources.source_reader import SourceReader\n"
        "from yolo_ema.media.sources.open_sources import open_sources, NetworkOptions\n"
        "import socket; listener = socket.create_server(('127.0.0.1', 0))\n"
        "address = f'http://127.0.0.1:{listener.getsockname()[1]}/x'\n"
        "sources = open_sources([address], network=NetworkOptions(open_timeout_s=60))\n"
        "with SourceReader(sources) as reader:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: reader.stop())\n"
        "    print('ready', flush=True)\n"
        "    print([event.ended for event in reader], flush=True)\n"
    )
    environment = {**os.environ, "no_proxy": "*"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == "[True]\n"
        assert child.wait(10) == 0
        assert time.monotonic() - began < 3


def test_the_process_ends_although_ffmpeg_still_waits():
    script = (
        "import socket, threading\n"
        "from yolo_ema.media.sources.source_reader import SourceReader\n"
        "from yolo_ema.media.sources.open_sources import open_sources, NetworkOptions\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "address = f'rtsp://127.0.0.1:{listener.getsockname()[1]}/x'\n"
        "with SourceReader(open_sources([address], network=NetworkOptions(open_timeout_s=300))) as "
        "reader:\n"
        "    threading.Timer(0.5, reader.stop).start()\n"
        "    print([event.ended for event in reader])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[True]\n", "")


def test_threads_end_with_the_context(folder):
    before = set(threading.enumerate())
    with SourceReader(
        [
            *open_sources([str(folder)]),
            source(Played(endless())),
            source(Played([image(0), forever])),
        ]
    ) as reader:
        next(iter(reader))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and set(threading.enumerate()) - before:
        time.sleep(0.02)
    assert not set(threading.enumerate()) - before


def test_without_sources_there_is_nothing():
    with SourceReader([]) as reader:
        assert list(reader) == []
        assert reader.status() == []


_MEMORY = """
import resource, sys, gc
from fractions import Fraction
from pathlib import Path
import numpy as np
from yolo_ema.media.sources.source_reader import SourceReader
from yolo_ema.media.sources.open_sources import open_sources

def kib():
    gc.collect()
    return int(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1])

with SourceReader(open_sources(sys.argv[1:])) as reader:
    frames = 0
    for event in reader:
        if event.frame is not None:
            frames += 1
            if frames == 1000:
                before = kib()
print(frames, kib() - before, reader.status()[0].frames_dropped)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_thousand_frames_take_no_more_memory_than_a_thousand(tmp_path):
    with VideoWriter(tmp_path / "long.mp4", frame_rate=Fraction(30), image_wh=(64, 48)) as writer:
        image = np.zeros((48, 64, 3), np.uint8)
        for index in range(10_000):
            image[:, index % 64] = index % 256
            writer.write(image)
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(tmp_path / "long.mp4")],
        capture_output=True,
        text=True,
        check=True,
    )
    frames, more_kib, dropped = map(int, done.stdout.split())
    assert (frames, dropped) == (10_000, 0)
    assert more_kib < 20 * 1024
