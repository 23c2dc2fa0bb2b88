"""The known totals of VisDrone2019-DET's official splits."""

from __future__ import annotations

import dataclasses

import numpy as np

from yolo_ema.constants import IGNORED, OTHERS, VISDRONE_CLASSES


@dataclasses.dataclass(frozen=True)
class OfficialTotals:
    """What an official split holds: images, and readable rows per category 0 to 11, including
    boxes without area.
    """

    split: str
    images: int
    rows_per_category: tuple[int, ...]


OFFICIAL_TOTALS = (
    OfficialTotals(
        "train",
        6471,
        (8813, 79337, 27059, 10480, 144867, 24956, 12875, 4812, 3246, 5926, 29647, 1532),
    ),
    OfficialTotals(
        "val", 548, (1378, 8844, 5125, 1287, 14064, 1975, 750, 1045, 532, 251, 4886, 32)
    ),
    OfficialTotals(
        "test-dev", 1610, (2180, 21006, 6376, 1302, 28074, 5771, 2659, 530, 599, 2940, 5845, 265)
    ),
)


_CLOSE = 0.98
"""With at least this share of the official images a split is the official one, incomplete."""


def compare_with_official(
    split: str, rows_per_category: np.ndarray, *, found: int, used: int, certain: bool = False
) -> tuple[bool | None, str]:
    """Compare a split with the official one of its name, if its number of images fits.

    Args:
        split: the split's name.
        rows_per_category: (12,) rows of each category, of the images that are used.
        found: number of images, including those that are left out.
        used: number of images without those.
        certain: it was downloaded as the official one: compared however many images it has.

    Returns:
        None, False or True for "not an official split", "differs" and "equal", and a sentence that
        says it.
    """
    official = next((totals for totals in OFFICIAL_TOTALS if totals.split == split), None)
    if official is None or not (certain or _CLOSE * official.images <= found <= official.images):
        return None, "not an official split: nothing to compare with"
    names = {IGNORED: "ignored regions", OTHERS: "others"}
    differences = []
    if found < official.images:
        differences.append(f"{official.images - found:,} of {official.images:,} images missing")
    if found > official.images:
        differences.append(f"{found:,} images instead of {official.images:,}")
    if used != found:
        differences.append(f"{found - used:,} of {found:,} images left out")
    differences += [
        f"{names.get(category) or VISDRONE_CLASSES[category - 1]} {rows} instead of {expected}"
        for category, (rows, expected) in enumerate(
            zip(rows_per_category.tolist(), official.rows_per_category, strict=True)
        )
        if rows != expected
    ]
    if differences:
        return False, f"differs from the official {split} split: {', '.join(differences)}"
    return True, f"equal to the official {split} split"
