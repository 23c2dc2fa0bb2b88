"""The kinds of telemetry: where each lies beside or inside a source, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.errors import TelemetryError
from yolo_ema.geo.telemetry import exiftool, odm, tables
from yolo_ema.geo.telemetry.containers import read_klv, read_klv_file, read_subtitle_track
from yolo_ema.geo.telemetry.json_files import read_json
from yolo_ema.geo.telemetry.mavlink import read_tlog
from yolo_ema.geo.telemetry.reading import Reading
from yolo_ema.geo.telemetry.srt import read_srt
from yolo_ema.geo.telemetry.st0601 import UNIVERSAL_LABEL
from yolo_ema.geo.telemetry.stills import read_exif_of, read_xmp_of
from yolo_ema.io.text_files import decode_text

_HEAD = 1 << 16
_LARGEST = 1 << 30
_TABLES = frozenset({".csv", ".txt"})
_TEXTS = _TABLES | {".srt", ".tlog", ".json"}


@dataclass(frozen=True)
class Kind:
    """One kind of telemetry.

    Attributes:
        suffixes: of files beside a video that have its name.
        beside: further places, from the folder of the images.
        inside: reads a video itself.
        stills: reads images themselves.
    """

    suffixes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    inside: Callable[[Path], Reading] | None = None
    stills: Callable[[Sequence[Path]], Reading] | None = None

    def read(self, sources: Sequence[Path], *, images: bool) -> Reading:
        """Read the telemetry of a video or of images.

        Raises:
            TelemetryError: there is none of this kind.
        """
        if images and self.stills is not None:
            return self.stills(sources)
        if not images and self.inside is not None:
            return self.inside(sources[0])
        looked = list(self._places(sources[0], images=images))
        file = next((path for path in looked if path.is_file()), None)
        if file is None:
            where = f"there is none of {', '.join(map(str, looked))}"
            raise TelemetryError(where if looked else "it is not of such a source", "not_found")
        return read_file(file, sources[0])

    def _places(self, source: Path, *, images: bool) -> Iterator[Path]:
        if images:
            yield from (source.parent / place for place in self.beside)
            return
        for suffix in self.suffixes:
            yield from (source.with_suffix(suffix), source.with_suffix(suffix.upper()))
        yield from (source.with_name(source.name + suffix) for suffix in self.suffixes)


KINDS = {
    "srt": Kind(suffixes=(".srt",)),
    "subtitles": Kind(inside=read_subtitle_track),
    "klv": Kind(inside=read_klv),
    "exiftool": Kind(suffixes=(".json",), beside=("exiftool.json",)),
    "csv": Kind(suffixes=(".csv",), beside=("poses.csv",)),
    "mavlink": Kind(suffixes=(".tlog",)),
    "xmp": Kind(stills=read_xmp_of),
    "exif": Kind(stills=read_exif_of),
    "odm": Kind(
        beside=("../opensfm/reconstruction.json", "../odm_lla_rpy.csv", "reconstruction.json")
    ),
    "auair": Kind(beside=("../annotations.json", "annotations.json")),
}
"""By the words that ``--telemetry`` takes."""

AUTO = {
    False: ("srt", "subtitles", "klv", "exiftool", "csv", "mavlink"),
    True: ("xmp",),
}
"""What ``auto`` tries, in this order, for videos and for images."""

_JSON: tuple[tuple[Callable[[object], bool], Callable[..., Reading]], ...] = (
    (odm.is_reconstruction, lambda content, _source: odm.read_reconstruction(content)),
    (tables.is_auair, lambda content, _source: tables.read_auair(content)),
    (exiftool.is_exiftool, exiftool.read_exiftool),
)


def read_file(path: Path, source: Path | None = None) -> Reading:
    """Read a file of telemetry as what it is, by its content where its suffix does not say it.

    Raises:
        TelemetryError: it is not there, or of no kind that is known.
    """
    if not path.is_file():
        raise TelemetryError(f"there is no file {path}", "not_found")
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(_HEAD)
    is_packets = head.startswith(UNIVERSAL_LABEL)
    if suffix not in _TEXTS and not is_packets and b" --> " not in head:
        return _read_video(path)
    if path.stat().st_size > _LARGEST:
        raise TelemetryError(f"it has more than {_LARGEST >> 20} MiB; no telemetry is so large")
    if is_packets:
        return read_klv_file(path)
    if suffix == ".tlog":
        return read_tlog(path)
    if suffix == ".json":
        return _read_json(path, source)
    if suffix in _TABLES:
        lla_rpy = odm.is_lla_rpy(decode_text(head))
        return odm.read_lla_rpy(path) if lla_rpy else tables.read_csv_poses(path)
    return read_srt(path)


def _read_json(path: Path, source: Path | None) -> Reading:
    content = read_json(path)
    for fits, read in _JSON:
        if fits(content):
            return read(content, source)
    raise TelemetryError(
        "its JSON is of no known kind; expected ExifTool's, OpenSfM's reconstruction or AU-AIR's "
        "annotations"
    )


def _read_video(path: Path) -> Reading:
    """Read the subtitle or the data track of another video."""
    errors = []
    for read in (read_subtitle_track, read_klv):
        try:
            return read(path)
        except TelemetryError as error:  # noqa: PERF203 - two tracks at most
            errors.append(str(error))
    raise TelemetryError(
        f"it is of no known kind ({'; '.join(dict.fromkeys(errors))}); expected .srt, .tlog, .csv, "
        ".json, packets of MISB ST 0601, or a video with such a track"
    )
