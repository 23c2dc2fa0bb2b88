"""The comparison with the totals of the official splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from visdrone_files import add_split, prepare_root, zipped

from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.prepare import prepare


def test_official_totals_are_compared_where_the_number_of_images_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolo_ema.visdrone import official_totals as totals

    source = add_split(tmp_path)
    right = totals.OfficialTotals("val", 3, (1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1))
    monkeypatch.setattr(totals, "OFFICIAL_TOTALS", (right,))
    assert (
        prepare_root(tmp_path / "one", source).as_json()["splits"]["val"]["official_equal"] is True
    )
    wrong = totals.OfficialTotals("val", 3, (1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1))
    monkeypatch.setattr(totals, "OFFICIAL_TOTALS", (wrong,))
    result = prepare_root(tmp_path / "two", source)
    assert result.as_json()["splits"]["val"]["official_equal"] is False
    assert "val: differs from the official val split: car 1 instead of 2" in result.as_text()


def _totals(monkeypatch: pytest.MonkeyPatch, images: int):
    from yolo_ema.visdrone import official_totals as totals

    official = totals.OfficialTotals("val", images, (1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1))
    monkeypatch.setattr(totals, "OFFICIAL_TOTALS", (official,))
    return totals.compare_with_official, np.array(official.rows_per_category)


@pytest.mark.parametrize(
    ("found", "used", "certain", "equal", "says"),
    [
        (548, 548, False, True, "equal to the official val split"),
        (548, 547, False, False, "1 of 548 images left out"),
        (547, 547, False, False, "1 of 548 images missing"),
        (546, 545, False, False, "2 of 548 images missing, 1 of 546 images left out"),
        (549, 549, False, None, "not an official split"),
        (300, 300, False, None, "not an official split"),
        (300, 300, True, False, "248 of 548 images missing"),
        (549, 549, True, False, "549 images instead of 548"),
    ],
)
def test_a_few_missing_images_do_not_turn_the_comparison_off(
    monkeypatch, found, used, certain, equal, says
) -> None:
    compare, rows = _totals(monkeypatch, 548)
    verdict, sentence = compare("val", rows, found=found, used=used, certain=certain)
    assert verdict is equal
    assert says in sentence


def test_one_damaged_image_does_not_turn_the_comparison_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _totals(monkeypatch, 3)
    source = add_split(tmp_path)
    (source / "images/b.jpg").write_bytes(b"no image")
    result = prepare_root(tmp_path / "root", source)
    assert result.findings()[0] == (
        "val: differs from the official val split: 1 of 3 images left out, pedestrian 0 instead "
        "of 1"
    )


def test_a_fetched_dataset_is_always_compared(tmp_path: Path) -> None:
    archive = zipped(add_split(tmp_path / "mine"), inside="")
    (tmp_path / "root/archives").mkdir(parents=True)
    archive.rename(tmp_path / "root/archives" / archive.name)
    result = prepare(PrepareOptions(root=tmp_path / "root", splits=("val",), offline=True))
    assert "545 of 548 images missing" in result.findings()[0]


def test_the_official_totals_add_up_to_the_known_ones() -> None:
    from yolo_ema.visdrone.official_totals import OFFICIAL_TOTALS

    assert [
        (one.split, one.images, sum(one.rows_per_category[1:11])) for one in OFFICIAL_TOTALS
    ] == [
        ("train", 6471, 343_205),
        ("val", 548, 38_759),
        ("test-dev", 1610, 75_102),
    ]
    assert OFFICIAL_TOTALS[1].rows_per_category[0] == 1378
    assert OFFICIAL_TOTALS[1].rows_per_category[11] == 32
