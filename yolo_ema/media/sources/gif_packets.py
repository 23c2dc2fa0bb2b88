"""Damage in animated GIFs: FFmpeg's decoder fills the rest of a torn frame silently, and its
demuxer makes one packet of all that follows damage.
"""

from __future__ import annotations

import re

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_HEADER_BYTES, _IMAGE_BYTES = 13, 10
_FRAME_START = re.compile(rb"!\xf9\x04.{4}\0,", re.DOTALL)


class GifPackets:
    """Follows the packets of a GIF.

    Attributes:
        ended: whether the file's end mark has been seen, or its damage counted.
    """

    def __init__(self) -> None:
        self.ended = False

    def damaged_frames(self, packet: bytes) -> int:
        """Return how many frames of a packet are torn or lost; 0 if its one frame is whole."""
        try:
            self.ended = _ends_file(packet)
        except (IndexError, ValueError):
            self.ended = True
            return max(1, len(_FRAME_START.findall(packet)))
        return 0


def _ends_file(packet: bytes) -> bool:
    """Walk through the blocks of a packet: the file's header if it is the first, extensions, a
    frame, and the file's end mark if it is the last.

    Raises:
        IndexError: the packet ends within a block.
        ValueError: something is not a block.
    """
    offset = _HEADER_BYTES + _table_bytes(packet[10]) if packet.startswith(b"GIF8") else 0
    frames = 0
    while offset < len(packet):
        kind = packet[offset]
        if kind == _TRAILER:
            return True
        if kind == _EXTENSION:
            offset += 2
        elif kind == _IMAGE and not frames:
            offset += _IMAGE_BYTES + _table_bytes(packet[offset + 9]) + 1
            frames += 1
        else:
            raise ValueError("no block of a GIF")
        while size := packet[offset]:
            offset += 1 + size
        offset += 1
    if not frames:
        raise IndexError("the packet holds no frame")
    return False


def _table_bytes(flags: int) -> int:
    """Return the size of the table of colours that a block of these flags has."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
