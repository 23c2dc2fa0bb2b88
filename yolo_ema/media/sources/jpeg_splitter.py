"""Finds whole JPEGs in a stream of bytes, however it is cut into pieces and whatever stands between
them.
"""

from __future__ import annotations

import re

_START = b"\xff\xd8\xff"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""In coded pixels: not a stuffed byte, a fill byte or a restart."""
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_MAY_HOLD_AN_IMAGE = frozenset({*range(0xE0, 0xF0), 0xFE})  # a thumbnail, or a comment
_LARGEST_BYTES = 256 << 20


class JpegSplitter:
    """Finds the JPEGs of an MJPEG stream by their own marks.

    It does not rely on the multipart headers around them: cameras get boundaries and lengths wrong.
    An image that breaks off because another one begins inside it is left out.

    Attributes:
        broken: how many images broke off, so far.
    """

    def __init__(self) -> None:
        self.broken = 0
        self._buffer = bytearray()
        self._at = 0  # how far the image at the buffer's start is known
        self._in_pixels = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes and return the images that they complete. Raises `ValueError` if one
        has no end.
        """
        self._buffer += piece
        images = []
        while (image := self._next()) is not None:
            images.append(image)
        if len(self._buffer) > _LARGEST_BYTES:
            raise ValueError(f"an image without an end after {_LARGEST_BYTES >> 20} MB")
        return images

    def _next(self) -> bytes | None:
        if self._at == 0 and not self._seek_start():
            return None
        while (length := self._step()) is not None:
            if length > 0:
                image = bytes(self._buffer[:length])
                self._restart(length)
                return image
            if self._at == 0 and not self._seek_start():
                return None
        return None

    def _seek_start(self) -> bool:
        """Drop what stands before the next image; return False if none begins yet."""
        start = self._buffer.find(_START)
        if start < 0:
            del self._buffer[: max(0, len(self._buffer) - (len(_START) - 1))]
            return False
        del self._buffer[:start]
        self._at = 2
        return True

    def _step(self) -> int | None:
        """Advance by one segment; return the image's length at its end, 0 before it, None if more
        bytes are needed.
        """
        buffer = self._buffer
        if self._in_pixels:
            match = _MARKER.search(buffer, self._at)
            if match is None:
                self._at = max(self._at, len(buffer) - 1)
                return None
            self._at, self._in_pixels = match.start(), False
        if len(buffer) < self._at + 4:
            ends = (
                len(buffer) >= self._at + 2
                and buffer[self._at] == 0xFF
                and buffer[self._at + 1] == 0xD9
            )
            return self._at + 2 if ends else None
        marker = buffer[self._at + 1]
        if buffer[self._at] != 0xFF or marker == 0xD8:
            return self._break_off()
        if marker == 0xD9:
            return self._at + 2
        if marker == 0xFF:
            self._at += 1
        elif marker in _STANDALONE:
            self._at += 2
        else:
            return self._skip_segment(marker)
        return 0

    def _skip_segment(self, marker: int) -> int | None:
        end = (
            self._at + 2 + max(2, int.from_bytes(self._buffer[self._at + 2 : self._at + 4], "big"))
        )
        if marker not in _MAY_HOLD_AN_IMAGE:
            if self._buffer.find(_START, self._at, end) >= 0:
                return self._break_off()
            if len(self._buffer) < end:
                return None
        self._at, self._in_pixels = end, marker == 0xDA
        return 0

    def _break_off(self) -> int:
        """Give up the image at the buffer's start; look for another behind its first mark."""
        self.broken += 1
        self._restart(2)
        return 0

    def _restart(self, offset: int) -> None:
        del self._buffer[:offset]
        self._at, self._in_pixels = 0, False
