"""``yolo-ema detect`` and `Detector` on real files, with a network of random weights: what is
tested is how boxes are passed on.
"""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from ultralytics.engine.results import Results

from yolo_ema import Detector
from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import ConfigError, SourceError, WeightsNotFoundError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.video_reader import VideoReader

CONF = "0.0001"


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images and a video of five frames at 10 frames per second."""
    folder = tmp_path_factory.mktemp("footage")
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png"):
        assert cv2.imwrite(str(folder / name), rng.integers(0, 255, (80, 120, 3), dtype=np.uint8))
    with VideoWriter(folder / "c.mp4", frame_rate=Fraction(10), image_wh=(96, 64)) as writer:
        for _ in range(5):
            writer.write(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8))
    return folder


@pytest.mark.slow
def test_images_and_video_to_copies_and_json_lines(yolo_ema_command, weights, footage, tmp_path):
    done = yolo_ema_command(
        "detect", footage, "--weights", weights, "--out", tmp_path / "out", "--conf", CONF
    )
    assert done.code == 0, done.err
    lines = [
        json.loads(line)
        for line in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    ]
    assert [(Path(line["source"]).name, line["frame"]) for line in lines] == [
        ("a.jpg", 0),
        ("b.png", 0),
        *[("c.mp4", index) for index in range(5)],
    ]
    assert [round(line["time_s"], 3) for line in lines[2:]] == [0, 0.1, 0.2, 0.3, 0.4]
    assert (lines[0]["width"], lines[0]["height"]) == (120, 80)
    objects = [one for line in lines for one in line["detections"]]
    assert objects
    for one in objects:
        assert one["class"] == VISDRONE_CLASSES[one["class_id"]]
        assert float(CONF) <= one["score"] <= 1
        assert 0 <= one["box_xyxy"][0] <= one["box_xyxy"][2] <= 120
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.jpg",
        "b.png",
        "c.mp4",
        "detections.jsonl",
    }
    assert len(list(VideoReader(tmp_path / "out" / "c.mp4"))) == 5
    assert "total" in done.out


@pytest.mark.slow
def test_without_out_every_run_gets_a_fresh_folder(yolo_ema_command, weights, footage, tmp_path):
    results = [
        yolo_ema_command("detect", footage / "a.jpg", "--weights", weights, "--json").json
        for _ in range(2)
    ]
    assert [one["out"] for one in results] == ["runs/detect", "runs/detect-2"]
    assert (tmp_path / "runs" / "detect-2" / "a.jpg").is_file()


@pytest.mark.slow
def test_a_run_that_is_refused_leaves_no_folder(yolo_ema_command, weights, footage, tmp_path):
    done = yolo_ema_command(
        "detect", footage / "a.jpg", "--weights", weights, "--count-line", "bad"
    )
    assert done.code == 2
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow
def test_a_damaged_source_is_named_and_the_others_continue(
    yolo_ema_command, weights, footage, tmp_path
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    whole = (footage / "a.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "2.jpg").write_bytes(whole)
    (folder / "3.mp4").write_bytes(b"")
    done = yolo_ema_command("detect", folder, "--weights", weights, "--json")
    assert done.code == 5
    assert [bool(one["problem"]) for one in done.json["sources"]] == [True, False, True]
    assert [one["frames"] for one in done.json["sources"]] == [0, 1, 0]


@pytest.mark.slow
def test_a_file_that_is_not_an_image_is_named_without_mentioning_packages(
    yolo_ema_command, weights, tmp_path
):
    (tmp_path / "noise.jpg").write_bytes(b"no image at all" * 20)
    done = yolo_ema_command("detect", "noise.jpg", "--weights", weights)
    assert done.code == 5
    assert "noise.jpg is not an image that can be read" in done.out
    assert "pi-heif" not in done.out + done.err


def test_an_out_that_is_a_file_is_refused_at_once(yolo_ema_command, weights, footage, tmp_path):
    (tmp_path / "taken").touch()
    done = yolo_ema_command("detect", footage / "a.jpg", "--weights", weights, "--out", "taken")
    assert done.code == 2
    assert "--out is taken, which is a file; expected a folder" in done.err


@pytest.mark.slow
def test_how_images_are_tracked_is_reported(yolo_ema_command, weights, footage, tmp_path):
    (tmp_path / "flight").mkdir()
    for number in range(2):
        shutil.copy(footage / "a.jpg", tmp_path / "flight" / f"{number}.jpg")
    said = "tracking: the images in flight are frames of a sequence, 30 per second (--fps)"
    assert said in yolo_ema_command("detect", "flight", "--weights", weights, "--save", "mot").err
    assert (
        said
        not in yolo_ema_command(
            "detect", "flight", "--weights", weights, "--save", "mot", "--track"
        ).err
    )
    alone = yolo_ema_command("detect", footage / "a.jpg", "--weights", weights, "--save", "mot")
    assert (
        f"no identities, counts or MOT files for {footage / 'a.jpg'}: tracking needs at least two"
        in alone.err
    )


@pytest.mark.slow
def test_a_frame_that_reaches_max_det_is_named(yolo_ema_command, weights, footage):
    done = yolo_ema_command(
        "detect", footage / "a.jpg", "--weights", weights, "--conf", CONF, "--max-det", 3
    )
    assert "max_det reached in" in done.out
    assert "frames 0" in done.out


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(yolo_ema_command, weights, footage, tmp_path):
    for out in ("one", "two"):
        assert (
            yolo_ema_command(
                "detect", footage, "--weights", weights, "--out", tmp_path / out, "--conf", CONF
            ).code
            == 0
        )
    assert (tmp_path / "one" / "detections.jsonl").read_bytes() == (
        tmp_path / "two" / "detections.jsonl"
    ).read_bytes()


class TestDetector:
    @pytest.fixture(scope="class")
    def detector(self, weights) -> Detector:
        return Detector(weights, conf=float(CONF))

    def test_arrays_paths_and_lists_give_ultralytics_results(self, detector, footage):
        image = cv2.imread(str(footage / "a.jpg"))
        one, (first, second) = (
            detector.detect(image),
            detector.detect([footage / "a.jpg", str(footage / "b.png")]),
        )
        assert isinstance(one, Results)
        torch.testing.assert_close(one.boxes.data, first.boxes.data)
        assert second.path == str(footage / "b.png")
        assert one.names == dict(enumerate(VISDRONE_CLASSES))
        assert one.plot().shape == image.shape

    def test_a_stream_yields_frames_one_by_one(self, detector, footage):
        frames = list(detector.stream(footage / "c.mp4"))
        assert len(frames) == 5
        assert frames[0].orig_shape == (64, 96)

    def test_classes_by_name(self, weights, footage, detector):
        wanted = Detector(weights, conf=float(CONF), classes=("car", "bus")).detect(
            footage / "a.jpg"
        )
        every = detector.detect(footage / "a.jpg")
        assert {every.names[int(one)] for one in every.boxes.cls} - {"car", "bus"}
        assert {wanted.names[int(one)] for one in wanted.boxes.cls} <= {"car", "bus"}
        with pytest.raises(ConfigError, match="did you mean 'bicycle'"):
            Detector(weights, classes=("bicyle",))

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 3), np.float32),
            np.zeros((0, 4, 3), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
        ],
    )
    def test_another_shape_or_type_is_refused(self, detector, image):
        with pytest.raises(SourceError, match=r"expected \(H, W, 3\) uint8"):
            detector.detect(image)

    @pytest.mark.parametrize(
        "image", [torch.zeros(4, 4, 3, dtype=torch.uint8), None, 7, b"a.jpg", [None]]
    )
    def test_a_value_that_is_not_an_image_is_refused(self, detector, image):
        with pytest.raises(
            SourceError, match=r"is given; expected an array .* a path, or a list of these"
        ):
            detector.detect(image)

    def test_arrays_with_another_memory_layout_give_the_same(self, detector, footage):
        image = cv2.imread(str(footage / "b.png"))
        wanted = detector.detect(image).boxes.data
        turned, still = image[:, :, ::-1].copy()[:, :, ::-1], image.copy()
        still.setflags(write=False)
        for other in (turned, np.asfortranarray(image), still):
            torch.testing.assert_close(detector.detect(other).boxes.data, wanted, rtol=0, atol=0)

    def test_a_camera_may_be_given_by_its_number(self, detector, monkeypatch):
        asked = []

        def no_sources(given, **_):
            asked.append(given)
            return []

        monkeypatch.setattr("yolo_ema.detect.inputs.open_sources", no_sources)
        assert list(detector.stream(0)) == list(detector.stream([0, "b.mp4"])) == []
        assert asked == [["0"], ["0", "b.mp4"]]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"tile": 640}, "expected auto, off, or width x height"),
            ({"tile": (640,)}, "expected auto, off, or width x height"),
            ({"classes": "lorry,bus"}, "know no class 'lorry'; they know"),
            ({"classes": (3,)}, "know no class '3'; they know"),
            ({"conf": 25}, "conf is 25"),
        ],
    )
    def test_impossible_settings_are_refused(self, weights, settings, message):
        with pytest.raises(ConfigError, match=message):
            Detector(weights, **settings)

    def test_a_video_is_not_an_image(self, detector, footage):
        with pytest.raises(SourceError, match=r"Detector\.stream"):
            detector.detect(footage / "c.mp4")

    def test_missing_weights_name_the_command(self, monkeypatch, tmp_path):
        monkeypatch.setattr("yolo_ema.detect.detector.weights_dir", lambda: tmp_path)
        with pytest.raises(WeightsNotFoundError, match="yolo-ema train"):
            Detector()


@pytest.mark.slow
@pytest.mark.realdata
def test_real_footage(yolo_ema_command, shared, tmp_path):
    """Cars at a junction, found by weights that know them; the clip's first second."""
    clip = tmp_path / "clip.mp4"
    reader = VideoReader(shared / "video" / "road-junction-640x360.mp4")
    with VideoWriter(clip, frame_rate=reader.frame_rate, image_wh=(640, 360)) as writer:
        for index, (image, _) in enumerate(reader):
            if index == 6:
                break
            writer.write(image)
    done = yolo_ema_command(
        "detect",
        clip,
        "--weights",
        shared / "weights" / "yolo11n_coco_from_int8.pt",
        "--out",
        "out",
        "--json",
        "--conf",
        "0.2",
    )
    assert done.code == 0, done.err
    assert done.json["sources"][0]["frames"] == 6
    assert set(done.json["objects_per_class"]) & {"car", "truck"}
