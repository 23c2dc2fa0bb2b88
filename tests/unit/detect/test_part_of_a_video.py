"""``--vid-stride``, ``--start`` and ``--end`` hold for every output, and for `Detector.stream`."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from lively_weights import lively_model, picture, save

from yolo_ema.detect.detector import Detector
from yolo_ema.detect.run import detect
from yolo_ema.errors import ConfigError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.options.detect import DetectOptions
from yolo_ema.options.detector import DetectorConfig

FRAMES, RATE = 24, 12
TAKEN = [6, 9, 12, 15]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(lively_model("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fractions import Fraction

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    scene = picture(0, (160, 96))
    with VideoWriter(path, frame_rate=Fraction(RATE), image_wh=(160, 96)) as writer:
        for number in range(FRAMES):
            writer.write(np.roll(scene, number, axis=1), number / RATE)
    return path


def test_every_output_has_the_frames_that_were_taken(
    weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "still.png"), picture(1, (64, 64)))
    options = DetectOptions(
        source=(str(clip), str(tmp_path / "still.png")),
        weights=weights,
        imgsz=(96,),
        device="cpu",
        conf=0.05,
        track=True,
        save=("annotated", "jsonl"),
        out=tmp_path / "out",
        vid_stride=3,
        start=0.5,
        end=1.5,
    )
    result = detect(options).as_json()
    assert (
        "1 image is taken whatever --vid-stride, --start and --end say" in capsys.readouterr().err
    )
    assert [source["frames"] for source in result["sources"]] == [len(TAKEN), 1]
    text = (tmp_path / "out" / "detections.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    of_clip = [row for row in rows if row["source"] == str(clip)]
    assert [row["frame"] for row in of_clip] == TAKEN
    assert [row["time_s"] for row in of_clip] == pytest.approx([one / RATE for one in TAKEN])
    with av.open(str(tmp_path / "out" / "clip.mp4")) as written:
        stream = written.streams.video[0]
        times = [float(frame.pts * stream.time_base) for frame in written.decode(stream)]
    assert np.diff(times) == pytest.approx([3 / RATE] * 3, abs=1e-3)
    assert float(stream.average_rate) == pytest.approx(RATE / 3, rel=0.01)


def test_stream_takes_the_part_and_finds_what_the_whole_run_finds(
    weights: Path, clip: Path
) -> None:
    settings = {"imgsz": 96, "device": "cpu", "conf": 0.05}
    whole = {
        found.frame.index: found
        for found in Detector(weights, **settings).stream_detections(str(clip))
    }
    part = Detector(weights, **settings, vid_stride=3, start=0.5, end=1.5)
    found = list(part.stream_detections(str(clip)))
    assert [one.frame.index for one in found] == TAKEN
    for one in found:
        np.testing.assert_array_equal(one.boxes_xyxy, whole[one.frame.index].boxes_xyxy)
    arrays = [one.frame.image_bgr for one in whole.values()]
    of_arrays = list(part.stream_detections(arrays, fps=RATE))
    assert [one.frame.index for one in of_arrays] == TAKEN


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="--end is 2 and --start 3; expected a later end"):
        DetectorConfig(start=3, end=2)
    with pytest.raises(ConfigError, match="--vid-stride is 0; expected 1 or more"):
        DetectorConfig(vid_stride=0)
