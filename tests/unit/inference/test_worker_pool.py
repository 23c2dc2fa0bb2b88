"""Images that workers process in parallel give the boxes that each gives alone, in their order."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save

from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.inference.worker_pool import WorkerPool

PICTURES = [picture(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("side-by-side")
    weights = save(lively_model("tiny"), folder / "tiny.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every branch on a shape
        exported = {
            kind: YOLO(weights).export(format=kind, imgsz=(192, 320), verbose=False)
            for kind in ("onnx", "openvino")
        }
    return {"pt": weights, **exported}


@pytest.fixture
def three_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("YOLO_EMA_THREADS", "3")
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tolerance"), [("pt", 0), ("onnx", 0), ("openvino", 1e-3)])
def test_together_gives_the_same_as_alone(files, kind, tolerance, three_threads):
    """To the bit; OpenVINO's sums depend in their last digits on how many threads make them."""
    runtime = open_predictor(files[kind], device="cpu", conf=0.1)
    alone = [runtime([image])[0] for image in PICTURES]
    assert runtime.at_once((320, 192)) == 3
    together = runtime(PICTURES)
    assert sum(map(len, alone)) > 50
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    assert set(runtime.seconds) == {"preprocess", "inference", "postprocess"}


def test_images_of_unequal_size_share_the_full_input_as_they_do_one_by_one(
    files, three_threads, monkeypatch
):
    mixed = [picture(1), picture(2, (192, 320)), picture(3, (300, 300))]
    runtime = open_predictor(files["pt"], device="cpu", conf=0.1)
    together = runtime(mixed)
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    in_turn = open_predictor(files["pt"], device="cpu", conf=0.1)
    assert in_turn.at_once((320, 192)) == 1
    for one, other in zip(together, in_turn(mixed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tiles_in_parallel_are_tiles_in_turn(files, three_threads, monkeypatch):
    large = np.concatenate(
        [np.concatenate(PICTURES[:2], axis=1), np.concatenate(PICTURES[2:4], axis=1)]
    )
    found = TiledPredictor(open_predictor(files["pt"], device="cpu", conf=0.1), tile=(192, 192))(
        [large]
    )[0]
    monkeypatch.setenv("YOLO_EMA_THREADS", "1")
    in_turn = TiledPredictor(open_predictor(files["pt"], device="cpu", conf=0.1), tile=(192, 192))(
        [large]
    )[0]
    assert len(found) > 50
    np.testing.assert_array_equal(found, in_turn)


def test_a_large_input_goes_alone(files, three_threads):
    assert open_predictor(files["pt"], device="cpu", imgsz=1536).at_once((320, 320)) == 1


def test_torch_keeps_its_threads_here_and_in_later_threads(files, three_threads):
    runtime = open_predictor(files["pt"], device="cpu")
    runtime(PICTURES)
    seen = [torch.get_num_threads()]
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [3, 3]


def test_workers_share_the_threads():
    assert [(pool.workers, pool.threads_each) for pool in map(WorkerPool, (2, 3, 8, 16))] == [
        (2, 1),
        (3, 1),
        (8, 1),
        (8, 2),
    ]


def test_an_error_in_one_image_is_raised(three_threads):
    def fail_at_two(number):
        if number == 2:
            raise ValueError("two")
        return number

    pool = WorkerPool(2)
    with pytest.raises(ValueError, match="two"):
        pool.map(fail_at_two, range(4))
    assert pool.map(fail_at_two, [5, 6, 7]) == [5, 6, 7]
