"""Finds images of different splits that show almost the same, which makes validation figures too
good.

Candidates share most bits of a 64-bit difference hash (is a cell brighter than its right neighbour,
in 8 rows of 8). They count if their grey thumbnails correlate as well: flat images, of water or
fields for example, have similar hashes by chance.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from yolo_ema.report.inspect.dataset_scan import SplitScan

MOST_BITS = 10
LEAST_CORRELATION = 0.95
_CHUNK = 512
_BITS_OF = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)


@dataclasses.dataclass(frozen=True)
class NearDuplicate:
    """Two images of different splits that show almost the same.

    ``bits`` is the number of differing bits of 64, ``correlation`` that of the thumbnails, -1 to 1.
    """

    splits: tuple[str, str]
    images: tuple[str, str]
    bits: int
    correlation: float


def difference_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return (I, 8) uint8, the 64 bits of each of the (I, H, W) uint8 thumbnails."""
    cells = np.array(
        [cv2.resize(thumbnail, (9, 8), interpolation=cv2.INTER_AREA) for thumbnail in thumbnails]
    ).reshape(-1, 8, 9)
    return np.packbits(cells[:, :, :-1] > cells[:, :, 1:], axis=2).reshape(-1, 8)


def hamming_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (A, B) the number of bits that differ between hashes (A, 8) and (B, 8) uint8."""
    return _BITS_OF[left[:, None, :] ^ right[None, :, :]].sum(axis=2, dtype=np.int64)


def near_duplicates(scans: Sequence[SplitScan]) -> list[NearDuplicate]:
    """Return the near-duplicates between every two splits, the most similar first."""
    pairs: list[NearDuplicate] = []
    for left, right in itertools.combinations(scans, 2):
        if left.thumbnails is None or right.thumbnails is None:
            continue
        left_hashes, right_hashes = (
            difference_hashes(left.thumbnails),
            difference_hashes(right.thumbnails),
        )
        left_grey, right_grey = _normalised(left.thumbnails), _normalised(right.thumbnails)
        for start in range(0, len(left_hashes), _CHUNK):
            distances = hamming_distances(left_hashes[start : start + _CHUNK], right_hashes)
            for row, column in np.argwhere(distances <= MOST_BITS):
                correlation = float(left_grey[start + row] @ right_grey[column])
                if correlation < LEAST_CORRELATION:
                    continue
                names = str(left.images[start + row]), str(right.images[column])
                pairs.append(
                    NearDuplicate(
                        (left.split, right.split),
                        names,
                        int(distances[row, column]),
                        round(correlation, 4),
                    )
                )
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair.bits, pair.images))


def _normalised(thumbnails: np.ndarray) -> np.ndarray:
    """Return (I, P) with mean 0 and length 1 each, so that a product is a correlation; a uniform
    image becomes all zeros.
    """
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
