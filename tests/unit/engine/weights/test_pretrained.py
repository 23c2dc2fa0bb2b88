"""Weights by name or path, with a server on this machine in place of the network."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from yolo_ema.engine.weights.pretrained import resolve_pretrained
from yolo_ema.errors import OfflineError, WeightsError, WeightsNotFoundError

BODY = bytes(range(256)) * 5000


@pytest.fixture
def server():
    """Serves ``BODY`` as yolo11n.pt and yolov5su.pt; ``.asked`` lists what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            one.asked.append(f"{self.command} {self.path}")
            if self.path not in {"/v9/yolo11n.pt", "/v9/yolov5su.pt"}:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(BODY)

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.asked = []
    one.url = f"http://127.0.0.1:{one.server_port}/v9"
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_EMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("asked", "fetched"),
    [
        ("yolo11n.pt", "yolo11n.pt"),
        ("yolo11n", "yolo11n.pt"),
        ("yolov5s", "yolov5su.pt"),
        ("yolov5s.pt", "yolov5su.pt"),
    ],
)
def test_published_weights_are_fetched_once_and_announced(server, cache, capfd, asked, fetched):
    path = resolve_pretrained(asked, base_url=server.url)
    assert path == cache / "weights" / fetched
    assert path.read_bytes() == BODY
    said = capfd.readouterr()
    assert said.out == ""
    assert (
        f"fetching {fetched} (1.3 MB, by Ultralytics, licence AGPL-3.0) from "
        f"{server.url}/{fetched} to {path}" in said.err
    )
    assert server.asked == [f"HEAD /v9/{fetched}", f"GET /v9/{fetched}"]
    assert resolve_pretrained(asked, offline=True, base_url=server.url) == path
    assert len(server.asked) == 2
    assert [one.name for one in path.parent.iterdir()] == [fetched], "nothing half-done is left"


def test_offline_contacts_no_server(server, cache):
    with pytest.raises(
        OfflineError,
        match=rf"yolo11n.pt is not on this machine, and --offline forbids fetching it; put it at "
        rf"{cache}/weights/yolo11n.pt",
    ):
        resolve_pretrained("yolo11n", offline=True, base_url=server.url)
    assert server.asked == []


def test_a_server_that_lacks_it(server, cache):
    with pytest.raises(
        WeightsError, match=r"yolo11s.pt could not be fetched: .*404.*give its path"
    ):
        resolve_pretrained("yolo11s.pt", base_url=server.url)
    assert not (cache / "weights" / "yolo11s.pt").exists()


def test_a_path_is_used_unchanged(tmp_path):
    own = tmp_path / "runs" / "yolo11n.pt"
    own.parent.mkdir()
    own.write_bytes(b"x")
    assert resolve_pretrained(own, offline=True) == own
    (tmp_path / "mine.pt").write_bytes(b"x")
    assert resolve_pretrained("mine.pt", offline=True).read_bytes() == b"x"
    with pytest.raises(
        WeightsNotFoundError,
        match=r"no weights file at .*runs/yolo11m.pt; did you mean 'yolo11n.pt'",
    ):
        resolve_pretrained(tmp_path / "runs" / "yolo11m.pt")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("yolov11n.pt", "yolo11n.pt"),
        ("yolo11n-seeg", "yolo11n-seg.pt"),
        ("yolov26m.pt", "yolo26m.pt"),
    ],
)
def test_a_mistyped_name_suggests_the_closest(typed, meant):
    with pytest.raises(WeightsNotFoundError, match=f"did you mean '{meant}'"):
        resolve_pretrained(typed)
