"""XMP, the small XML in stills: plain values by prefix and name."""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from yolo_ema.errors import TelemetryError
from yolo_ema.io.text_files import decode_text

_LARGEST = 4_000_000
_DEEPEST = 64
_BEGINNINGS = ("<x:xmpmeta", "<rdf:RDF")
_STRUCTURE = ("rdf", "x", "xml", "xmlns")


def xmp_values(packet: bytes) -> dict[str, list[str]]:
    """Return the values of an XMP packet by ``prefix:name`` in lower case.

    Fields of a structure are named ``prefix:structure/name``.

    Raises:
        TelemetryError: it is not XML, declares entities, which could grow without bound, or is
            larger than any camera writes.
    """
    if len(packet) > _LARGEST:
        raise TelemetryError(f"its XMP has {len(packet)} bytes; expected at most {_LARGEST}")
    text = decode_text(packet)
    begin = min((index for index in map(text.find, _BEGINNINGS) if index >= 0), default=None)
    declared = text.find("<!")
    if begin is None:
        return {}
    if 0 <= declared < begin:
        begin = declared
    end = text.rfind(">", begin) + 1
    trailer = text.rfind("<?xpacket", begin)
    return _Walk().over(text[begin : trailer if trailer > 0 else end])


class _Walk:
    """Collects values while expat reads; prefixes are kept as the cameras write them."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self._path: list[str | None] = []  # None for elements that are only structure
        self._text: list[str] = []

    def over(self, text: str) -> dict[str, list[str]]:
        parser = expat.ParserCreate(encoding="utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        try:
            parser.Parse(text.encode("utf-8", errors="replace"), True)
        except expat.ExpatError as error:
            raise TelemetryError(f"its XMP is not XML: {error}") from error
        return self._values

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= _DEEPEST:
            raise TelemetryError(f"its XMP is nested more than {_DEEPEST} levels deep")
        self._path.append(self._part(name))
        self._text.clear()
        for key, value in attributes.items():
            self._keep([*self._path, self._part(key)], value)

    def _end(self, _name: str) -> None:
        text = "".join(self._text).strip()
        if text:
            self._keep(self._path, text)
        self._text.clear()
        self._path.pop()

    def _part(self, name: str) -> str | None:
        prefix = name.partition(":")[0].lower()
        return None if prefix in _STRUCTURE else name.lower()

    def _keep(self, path: list[str | None], value: str) -> None:
        parts = [part for part in path if part is not None]
        if parts and path[-1] is not None:
            inner = [part.rpartition(":")[2] for part in parts[1:]]
            self._values.setdefault("/".join([parts[0], *inner]), [value])

    def _refuse(self, *_: Any) -> None:
        raise TelemetryError("its XMP declares entities or a document type; no camera does")
