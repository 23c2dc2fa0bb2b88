"""The threads that answer viewers: a few dozen at once, and none that a viewer can hold."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from yolo_ema.errors import ConfigError
from yolo_ema.media.live_page.live_state import LiveState
from yolo_ema.media.live_page.token_auth import TokenAuth

_MOST_CONNECTIONS = 48
_MOST_PER_ADDRESS = 24
_WHOLE_REQUEST_S = 10.0
"""A request that has not arrived completely by then is given up, however slowly it trickles in."""


@dataclass
class _Connection:
    """A viewer's connection."""

    address: str
    waits_since: float | None


class PageServer(ThreadingHTTPServer):
    """A web server whose viewers never slow down anything but themselves.

    Attributes:
        live_state: what there is to show.
        auth: who may see it.
        guessing: held while a wrong token is answered, so that guesses wait for each other.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(
        self,
        host: str,
        port: int,
        live_state: LiveState,
        auth: TokenAuth,
        handler: type[BaseHTTPRequestHandler],
    ) -> None:
        """Listen, with a handler for each connection.

        Raises:
            ConfigError: the address or port is not available.
        """
        self.live_state, self.auth = live_state, auth
        self.guessing = threading.Lock()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, _Connection] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"the page cannot be served at {host}, port {port}: {reason}; --serve 0 picks a "
                f"free port"
            ) from error
        # Cookies ignore ports: two runs on one machine must not overwrite each other's.
        self.cookie_name = f"yolo_ema_{self.server_address[1]}"

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, which can take seconds."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # On Windows it would let two servers share a port, and neither know.
        if self.allow_reuse_address and sys.platform != "win32":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        host, port, *_ = self.server_address
        self.server_name, self.server_port = str(host), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own. Where too many are connected, the connection that has
        awaited its request the longest makes room; if all are being answered, the new one goes.
        """
        address = str(client_address[0])
        with self._lock:
            alike = [s for s, info in self._connections.items() if info.address == address]
            crowd: list[socket.socket] | None = None
            if len(alike) >= _MOST_PER_ADDRESS:
                crowd = alike
            elif len(self._connections) >= _MOST_CONNECTIONS:
                crowd = list(self._connections)
            if crowd is not None and not self._drop_longest_waiting(crowd):
                self.shutdown_request(request)
                return
            self._connections[request] = _Connection(address, time.monotonic())
        super().process_request(request, client_address)

    def _drop_longest_waiting(self, crowd: list[socket.socket]) -> bool:
        waits = {s: since for s in crowd if (since := self._connections[s].waits_since) is not None}
        if not waits:
            return False
        self._drop(min(waits, key=waits.__getitem__))
        return True

    def _drop(self, connection: socket.socket) -> None:
        self._connections.pop(connection, None)
        with contextlib.suppress(OSError):  # gone already; its thread ends by itself
            connection.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(request, None)

    def set_waiting(self, connection: socket.socket, *, waiting: bool) -> None:
        """Note that a connection's request is awaited from now on, or that it is complete.

        A new connection is awaited since it was accepted: its thread may begin late.
        """
        with self._lock:
            if info := self._connections.get(connection):
                now = time.monotonic()
                info.waits_since = (info.waits_since or now) if waiting else None

    def service_actions(self) -> None:
        """Give up requests that take too long to arrive; called several times a second."""
        limit = time.monotonic() - _WHOLE_REQUEST_S
        with self._lock:
            for connection, info in list(self._connections.items()):
                if info.waits_since is not None and info.waits_since < limit:
                    self._drop(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore viewers who went away; anything else is a bug of ours and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
