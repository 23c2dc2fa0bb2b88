"""Local servers that behave badly on purpose: motion JPEG over HTTP in here, RTSP through GStreamer
in a process of its own.

Every image carries its number, so that a test can tell whether what arrived was ever sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import select
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

BITS = 16


def numbered(number: int, image_wh: tuple[int, int] = (160, 120)) -> np.ndarray:
    """An image that shows its number as sixteen black or white fields."""
    fields = np.array([255 * (number >> bit & 1) for bit in range(BITS)], np.uint8).reshape(4, 4)
    grey = cv2.resize(fields, image_wh, interpolation=cv2.INTER_NEAREST)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


def number_of(image_bgr: np.ndarray) -> int:
    """The number that an image shows. Raises `ValueError` where a field is neither black nor
    white.
    """
    height, width = image_bgr.shape[:2]
    middles = (
        image_bgr[height // 8 :: height // 4, width // 8 :: width // 4, 1][:4, :4]
        .astype(int)
        .ravel()
    )
    if not np.all((middles < 64) | (middles > 191)):
        raise ValueError(f"no picture that was ever sent: {middles}")
    return sum(1 << bit for bit, level in enumerate(middles) if level > 127)


def jpeg(number: int, image_wh: tuple[int, int] = (160, 120)) -> bytes:
    return cv2.imencode(".jpg", numbered(number, image_wh), [cv2.IMWRITE_JPEG_QUALITY, 90])[
        1
    ].tobytes()


class HttpServer:
    """Accepts connections, reads the request's head, and lets ``behaviour(server, line, head)`` do
    the rest in a thread.

    Attributes:
        sent: numbers of the images that were sent, with the time of each.
    """

    def __init__(self, behaviour: Callable[[HttpServer, socket.socket, str], None]) -> None:
        self.behaviour = behaviour
        self.sent: dict[int, float] = {}
        self.requests: list[str] = []
        self.next_number = 0
        self.port = 0
        self._listener: socket.socket | None = None
        self._lines: list[socket.socket] = []
        self.up()

    def url(self, path: str = "/live", userinfo: str = "") -> str:
        return f"http://{userinfo}127.0.0.1:{self.port}{path}"

    def up(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(16)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections and break those that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(
                socket.SHUT_RDWR
            )  # wakes the thread that accepts, so that the port is free
            listener.close()
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        self._lines.clear()

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            self._lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = line.recv(4096)
                if not piece:
                    return
                head += piece
            self.requests.append(head.decode())
            self.behaviour(self, line, head.decode())
        except OSError:
            pass
        finally:
            line.close()

    def send_picture(
        self, line: socket.socket, number: int | None = None, image_wh: tuple[int, int] = (160, 120)
    ) -> None:
        if number is None:
            number, self.next_number = self.next_number, self.next_number + 1
        content = jpeg(number, image_wh)
        self.sent.setdefault(number, time.monotonic())
        line.sendall(
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
            % (len(content), content)
        )


def begin(
    line: socket.socket, content_type: str = "multipart/x-mixed-replace; boundary=frame"
) -> None:
    line.sendall(
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n".encode()
    )


def plays(pause_s: float = 0.04) -> Callable:
    def behave(server: HttpServer, line: socket.socket, _: str) -> None:
        begin(line)
        while True:
            server.send_picture(line)
            time.sleep(pause_s)

    return behave


def freezes(after: int, pause_s: float = 0.04) -> Callable:
    def behave(server: HttpServer, line: socket.socket, _: str) -> None:
        begin(line)
        number = 0
        while True:
            server.send_picture(line, min(number, after))
            number += 1
            time.sleep(pause_s)

    return behave


def resizes(every: int, pause_s: float = 0.02) -> Callable:
    def behave(server: HttpServer, line: socket.socket, _: str) -> None:
        begin(line)
        for number in range(1 << BITS):
            server.send_picture(
                line, number, [(160, 120), (320, 240), (96, 200)][number // every % 3]
            )
            time.sleep(pause_s)

    return behave


def never_answers(_server: HttpServer, line: socket.socket, _: str) -> None:
    _until_gone(line)


def says_nothing_more(_server: HttpServer, line: socket.socket, _: str) -> None:
    begin(line)
    _until_gone(line)


def sends_garbage(_server: HttpServer, line: socket.socket, _: str) -> None:
    begin(line)
    noise = np.random.default_rng(0)
    while True:
        line.sendall(noise.bytes(10_000))
        time.sleep(0.01)


def speaks_no_http(_server: HttpServer, line: socket.socket, _: str) -> None:
    line.sendall(np.random.default_rng(1).bytes(5000))


def drips(text: bytes, pause_s: float) -> Callable:
    def behave(_server: HttpServer, line: socket.socket, _: str) -> None:
        for at in range(len(text)):
            line.sendall(text[at : at + 1])
            time.sleep(pause_s)

    return behave


def breaks_off_in_a_picture(server: HttpServer, line: socket.socket, _: str) -> None:
    begin(line)
    for _index in range(5):
        server.send_picture(line)
    content = jpeg(server.next_number)
    line.sendall(
        b"--frame\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content[: len(content) // 2])
    )


def answers(status: str, headers: str = "") -> Callable:
    def behave(_server: HttpServer, line: socket.socket, _: str) -> None:
        line.sendall(
            f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )

    return behave


def wants_password(
    user: str, password: str, *, digest: bool = False, offers: Sequence[str] = ()
) -> Callable:
    """Play for those who know the password; the digest is the one of RFC 7616, with MD5 as cameras
    have it unless ``offers``, the values of ``WWW-Authenticate``, say otherwise.
    """
    asked = offers or [
        'Digest realm="camera", nonce="abc123", qop="auth"' if digest else 'Basic realm="camera"'
    ]

    def allowed(head: str) -> bool:
        if "Authorization: Basic" in head and "Basic" in str(asked):
            return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}" in head
        fields = dict(
            re.findall(
                r'(\w+)="?([^",]*)"?',
                head.partition("Authorization: Digest ")[2].partition("\r\n")[0],
            )
        )
        if not fields:
            return False
        make = hashlib.sha256 if fields.get("algorithm") == "SHA-256" else hashlib.md5
        first = make(f"{user}:camera:{password}".encode()).hexdigest()
        second = make(f"GET:{fields['uri']}".encode()).hexdigest()
        middle = f"{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:{fields['qop']}"
        return fields["response"] == make(f"{first}:{middle}:{second}".encode()).hexdigest()

    def behave(server: HttpServer, line: socket.socket, head: str) -> None:
        if allowed(head):
            plays()(server, line, head)
        told = "".join(f"WWW-Authenticate: {offer}\r\n" for offer in asked)
        answers("401 Unauthorized", told)(server, line, head)

    return behave


def _until_gone(line: socket.socket) -> None:
    """Keep the connection open until the other side closes it."""
    while True:
        ready, _, _ = select.select([line], [], [], 0.5)
        if ready and not line.recv(1):
            return


RTSP_SCRIPT = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
if sys.argv[4:]:
    user, password = sys.argv[4:6]
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(sys.argv[2])
factory.set_shared(True)
if sys.argv[4:]:
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory(sys.argv[3], factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""

SYSTEM_PYTHON = "/usr/bin/python3"
TEST_PICTURE = (
    "( videotestsrc is-live=true pattern={pattern} ! "
    "video/x-raw,format=I420,width=320,height=240,framerate=25/1 "
    "! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)


def why_no_rtsp() -> str:
    """Why an RTSP server cannot be started here, or ""."""
    check = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import "
        "GstRtspServer, Gst; Gst.init(None); "
        "assert all(map(Gst.ElementFactory.find, ['rtpjpegpay', 'jpegenc', 'videotestsrc', "
        "'qtdemux', 'rtph264pay']))"
    )
    if not Path(SYSTEM_PYTHON).exists():
        return f"{SYSTEM_PYTHON} is missing"
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", check], capture_output=True, text=True, timeout=60, check=False
    )
    missing = (
        "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
    )
    return f"no RTSP server here; on Debian: apt-get install {missing}" if done.returncode else ""


class RtspServer:
    """A GStreamer RTSP server in a process of its own."""

    def __init__(
        self,
        launch: str = TEST_PICTURE.format(pattern="ball"),
        *,
        path: str = "/drone",
        login: tuple[str, ...] = (),
    ) -> None:
        self._settings = [launch, path, *login]
        self._path = path
        self._process: subprocess.Popen | None = None
        self.port = 0
        self.up()

    def url(self, userinfo: str = "", path: str | None = None) -> str:
        return f"rtsp://{userinfo}127.0.0.1:{self.port}{path or self._path}"

    def up(self) -> None:
        command = [SYSTEM_PYTHON, "-c", RTSP_SCRIPT, str(self.port), *self._settings]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        )
        self.port = int(self._process.stdout.readline())

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def pause(self, signal_number: int) -> None:
        self._process.send_signal(signal_number)

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
