"""Motion JPEG and other video over HTTP, from local servers that misbehave on purpose."""

from __future__ import annotations

import http.server
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import misbehaving_servers as servers
import numpy as np
import pytest
from misbehaving_servers import HttpServer

from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.open_sources import open_sources
from yolo_ema.media.sources.source_reader import SourceEvent, SourceReader

QUICK = NetworkOptions(open_timeout_s=1.0, read_timeout_s=1.0, stale_after_s=0.7, first_wait_s=0.1)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")


@pytest.fixture
def serve() -> Iterator:
    started: list[HttpServer] = []

    def start(behaviour) -> HttpServer:
        started.append(HttpServer(behaviour))
        return started[-1]

    yield start
    for server in started:
        server.down()


def reader_of(
    *urls: str, network: NetworkOptions = QUICK, every_frame: bool = False
) -> SourceReader:
    return SourceReader(open_sources(list(urls), network=network), every_frame=every_frame)


def watch(reader: SourceReader, enough, limit_s: float = 30) -> list[SourceEvent]:
    """Return all events up to the first one that is enough; fails where none is."""
    timer = threading.Timer(limit_s, reader.stop)
    timer.daemon = True
    timer.start()
    seen = []
    for event in reader:
        seen.append(event)
        if enough(event):
            timer.cancel()
            return seen
    timer.cancel()
    raise AssertionError(
        f"never came; seen: {[(one.source.name, one.ended, one.problem) for one in seen][-20:]}"
    )


def numbers(seen: list[SourceEvent]) -> list[int]:
    return [servers.number_of(one.frame.image_bgr) for one in seen if one.frame is not None]


def test_what_arrives_is_what_was_sent(serve):
    server = serve(servers.plays())
    with reader_of(server.url(), every_frame=True) as reader:
        seen = watch(reader, lambda event: event.frame is not None and event.frame.index == 30)
    assert numbers(seen) == list(range(31))
    assert all(one.frame.image_wh == (160, 120) for one in seen)


@pytest.mark.slow
def test_a_server_that_goes_down_and_returns_is_reconnected_and_no_frame_is_invented(serve):
    server = serve(servers.plays(0.02))
    with reader_of(server.url()) as reader:
        seen = watch(reader, lambda event: event.frame is not None)
        for _ in range(5):
            server.down()
            seen += watch(reader, lambda event: "trying again" in event.problem)
            time.sleep(0.4)
            server.up()
            returned = time.monotonic()
            back = watch(
                reader, lambda event: event.frame is not None and "is back after" in event.problem
            )
            assert time.monotonic() - returned < 2
            seen += back
        assert reader.status()[0].reconnects == 5
    came = numbers(seen)
    assert set(came) <= set(server.sent)
    assert came == sorted(set(came))


@pytest.mark.slow
def test_a_silent_server_is_abandoned_in_time_while_another_source_continues(serve):
    mute, good = serve(servers.never_answers), serve(servers.plays())
    began = time.monotonic()
    with reader_of(mute.url(), good.url(), network=NetworkOptions(open_tries=1)) as reader:
        seen = watch(reader, lambda event: event.ended)
        assert time.monotonic() - began < 3.5
        assert seen[-1].source.name == mute.url()
        assert seen[-1].problem.endswith("no answer in time; given up after 1 attempts")
        assert len(numbers(seen)) > 10
        assert {status.name: status.state for status in reader.status()} == {
            mute.url(): "failed",
            good.url(): "live",
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (servers.says_nothing_more, "broke off: no answer in time|delivered no frame for 1 s"),
        (servers.sends_garbage, "delivered no frame for 1 s"),
        (servers.speaks_no_http, "cannot be opened: the answer is not valid HTTP"),
        (servers.drips(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500, 0.2), "did not answer within 1 s"),
        (
            servers.drips(
                b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x; boundary=f\r\n\r\n"
                + servers.jpeg(1),
                0.01,
            ),
            "no frame for 1 s",
        ),
        (servers.answers("503 Busy"), r"the server answers 503 \(Service Unavailable\)"),
        (servers.answers("302 Found", "Location: /live\r\n"), "the server answers 302"),
    ],
    ids=["nothing", "garbage", "no http", "drips its head", "drips", "503", "redirects for ever"],
)
def test_a_problem_is_named_and_ends_as_failed(serve, behaviour, told):
    server = serve(behaviour)
    with reader_of(
        server.url(),
        network=NetworkOptions(open_timeout_s=1, read_timeout_s=1, first_wait_s=0.05, open_tries=2),
    ) as reader:
        seen = watch(reader, lambda event: event.ended)
        assert reader.status()[0].state == "failed"
    assert not any(one.frame for one in seen)
    assert re.search(told, seen[0].problem)
    assert seen[-1].problem.endswith("given up after 2 attempts")


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (servers.answers("404 Not Found"), "the server answers 404 (Not Found); given up"),
        (
            servers.answers("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"\r\n'),
            "401 (Unauthorized), user and password required; given up",
        ),
        (
            servers.answers("200 OK", "Content-Type: image/jpeg\r\n"),
            "is a single image (image/jpeg), not a stream",
        ),
        (servers.answers("200 OK", "Content-Type: text/html\r\n"), "is a web page, not a stream"),
    ],
    ids=["404", "401", "image", "page"],
)
def test_permanent_errors_end_at_once(serve, behaviour, told):
    server = serve(behaviour)
    with reader_of(server.url()) as reader:
        seen = watch(reader, lambda event: event.ended)
    assert len(seen) == 1
    assert told in seen[0].problem
    assert len(server.requests) == 1


