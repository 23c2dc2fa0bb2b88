"""The threads that answer viewers, no more than a few dozen at once."""

from __future__ import annotations

import socket
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Any

from yolo_ema.errors import ConfigError
from yolo_ema.media.live_page.live_state import LiveState
from yolo_ema.media.live_page.page_handler import PageHandler
from yolo_ema.media.live_page.token_auth import TokenAuth

__all__ = ["PageServer"]

_MOST_CONNECTIONS = 48


class PageServer(ThreadingHTTPServer):
    """A web server whose viewers never slow anything but themselves."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, host: str, port: int, live_state: LiveState, auth: TokenAuth) -> None:
        """Listen. Raises `ConfigError` where the address or port can't be had."""
        self.live_state, self.auth = live_state, auth
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), PageHandler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"the page can't be served at {host}, port {port}: {reason}; --serve 0 picks a "
                f"free port"
            ) from error
        # Cookies know no ports: two runs on one machine must not overwrite each other's.
        self.cookie_name = f"yolo_ema_{self.server_address[1]}"

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, which can take seconds."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = (
            str(self.server_address[0]),
            int(self.server_address[1]),
        )

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, or not at all where too many are busy."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and leave the place to the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over viewers who went away; anything else is a fault of ours and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
