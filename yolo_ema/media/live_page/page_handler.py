"""Answers the browser's requests."""

from __future__ import annotations

import json
import re
import time
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from yolo_ema.media.live_page.server import PageServer

_POLL_S = 2.0
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_IMAGE_PATH = re.compile(r"/pictures/(\d{1,9})\.jpg")
_LONGEST_FORM = 1024
_WRONG_TOKEN_S = 0.5
"""Wrong tokens are answered late, one after another over all connections, to make guessing slow."""


class PageHandler(BaseHTTPRequestHandler):
    """One connection of a viewer."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "yolo-ema", ""
    timeout = 15.0  # seconds that a viewer may keep a thread waiting for each read and write

    def handle_one_request(self) -> None:
        """Wait for a request and answer it."""
        self.server.set_waiting(self.connection, waiting=True)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer with the page, its parts, the state or an image."""
        self.server.set_waiting(self.connection, waiting=False)
        try:
            address = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(address.query).items()}
            # In an address typed by hand + means +, in one made by a form a space.
            literal = parse_qs(address.query.replace("+", "%2B"))
        except ValueError:
            self.close_connection = True
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", b"This address cannot be read.\n")
            return
        if not self._is_meant_for_us():
            self._send(
                HTTPStatus.FORBIDDEN,
                "text/plain",
                b"This page answers only to requests that come from itself.\n",
            )
        # no secrets; the login needs the first
        elif address.path in {"/page.css", "/page.js", "/live_map.js"}:
            self._send_part(address.path[1:])
        elif "token" in query:
            self._enter(query["token"], literal["token"][-1])
        elif not self.server.auth.lets_in(_plain(self.headers), self.server.cookie_name):
            self._refuse(guessed="Authorization" in self.headers)
        elif address.path == "/":
            self._send_part("page.html")
        elif address.path == "/state.json":
            state = self.server.live_state.state(_whole(query.get("after", "")), _POLL_S)
            self._send(HTTPStatus.OK, "application/json", json.dumps(state).encode())
        elif match := _IMAGE_PATH.fullmatch(address.path):
            self._send_image(int(match[1]), _whole(query.get("width", "")))
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"Nothing is here.\n")

    def do_POST(self) -> None:
        """Take the token from the login form."""
        length = _whole(self.headers.get("Content-Length", ""))
        if not self._is_meant_for_us() or self.path != "/enter" or not 0 < length <= _LONGEST_FORM:
            self.close_connection = True
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"Only the login form is accepted.\n")
            return
        form = parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        self.server.set_waiting(self.connection, waiting=False)
        self._enter(form.get("token", [""])[-1])

    def _is_meant_for_us(self) -> bool:
        headers = _plain(self.headers)
        # Other pages' scripts and images may not come here; a link that somebody follows may.
        foreign = (
            headers.get("Sec-Fetch-Site") == "cross-site"
            and headers.get("Sec-Fetch-Mode") != "navigate"
        )
        return self.server.auth.knows_host(headers) and not foreign

    def _enter(self, *tokens: str) -> None:
        """Let in whoever sent the token; several are readings of one word."""
        if not any(self.server.auth.is_token(token) for token in tokens):
            self._refuse(guessed=True)
            return
        # To the page without the token in its address, which history and screenshots would keep.
        cookie = self.server.auth.cookie(self.server.cookie_name)
        self._send(HTTPStatus.SEE_OTHER, "text/plain", b"", {"Location": "/", "Set-Cookie": cookie})

    def _refuse(self, *, guessed: bool) -> None:
        """Show the login page; to those who sent a wrong token, late."""
        if guessed:
            with self.server.guessing:
                time.sleep(_WRONG_TOKEN_S)
        self._send_part("login.html", HTTPStatus.FORBIDDEN)

    def _send_image(self, number: int, width: int) -> None:
        image = self.server.live_state.image(number, width)
        if image is None:
            self._send(
                HTTPStatus.NOT_FOUND, "text/plain", b"This source no longer shows anything.\n"
            )
            return
        self._send(HTTPStatus.OK, "image/jpeg", image[1], {"X-Sequence": str(image[0])})

    def _send_part(self, name: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, _TYPES[Path(name).suffix], _part(name))

    def _send(
        self, status: HTTPStatus, kind: str, content: bytes, more: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {
            **_HEADERS,
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            **(more or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: addresses may carry a token."""


@lru_cache(maxsize=8)
def _part(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _plain(headers: Any) -> dict[str, str]:
    return {key.title(): value for key, value in headers.items()}


def _whole(text: str) -> int:
    """Return a number from an address; 0 if it is not one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
