"""Errors of the output end a run at once, also while no source brings anything."""

from __future__ import annotations

import threading
import time

import pytest
from lively_weights import save, tiny_model
from misbehaving_servers import HttpServer, begin

from yolo_ema.detect.output import DetectOutput
from yolo_ema.detect.output_thread import OutputThread
from yolo_ema.detect.run import detect
from yolo_ema.errors import DiskFullError
from yolo_ema.options.detect import DetectOptions


def test_an_error_is_reported_once_and_raised_at_the_end():
    told, seen = [], []

    def work(item: int) -> None:
        seen.append(item)
        raise DiskFullError("full")

    with (
        pytest.raises(DiskFullError, match="full"),
        OutputThread(work, on_error=lambda: told.append(len(seen))) as thread,
    ):
        thread.put(1)
        thread._items.put(2)
    assert (seen, told) == ([1], [1])


def test_a_full_disk_ends_the_run_although_the_stream_is_silent(tmp_path, monkeypatch):
    """Two images come, then none for as long as the limit for reading is."""
    failed_at, last_sent = [], threading.Event()

    def two_pictures(server: HttpServer, line, _: str) -> None:
        begin(line)
        server.send_picture(line)
        server.send_picture(line)
        last_sent.wait(60)

    def full(_output: DetectOutput, item: tuple) -> None:
        if item[0].frame is not None and item[0].frame.index == 1:  # the last one that comes
            failed_at.append(time.monotonic())
            raise DiskFullError("no room")

    monkeypatch.setattr(DetectOutput, "write", full)
    weights = save(tiny_model(), tmp_path / "tiny.pt")
    with HttpServer(two_pictures) as server:
        options = DetectOptions(
            source=(server.url(),),
            weights=weights,
            out=tmp_path,
            save=("jsonl",),
            imgsz=(64,),
            read_timeout=30.0,
            stale_after=60.0,
            open_timeout=30.0,
        )
        with pytest.raises(DiskFullError, match="no room"):
            detect(options)
        last_sent.set()
    assert (
        time.monotonic() - failed_at[0] < 10
    )  # seconds; far from the 30 after which the next event would come
