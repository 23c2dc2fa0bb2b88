"""What a study's comparisons show together: Holm's correction against a literal form, its
error rate and power against simulated studies, and the sentences.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from study_files import SPEC, small_study, write_records

from yolo_ema.studies.comparison import EQUAL_PAIRS, Comparison, compare
from yolo_ema.studies.conclusion import conclusion, contrasts, detectable, holm
from yolo_ema.studies.records import Records
from yolo_ema.studies.tables import table

ARMS = SPEC.replace("imgsz: [64, 96]", "imgsz: 64").replace(
    "baseline: none",
    "  se: {model: yolo11n-se}\n  eca: {model: yolo11n-eca}\nbaseline: none\ncandidate: ema",
)


def _study(tmp_path, values: dict[str, list[float]], spec: str = ARMS) -> Comparison:
    """A study of these values of each arm, seed by seed."""
    study = small_study(tmp_path, spec)
    figures = {
        (arm, seed): value for arm, listed in values.items() for seed, value in enumerate(listed)
    }
    return compare(
        Records.read(study, write_records(tmp_path / "records" / "small", study, figures))
    )


def _step_down(p_values: list[float], level: float) -> set[int]:
    """Holm's method word by word: the smallest first, each held against the level shared by those
    that are left, until one fails.
    """
    left, rejected = set(range(len(p_values))), set()
    while left:
        smallest = min(left, key=p_values.__getitem__)
        if p_values[smallest] > level / len(left):
            break
        rejected.add(smallest)
        left.remove(smallest)
    return rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_corrected_values_reject_what_the_method_rejects_step_by_step(p_values, level):
    corrected = holm(p_values)
    near = [one for one in corrected if abs(one - level) < 1e-12]
    if not near:  # where a product rounds to the level either answer is right
        assert {index for index, one in enumerate(corrected) if one <= level} == _step_down(
            p_values, level
        )
    assert all(p <= one <= 1 for p, one in zip(p_values, corrected, strict=True))


def test_values_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_planned_comparison_counts_and_is_a_paired_test(tmp_path):
    values = {
        "none": [8.0, 9.0, 8.5],
        "ema": [8.4, 9.6, 9.0],
        "se": [8.1, 9.3, 8.4],
    }
    found = contrasts(_study(tmp_path, values))
    assert [(one.arm, one.other) for one in found] == [
        ("ema", "none"),
        ("se", "none"),
        ("eca", "none"),
        ("ema", "se"),
        ("ema", "eca"),
    ]
    tested = [(0, "ema", "none"), (1, "se", "none"), (3, "ema", "se")]
    p_values = [1.0] * 5
    for place, arm, other in tested:
        p_values[place] = ttest_rel(values[arm], values[other]).pvalue
    assert [one.corrected for one in found] == pytest.approx(holm(p_values))
    assert [one.pairs is None for one in found] == [False, False, True, False, True]
    assert found[3].pairs.differences == pytest.approx((0.3, 0.3, 0.6))


@pytest.mark.parametrize(("pairs", "comparisons"), [(2, 1), (3, 1), (3, 13), (5, 7), (10, 4)])
def test_four_of_five_studies_show_the_difference_that_is_named(pairs, comparisons):
    numbers = np.random.default_rng(pairs)
    deviation, runs = 0.3, 40_000
    true = detectable(deviation, pairs, comparisons)
    differences = numbers.normal(true, deviation, (runs, pairs))
    shown = ttest_rel(differences, np.zeros_like(differences), axis=1).pvalue < 0.05 / comparisons
    assert np.mean(shown) == pytest.approx(0.8, abs=0.01)


def test_one_study_in_twenty_of_equal_arms_shows_anything():
    numbers = np.random.default_rng(3)
    none, arms = numbers.normal(size=(4000, 4, 1)), numbers.normal(size=(4000, 4, 6))
    p_values = ttest_rel(arms, np.broadcast_to(none, arms.shape), axis=1).pvalue
    wrong = sum(min(holm(list(study))) < 0.05 for study in p_values)
    assert 0.02 < wrong / 4000 < 0.055  # below 5 %, since arms share a baseline
    assert np.mean(p_values.min(axis=1) < 0.05) > 0.15  # what it is without the correction


def test_what_is_shown_what_is_not_and_what_could_have_been(tmp_path):
    text = conclusion(
        _study(
            tmp_path,
            {
                "none": [8.0, 9.0, 8.5],
                "ema": [9.0, 10.001, 9.499],  # +1 with hardly a deviation
                "se": [8.25, 9.45, 8.95],  # +0.4, beyond its own interval
                "eca": [8.5, 8.6, 8.7],
            },
        )
    )
    assert text.startswith(
        "**Result**, at 5 % and corrected for all 5 comparisons of the study. Against none, a "
        "difference is shown for ema (+1.00); a difference by its own interval alone for se "
        "(+0.38); no difference is shown for eca. For ema against each other arm, a difference is "
        "shown for se (+0.62); no difference is shown for eca. With deviations like these "
    )
    assert "and 3 pairs, four of five studies show a difference of " in text


def test_studies_that_are_under_way(tmp_path):
    values = {"none": [8.0, 9.0], "ema": [8.0]}
    assert conclusion(_study(tmp_path / "a", values)) == (
        "**Result**: none yet, since no two arms have two pairs of equal seeds."
    )
    text = conclusion(_study(tmp_path / "b", {**values, "eca": [8.1, 9.3]}))
    assert "no difference is shown for eca; there are fewer than two pairs for ema, se." in text
    assert "and 2 pairs" in text


def test_equal_differences_are_no_proof(tmp_path):
    """Figures of few images are coarse: that two pairs differ by the same is no rare chance."""
    found = _study(tmp_path, {"none": [8.0, 9.0], "ema": [8.5, 9.5]})
    assert not any(one.is_shown for one in contrasts(found))
    assert "points" not in conclusion(found)


def test_equal_differences_are_equal_whatever_the_numbers_of_a_computer_make_of_them(tmp_path):
    correct = [334, 502, 613]  # of 1000 images, and one more each
    values = {
        "none": [100 * count / 1000 for count in correct],
        "ema": [100 * (count + 1) / 1000 for count in correct],
    }
    assert len({one - other for one, other in zip(*values.values(), strict=True)}) > 1
    found = _study(tmp_path, values)
    assert not any(one.is_shown for one in contrasts(found))
    assert {one.pairs.verdict for one in contrasts(found) if one.pairs} == {EQUAL_PAIRS}
    assert "pairs that all differ by exactly the same show nothing." in table(found)


def test_settings_are_named_and_the_table_has_the_sentence(tmp_path):
    found = _study(tmp_path, {"none": [8.0, 9.0, 8.5], "ema": [8.4, 9.6, 9.0]}, SPEC)
    text = conclusion(found)
    assert "corrected for all 2 comparisons of the study. Against none" in text
    assert "ema at 64 (+0.50)" in text
    assert "ema at 96 (+0.50)" in text
    tiles = SPEC.replace("[64, 96]", "64, tile: 32x32")
    tiled = conclusion(_study(tmp_path / "tiles", {"none": [8.0, 9.0], "ema": [8.4, 9.6]}, tiles))
    assert "for ema." in tiled
    crossed = SPEC.replace("[64, 96]", "64, tile: ['off', 32x32]")
    tiled = conclusion(_study(tmp_path / "two", {"none": [8.0, 9.0], "ema": [8.4, 9.6]}, crossed))
    assert "for ema at 64, ema at 64 in tiles of 32x32." in tiled
    assert "each other arm" not in text
    assert f"\n\n{text}\n\n" in table(found)


def test_a_single_comparison_is_not_corrected(tmp_path):
    spec = SPEC.replace("imgsz: [64, 96]", "imgsz: 64")
    text = conclusion(_study(tmp_path, {"none": [8.0, 9.0, 8.5], "ema": [8.4, 9.6, 9.0]}, spec))
    assert text.startswith("**Result**, at 5 %. Against none, a difference is shown for ema")
    assert "only comparison" not in text
