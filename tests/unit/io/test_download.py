from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from yolo_ema.errors import DataError, DiskFullError
from yolo_ema.io.download import fetch, remote_size, shown_url

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves one file; drops the connection, changes the file or refuses on demand, and remembers
    what it was asked.
    """

    def __init__(self) -> None:
        self.content, self.tag = CONTENT, '"1"'
        self.drop_after: list[int] = []
        self.ranges = self.states_length = True
        self.status = 200
        self.moved_to = ""
        self.authorization: str | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}/VisDrone2019-DET-val.zip"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                span = self.headers.get("Range")
                server.asked.append((self.command, span))
                server.authorization = self.headers.get("Authorization")
                if server.moved_to:
                    self.send_response(302)
                    self.send_header("Location", server.moved_to)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if server.status != 200:
                    self.send_error(server.status)
                    return
                start = 0
                condition = self.headers.get("If-Range")
                if span and server.ranges and condition in {None, server.tag}:
                    start = int(span.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(server.content):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    self.send_header(
                        "Content-Range",
                        f"bytes {start}-{len(server.content) - 1}/{len(server.content)}",
                    )
                else:
                    self.send_response(200)
                piece = server.content[start:]
                if server.states_length:
                    self.send_header("Content-Length", str(len(piece)))
                self.send_header("ETag", server.tag)
                self.end_headers()
                if body:
                    if server.drop_after:
                        piece = piece[: server.drop_after.pop(0)]
                        self.close_connection = True
                    with contextlib.suppress(ConnectionError):
                        self.wfile.write(piece)

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


def _only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_complete(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "archives" / "a.zip"
    fetched = fetch([server.url], target)
    assert target.read_bytes() == CONTENT
    assert (fetched.size, fetched.sha256, fetched.url) == (len(CONTENT), SHA256, server.url)
    assert _only(target.parent) == ["a.zip"]


def test_a_dropped_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.drop_after = [300_000, 200_000]
    fetch([server.url], tmp_path / "a.zip", pause_s=0.01)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == [("GET", None), ("GET", "bytes=300000-"), ("GET", "bytes=500000-")]


def test_a_later_call_resumes_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    server.drop_after = [300_000, 0, 0]
    with pytest.raises(
        DataError,
        match=r"a\.zip could not be fetched: .*ended after 300000 of 1024000 bytes, 2 times",
    ):
        fetch([server.url], tmp_path / "a.zip", attempts=2, pause_s=0.01)
    assert _only(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    fetch([server.url], tmp_path / "a.zip")
    assert server.asked[-1] == ("GET", "bytes=300000-")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert _only(tmp_path) == ["a.zip"]


def test_another_version_at_the_server_is_never_mixed_in(server: Server, tmp_path: Path) -> None:
    server.drop_after = [300_000, 0]
    with pytest.raises(DataError):
        fetch([server.url], tmp_path / "a.zip", attempts=1, pause_s=0.01)
    server.content, server.tag = CONTENT[::-1], '"2"'
    fetch([server.url], tmp_path / "a.zip", pause_s=0.01)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_is_asked_again_from_the_start(
    server: Server, tmp_path: Path
) -> None:
    server.ranges, server.drop_after = False, [300_000]
    fetch([server.url], tmp_path / "a.zip", pause_s=0.01)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.drop_after = [300_000, 0]
    with pytest.raises(DataError):
        fetch([server.url], tmp_path / "a.zip", attempts=1, pause_s=0.01)
    server.content = CONTENT[:1000]
    fetch([server.url], tmp_path / "a.zip", pause_s=0.01)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[:1000]


def test_a_server_that_does_not_state_the_size(server: Server, tmp_path: Path) -> None:
    server.states_length = False
    assert remote_size([server.url]) is None
    fetch([server.url], tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    gone = Server()
    gone.status = 404
    nobody = "http://127.0.0.1:9/a.zip"
    fetched = fetch([gone.url, nobody, server.url], tmp_path / "a.zip", attempts=2, pause_s=0.01)
    assert fetched.url == server.url
    assert len(gone.asked) == 1  # what is not there is not asked for twice
    assert remote_size([gone.url, server.url]) == len(CONTENT)
    gone.http.shutdown()
    gone.http.server_close()


def test_a_wrong_hash_is_refused_and_the_next_mirror_tried(server: Server, tmp_path: Path) -> None:
    other = Server()
    other.content = CONTENT[:-1] + b"!"
    fetched = fetch([other.url, server.url], tmp_path / "a.zip", sha256=SHA256)
    assert fetched.url == server.url
    with pytest.raises(DataError, match=f"its SHA-256 is [0-9a-f]{{64}}, expected {SHA256}"):
        fetch([other.url], tmp_path / "b.zip", sha256=SHA256)
    assert _only(tmp_path) == ["a.zip"]
    other.http.shutdown()
    other.http.server_close()


def test_every_response_is_named(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(
        DataError, match=r"503 .*3 times in a row.*file:///etc/passwd: expected an address"
    ):
        fetch([server.url, "file:///etc/passwd"], tmp_path / "a.zip", attempts=3, pause_s=0.01)
    assert len(server.asked) == 3
    assert _only(tmp_path) == []


def test_a_full_disk_is_reported_and_not_retried(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = Path.open

    def no_room(path: Path, mode: str = "r", *args, **kwargs):
        if path.suffix == ".part" and mode == "wb":
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_open(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", no_room)
    with pytest.raises(DiskFullError, match="disk full"):
        fetch([server.url], tmp_path / "a.zip", pause_s=0.01)
    assert len(server.asked) == 1


SECRET = "user:p%40ss"


def test_user_and_password_go_only_to_their_server(server: Server, tmp_path: Path) -> None:
    fetched = fetch([server.url.replace("://", f"://{SECRET}@")], tmp_path / "a.zip")
    assert server.authorization == "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert fetched.url == server.url
    other = Server()
    other.moved_to = server.url
    fetch([other.url.replace("://", f"://{SECRET}@")], tmp_path / "b.zip")
    assert other.authorization
    assert server.authorization is None
    other.http.shutdown()
    other.http.server_close()


@pytest.mark.parametrize("status", [404, 503])
def test_no_message_and_no_file_repeats_a_secret(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.status = status
    url = f"{server.url.replace('://', '://user:geheim@')}?sig=geheim#geheim"
    with pytest.raises(DataError, match=r"val\.zip\?…: ") as caught:
        fetch([url], tmp_path / "a.zip", attempts=1)
    server.status, server.drop_after = 200, [1000]
    with pytest.raises(DataError, match="ended after"):
        fetch([url], tmp_path / "a.zip", attempts=0, pause_s=0)
    assert "geheim" not in str(caught.value)
    assert _only(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    assert "geheim" not in (tmp_path / "a.zip.part.json").read_text()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a.zip", "https://example.org/a.zip"),
        ("https://me:secret@example.org:81/a.zip", "https://example.org:81/a.zip"),
        ("https://example.org/a.zip?sig=secret&x=1", "https://example.org/a.zip?…"),
        ("https://example.org/a.zip#secret", "https://example.org/a.zip"),
        ("https://example.org/v@2/a.zip", "https://example.org/v@2/a.zip"),
        ("https://me:sec/ret@example.org/a.zip", "https://…"),
        ("https://me:sec?ret@example.org/a.zip", "https://…"),
        ("https://me:se#cret@example.org/a.zip", "https://…"),
    ],
)
def test_the_shown_part_of_an_address(url: str, shown: str, tmp_path: Path) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "place", ["me:sec/ret@127.0.0.1", "[::1", "127.0.0.1:99x", "127.0.0.1:9/ a"]
)
def test_an_unparsable_address_is_an_error_without_its_parts(place: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be fetched") as caught:
        fetch([f"http://{place}/a.zip?sig=geheim"], tmp_path / "a.zip", attempts=1, pause_s=0)
    assert not {"sec", "ret", "geheim"} & set(re.split(r"[^a-z]", str(caught.value)))
