from __future__ import annotations

import pytest

from yolo_ema.text_table import text_table


def test_words_to_the_left_figures_to_the_right() -> None:
    assert text_table([["", "train", "val"], ["images", "6,471", "5"], ["car", "1", "12345"]]) == [
        "        train    val",
        "images  6,471      5",
        "car         1  12345",
    ]


def test_several_columns_of_words_and_no_blanks_at_the_end() -> None:
    assert text_table([["a", "long", ""], ["bb", "x", ""]], left=2) == ["a   long", "bb  x"]


def test_rows_of_unequal_length_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="shorter"):
        text_table([["a", "b"], ["c"]])
