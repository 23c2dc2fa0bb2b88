"""The live page as a client sees it: who gets in, what is shown, and that no viewer delays
anything.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np
import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.live_page import server
from yolo_ema.media.live_page.live_page import LivePage

TOKEN = "a-long-token"


def found_in(source="a.mp4", index=0, objects=2, image_wh=(640, 360)) -> FrameDetections:
    image = np.full((image_wh[1], image_wh[0], 3), (index * 40) % 250, np.uint8)
    boxes = np.tile([10.0, 10, 50, 50], (objects, 1))
    class_ids = np.arange(objects) % 2
    return FrameDetections(
        Frame(image, source, index, index / 10),
        boxes,
        np.full(objects, 0.9),
        class_ids,
        {0: "car", 1: "bus"},
    )


def publish(page: LivePage, **about) -> None:
    found = found_in(**about)
    page.publish(found, found.frame.image_bgr)


def ask(page: LivePage, path: str, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(page.url.rsplit(":", 1)[1].strip("/")), timeout=10
    )
    connection.request(
        method,
        path,
        body=body,
        headers={key.replace("_", "-"): value for key, value in headers.items()},
    )
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def state(page: LivePage, after=0, **headers) -> dict:
    return json.loads(ask(page, f"/state.json?after={after}", **headers)[1])


@pytest.fixture
def page():
    with LivePage(0) as page:
        yield page


@pytest.fixture
def guarded():
    with LivePage(0, "0.0.0.0", TOKEN) as page:
        yield page


def test_counts_rates_and_problems_are_shown(page):
    for index in range(3):
        publish(page, index=index, objects=3)
        time.sleep(0.05)
    page.publish_status(
        [
            {
                "name": "a.mp4",
                "state": "live",
                "frames_read": 9,
                "frames_dropped": 6,
                "reconnects": 0,
                "problem": "",
            },
            {
                "name": "rtsp://b",
                "state": "failed",
                "frames_read": 0,
                "frames_dropped": 0,
                "problem": "no answer within 3 s",
            },
        ]
    )
    told = state(page)
    first, second = told["sources"]
    assert (first["objects"], first["sequence"], first["frames_dropped"], first["frame"]) == (
        3,
        3,
        6,
        2,
    )
    assert first["classes"] == [
        {"name": "car", "count": 2, "colour": "#ffff00"},
        {"name": "bus", "count": 1, "colour": "#ff8800"},
    ]
    assert 3 < first["rate"] < 25
    assert (second["state"], second["id"], second["problem"]) == (
        "failed",
        None,
        "no answer within 3 s",
    )
    assert not told["ended"]


def test_the_newest_image_is_served_in_the_requested_size(page):
    for index in (0, 5):
        publish(page, index=index, image_wh=(1920, 1080))
    number = state(page)["sources"][0]["id"]
    for width, expected in ((300, 480), (800, 800), (5000, 1920), (0, 480)):
        answer, content = ask(page, f"/pictures/{number}.jpg?width={width}")
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[1] == expected
        assert abs(float(image.mean()) - 200) < 3
        assert answer.getheader("X-Sequence") == "2"


def test_requests_wait_for_news(page):
    publish(page)
    revision = state(page)["revision"]
    threading.Timer(0.3, publish, (page,), {"index": 1}).start()
    before = time.monotonic()
    assert state(page, after=revision)["revision"] == revision + 1
    assert 0.2 < time.monotonic() - before < 1.5


def test_folders_of_many_images_keep_few_previews(page):
    for index in range(40):
        publish(page, source=f"{index}.jpg")
    page.publish_status([{"name": f"status {index}", "state": "ended"} for index in range(100)])
    told = state(page)
    assert [one["name"] for one in told["sources"] if one["id"] is not None] == [
        f"{index}.jpg" for index in range(24, 40)
    ]
    assert told["left_out"] == 36
    assert len(told["sources"]) == 64 + 16


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/pictures/99.jpg", "/pictures/x.jpg", "/../page.py", "/page.html", "/answers.py"],
)
def test_unknown_paths(page, path):
    assert ask(page, path)[0].status == 404


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/state.json", "/nothing"])
def test_every_answer_is_locked_down(page, path):
    answer, content = ask(page, path)
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert "Python" not in answer.getheader("Server")
    assert b"http://" not in content
    assert b"https://" not in content


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("127.0.0.2:80", 200),
        ("128.0.0.1", 403),
        ("[::2]:80", 403),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("", 403),
    ],
)
def test_foreign_host_names_are_refused(page, host, status):
    publish(page)
    assert ask(page, "/state.json", Host=host)[0].status == status


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux answers at all of 127.0.0.0/8 unasked"
)
def test_another_address_of_this_machine_alone_needs_no_token():
    with LivePage(0, "127.0.0.2") as page:
        publish(page)
        with urllib.request.urlopen(page.url, timeout=10) as answer:
            assert answer.status == 200


def test_other_pages_may_link_here_but_not_read(page):
    assert ask(page, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0].status == 200
    assert (
        ask(page, "/state.json", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors")[0].status
        == 403
    )


def test_without_the_token_only_the_login_is_shown(guarded):
    publish(guarded, source="secret place.mp4")
    for path in ("/", "/state.json", "/pictures/1.jpg", "/nothing"):
        answer, content = ask(guarded, path)
        assert answer.status == 403
        assert b"Token required" in content
        assert b"secret" not in content
    assert ask(guarded, "/page.css")[0].status == 200


@pytest.mark.parametrize("way", ["header", "query", "form"])
def test_the_token_opens_by_header_address_and_form(guarded, way):
    publish(guarded)
    if way == "header":
        assert state(guarded, Authorization=f"Bearer {TOKEN}")["sources"]
        return
    if way == "query":
        answer, _ = ask(guarded, f"/?token={TOKEN}")
    else:
        answer, _ = ask(
            guarded,
            "/enter",
            "POST",
            f"token={TOKEN}",
            Content_Type="application/x-www-form-urlencoded",
        )
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    cookie = answer.getheader("Set-Cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert state(guarded, Cookie=cookie.partition(";")[0])["sources"]


@pytest.mark.parametrize(
    "others",
    [
        *("_xsrf=2|ab|cd; {}", 'prefs={{"theme":"dark"}}; {}', "path=/x; {}", "flag; {}"),
        *("a=b c; {}", "n=\xfc; {}", "name[x]=1; {}", "; ;={}; {}", "{};a", "x={};{}"),
        "yolo_ema_{port}=of-an-earlier-run; {}",
    ],
)
def test_cookies_of_other_programs_do_not_matter(guarded, others):
    publish(guarded)
    cookie = ask(guarded, f"/?token={TOKEN}")[0].getheader("Set-Cookie").partition(";")[0]
    port = guarded.url.rsplit(":", 1)[1].strip("/")
    count = others.count("{}")
    assert state(guarded, Cookie=others.format(*[cookie] * count, port=port))["sources"]
    wrong = others.format(*[f"yolo_ema_{port}=x"] * count, port=port)
    assert ask(guarded, "/state.json", Cookie=wrong)[0].status == 403
    renamed = others.format(*[f"x{cookie}"] * count, port=port)
    assert ask(guarded, "/state.json", Cookie=renamed)[0].status == 403


@pytest.mark.parametrize(
    ("token", "typed"),
    [
        ("a+long+token", "a+long+token"),
        ("a+long+token", "a%2Blong%2Btoken"),
        ("a long token", "a%20long%20token"),
        ("a long token", "a+long+token"),
    ],
)
def test_a_plus_in_a_typed_token_is_a_plus(token, typed):
    with LivePage(0, "0.0.0.0", token) as page:
        assert ask(page, f"/?token={typed}")[0].status == 303
        assert ask(page, f"/?token={typed}x")[0].status == 403


@pytest.mark.parametrize(
    "wrong", ["", "a-long-toke", "a-long-token2", "\xe4\xf6\xfc", "A-LONG-TOKEN"]
)
def test_a_wrong_token_opens_nothing(guarded, wrong):
    assert ask(guarded, "/state.json", Authorization=f"Bearer {wrong}")[0].status == 403
    assert (
        ask(
            guarded,
            "/state.json",
            Cookie=f"yolo_ema_{guarded.url.rsplit(':', 1)[1].strip('/')}={wrong}",
        )[0].status
        == 403
    )
    assert ask(guarded, "/enter", "POST", f"token={wrong}".encode())[0].status == 403


def test_forms_that_are_too_long_or_lie_about_their_length_are_refused(guarded):
    assert ask(guarded, "/enter", "POST", "token=" + "x" * 5000)[0].status == 403
    assert ask(guarded, "/enter", "POST", "", Content_Length="-5")[0].status == 403
    assert ask(guarded, "/elsewhere", "POST", f"token={TOKEN}")[0].status == 403


@pytest.mark.parametrize(
    ("host", "token", "reason"),
    [("0.0.0.0", None, "open to everybody"), ("127.0.0.1", "short", "5 characters")],
)
def test_an_insufficiently_protected_page_is_not_opened(host, token, reason):
    with pytest.raises(ConfigError, match=reason):
        LivePage(0, host, token)


def test_a_port_in_use_is_named(page):
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(ConfigError, match=f"port {port}.*--serve 0"):
        LivePage(port)


def test_a_port_is_nobody_elses_where_reuse_means_sharing(monkeypatch):
    """As on Windows."""
    monkeypatch.setattr(sys, "platform", "win32")
    own = server.PageServer("127.0.0.1", 0, None, None, BaseHTTPRequestHandler)
    assert not own.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    own.server_close()


def test_viewers_that_do_not_read_delay_nothing(page):
    noise = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), dtype=np.uint8)
    found = found_in(image_wh=(1920, 1080))
    page.publish(found, noise)
    number, port = state(page)["sources"][0]["id"], int(page.url.rsplit(":", 1)[1].strip("/"))
    sleepers = []
    for _ in range(5):
        sleeper = socket.create_connection(("127.0.0.1", port))
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.sendall(
            f"GET /pictures/{number}.jpg?width=1920 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            * 20
        )
        sleepers.append(sleeper)
    time.sleep(0.5)
    before = time.monotonic()
    for _ in range(200):
        page.publish(found, noise)
    assert time.monotonic() - before < 1.0
    assert state(page)["sources"][0]["sequence"] == 201
    for sleeper in sleepers:
        sleeper.close()


@pytest.mark.slow
def test_too_many_connections_are_turned_away_and_the_rest_continue(page):
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    time.sleep(0.3)
    turned_away = 0
    for one in idle:
        one.settimeout(0.05)
        try:
            turned_away += one.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionError:
            turned_away += 1
    for one in idle:
        one.close()
    assert turned_away >= 12
    time.sleep(0.3)
    assert ask(page, "/")[0].status == 200


def test_the_end_is_announced_and_nothing_listens_after_it():
    page = LivePage(0)
    publish(page)
    revision, told = state(page)["revision"], []
    waiting = threading.Thread(target=lambda: told.append(state(page, after=revision)))
    waiting.start()
    time.sleep(0.2)
    before = time.monotonic()
    page.close()
    page.close()
    assert time.monotonic() - before < 1
    waiting.join(5)
    assert told[0]["ended"]
    with pytest.raises(ConnectionError):
        ask(page, "/")


@pytest.fixture
def connect(page: LivePage) -> Iterator[Callable[..., socket.socket]]:
    """Return a function that connects to the page and sends it something; all are closed at the
    end, also where a test has failed.
    """
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    with contextlib.ExitStack() as connections:

        def connect(sent: bytes, source: str = "127.0.0.1") -> socket.socket:
            connection = connections.enter_context(
                socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
            )
            connection.sendall(sent)
            return connection

        yield connect


def is_closed(connection: socket.socket, within_s: float) -> bool:
    connection.settimeout(within_s)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.slow
def test_half_sent_requests_shut_nobody_out(page, connect):
    """Sixty that never end their headers, from one address; the viewer comes from the same, and
    from another.
    """
    half = [connect(b"GET / HTTP/1.1\r\nHost: local", source="127.0.0.2") for _ in range(60)]
    began = time.monotonic()
    assert ask(page, "/")[0].status == 200
    half += [connect(b"GET / HTTP/1.1\r\nHost: local") for _ in range(60)]
    assert ask(page, "/")[0].status == 200
    assert time.monotonic() - began < 3


def test_an_address_gets_only_its_share_of_the_connections(connect):
    half = [connect(b"GET /", source="127.0.0.2") for _ in range(40)]
    is_closed(half[15], 5.0)  # the last to go
    time.sleep(0.3)
    closed = [is_closed(connection, 0.01) for connection in half]
    assert closed == [True] * 16 + [False] * 24, "the oldest make room"


def test_a_connection_waits_since_it_was_accepted_however_late_its_thread_begins(
    connect, monkeypatch
):
    """The first thread begins last; yet its connection is the oldest, and makes room."""
    begin, begun = server.PageServer.process_request_thread, []

    def late(self, request, client_address):
        begun.append(request)
        if len(begun) == 1:
            time.sleep(0.5)
        begin(self, request, client_address)

    monkeypatch.setattr(server.PageServer, "process_request_thread", late)
    half = [connect(b"GET /", source="127.0.0.2") for _ in range(24)]
    time.sleep(1.0)
    connect(b"GET /", source="127.0.0.2")
    assert is_closed(half[0], 5.0)
    assert not is_closed(half[1], 0.05)


def test_a_request_that_trickles_in_is_dropped(connect, monkeypatch):
    monkeypatch.setattr(server, "_WHOLE_REQUEST_S", 0.6)
    trickles = connect(b"GET / HTTP/1.1\r\n")
    began = time.monotonic()
    closed_after = None
    for letter in b"X-Slow: " + b"a" * 40:
        try:
            trickles.sendall(bytes([letter]))
        except ConnectionError:
            closed_after = time.monotonic() - began
            break
        time.sleep(0.05)
    trickles.close()
    assert closed_after is not None
    assert 0.5 < closed_after < 1.5
    body = connect(b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nto")
    assert is_closed(body, 2.0)


@pytest.mark.slow
def test_a_waiting_answer_is_not_a_slow_request(page, monkeypatch):
    """Waiting for news may take longer than a request."""
    monkeypatch.setattr(server, "_WHOLE_REQUEST_S", 0.3)
    revision = state(page)["revision"]
    began = time.monotonic()
    assert state(page, after=revision)["revision"] == revision
    assert time.monotonic() - began > 1.5


@pytest.mark.slow
@pytest.mark.parametrize("way", ["bearer", "address", "form"])
def test_wrong_tokens_are_answered_late_one_at_a_time_however_they_are_sent(guarded, way):
    asks = {
        "bearer": lambda: ask(guarded, "/", Authorization="Bearer not-the-token"),
        "address": lambda: ask(guarded, "/?token=not-the-token"),
        "form": lambda: ask(guarded, "/enter", "POST", "token=not-the-token"),
    }[way]
    began = time.monotonic()
    guesses = [threading.Thread(target=asks) for _ in range(4)]
    for guess in guesses:
        guess.start()
    status = ask(guarded, "/", Authorization=f"Bearer {TOKEN}")[0].status
    right_after = time.monotonic() - began
    for guess in guesses:
        guess.join()
    assert time.monotonic() - began >= 2.0, "four guesses, half a second each"
    assert status == 200
    assert right_after < 1.0, "who knows the token waits for nobody"


@pytest.mark.parametrize("target", [b"http://[::bad/", b"//[", b"/?%zz=[", b"http://[v1.x]:99999/"])
def test_an_unparsable_address_is_plainly_refused(connect, capfd, target):
    connection = connect(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    status = int(connection.recv(4096).split()[1])
    connection.close()
    time.sleep(0.1)
    assert status in {200, 400, 403, 404}
    assert "Traceback" not in capfd.readouterr().err