@pytest.mark.slow
def test_a_frozen_stream_is_flagged_within_five_seconds(serve):
    server = serve(servers.freezes(after=10))
    with reader_of(server.url(), network=NetworkOptions()) as reader:
        seen = watch(reader, lambda event: "stale" in event.problem)
        assert (
            time.monotonic() - server.sent[10] < 5.5
        )  # the default is 4.5; the rest is for a busy machine
        assert reader.status()[0].state == "stale"
    assert set(numbers(seen)) <= set(range(11))


def test_a_stream_that_changes_its_size_continues(serve):
    server = serve(servers.resizes(every=10))
    with reader_of(server.url(), every_frame=True) as reader:
        seen = watch(reader, lambda event: event.frame is not None and event.frame.index == 35)
    assert numbers(seen) == list(range(36))
    assert [one.frame.image_wh for one in seen[::10]] == [
        (160, 120),
        (320, 240),
        (96, 200),
        (160, 120),
    ]
    assert [one.problem.partition("from ")[2] for one in seen if one.problem] == [
        "160x120 to 320x240 pixels",
        "320x240 to 96x200 pixels",
        "96x200 to 160x120 pixels",
    ]


def test_a_truncated_image_never_arrives(serve):
    server = serve(servers.breaks_off_in_a_picture)
    with reader_of(server.url(), every_frame=True) as reader:
        seen = watch(reader, lambda event: event.frame is not None and event.frame.index == 14)
        assert reader.status()[0].reconnects == 2
    assert numbers(seen) == list(range(15))


def test_a_bomb_among_the_images_is_skipped(serve):
    bomb = bytearray(servers.jpeg(9))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = b"\xff\xff\xff\xff"

    def behave(server, line, _):
        servers.begin(line)
        server.send_picture(line, 1)
        time.sleep(0.2)
        line.sendall(b"--frame\r\n\r\n" + bytes(bomb))
        server.send_picture(line, 2)
        time.sleep(30)

    server = serve(behave)
    with reader_of(server.url(), every_frame=True) as reader:
        seen = watch(reader, lambda event: event.frame is not None and event.frame.index == 1)
    assert numbers(seen) == [1, 2]


