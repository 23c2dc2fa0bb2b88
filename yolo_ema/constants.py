"""What several rooms share: VisDrone's categories, which files of a folder count, colours."""

from __future__ import annotations

__all__ = [
    "BOX_COLOURS_RGB",
    "CHART_COLOURS",
    "DATASET_IMAGE_SUFFIXES",
    "IGNORED",
    "IMAGE_SUFFIXES",
    "OTHERS",
    "VIDEO_SUFFIXES",
    "VISDRONE_CLASSES",
    "is_hidden",
]

VISDRONE_CLASSES: tuple[str, ...] = (
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
)
"""Names of VisDrone's categories 1 to 10, which are the classes 0 to 9 of the labels."""

IGNORED = 0
"""VisDrone's category of a region in which objects are not labelled."""

OTHERS = 11
"""VisDrone's category of objects that are neither scored nor ignored."""

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm"),
        *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""Suffixes, in lower case, by which a file in a folder counts as an image."""

DATASET_IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""Those of them that training reads, too: what a prepared dataset may hold."""

VIDEO_SUFFIXES = frozenset(
    {
        *(".264", ".265", ".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv"),
        *(".gif", ".h264", ".h265", ".hevc", ".ivf", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg"),
        *(".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv"),
        *(".qt", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    }
)
"""Suffixes, in lower case, by which a file in a folder counts as a video."""

_SYSTEM_NAMES = frozenset(
    {
        *("$recycle.bin", "@eadir", "#recycle", "__macosx", "desktop.ini", "lost+found"),
        *("system volume information", "thumbs.db"),
    }
)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is skipped: hidden, or left behind by an
    operating system or a network drive, as ``._a.jpg``, ``__MACOSX`` and ``@eaDir`` are.
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


BOX_COLOURS_RGB = (
    (255, 255, 0),  # yellow
    (255, 136, 0),  # orange
    (221, 0, 136),  # magenta
    (0, 255, 221),  # aqua
    (170, 34, 255),  # violet
    (238, 0, 51),  # red
    (238, 136, 136),  # salmon
    (136, 119, 221),  # lavender
    (255, 255, 170),  # straw
    (102, 204, 238),  # sky
)
"""Colours of boxes on photographs. Their smallest distance in CIELAB is large, both to normal
vision and to people who lack red or green cones: a search over saturated colours found them, and a
test holds the distances.
"""

JPEG_SIDE = 65_500
"""Pixels of the longest side that is written as JPEG; the format's limit is 65,535."""

CHART_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#7f52c7",
    "#8c6d31",
    "#c0392b",
    "#607d8b",
)
"""Six of Okabe and Ito's colours (2008), for colour-blind readers, too; then darker ones."""
