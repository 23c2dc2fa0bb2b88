"""Streams by their address as sources."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_ema.io.image_header import LARGEST_PIXELS
from yolo_ema.media.sources.addresses import Address
from yolo_ema.media.sources.connection import Connection
from yolo_ema.media.sources.live_reader import LiveReader
from yolo_ema.media.sources.network_options import NetworkOptions
from yolo_ema.media.sources.source import LiveSource


@dataclass(frozen=True)
class StreamSource(LiveSource):
    """A stream.

    Attributes:
        number: tells streams apart that differ in their secrets only; 1 for the first.
        file_stem: a name for files to use instead of the address.
    """

    address: Address
    network: NetworkOptions = NetworkOptions()  # noqa: RUF009 - frozen
    max_pixels: int = LARGEST_PIXELS
    number: int = 1
    file_stem: str = ""

    @property
    def name(self) -> str:
        """The address without its secrets."""
        return self.address.shown if self.number == 1 else f"{self.address.shown} #{self.number}"

    @property
    def stem(self) -> str:
        """Host, port and path of the address, in letters, digits, dots and dashes."""
        if self.file_stem:
            return self.file_stem
        return self.address.stem if self.number == 1 else f"{self.address.stem}-{self.number}"

    def open(self) -> LiveReader:
        """Return a reader; the stream is connected to when frames are asked for."""
        return LiveReader(self, self._connection, self.network)

    def _connection(self) -> Connection:
        # Imported here: they bring PyAV and ssl, which images do without.
        if self.address.scheme in {"http", "https"}:
            from yolo_ema.media.sources.http_stream import HttpConnection

            return HttpConnection(self.address, self.network, max_pixels=self.max_pixels)
        from yolo_ema.media.sources.av_stream import AvConnection

        return AvConnection(self.address, self.network, max_pixels=self.max_pixels)
