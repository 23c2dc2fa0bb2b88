"""The whole path in tiles against one look at the whole image: with a detector that is exact, and
with a network.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lively_weights import lively_model, picture, save

from yolo_ema.engine.export.exporting import export_artifact
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import ConfigError, DeviceMemoryError
from yolo_ema.inference.object_sizes import measured_sizes, recorded_sizes
from yolo_ema.inference.predictor import PredictorSettings
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.inference.worker_pool import WorkerPool
from yolo_ema.options.export import ExportOptions


class Painted:
    """Finds rectangles that are painted in a colour each: its blue is 1 + the class, green and red
    number the object.

    Wherever an object is, and whatever part of it a view shows, it finds the visible pixels and
    gives the object's own score.
    """

    stride, format, batched, rectangular, weights = 32, "pt", True, True, None
    device, workers, object_sizes, has_builtin_nms = "cpu", 1, None, False
    size_fixed_by, plan_figures = "imgsz", None

    def __init__(self, imgsz=64, max_det=1000):
        self.imgsz_hw, self.settings = (imgsz, imgsz), PredictorSettings(max_det=max_det)
        self.seconds = {"preprocess": 0.25, "inference": 1.0, "postprocess": 0.5}
        self.names, self.metadata, self.batches = dict(enumerate("abc")), {}, []
        self.inputs_hw = []

    @property
    def max_det(self):
        return self.settings.max_det

    def at_once(self, image_wh, *, imgsz_hw=None):
        return self.workers

    def __call__(self, images, *, max_det=None, imgsz_hw=None):
        self.batches.append([image.shape[:2] for image in images])
        self.inputs_hw.append(imgsz_hw)
        return [self._found(image)[: max_det or self.max_det] for image in images]

    def _found(self, image):
        y, x = np.nonzero(image[..., 0])
        colours, which = np.unique(
            image[y, x].astype(np.int64) @ (1, 1 << 8, 1 << 16), return_inverse=True
        )
        rows = np.empty((len(colours), 6), np.float32)
        for column, (first, places) in enumerate(
            ((np.minimum, x), (np.minimum, y), (np.maximum, x + 1), (np.maximum, y + 1))
        ):
            rows[:, column] = 10_000 if first is np.minimum else 0
            first.at(rows[:, column], which, places)
        rows[:, 4], rows[:, 5] = 1 - (colours >> 8) / 10_000, colours % 256 - 1
        return rows[np.argsort(-rows[:, 4], kind="stable")]


def painting(wh, boxes, seed=0):
    """An image with a rectangle for each box, x1 y1 x2 y2, but those that would touch another."""
    rng = np.random.default_rng(seed)
    image = np.zeros((wh[1], wh[0], 3), np.uint8)
    number = 0
    for x1, y1, x2, y2 in boxes:
        if not image[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1].any():
            image[y1:y2, x1:x2] = (1 + rng.integers(3), number % 256, number // 256)
            number += 1
    return image


@st.composite
def paintings(draw):
    wh = draw(st.tuples(st.integers(1, 300), st.integers(1, 300)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    longest = draw(st.sampled_from((10, 40, 200)))
    boxes = []
    for _ in range(draw(st.integers(0, 30))):
        side = rng.integers(1, longest + 1, 2)
        x, y = rng.integers(0, wh[0]), rng.integers(0, wh[1])
        boxes.append((x, y, min(x + side[0], wh[0]), min(y + side[1], wh[1])))
    return painting(wh, boxes)


@settings(max_examples=120, deadline=None)
@given(
    paintings(),
    st.sampled_from(("auto", (64, 64), (100, 40), (33, 70))),
    st.sampled_from((0.0, 0.2, 0.5)),
)
def test_tiles_and_the_whole_frame_find_what_one_pass_finds(image, tile, overlap):
    one_look = Painted()([image])[0]
    found = TiledPredictor(Painted(), tile=tile, overlap=overlap)([image])[0]
    np.testing.assert_array_equal(found, one_look)


@settings(max_examples=120, deadline=None)
@given(
    paintings(),
    st.sampled_from(("auto", (64, 64), (100, 40), (33, 70))),
    st.sampled_from((0.2, 0.5)),
)
def test_tiles_alone_find_what_one_pass_finds(image, tile, overlap):
    """Objects longer than the overlap, and than a tile, are put together from their parts."""
    one_look = Painted()([image])[0]
    found = TiledPredictor(Painted(), tile=tile, overlap=overlap, whole_frame=False)([image])[0]
    np.testing.assert_array_equal(found, one_look)


@settings(max_examples=60, deadline=None)
@given(paintings(), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_chunks_and_the_order_of_tiles_change_no_bit(image, chunk, seed):
    expected = TiledPredictor(Painted())([image])[0]
    shuffled = TiledPredictor(Painted(), chunk=chunk)
    plan = shuffled.plan((image.shape[1], image.shape[0]))
    np.random.default_rng(seed).shuffle(plan.tiles_xyxy)
    shuffled.plan = lambda image_wh, **_: plan
    assert shuffled([image])[0].tobytes() == expected.tobytes()


def test_an_object_larger_than_a_tile_and_one_in_each_of_its_corners():
    image = painting(
        (300, 200),
        [
            (20, 30, 280, 170),
            (1, 1, 9, 9),
            (290, 1, 299, 9),
            (1, 190, 9, 199),
            (290, 190, 299, 199),
        ],
    )
    for whole_frame in (True, False):
        found = TiledPredictor(Painted(), whole_frame=whole_frame)([image])[0]
        np.testing.assert_array_equal(found, Painted()([image])[0])


def test_max_det_counts_after_merging():
    boxes = [(x, y, x + 3, y + 3) for y in range(2, 190, 6) for x in range(2, 290, 6)]
    image = painting((300, 200), boxes)
    every = Painted(max_det=10_000)([image])[0]
    assert len(every) > 1000
    tiled = TiledPredictor(Painted(max_det=50))
    np.testing.assert_array_equal(tiled([image])[0], every[:50])
    assert tiled.max_det == 50


def test_images_with_different_plans_in_one_call():
    images = [
        painting(wh, [(1, 1, 5, 5), (wh[0] - 9, 3, wh[0] - 2, 30)])
        for wh in ((300, 200), (50, 40), (300, 200), (1, 400))
    ]
    runtime = Painted()
    tiled = TiledPredictor(runtime, chunk=4)
    for found, image in zip(tiled(images), images, strict=True):
        np.testing.assert_array_equal(found, Painted()([image])[0])
    assert all(len(set(batch)) == 1 and len(batch) <= 4 for batch in runtime.batches)
    assert max(map(len, runtime.batches)) == 4
    assert tiled.seconds["inference"] == len(runtime.batches)
    assert tiled([]) == []


@pytest.mark.slow
def test_threads_that_share_it_each_get_what_they_would_get_alone():
    class Slow(Painted):
        """Gives another thread every chance to come in between."""

        def __call__(self, images, **limits):
            came.set()
            second.wait(0.2)
            return super().__call__(images, **limits)

    came, second = threading.Event(), threading.Event()
    large, small = (
        painting((300, 100), [(1, 1, 5, 5), (250, 3, 290, 30)]),
        painting((50, 40), [(9, 3, 20, 30)]),
    )
    tiled, found = TiledPredictor(Slow(), whole_frame=False), {}
    first = threading.Thread(target=lambda: found.update(large=tiled([large])[0]))
    first.start()
    came.wait(10)
    found["small"] = tiled([small])[0]
    second.set()
    first.join(10)
    for name, image in (("large", large), ("small", small)):
        np.testing.assert_array_equal(found[name], Painted()([image])[0])


def test_chunks_suit_the_device():
    """One by one on a core, so many for each worker on several, and many in one forward pass on a
    GPU.
    """
    assert TiledPredictor(Painted())._chunk == 1
    on_four_cores = Painted()
    on_four_cores.workers = 4
    assert TiledPredictor(on_four_cores)._chunk == 16
    on_gpu = Painted(imgsz=640)
    on_gpu.device = "cuda:0"
    assert TiledPredictor(on_gpu)._chunk == 32
    on_gpu.batched = False
    assert TiledPredictor(on_gpu)._chunk == 1


def test_a_gpu_that_is_too_small_gets_smaller_chunks():
    class Small(Painted):
        def __call__(self, images, **limits):
            if len(images) > 3:
                raise DeviceMemoryError("cuda:0 has too little memory")
            return super().__call__(images, **limits)

    image = painting((300, 200), [(20, 30, 280, 170), (1, 1, 9, 9)])
    runtime = Small()
    tiled = TiledPredictor(runtime, chunk=16)
    np.testing.assert_array_equal(tiled([image])[0], Painted()([image])[0])
    assert tiled._chunk <= 3
    with pytest.raises(DeviceMemoryError):
        TiledPredictor(
            type(
                "Tiny",
                (Small,),
                {"__call__": lambda *_, **__: (_ for _ in ()).throw(DeviceMemoryError())},
            )()
        )([image])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pt", "onnx"])
def test_the_whole_frame_at_a_larger_input_is_what_that_input_size_gives(kind, tmp_path):
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    imgsz = load_model(weights).imgsz
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
        options = ExportOptions(weights=weights, imgsz=(imgsz,), dynamic=True)
        weights = export_artifact("onnx", options, load_model(weights), tmp_path).path
    auto = TiledPredictor(open_predictor(weights, device="cpu"))
    assert auto.imgsz_hw == (imgsz, imgsz)
    frame_wh = (imgsz * 3, imgsz * 27 // 16)
    assert auto.plan(frame_wh).input_hw == (2 * imgsz, 2 * imgsz)
    images = [picture(1, frame_wh), picture(2, frame_wh), picture(3, (imgsz, imgsz))]
    twice = open_predictor(weights, device="cpu", imgsz=2 * imgsz)
    for image in images[:2]:
        expected = twice([image])[0]
        assert len(expected) > 5
        assert auto([image])[0].tobytes() == expected.tobytes()
        assert auto.proposals(image).tobytes() == twice.proposals(image).tobytes()
        assert auto.seconds.keys() == twice.seconds.keys()
    for rows, expected in zip(auto(images[:2]), twice(images[:2]), strict=True):
        assert rows.tobytes() == expected.tobytes()
    own = open_predictor(weights, device="cpu")(images[2:])[0]
    mixed = auto(images)  # each at its own input, whatever goes with it
    assert mixed[2].tobytes() == own.tobytes()
    for rows, expected in zip(mixed[:2], twice(images[:2]), strict=True):
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-3)
    assert auto([images[0]], max_det=3)[0].tobytes() == twice([images[0]], max_det=3)[0].tobytes()


def test_auto_keeps_the_requested_input_size(tmp_path):
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    image = picture(4, (700, 300))
    asked = TiledPredictor(open_predictor(weights, device="cpu", imgsz=256))
    plan = asked.plan((700, 300))
    assert plan.reason.endswith("the size asked for")
    x1, y1, x2, y2 = plan.tiles_xyxy[0].tolist()
    tiles = TiledPredictor(asked.predictor, tile=(x2 - x1, y2 - y1))
    assert asked([image])[0].tobytes() == tiles([image])[0].tobytes()
    in_call = TiledPredictor(open_predictor(weights, device="cpu"))
    assert in_call([image], imgsz_hw=(256, 256))[0].tobytes() == tiles([image])[0].tobytes()


def test_few_images_at_a_larger_input_share_a_forward_pass():
    """As many pixels at once as in tiles."""
    gpu = Painted(imgsz=640)
    gpu.device, gpu.size_fixed_by = "cuda:0", ""
    frames = [painting((1920, 1080), [(9, 9, 30, 30)], seed) for seed in range(12)]
    tiled = TiledPredictor(gpu)
    tiled(frames)
    assert tiled._chunk == 32
    assert [len(batch) for batch in gpu.batches] == [10, 2], "of 1280x736: three tiles each"
    assert set(gpu.inputs_hw) == {(1280, 1280)}
    assert tiled.at_once((1920, 1080)) == 1
    gpu.workers = 4
    assert tiled.at_once((1920, 1080)) == 4
    assert tiled.at_once((3840, 2160)) == 1, "tiles"


def test_a_gpu_that_is_too_small_takes_larger_inputs_one_by_one():
    class Small(Painted):
        def __call__(self, images, **limits):
            if len(images) > 1:
                raise DeviceMemoryError("cuda:0 has too little memory")
            return super().__call__(images, **limits)

    gpu = Small()
    gpu.size_fixed_by = ""
    frames = [painting((150, 100), [(9, 9, 30, 30), (60, 2, 140, 90)], seed) for seed in range(5)]
    tiled = TiledPredictor(gpu, chunk=16)
    for rows, frame in zip(tiled(frames), frames, strict=True):
        np.testing.assert_array_equal(rows, Painted()([frame])[0])
    assert [len(batch) for batch in gpu.batches] == [1] * 5


def test_workers_share_images_of_up_to_1280_squared(tmp_path):
    """Larger inputs keep every thread busy by themselves, and several at once take memory."""
    predictor = open_predictor(save(lively_model("tiny"), tmp_path / "tiny.pt"), device="cpu")
    predictor._workers = WorkerPool(3)
    assert predictor.at_once((1920, 1080)) == 3
    assert predictor.at_once((1280, 1280), imgsz_hw=(1280, 1280)) == 3
    assert predictor.at_once((1312, 1280), imgsz_hw=(1280, 1312)) == 1
    assert predictor.at_once((1920, 1080), imgsz_hw=(1600, 1600)) == 3, "1600x928 of them"
    assert predictor.at_once((1920, 1080), imgsz_hw=(1920, 1920)) == 1


def test_off_returns_the_runtime_itself(tmp_path):
    runtime = open_predictor(
        save(lively_model("tiny"), tmp_path / "tiny.pt"), device="cpu", max_det=20
    )
    images = [picture(1, (900, 700)), picture(2, (320, 200))]
    off = TiledPredictor(runtime, tile="off")
    found = off(images)
    assert off.seconds == runtime.seconds
    for one, other in zip(found, runtime(images), strict=True):
        assert one.tobytes() == other.tobytes()
    assert off.max_det == 20


def scattered(wh, patches, seed=0):
    """Small bright ellipses on grey, far from each other and from where tiles begin and end."""
    image = np.full((wh[1], wh[0], 3), 114, np.uint8)
    rng = np.random.default_rng(seed)
    for center in patches:
        cv2.ellipse(
            image,
            center,
            (int(rng.integers(5, 12)), int(rng.integers(5, 12))),
            0,
            0,
            360,
            (30, 220, 240),
            -1,
        )
    return image


def test_a_network_finds_in_tiles_what_it_finds_in_one_pass(tmp_path):
    """A network without EMA sees only so far: what lies well inside a tile looks the same there, at
    the same place of its grid.
    """
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    patches = [(110, 100), (400, 120), (130, 330), (420, 350), (256, 230)]
    image = scattered((512, 448), patches)
    one_look = open_predictor(weights, device="cpu", imgsz=512, conf=0.3)([image])[0]
    # Tiles begin at multiples of the stride, so that the network's grid lies on the same pixels.
    tiled = TiledPredictor(
        open_predictor(weights, device="cpu", imgsz=320, conf=0.3),
        tile=(320, 320),
        overlap=0.4,
        whole_frame=False,
    )
    assert (tiled.plan((512, 448)).tiles_xyxy % 32 == 0).all()
    found = tiled([image])[0]
    for center in patches:
        near = [
            np.abs((rows[:, :2] + rows[:, 2:4]) / 2 - center).max(axis=1) < 12
            for rows in (one_look, found)
        ]
        best = [
            rows[mask][0] if mask.any() else None
            for rows, mask in zip((one_look, found), near, strict=True)
        ]
        assert (best[0] is None) == (best[1] is None)
        if best[0] is not None:
            assert best[0][5] == best[1][5]
            np.testing.assert_allclose(best[1][:4], best[0][:4], rtol=0, atol=3)


def test_threads_change_only_the_networks_last_digits(tmp_path):
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    image = picture(3, (700, 330))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            tiled = TiledPredictor(open_predictor(weights, device="cpu"))
            torch.set_num_threads(threads)
            found.append(tiled([image])[0])
    finally:
        torch.set_num_threads(before)
    assert len(found[0]) == len(found[1]) > 10
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-3)


def test_chunks_of_a_network_find_the_same(tmp_path):
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    image = picture(3, (1000, 700))
    one, many = (
        TiledPredictor(open_predictor(weights, device="cpu"), chunk=chunk)([image])[0]
        for chunk in (1, 5)
    )
    assert len(one) == len(many)
    np.testing.assert_allclose(one, many, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_an_exported_file_of_fixed_size_gets_tiles_of_its_input(tmp_path):
    pytest.importorskip("onnxruntime")
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    path = export_artifact(
        "onnx", ExportOptions(weights=weights, imgsz=(256,)), load_model(weights), tmp_path
    ).path
    image = picture(4, (700, 300))
    fixed, free = (
        open_predictor(path, device="cpu"),
        open_predictor(weights, device="cpu", imgsz=256, rectangular=False),
    )
    plan = TiledPredictor(fixed).plan((700, 300))
    assert plan.tiles_xyxy[0].tolist() == [0, 0, 256, 256]
    assert plan.reason.endswith("input of 256x256, the only size that the file takes")
    with pytest.raises(ConfigError, match="takes only images of 256x256"):
        fixed([image], imgsz_hw=(512, 512))
    for tile in ("auto", (400, 200)):
        one, other = (
            TiledPredictor(fixed, tile=tile)([image])[0],
            TiledPredictor(free, tile=tile)([image])[0],
        )
        assert len(one) == len(other) > 5
        np.testing.assert_allclose(one, other, rtol=0, atol=0.1)


@pytest.mark.slow
def test_a_file_limited_to_few_boxes_has_that_limit_per_tile(tmp_path):
    pytest.importorskip("onnxruntime")
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt")
    options = ExportOptions(weights=weights, imgsz=(128,), nms=True, max_det=10, conf=0.1)
    path = export_artifact("onnx", options, load_model(weights), tmp_path).path
    tiled = TiledPredictor(open_predictor(path, device="cpu", max_det=200))
    assert 10 < len(tiled([picture(4, (700, 300))])[0]) <= 200
    assert tiled.max_det == 200


def test_a_head_that_needs_no_nms_is_not_cut_short_by_a_tile(tmp_path):
    weights = save(lively_model("tiny-nms-free"), tmp_path / "free.pt")
    runtime = open_predictor(weights, device="cpu", nms_free=True, conf=0.001, max_det=10)
    image = picture(1, (320, 320))
    assert len(runtime([image], max_det=30_000)[0]) > 300
    assert len(runtime([image])[0]) == 10


def test_proposals_in_tiles_are_those_of_each_tile(tmp_path):
    predictor = open_predictor(save(lively_model("tiny"), tmp_path / "tiny.pt"), device="cpu")
    image = picture(1, (500, 300))
    tiled = TiledPredictor(predictor, tile=(320, 192), whole_frame=False)
    tiles = tiled.plan((500, 300)).tiles_xyxy
    assert len(tiles) == 4
    rows = tiled.proposals(image)
    ends = np.cumsum([len(predictor.proposals(image[y1:y2, x1:x2])) for x1, y1, x2, y2 in tiles])
    assert len(rows) == ends[-1]
    x1, y1, x2, y2 = tiles[3]
    last = predictor.proposals(image[y1:y2, x1:x2])
    last[:, :4] += (x1, y1, x1, y1)
    np.testing.assert_array_equal(rows[ends[2] :], last)
    with_frame = TiledPredictor(predictor, tile=(320, 192)).proposals(image)
    np.testing.assert_array_equal(with_frame[ends[-1] :], predictor.proposals(image))
    np.testing.assert_array_equal(tiled.candidates(image), predictor.candidates(image))


def test_invalid_values_are_refused_at_once():
    with pytest.raises(ConfigError, match="expected auto, off"):
        TiledPredictor(Painted(), tile="of")
    with pytest.raises(ConfigError, match="did you mean 'nms'"):
        TiledPredictor(Painted(), merge="mns")
    with pytest.raises(ConfigError, match=r"0 to 0\.9"):
        TiledPredictor(Painted(), overlap=0.95)
    with pytest.raises(ConfigError, match="image 0"):
        TiledPredictor(Painted())([np.zeros((4, 4), np.uint8)])


def test_object_sizes_survive_a_checkpoint(tmp_path):
    labels = [
        {
            "shape": (500, 1000),
            "bboxes": np.array([[0.5, 0.5, 0.02, 0.04], [0.2, 0.2, 0.04, 0.08]], np.float32),
        },
        {"shape": (320, 640), "bboxes": np.array([[0.5, 0.5, 0.1, 0.2]], np.float32)},
        {"shape": (100, 100), "bboxes": np.empty((0, 4), np.float32)},
    ]
    sizes = measured_sizes(
        labels, imgsz=640
    )  # 20, 40 and 64 pixels; in the input 12.8, 25.6 and 64
    weights = save(lively_model("tiny"), tmp_path / "tiny.pt", **sizes)
    runtime = open_predictor(weights, device="cpu")
    found = runtime.object_sizes
    assert found.source_median == pytest.approx(40, abs=0.01)
    assert found.input_tenth == pytest.approx(12.8 + 0.2 * 12.8, abs=0.01)
    assert "40 pixels in the median" in TiledPredictor(runtime).plan((1000, 700)).reason
    assert measured_sizes(labels[2:], imgsz=640) == {}
    assert recorded_sizes({}) is None
    assert (
        recorded_sizes({"object_source_median_px": float("nan"), "object_input_tenth_px": 3.0})
        is None
    )


def test_a_group_of_classes_counts_across_tiles():
    image = painting((150, 60), [(50, 20, 62, 30)])
    twice = TiledPredictor(Doubled(), tile=(64, 64), whole_frame=False)
    assert sorted(twice([image])[0][:, 5]) == [0, 1]
    twice.settings.nms_groups = [(0, 1)]
    [kept] = twice([image])[0]
    np.testing.assert_array_equal(kept[:4], (50, 20, 62, 30))


class Doubled(Painted):
    """Calls every object by two classes; which of them is the stronger depends on the view."""

    def _found(self, image):
        rows = super()._found(image)
        rows = np.concatenate([rows, rows])
        half = len(rows) // 2
        rows[:half, 5], rows[half:, 5] = 0, 1
        rows[half:, 4] -= 0.1 if image[:, : image.shape[1] // 2].any() else -0.1
        return rows[np.argsort(-rows[:, 4], kind="stable")]


@settings(max_examples=60, deadline=None)
@given(paintings(), st.sampled_from(("off", (64, 64), (100, 40))))
def test_mirrored_and_enlarged_views_find_what_one_pass_finds(image, tile):
    network = Painted()
    found = TiledPredictor(network, tile=tile, augment=True)([image])[0]
    np.testing.assert_array_equal(found, Painted()([image])[0])
    assert set(network.inputs_hw) == {(64, 64), (96, 96)}


def test_the_limit_of_a_file_holds_for_each_view_of_an_image():
    class Limited(Painted):
        max_det = 1

    image = painting((64, 64), [(3, 4, 20, 9), (30, 40, 44, 49)])
    once, several = (TiledPredictor(Limited(), tile="off", augment=on) for on in (False, True))
    assert (len(once([image])[0]), once.max_det) == (1, 1)
    assert several.max_det == several.settings.max_det == 1000


def test_a_file_with_a_fixed_size_is_mirrored_only_and_says_so():
    network = Painted()
    network.size_fixed_by = "file"
    tiled = TiledPredictor(network, tile="off", augment=True)
    tiled([painting((50, 50), [(3, 4, 20, 9)])])
    assert set(network.inputs_hw) == {(64, 64)}
    assert [len(batch) for batch in network.batches] in ([2], [1, 1])
    assert tiled.plan((50, 50)).reason.endswith("; also mirrored")
