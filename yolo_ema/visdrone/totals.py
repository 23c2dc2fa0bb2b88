"""The known totals of VisDrone2019-DET's official splits."""

from __future__ import annotations

import dataclasses

import numpy as np

from yolo_ema.visdrone.annotations import CLASS_NAMES, IGNORED, OTHERS

__all__ = ["OFFICIAL_TOTALS", "OfficialTotals", "compare_with_official"]


@dataclasses.dataclass(frozen=True)
class OfficialTotals:
    """What an official split holds: images, and readable rows per category 0 to 11, boxes without area among them."""

    split: str
    images: int
    rows_per_category: tuple[int, ...]


OFFICIAL_TOTALS = (
    OfficialTotals("train", 6471, (8813, 79337, 27059, 10480, 144867, 24956, 12875, 4812, 3246, 5926, 29647, 1532)),
    OfficialTotals("val", 548, (1378, 8844, 5125, 1287, 14064, 1975, 750, 1045, 532, 251, 4886, 32)),
    OfficialTotals("test-dev", 1610, (2180, 21006, 6376, 1302, 28074, 5771, 2659, 530, 599, 2940, 5845, 265)),
)


def compare_with_official(split: str, images: int, rows_per_category: np.ndarray) -> tuple[bool | None, str]:
    """Compare a split with the official one of its name, if its number of images says that it is that one.

    Returns:
        None, False or True for "not an official split", "differs" and "equal", and a sentence that says so.
    """
    official = next((one for one in OFFICIAL_TOTALS if one.split == split and one.images == images), None)
    if official is None:
        return None, "not an official split: nothing to compare with"
    names = {IGNORED: "ignored regions", OTHERS: "others"}
    differences = [
        f"{names.get(category) or CLASS_NAMES[category - 1]} {found} instead of {expected}"
        for category, (found, expected) in enumerate(zip(rows_per_category.tolist(), official.rows_per_category, strict=True))
        if found != expected
    ]
    if differences:
        return False, f"differs from the official {split} split: {', '.join(differences)}"
    return True, f"equal to the official {split} split"
