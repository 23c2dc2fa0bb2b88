"""RTSP, from a GStreamer server in a process of its own."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import misbehaving_servers as servers
import numpy as np
import pytest
from misbehaving_servers import HttpServer, RtspServer

from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source_reader import SourceEvent, SourceReader

QUICK = NetworkOptions(first_wait_s=0.1)


@pytest.fixture(scope="module", autouse=True)
def _needs_a_server():
    if reason := servers.why_no_rtsp():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    """A GStreamer line that plays an H.264 clip whose frames are numbered."""
    path = tmp_path_factory.mktemp("clip") / "numbered.mp4"
    with VideoWriter(path, frame_rate=Fraction(25), image_wh=(160, 120)) as writer:
        for number in range(25 * 60):
            writer.write(servers.numbered(number))
    return f"( filesrc location={path} ! qtdemux ! rtph264pay name=pay0 pt=96 config-interval=1 )"


def reader_of(
    *urls: str, network: NetworkOptions = QUICK, every_frame: bool = False
) -> SourceReader:
    return SourceReader(open_sources(list(urls), network=network), every_frame=every_frame)


def watch(reader: SourceReader, enough, limit_s: float = 40) -> list[SourceEvent]:
    """Return all events up to the first one that is enough; fails where none is."""
    timer = threading.Timer(limit_s, reader.stop)
    timer.daemon = True
    timer.start()
    seen: list[SourceEvent] = []
    for event in reader:
        seen.append(event)
        if enough(event):
            timer.cancel()
            return seen
    raise AssertionError(
        f"never came; seen: {[(one.source.name, one.ended, one.problem) for one in seen][-20:]}"
    )


def frames(seen: list[SourceEvent]) -> Iterator[np.ndarray]:
    return (one.frame.image_bgr for one in seen if one.frame is not None)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_h264_arrives_as_it_was_sent(clip, transport):
    with (
        RtspServer(clip) as server,
        reader_of(
            server.url(), network=NetworkOptions(rtsp_transport=transport), every_frame=True
        ) as reader,
    ):
        seen = watch(reader, lambda event: event.frame is not None and event.frame.index == 60)
        assert seen[-1].reader.frame_rate == 25
    numbers = [servers.number_of(image) for image in frames(seen)]
    assert numbers == list(range(numbers[0], numbers[0] + 61))


@pytest.mark.slow
def test_a_server_that_goes_down_and_returns_is_reconnected_and_no_frame_is_invented(clip):
    with RtspServer(clip) as server, reader_of(server.url()) as reader:
        seen = watch(reader, lambda event: event.frame is not None)
        for _ in range(3):
            server.down()
            seen += watch(reader, lambda event: "trying again" in event.problem)
            time.sleep(0.5)
            server.up()
            returned = time.monotonic()
            seen += watch(reader, lambda event: "is back after" in event.problem)
            assert (
                time.monotonic() - returned < 4
            )  # of which the server and FFmpeg take one to find out what is sent
        seen += watch(reader, lambda event: event.frame is not None and event.frame.index > 100)
    assert all(0 <= servers.number_of(image) < 25 * 60 for image in frames(seen))


@pytest.mark.slow
def test_a_server_that_stops_sending_is_reconnected_while_another_continues(clip):
    with (
        RtspServer() as silent,
        RtspServer(clip) as good,
        reader_of(silent.url(), good.url()) as reader,
    ):
        watch(reader, lambda event: event.frame is not None and event.source.name == silent.url())
        silent.pause(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            seen = watch(reader, lambda event: "trying again" in event.problem)
            assert time.monotonic() - stopped < 5
        finally:
            silent.pause(signal.SIGCONT)
        assert seen[-1].source.name == silent.url()
        assert sum(1 for one in seen if one.frame and one.source.name == good.url()) > 20
        watch(reader, lambda event: "is back after" in event.problem)


@pytest.mark.slow
def test_a_server_that_accepts_and_never_answers_is_abandoned_in_time():
    with HttpServer(servers.never_answers) as mute:
        address = mute.url().replace("http://", "rtsp://")
        began = time.monotonic()
        with reader_of(address, network=NetworkOptions(open_tries=1)) as reader:
            seen = watch(reader, lambda event: event.ended)
        assert time.monotonic() - began < 4
    assert seen[-1].problem in {
        f"{address} cannot be opened: no answer in time; given up after 1 attempts",
        f"{address} did not answer within 3 s; given up after 1 attempts",
    }


def test_a_password_works_and_is_revealed_to_nobody(capfd):
    with RtspServer(login=("drone", "geheim")) as server:
        with reader_of(server.url("drone:geheim@")) as reader:
            seen = watch(reader, lambda event: event.frame is not None)
            server.down()
            seen += watch(reader, lambda event: "trying again" in event.problem)
            told = f"{seen}{reader.status()}"
        server.up()
        for userinfo, reason in [
            ("drone:geheim2@", "wrong user or password"),
            ("", "user and password required"),
        ]:
            with reader_of(server.url(userinfo)) as reader:
                refused = watch(reader, lambda event: event.ended)
            told += f"{refused}{reader.status()}"
            assert f"401 unauthorized, {reason}; given up, since" in refused[0].problem
        told += str(capfd.readouterr())
    assert "geheim" not in told
    assert seen[0].source.name == server.url()


def test_an_unknown_path_ends_at_once():
    with RtspServer() as server, reader_of(server.url(path="/nothing")) as reader:
        seen = watch(reader, lambda event: event.ended)
    assert len(seen) == 1
    assert "404 not found; given up" in seen[0].problem


@pytest.mark.slow
def test_a_frozen_camera_is_flagged():
    frozen = servers.TEST_PICTURE.format(pattern="white")
    with RtspServer(frozen) as server, reader_of(server.url(), network=NetworkOptions()) as reader:
        watch(reader, lambda event: event.frame is not None)
        began = time.monotonic()
        seen = watch(reader, lambda event: event.problem != "")
        assert time.monotonic() - began < 5.5
    assert "is stale: the image has not changed for 4.5 s" in seen[-1].problem


def test_stopping_takes_no_longer_than_a_moment():
    with RtspServer() as server, reader_of(server.url()) as reader:
        watch(reader, lambda event: event.frame is not None)
        server.pause(signal.SIGSTOP)
        threading.Timer(0.3, reader.stop).start()
        began = time.monotonic()
        assert list(reader)[-1].ended
        assert time.monotonic() - began < 1.5
        server.pause(signal.SIGCONT)
