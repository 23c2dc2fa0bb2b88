"""`LivePage`, the interface to detection."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.live_page.live_state import LiveState
from yolo_ema.media.live_page.page_handler import PageHandler
from yolo_ema.media.live_page.server import PageServer
from yolo_ema.media.live_page.token_auth import TokenAuth


class LivePage:
    """A page that shows each source's newest annotated frame, counts, rates and drops.

    Publishing hands over a reference and returns: images are encoded in viewers' threads, and slow
    viewers get fewer of them.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", token: str | None = None) -> None:
        """Start serving.

        Args:
            port: 0 picks a free one.
            host: an address of this machine; all but loopback addresses need a token.
            token: what viewers must know, 8 or more characters.

        Raises:
            ConfigError: the port is taken, the address is not one of this machine's, or the token
                is missing or too short.
        """
        self._live_state = LiveState()
        self._server = PageServer(host, port, self._live_state, TokenAuth(host, token), PageHandler)
        self._host = host
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="live page", daemon=True
        )
        self._thread.start()
        self._closed = False

    @property
    def url(self) -> str:
        """Where the page is, without the token."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_port}/"

    def publish(
        self,
        found: FrameDetections,
        image_bgr: np.ndarray,
        on_map: Mapping[str, Any] | None = None,
    ) -> None:
        """Show a frame.

        Args:
            found: its detections.
            image_bgr: the image in which they are drawn, (H, W, 3) uint8, which must not be changed
                afterwards.
            on_map: the camera, the view and the objects on the ground, see `LocatedFrame.on_map`.
        """
        self._live_state.publish(found, image_bgr, on_map)

    def publish_status(self, statuses: Sequence[Mapping[str, Any]]) -> None:
        """Show how the sources are doing.

        Args:
            statuses: for each source its ``name`` as in ``frame.source`` and what is known of
                ``state``, ``frames_read``, ``frames_dropped``, ``reconnects``,
                ``seconds_since_frame``, ``problem``, and ``counts`` (number by label).
        """
        self._live_state.publish_status(statuses)

    def close(self) -> None:
        """Tell the viewers that the run has ended, and stop. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._live_state.end()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> LivePage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
