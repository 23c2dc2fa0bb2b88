"""Ties between proposals that weights and file both make are proven by replay; no other difference
is excused.

The networks here read their answer off the image: a marked pixel stands for a proposal, by its
number in a list. So each view, tile or whole, proposes what is marked in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.deploy.parity.comparison import ImageComparison, Tolerance
from yolo_ema.deploy.parity.model_pair import ModelPair, ParitySetup
from yolo_ema.deploy.parity.proof_images import ProofImage
from yolo_ema.deploy.parity.replay import Recorder, answers_agree
from yolo_ema.inference.backend_predictor import BackendPredictor
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.predictor import PredictorConfig
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.inference.worker_pool import WorkerPool
from yolo_ema.options.val import ValOptions

TIGHT = Tolerance(px=0.02, score=0.0005)
SIDE = 160
TILE_WH = (SIDE, SIDE)
IMAGE_WH = (288, 160)  # two tiles at x 0 and 128, which share 32 columns
MARK = 255
CLASSES = 3


class ReadingNetwork:
    """A `Backend` that proposes a box for each marked pixel.

    Args:
        said: (P, 4 + K) of each number: the center's distance from the mark, width, height, scores.
    """

    stride, dynamic, batched, one_pass = 32, False, True, False
    has_builtin_nms = False
    metadata = object_sizes = plan_figures = None
    imgsz_hw = (SIDE, SIDE)

    def __init__(self, said: np.ndarray) -> None:
        self.said = said.astype(np.float32)
        self.names = {number: f"class {number}" for number in range(said.shape[1] - 4)}

    def shared_by(self, _workers: int, _threads: int) -> ReadingNetwork:
        return self

    def prepare(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return list(images)

    def __call__(self, inputs: list[np.ndarray], _settings: Any, _most: int) -> list[np.ndarray]:
        answers = []
        for image in inputs:
            y, x = np.nonzero(image[..., 2] == MARK)
            rows = self.said[image[y, x, 0]].copy()
            rows[:, :2] += np.column_stack((x, y))
            answers.append(rows)
        return answers


def marked(places: np.ndarray) -> ProofImage:
    """An image with a mark for each proposal, at (P, 2) x, y."""
    image = np.zeros((IMAGE_WH[1], IMAGE_WH[0], 3), np.uint8)
    for number, (x, y) in enumerate(places):
        image[y, x] = (number, 0, MARK)
    return ProofImage("marked", image)


def pair_of(reference: np.ndarray, candidate: np.ndarray) -> ModelPair:
    """Weights and a file that say this, see `ReadingNetwork`; the file's tiles go side by side."""
    setup = ParitySetup(Path("a.onnx"), Path("a.pt"), None, ArtifactMetadata(), TIGHT)
    config = PredictorConfig(rectangular=False, max_det=1000, iou=0.5)
    predictors = [
        BackendPredictor(
            Path("a"), "onnx", "cpu", Recorder(ReadingNetwork(said)), config, workers=workers
        )
        for said, workers in ((reference, None), (candidate, WorkerPool(2)))
    ]
    return ModelPair(setup, *predictors)


def in_tiles(pair: ModelPair, image: ProofImage, **wrong: Any) -> ImageComparison:
    """Compare in tiles; ``wrong`` is what the file's path does otherwise."""
    ours, theirs = pair.tiled(image, TILE_WH, 0.001)
    if wrong:
        tiled = TiledPredictor(pair.candidate, tile=TILE_WH, **wrong)
        (theirs,) = tiled([image.bgr()])
    (found,) = pair.compare([image], [ours], [theirs], 0.001, tile_wh=TILE_WH)
    return found


def is_refused(found: ImageComparison) -> bool:
    alone = len(found.missing) + len(found.spurious) + len(found.class_mismatch)
    return bool(alone or found.box_px > TIGHT.px or found.score_share > TIGHT.score)


def said(*rows: tuple[float, float, float, float, float, int]) -> np.ndarray:
    """Proposals of one class each: distance of the center from the mark, size, score, class."""
    every = np.zeros((len(rows), 4 + CLASSES))
    for row, (x, y, width, height, score, class_id) in zip(every, rows, strict=True):
        row[:4], row[4 + class_id] = (x, y, width, height), score
    return every


# One object in the columns that both tiles show: the left one proposes it from a mark that only it
# shows, the right one likewise, 5 px higher.
OBJECT_AT = np.array([[120, 80], [170, 80], [60, 30]])
OBJECT = said((24, 0, 20, 30, 0.6, 1), (-26, -5, 20, 30, 0.6, 1), (0, 0, 20, 20, 0.8, 2))


