"""Opens video files for reading, by FFmpeg through PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

METADATA = {"metadata_errors": "replace"}
"""Titles and the like are in whatever encoding a camera or editor had; PyAV's default is to refuse
a video whose are not UTF-8.
"""


def open_video(path: Path) -> Any:
    """Open a video file.

    As an absolute path of the file protocol and no other: FFmpeg takes names with a colon for
    addresses.

    Raises:
        av.FFmpegError: it cannot be opened.
    """
    import av

    return av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file"}, **METADATA)
