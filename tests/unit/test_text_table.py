from __future__ import annotations

import pytest

from yolo_ema.text_table import text_table


def test_text_is_left_aligned_and_figures_right_aligned() -> None:
    assert text_table([["", "train", "val"], ["images", "6,471", "5"], ["car", "1", "12345"]]) == [
        "        train    val",
        "images  6,471      5",
        "car         1  12345",
    ]


def test_several_text_columns_and_no_trailing_blanks() -> None:
    assert text_table([["a", "long", ""], ["bb", "x", ""]], left=2) == ["a   long", "bb  x"]


def test_rows_of_unequal_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        text_table([["a", "b"], ["c"]])