def with_scores(left: float, right: float) -> np.ndarray:
    changed = OBJECT.copy()
    changed[0, 5], changed[1, 5] = left, right
    return changed


def test_merging_that_takes_the_other_of_two_equal_boxes_is_a_tie():
    pair = pair_of(with_scores(0.600001, 0.6), with_scores(0.6, 0.600001))
    found = in_tiles(pair, marked(OBJECT_AT))
    assert found.px.max() == pytest.approx(5.0, abs=0.01), "it did take the other one"
    assert (found.ties, found.boxes, found.exact) == (1, 1, True)
    assert not is_refused(found)


def test_boxes_of_parts_that_are_joined_here_and_not_there_are_ties():
    """Each tile sees a part of a long object, and how far the parts agree is at the threshold: the
    joined box was not proposed by any.
    """
    # Between x 128 and 160, which both tiles show, the left part is half as high as the right one.
    places = np.array([[100, 80], [200, 80]])
    ours = said((25, 0, 70, 30, 0.6, 1), (-32, 0, 80, 60, 0.5, 1))
    theirs = ours.copy()
    theirs[1, 3] += 0.002
    images = marked(places)
    assert not is_refused(in_tiles(pair_of(ours, theirs), images))
    kept = [len(pair_of(one, one).tiled(images, TILE_WH, 0.001)[0]) for one in (ours, theirs)]
    assert kept == [1, 2], "joined in the one, two boxes in the other"


def test_scores_that_differ_by_more_than_the_tolerance_are_not_a_tie():
    found = in_tiles(pair_of(with_scores(0.601, 0.6), with_scores(0.6, 0.601)), marked(OBJECT_AT))
    assert found.ties == 0
    assert is_refused(found)


@pytest.mark.parametrize(
    "wrong",
    [{"merge_iou": 0.99}, {"merge": "weighted-nms"}],
    ids=["threshold", "method"],
)
def test_a_file_that_is_merged_differently_is_refused(wrong):
    """Although it proposes the same to the last bit."""
    assert not is_refused(in_tiles(pair_of(OBJECT, OBJECT), marked(OBJECT_AT)))
    assert is_refused(in_tiles(pair_of(OBJECT, OBJECT), marked(OBJECT_AT), **wrong))


@pytest.mark.parametrize("fault", ["offset", "lost", "class", "another score"])
def test_boxes_that_do_not_follow_from_the_proposals_are_refused(fault):
    pair, image = pair_of(OBJECT, OBJECT), marked(OBJECT_AT)
    ours, theirs = pair.tiled(image, TILE_WH, 0.001)
    theirs = {
        "offset": theirs + np.array([1, 0, 1, 0, 0, 0], np.float32),
        "lost": theirs[1:],
        "class": theirs - np.array([0, 0, 0, 0, 0, 1], np.float32),
        "another score": theirs * np.array([1, 1, 1, 1, 0.99, 1], np.float32),
    }[fault]
    (found,) = pair.compare([image], [ours], [theirs], 0.001, tile_wh=TILE_WH)
    assert found.ties == 0
    assert is_refused(found)


def test_a_network_that_was_shown_other_pixels_proves_nothing():
    pair, image = pair_of(with_scores(0.600001, 0.6), with_scores(0.6, 0.600001)), marked(OBJECT_AT)
    ours, _ = pair.tiled(image, TILE_WH, 0.001)
    moved = ProofImage("moved", np.roll(image.bgr(), 1, axis=1))
    pair.candidate.backend.recording.answers.clear()
    _, theirs = pair.tiled(moved, TILE_WH, 0.001)
    (found,) = pair.compare([image], [ours], [theirs], 0.001, tile_wh=TILE_WH)
    assert is_refused(found)


