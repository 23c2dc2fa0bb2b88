"""Streams over HTTP: motion JPEG is read here; any other video is left to FFmpeg.

FFmpeg's reader of motion JPEG stops where a length is wrong or something stands between two images,
and passes on images that broke off as if they were whole; ``benchmarks/streams.py`` shows both
readers on such streams.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from fractions import Fraction
from http import HTTPStatus
from typing import Any

import numpy as np

from yolo_ema.errors import SourceError, SourceRefusedError
from yolo_ema.io.image_header import LARGEST_PIXELS, ImageHeaderError, read_header
from yolo_ema.media.sources.addresses import Address
from yolo_ema.media.sources.av_stream import AvConnection
from yolo_ema.media.sources.http_login import LoginHandler, unsupported
from yolo_ema.media.sources.jpeg_decoder import decode_jpeg
from yolo_ema.media.sources.jpeg_splitter import JpegSplitter
from yolo_ema.media.sources.network_options import NetworkOptions

_USELESS_TO_RETRY = frozenset({400, 401, 402, 403, 404, 405, 406, 407, 410, 451})


class _Sockets:
    """The sockets of an opener, so that a blocked read can be ended from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._closed = False

    def add(self, opened: socket.socket) -> None:
        with self._lock:
            self._open.append(opened)
            closed = self._closed
        if closed:
            self.shut()

    def set_timeout(self, seconds: float) -> None:
        with self._lock:
            for opened in self._open:
                with contextlib.suppress(OSError):  # closed meanwhile, as after a redirect
                    opened.settimeout(seconds)

    def shut(self) -> None:
        with self._lock:
            self._closed = True
            for opened in self._open:
                with contextlib.suppress(OSError):  # no longer connected
                    # not SSL's own shutdown, which would wait for the other side
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _opener(address: Address, sockets: _Sockets) -> urllib.request.OpenerDirector:
    """Return an opener that follows redirects, and that gives the password to the server of the
    address and to no other.
    """

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, request)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, request)

    handlers: list[Any] = [PlainHandler, SecureHandler]
    if address.username or address.password:
        handlers.append(LoginHandler(address.bare_url, address.username, address.password))
    return urllib.request.build_opener(*handlers)


class HttpConnection:
    """One connection to an ``http://`` or ``https://`` address."""

    def __init__(
        self, address: Address, options: NetworkOptions, *, max_pixels: int = LARGEST_PIXELS
    ) -> None:
        self.frame_rate: Fraction | None = None
        self.finite = False
        self.damaged = 0
        self._address = address
        self._options = options
        self._max_pixels = max_pixels
        self._sockets = _Sockets()
        self._response: http.client.HTTPResponse | None = None
        self._video: AvConnection | None = None
        self._closed = False

    @property
    def missing_frames(self) -> int:
        """How many frames a recording states and does not hold, known at its end."""
        return self._video.missing_frames if self._video else 0

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width of a pixel divided by its height; None if square or not stated."""
        return self._video.pixel_aspect if self._video else None

    @property
    def notes(self) -> list[str]:
        """What the user should know about the frames so far."""
        return self._video.notes if self._video else []

    def open(self) -> None:
        """Request the address, and choose a reader for what it serves. Raises `SourceError`."""
        shown = self._address.shown
        self._response = self._request()
        kind = self._response.headers.get_content_type()
        if self._response.headers.get_content_maintype() == "multipart":
            self._sockets.set_timeout(self._options.read_timeout_s)
            return
        self._response.close()
        if kind.startswith("image/"):
            raise SourceRefusedError(
                f"{shown} is a single image ({kind}), not a stream; download it and name the file"
            )
        if kind == "text/html":
            raise SourceRefusedError(
                f"{shown} is a web page, not a stream; name the address of the stream that it shows"
            )
        self._video = AvConnection(self._address, self._options, max_pixels=self._max_pixels)
        if self._closed:
            self._video.close()
        self._video.open()
        self.frame_rate = self._video.frame_rate
        # A recording states its length; so does a playlist, which may be that of a live stream.
        self.finite = self._video.finite or (
            "Content-Length" in self._response.headers and not self._video.is_playlist
        )

    def _request(self) -> http.client.HTTPResponse:
        problem, refused = "", False
        request = urllib.request.Request(  # noqa: S310 - only http(s) addresses come here
            self._address.bare_url, headers={"User-Agent": "yolo-ema", "Accept": "*/*"}
        )
        try:
            return _opener(self._address, self._sockets).open(
                request, timeout=0.9 * self._options.open_timeout_s
            )
        except urllib.error.HTTPError as error:
            error.close()
            known = error.code in set(HTTPStatus)
            phrase = HTTPStatus(error.code).phrase if known else "unknown status"
            problem = f"the server answers {error.code} ({phrase})"
            refused = error.code in _USELESS_TO_RETRY
            if error.code == HTTPStatus.UNAUTHORIZED:
                problem += self._why_not_let_in(error)
        # URLError and time-outs are OSErrors
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = _reason(error)
        # Raised out here, so that no traceback leads to an error that holds the address.
        kind = SourceRefusedError if refused else SourceError
        raise kind(f"{self._address.shown} cannot be opened: {self._address.cleaned(problem)}")

    def _why_not_let_in(self, error: urllib.error.HTTPError) -> str:
        if not self._address.password:
            return ", user and password required"
        if offered := unsupported(error.headers):
            return f", and lets nobody in by Basic or Digest (MD5, SHA-256): it offers {offered}"
        return ", wrong user or password"

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield the images; damaged ones are skipped and counted. Raises `SourceError` if the
        connection breaks.
        """
        if self._video is not None:
            for frame in self._video.frames():
                self.damaged = self._video.damaged
                yield frame
            return
        if self._response is None:
            return
        with contextlib.closing(self._response):
            yield from self._images()

    def _images(self) -> Iterator[tuple[np.ndarray, float | None]]:
        splitter = JpegSplitter()
        undecodable = 0
        while not self._closed:
            for content in splitter.feed(self._read()):
                image_bgr = self._decoded(content)
                undecodable += image_bgr is None
                if image_bgr is not None:
                    yield image_bgr, None
            self.damaged = splitter.broken + undecodable

    def _read(self) -> bytes:
        """Return the next bytes. Raises `SourceError` at the stream's end or if none arrive."""
        problem = "the server ended the stream"
        try:
            piece = self._response.read1(1 << 16) if self._response is not None else b""
            if piece:
                return piece
        # all but OSError: closed by another thread
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            problem = _reason(error)
        raise SourceError(f"{self._address.shown} broke off: {self._address.cleaned(problem)}")

    def _decoded(self, content: bytes) -> np.ndarray | None:
        try:
            header = read_header(io.BytesIO(content), max_pixels=self._max_pixels)
            return decode_jpeg(content, header.orientation)
        except (ImageHeaderError, ValueError):
            return None

    def close(self) -> None:
        """End the connection, and with it a waiting read."""
        self._closed = True
        self._sockets.shut()
        if self._video is not None:
            self._video.close()


def _reason(error: BaseException) -> str:
    """Say what happened without the text of an error, which may hold the address."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, socket.gaierror):
        return "the host name is unknown"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return f"the answer is not valid HTTP ({type(cause).__name__})"
