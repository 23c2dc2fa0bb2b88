"""All 8,081 original annotation files of train and test-dev hold exactly the known totals."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from yolo_ema.visdrone.annotations import Annotations, parse_annotations
from yolo_ema.visdrone.official_totals import OFFICIAL_TOTALS

pytestmark = pytest.mark.realdata

CLASSES = slice(1, 11)
OFFICIAL = {one.split: one for one in OFFICIAL_TOTALS}


def _archive(shared: Path, split: str) -> dict[str, Annotations]:
    """Parse a split's annotation files inside their archive, in memory."""
    with tarfile.open(
        shared / "data" / "annotations" / f"VisDrone2019-DET-{split}-annotations.tar.xz"
    ) as archive:
        return {
            Path(member.name).name: parse_annotations(
                archive.extractfile(member).read(), member.name
            )
            for member in archive
            if member.name.endswith(".txt")
        }


def _per_category(files: dict[str, Annotations]) -> np.ndarray:
    return np.bincount(np.concatenate([file.category for file in files.values()]), minlength=12)


@pytest.mark.slow
def test_train_holds_343205_boxes_of_which_one_has_no_area(shared: Path) -> None:
    files = _archive(shared, "train")
    assert len(files) == 6471
    assert _per_category(files)[CLASSES].sum() == 343_205
    assert tuple(_per_category(files).tolist()) == OFFICIAL["train"].rows_per_category
    assert len(files) == OFFICIAL["train"].images
    assert sum(file.trailing_commas for file in files.values()) == 34
    anomalies = [anomaly for file in files.values() for anomaly in file.anomalies]
    assert Counter(anomaly.kind for anomaly in anomalies) == {"no-area": 3}
    assert {(Path(anomaly.file).name, anomaly.row) for anomaly in anomalies} == {
        ("9999999_00590_d_0000267.txt", 89),
        ("0000293_03401_d_0000939.txt", 130),
        ("9999985_00000_d_0000020.txt", 12),
    }
    without_area = np.concatenate(
        [file.category[(file.boxes_ltwh[:, 2:] <= 0).any(axis=1)] for file in files.values()]
    )
    assert sorted(without_area) == [0, 0, 4]


def test_test_dev_holds_75102_boxes_and_no_anomaly(shared: Path) -> None:
    files = _archive(shared, "test-dev")
    assert len(files) == 1610
    assert _per_category(files)[CLASSES].sum() == 75_102
    assert tuple(_per_category(files).tolist()) == OFFICIAL["test-dev"].rows_per_category
    assert len(files) == OFFICIAL["test-dev"].images
    assert not [anomaly for file in files.values() for anomaly in file.anomalies]


def test_the_samples_counts_match_a_plain_reading(shared: Path) -> None:
    for split, images in (("train", 368), ("val", 97)):
        folder = shared / "data" / "visdrone-sample" / f"VisDrone2019-DET-{split}" / "annotations"
        plain: Counter[str] = Counter()
        for file in folder.glob("*.txt"):
            plain.update(row.split(",")[5] for row in file.read_text().split())
        files = {
            file.name: parse_annotations(file.read_bytes(), file.name)
            for file in folder.glob("*.txt")
        }
        assert len(files) == images
        assert {
            str(category): number for category, number in enumerate(_per_category(files)) if number
        } == plain