def drawn(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Marks and proposals with many ties: sizes and scores are multiples of coarse steps."""
    places = np.column_stack([random.integers(8, side - 8, 4 * count) for side in IMAGE_WH])
    places = np.unique(places, axis=0)[:count]
    rows = [
        (*random.integers(-2, 3, 2), *(8 * random.integers(2, 6, 2)), score, class_id)
        for score, class_id in zip(
            random.integers(1, 6, len(places)) / 8,
            random.integers(0, CLASSES, len(places)),
            strict=True,
        )
    ]
    return random.permutation(places), said(*rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 120))
def test_differences_within_the_tolerance_are_never_refused(seed, count):
    """Whole and in tiles, however many ties they turn: a tenth of it, since they are many."""
    random = np.random.default_rng(seed)
    places, ours = drawn(random, count)
    theirs = ours.copy()
    theirs[:, :4] += random.uniform(-1, 1, (len(ours), 4)) * TIGHT.px / 30
    theirs[:, 4:] *= 1 + random.uniform(-1, 1, (len(ours), CLASSES)) * TIGHT.score / 20
    pair, image = pair_of(ours, theirs), marked(places)
    assert not is_refused(in_tiles(pair, image))
    reference, candidate = (
        rows([image], 0.001) for rows in (pair.reference_rows, pair.candidate_rows)
    )
    assert not is_refused(pair.compare([image], reference, candidate, 0.001)[0])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 60),
    st.sampled_from(["score", "place", "size", "class", "silent"]),
)
def test_one_proposal_beyond_the_tolerance_is_not_a_tie(seed, count, kind):
    """If it changes any box at all, it is refused, and nothing is called a tie."""
    random = np.random.default_rng(seed)
    places, ours = drawn(random, count)
    theirs, one = ours.copy(), random.integers(len(ours))
    if kind == "score":
        theirs[one, 4:] *= 1.002
    elif kind == "place":
        theirs[one, 0] += 0.05
    elif kind == "size":
        theirs[one, 2:4] += 0.1
    elif kind == "class":
        theirs[one, 4:] = np.roll(theirs[one, 4:], 1)
    else:
        theirs[one, 4:] = 0
    image = marked(places)
    pair = pair_of(ours, theirs)
    first, second = pair.tiled(image, TILE_WH, 0.001)
    (found,) = pair.compare([image], [first], [second], 0.001, tile_wh=TILE_WH)
    changes = first.shape != second.shape or np.abs(first - second).max(initial=0) > 1e-6
    if changes:
        assert found.ties == 0
        assert is_refused(found)


def test_a_dataset_that_is_scored_is_not_recorded():
    pair, image = pair_of(OBJECT, OBJECT), marked(OBJECT_AT)
    pair.tiled(image, TILE_WH, 0.001)
    assert len(pair.candidate.backend.recording.answers) == 3, "two tiles and the whole"
    scored = pair.for_scoring(pair.candidate, ValOptions(weights=Path("a.pt"), data="a.yaml"))
    before = scored([image.bgr()])
    assert not pair.candidate.backend.recording.answers
    np.testing.assert_array_equal(before[0], pair.candidate_rows([image], 0.001)[0])


ROWS = np.array([[50, 50, 20, 10, 0.5, 0.1], [90, 50, 20, 10, 0.0001, 0.0002]])


@pytest.mark.parametrize(
    ("change", "agree"),
    [
        ([0, 0, 0, 0, 0, 0], True),
        ([0.01, 0, 0, 0, 0, 0], True),
        ([0.03, 0, 0, 0, 0, 0], False),
        ([0, 0, 0.03, 0, 0, 0], True),  # a side moves by half of that
        ([0, 0, 0, 0, 0.0002, 0], True),
        ([0, 0, 0, 0, 0.0003, 0], False),
        ([0, 0, 0, 0, 0, 0.0001], False),
        ([np.nan, 0, 0, 0, 0, 0], False),
        ([0, 0, 0, 0, np.nan, 0], False),
        ([0, 0, np.inf, 0, 0, 0], False),
    ],
)
def test_agreement_of_candidates(change, agree):
    other = ROWS.copy()
    other[0] += change
    assert answers_agree(ROWS, other, TIGHT, 0.001, selected=False) is agree


def test_proposals_scoring_too_low_on_both_sides_do_not_affect_the_boxes():
    other = ROWS.copy()
    other[1, 0] += 30
    assert answers_agree(ROWS, other, TIGHT, 0.001, selected=False)
    assert not answers_agree(ROWS, other, TIGHT, 0.0001, selected=False)
    other[1, 5] = 0.01
    assert not answers_agree(ROWS, other, TIGHT, 0.001, selected=False)
    assert not answers_agree(ROWS, ROWS[:1], TIGHT, 0.001, selected=False)


def test_selected_boxes_agree_in_any_order():
    boxes = np.array([[0, 0, 10, 10, 0.9, 1], [50, 0, 60, 10, 0.8, 1], [90, 0, 99, 9, 0.0, 0]])
    assert answers_agree(boxes, boxes[::-1], TIGHT, 0.001, selected=True)
    assert not answers_agree(boxes, boxes[:1], TIGHT, 0.001, selected=True)
    assert not answers_agree(boxes, boxes + 0.1, TIGHT, 0.001, selected=True)