def test_damaged_images_are_skipped_and_counted(serve):
    """Of each a part of the pixels is zeroed: decoders paint it grey and say nothing."""
    whole = servers.jpeg(7)
    holed = whole[: len(whole) // 2] + bytes(40) + whole[len(whole) // 2 + 40 :]

    def behave(server, line, _):
        servers.begin(line)
        for number in (1, 2, 3):
            server.send_picture(line, number)
            line.sendall(b"--frame\r\n\r\n" + holed)
            time.sleep(0.1)
        server.send_picture(line, 4)
        time.sleep(30)

    server = serve(behave)
    with reader_of(server.url(), every_frame=True) as reader:
        seen = watch(reader, lambda event: event.frame is not None and event.frame.index == 3)
        assert numbers(seen) == [1, 2, 3, 4]
        assert seen[-1].reader.damaged_packets == 3
        assert seen[-1].reader.loss == "3 damaged packets were skipped"


@pytest.mark.parametrize("digest", [False, True], ids=["basic", "digest"])
def test_a_password_works_and_is_revealed_to_nobody(serve, digest, capfd):
    server = serve(servers.wants_password("dr@ne", "geh/eim", digest=digest))
    with reader_of(server.url(userinfo="dr%40ne:geh%2Feim@")) as reader:
        seen = watch(reader, lambda event: event.frame is not None)
        server.down()
        seen += watch(reader, lambda event: "trying again" in event.problem)
        told = f"{seen}{reader.status()}{capfd.readouterr()}"
    assert seen[0].source.name == server.url()
    assert "geh" not in told
    assert "dr@ne" not in told
    assert "dr%40ne" not in told


def test_a_wrong_password_is_named_without_it(serve, capfd):
    server = serve(servers.wants_password("drone", "right", digest=True))
    with reader_of(server.url(userinfo="drone:geheim@")) as reader:
        seen = watch(reader, lambda event: event.ended)
        told = f"{seen}{reader.status()}{capfd.readouterr()}"
    assert "401 (Unauthorized), wrong user or password; given up" in seen[0].problem
    assert "geheim" not in told


def test_a_redirect_is_followed_without_the_password(serve):
    other = serve(servers.plays())
    first = serve(
        servers.answers(
            "302 Found",
            f"Location: {other.url('/elsewhere').replace('127.0.0.1', 'localhost')}\r\n",
        )
    )
    with reader_of(first.url(userinfo="drone:geheim@")) as reader:
        watch(reader, lambda event: event.frame is not None)
    assert other.requests[0].startswith("GET /elsewhere ")
    assert "authorization" not in other.requests[0].lower()


def test_a_transport_stream_over_tcp(tmp_path):
    write_video(tmp_path / "x.ts")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_once() -> None:
        line, _ = listener.accept()
        with line:
            line.sendall((tmp_path / "x.ts").read_bytes())

    threading.Thread(target=serve_once, daemon=True).start()
    with (
        listener,
        reader_of(
            f"tcp://127.0.0.1:{listener.getsockname()[1]}",
            network=NetworkOptions(),
            every_frame=True,
        ) as reader,
    ):
        seen = watch(reader, lambda event: "ended the stream; trying again" in event.problem)
    assert numbers(seen) == list(range(30))


@pytest.mark.slow
def test_a_transport_stream_over_udp(tmp_path):
    write_video(tmp_path / "x.ts")
    content = (tmp_path / "x.ts").read_bytes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            while not over.is_set():
                for at in range(0, len(content), 7 * 188):
                    line.sendto(content[at : at + 7 * 188], ("127.0.0.1", port))
                    over.wait(0.02)

    threading.Thread(target=send, daemon=True).start()
    with reader_of(
        f"udp://127.0.0.1:{port}", network=NetworkOptions(open_timeout_s=10), every_frame=True
    ) as reader:
        seen = watch(reader, lambda event: event.frame is not None and event.frame.index == 20)
        over.set()
        seen += watch(reader, lambda event: event.problem != "")
    assert {one.frame.image_wh for one in seen if one.frame} == {(160, 120)}
    assert "no answer in time" in seen[-1].problem or "delivered no frame" in seen[-1].problem


def write_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(30):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(servers.numbered(number), format="bgr24"))
            )
        container.mux(stream.encode())


def test_stopping_ends_a_read_that_waits(serve):
    server = serve(servers.says_nothing_more)
    patience = NetworkOptions(open_timeout_s=30, read_timeout_s=30)
    with reader_of(server.url(), network=patience) as reader:
        threading.Timer(0.5, reader.stop).start()
        began = time.monotonic()
        assert [one.ended for one in reader] == [True]
    assert time.monotonic() - began < 2
    assert not [one for one in threading.enumerate() if server.url() in one.name]


@pytest.mark.parametrize("name", ["x.mp4", "x.ts", "x.m3u8"])
def test_a_video_file_behind_an_address_is_read_to_its_end(tmp_path, name):
    write_video(tmp_path / name)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with reader_of(
            f"http://127.0.0.1:{server.server_address[1]}/{name}", network=NetworkOptions()
        ) as reader:
            seen = watch(reader, lambda event: event.ended)
        server.shutdown()
    assert numbers(seen) == list(range(30))
    assert np.allclose(
        [one.frame.time_s for one in seen if one.frame], np.arange(30) / 10, atol=1e-3
    )
    assert seen[-1].problem == ""


def test_a_recording_with_a_cover_image_is_read_as_video(tmp_path, monkeypatch):
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        clip = container.add_stream("libx264", rate=25)
        clip.width, clip.height, clip.pix_fmt = 160, 120, "yuv420p"
        clip.disposition = av.stream.Disposition.default
        still = av.VideoFrame.from_ndarray(servers.numbered(1, (320, 240)), format="bgr24")
        container.mux(cover.encode(still))
        container.mux(cover.encode())
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(servers.numbered(number), format="bgr24")
            container.mux(clip.encode(frame))
        container.mux(clip.encode())
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        with reader_of(f"http://127.0.0.1:{web.server_port}/x.mkv") as reader:
            seen = watch(reader, lambda event: event.ended)
        web.shutdown()
    assert numbers(seen) == list(range(20))
    times = [event.frame.time_s for event in seen if event.frame]
    assert times == pytest.approx([number / 25 for number in range(20)], abs=1e-3)


def test_a_truncated_recording_says_how_many_frames_are_missing(tmp_path, monkeypatch):
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(servers.numbered(number), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        with reader_of(f"http://127.0.0.1:{web.server_port}/x.mp4") as reader:
            seen = watch(reader, lambda event: event.ended)
        web.shutdown()
    count = sum(event.frame is not None for event in seen)
    assert 10 < count < 60
    assert f"{60 - count} frames that the file states are missing" in seen[-1].reader.loss
