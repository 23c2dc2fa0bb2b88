"""Decodes a JPEG and reports damage, over which decoders otherwise paint grey silently."""

from __future__ import annotations

import re

import cv2
import numpy as np
import simplejpeg

_HARMLESS = re.compile(
    r"colou?r ?conver|colou?r ?space|CMYK|precision|Adobe color transform|SOS parameters|"
    r"JFIF revision|progression sequence|ICC marker",
    re.IGNORECASE,
)
"""What libjpeg remarks on, or leaves to OpenCV, although the pixels are whole."""
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def decode_jpeg(content: bytes, orientation: int = 1) -> np.ndarray | None:
    """Decode a JPEG as (H, W, 3) uint8 BGR.

    Args:
        content: the file.
        orientation: EXIF's number, 1 to 8; 1 leaves the image as it is stored.

    Returns:
        The image; None if it cannot be decoded.

    Raises:
        ValueError: it is damaged or breaks off; the message is a clause about the file.
    """
    try:
        image = simplejpeg.decode_jpeg(content, "BGR")
    except ValueError as error:
        problem = str(error)
        if not _HARMLESS.search(problem) and not _is_padded(content, problem):
            raise ValueError(_in_words(content, problem)) from error
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return image if image is None else upright(image, orientation)


def _is_padded(content: bytes, problem: str) -> bool:
    """Return whether all that libjpeg complains of is padding behind the last pixels, which some
    cameras write.
    """
    extra = _EXTRANEOUS.search(problem)
    end = content.rfind(b"\xff\xd9")
    if extra is None or end < 0:
        return False
    return len(set(content[max(0, end - int(extra[1])) : end])) == 1


def _in_words(content: bytes, problem: str) -> str:
    if "premature end of jpeg file" in problem.lower():
        return f"is truncated: the JPEG ends after {len(content)} bytes without its end marker"
    return f"is damaged: {problem.strip()}"


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image as EXIF's orientation says."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        image = image[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        image = image[::-1]
    return np.ascontiguousarray(image)
