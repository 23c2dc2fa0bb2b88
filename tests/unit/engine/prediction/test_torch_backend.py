"""The shorter forward pass proposes what the whole one does, wherever the boxes lie and however
many there are.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from lively_weights import lively_model, picture, save
from torch import nn
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.modules.conv import Conv

from yolo_ema.engine.prediction import packed_convolution, torch_backend
from yolo_ema.engine.prediction.torch_backend import TorchBackend, _Surroundings
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.inference.predictor import PredictorSettings


@pytest.fixture(scope="module")
def plain():
    with torch.inference_mode():
        return AutoBackend(
            copy.deepcopy(lively_model("tiny")),
            device=torch.device("cpu"),
            verbose=False,
            end2end=False,
        ).eval()


@pytest.fixture(scope="module")
def short(plain):
    return short_of(plain)


def short_of(plain) -> TorchBackend:
    model = copy.deepcopy(plain.backend.model)
    with torch.inference_mode():
        return TorchBackend(model, LoadedModel(model, dict(plain.names), 32, 320, {}))


def whole(plain, image) -> np.ndarray:
    batch = torch.from_numpy(image[None, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return plain(batch)[0].numpy()[0].T


def candidates(short, image, lowest) -> np.ndarray:
    (rows,) = short(short.prepare([image]), PredictorSettings(conf=lowest), 1000)
    return rows


def test_frames_that_are_not_writeable_are_taken_without_a_warning(tmp_path):
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    predictor = open_predictor(weights, device="cpu", imgsz=(192, 320))
    frame = picture(1, (320, 192))  # of the input's size: nothing copies it on the way
    (wanted,) = predictor([frame])
    frame.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = predictor([frame])
    assert len(found)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("wh", [(320, 192), (64, 64), (96, 320)])
def test_at_score_zero_it_proposes_every_box_in_grid_order(plain, short, wh):
    image = picture(1, wh)
    wanted, found = whole(plain, image), candidates(short, image, 0.0)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found[:, :4], wanted[:, :4], rtol=0, atol=5e-3)
    np.testing.assert_allclose(found[:, 4:], wanted[:, 4:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("few", [0.0, 1e9])
@pytest.mark.parametrize("lowest", [0.02, 0.25, 0.6])
def test_above_a_score_it_proposes_those_boxes_from_whole_maps_and_from_single_places(
    plain, short, monkeypatch, few, lowest
):
    monkeypatch.setattr(torch_backend, "_FEW", few)
    image = picture(2, (320, 192))
    wanted = whole(plain, image)
    wanted = wanted[wanted[:, 4:].max(1) > lowest]
    found = candidates(short, image, lowest)
    found = found[found[:, 4:].max(1) > lowest]
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found[:, :4], wanted[:, :4], rtol=0, atol=5e-3)


@pytest.mark.slow
def test_sizes_that_come_and_go_change_no_bit_and_few_stay_packed(plain):
    short = short_of(plain)
    images = [
        picture(seed, wh) for seed, wh in enumerate([(320, 192), (64, 64), (96, 320), (128, 160)])
    ]
    fresh = [candidates(short_of(plain), image, 0.1) for image in images]
    for _ in range(2):
        for image, wanted in zip(images, fresh, strict=True):
            np.testing.assert_array_equal(candidates(short, image, 0.1), wanted)
    assert len(short._first._by_shape) == packed_convolution._KEPT_SHAPES < len(images)


def test_a_chain_at_single_places_is_the_chain_on_the_whole_map_also_at_its_borders():
    generator = torch.Generator().manual_seed(0)
    branch = nn.Sequential(Conv(3, 5, 3), Conv(5, 4, 5), nn.Conv2d(4, 2, 1)).eval()
    with torch.inference_mode():
        for parameter in branch.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for part in branch[:2]:
            part.conv.bias = nn.Parameter(torch.randn(part.conv.out_channels, generator=generator))
            part.forward = part.forward_fuse
        x = torch.randn(1, 3, 7, 6, generator=generator)
        rows, columns = (
            one.flatten() for one in torch.meshgrid(torch.arange(7), torch.arange(6), indexing="ij")
        )
        around = _Surroundings.of(branch)
        np.testing.assert_allclose(
            around(x, rows, columns), branch(x)[0].flatten(1).T, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    "other", [nn.Conv2d(4, 4, 3, padding=1, stride=2), nn.Conv2d(4, 4, 3), nn.MaxPool2d(1)]
)
def test_other_branches_are_computed_whole(other):
    assert _Surroundings.of(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), other)) is None


@pytest.mark.parametrize("lowest", [0.1, 0.85, 0.97])
def test_the_number_of_threads_changes_no_bit(short, lowest):
    """However many places the box branch sees: few go through other kernels than many."""
    image = picture(3, (320, 192))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(candidates(short, image, lowest))
    finally:
        torch.set_num_threads(before)
    assert len(found[0]) > 0
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_neighbours_in_a_batch_change_no_bit(tmp_path):
    runtime = open_predictor(save(lively_model("tiny"), tmp_path / "tiny.pt"), device="cpu")
    assert isinstance(runtime.backend, TorchBackend)
    images = [picture(seed) for seed in range(3)]
    for one, image in zip(runtime(images), images, strict=True):
        np.testing.assert_array_equal(one, runtime([image])[0])


def test_six_candidates_are_not_mistaken_for_boxes_that_need_no_nms(tmp_path):
    """Ultralytics' NMS takes an array of six columns for those."""
    predictor = open_predictor(save(lively_model("tiny"), tmp_path / "tiny.pt"), device="cpu")
    image = picture(2)
    best = np.sort(predictor.candidates(image)[:, 4:].max(1))[::-1]
    every = predictor([image])[0]
    predictor.settings.conf = float(best[5] + best[6]) / 2
    (rows,) = predictor.backend(predictor.backend.prepare([image]), predictor.settings, 1000)
    assert (rows[:, 4:].max(1) > predictor.settings.conf).sum() == 6
    expected = every[every[:, 4] > predictor.settings.conf]
    np.testing.assert_array_equal(predictor([image])[0], expected)


def test_a_head_with_selection_takes_the_general_path(tmp_path):
    weights = save(lively_model("tiny-nms-free"), tmp_path / "nms_free.pt")
    for nms_free in (False, True):
        backend = open_predictor(weights, device="cpu", nms_free=nms_free).backend
        assert isinstance(backend, TorchBackend) is not nms_free


@pytest.mark.parametrize("missing", ["oneDNN", "torch's private operators"])
def test_without_onednn_the_numbers_are_the_same(plain, short, monkeypatch, missing):
    if missing == "oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    else:
        monkeypatch.setattr(
            packed_convolution, "_OPERATORS", ("_convolution_pointwise", "_renamed")
        )
    slow = short_of(plain)
    image = picture(4, (320, 192))
    wanted, found = candidates(short, image, 0.0), candidates(slow, image, 0.0)
    np.testing.assert_allclose(found[:, 4:], wanted[:, 4:], rtol=0, atol=1e-4)
