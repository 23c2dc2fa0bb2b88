"""``yolo-ema detect``: what is written, counted and shown, and how it ends, with a network of
random weights.
"""

from __future__ import annotations

import json
import signal
import urllib.request
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lively_weights import picture
from misbehaving_servers import HttpServer, never_answers, plays
from running_detect import RunningDetect

from yolo_ema import Detector
from yolo_ema.errors import SourceError
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.media.sources.video_reader import VideoReader
from yolo_ema.options.detect import SAVED_KINDS

CONF = "0.0001"


@pytest.fixture(scope="module")
def weights(sure_weights: Path) -> Path:
    return sure_weights


def _clip(path: Path, frames: int, image_wh: tuple[int, int] = (96, 64)) -> Path:
    """Write a video of one noisy image that hardly changes, so that identities last."""
    rng = np.random.default_rng(0)
    width, height = image_wh
    ground = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    with VideoWriter(path, frame_rate=Fraction(10), image_wh=image_wh) as writer:
        for _ in range(frames):
            writer.write(ground)
    return path


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    assert cv2.imwrite(
        str(folder / "a.jpg"),
        np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8),
    )
    _clip(folder / "c.mp4", 5)
    return folder


@pytest.mark.slow
def test_every_kind_of_output_is_written_and_named(yolo_ema_command, weights, footage, tmp_path):
    kinds = [kind for kind in SAVED_KINDS if kind != "none"]
    words = ("--conf", CONF, "--max-det", 20, "--save", ",".join(kinds), "--out", "out", "--json")
    done = yolo_ema_command("detect", footage, "--weights", weights, *words)
    assert done.code == 0, done.err
    assert sorted(done.json["files"]) == sorted(kinds)
    for kind, paths in done.json["files"].items():
        assert paths, kind
        assert all((tmp_path / path).exists() for path in paths), kind
    named = {
        kind: [Path(path).name for path in done.json["files"][kind]]
        for kind in ("jsonl", "csv", "coco", "visdrone", "yolo")
    }
    assert named == {
        "jsonl": ["detections.jsonl"],
        "csv": ["detections.csv"],
        "coco": ["coco.json"],
        "visdrone": ["visdrone"],
        "yolo": ["yolo"],
    }
    lines = [
        json.loads(line)
        for line in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    ]
    assert all(
        "track_id" not in one for one in lines[0]["detections"]
    )  # an image has no identities
    identities = [{one["track_id"] for one in line["detections"]} - {None} for line in lines[1:]]
    assert identities[-1] & identities[-2]


@pytest.mark.slow
def test_a_folder_of_images_is_tracked_as_one_sequence(yolo_ema_command, weights, tmp_path):
    """Images of one size keep their identities; after another size, and in the second folder,
    they are new.
    """
    rng = np.random.default_rng(0)
    large, small = (
        rng.integers(0, 255, shape, dtype=np.uint8) for shape in ((64, 96, 3), (48, 64, 3))
    )
    for folder, pictures in (("one", [large] * 9 + [small] * 4), ("two", [large] * 2)):
        (tmp_path / "flight" / folder).mkdir(parents=True)
        for number, image in enumerate(pictures, start=1):
            assert cv2.imwrite(str(tmp_path / "flight" / folder / f"{number}.png"), image)
    kinds = "annotated,jsonl,mot,visdrone-mot,visdrone,yolo,coco"
    words = (
        "--track",
        "--fps",
        12.5,
        "--conf",
        CONF,
        "--max-det",
        20,
        "--save",
        kinds,
        "--out",
        "out",
        "--json",
    )
    done = yolo_ema_command("detect", "flight", "--weights", weights, *words)
    assert done.code == 0, done.err
    one, two = str(Path("flight", "one")), str(Path("flight", "two"))
    assert [(each["source"], each["frames"]) for each in done.json["sources"]] == [
        (one, 13),
        (two, 2),
    ]
    lines = [
        json.loads(line)
        for line in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    ]
    first = [line for line in lines if line["source"] == one]
    assert [(line["frame"], line["time_s"]) for line in first] == [
        (index, index * 0.08) for index in range(13)
    ]
    assert [line["picture"] for line in first] == [
        str(Path(one, f"{number}.png")) for number in range(1, 14)
    ]
    seen = [{each["track_id"] for each in line["detections"]} - {None} for line in first]
    assert seen[1] & seen[2] & seen[8]
    assert seen[9]
    assert not set.union(*seen[:9]) & set.union(*seen[9:])
    _files_of_sequences(tmp_path / "out", one)


def _files_of_sequences(out: Path, one: str) -> None:
    numbers = (
        [f"one_{number}" for number in (1, 2)]
        + [str(number) for number in range(3, 14)]
        + ["two_1", "two_2"]
    )
    assert sorted(path.name for path in out.glob("*.png")) == sorted(
        f"{stem}.png" for stem in numbers
    )
    assert sorted(path.stem for path in (out / "yolo" / "labels").iterdir()) == sorted(numbers)
    for kind in ("mot", "visdrone-mot", "visdrone"):
        assert sorted(path.name for path in (out / kind).iterdir()) == ["one.txt", "two.txt"], kind
        frames = [
            int(row.split(",")[0]) for row in (out / kind / "one.txt").read_text().splitlines()
        ]
        assert frames == sorted(frames)
        assert set(frames) <= set(range(1, 14))
        assert 13 in frames
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [(image["file_name"], image["frame"]) for image in images[:2]] == [
        (str(Path(one, f"{n}.png")), n - 1) for n in (1, 2)
    ]


@pytest.mark.slow
def test_nothing_is_written_when_no_output_is_requested(
    yolo_ema_command, weights, footage, tmp_path
):
    done = yolo_ema_command(
        "detect", footage / "a.jpg", "--weights", weights, "--save", "none", "--out", "out"
    )
    assert done.code == 0, done.err
    assert "nothing was written" in done.out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_tiles_are_reported_and_find_what_the_whole_frame_finds(yolo_ema_command, weights, footage):
    done = yolo_ema_command(
        "detect",
        footage / "a.jpg",
        "--weights",
        weights,
        "--tile",
        "64x64",
        "--conf",
        CONF,
        "--json",
    )
    assert done.code == 0, done.err
    assert "6 tiles of 64x64 pixels and the whole frame" in done.json["tiling"]["120x80"]
    assert "6 tiles of 64x64 pixels" in done.err
    whole = yolo_ema_command(
        "detect", footage / "a.jpg", "--weights", weights, "--tile", "off", "--conf", CONF, "--json"
    )
    assert whole.json["tiling"] == {"120x80": "the whole frame: tiles are off"}


@pytest.mark.slow
def test_a_larger_input_is_reported_and_finds_what_that_size_finds(
    yolo_ema_command, weights, tmp_path
):
    cv2.imwrite(str(tmp_path / "large.png"), picture(1, (288, 162)))
    words = ("detect", "large.png", "--weights", weights, "--conf", CONF, "--json")
    auto, larger = (
        yolo_ema_command(*words, "--save", "jsonl", "--out", out, *more)
        for out, more in (("auto", ()), ("larger", ("--imgsz", "192", "--tile", "off")))
    )
    assert auto.code == larger.code == 0, auto.err
    said = "the whole frame at a larger input of 192x192, shrunk 1.5 times"
    assert auto.json["tiling"]["288x162"].startswith(said)
    assert said in auto.err
    rows = (tmp_path / "auto/detections.jsonl").read_text()
    assert rows == (tmp_path / "larger/detections.jsonl").read_text()
    assert rows.count("box_xyxy") > 5


@pytest.mark.slow
def test_lines_and_zones_are_counted_and_reported(yolo_ema_command, weights, footage):
    words = (
        "--count-line",
        "gate=0,0.5,1,0.5",
        "--zone",
        "0,0,1,0,1,1,0,1",
        "--conf",
        CONF,
        "--json",
    )
    done = yolo_ema_command("detect", footage / "c.mp4", "--weights", weights, *words)
    assert done.code == 0, done.err
    counts = done.json["sources"][0]["counts"]
    assert set(counts["lines"]) == {"gate"}
    assert sum(counts["zones"]["zone 1"]["visitors"].values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tile", "640"), "--tile is '640'"),
        (("--save", "none,csv"), "none cannot be combined"),
        (("--tracker", "bytetrak"), "did you mean 'bytetrack'"),
        (("--trails", "-1"), "--trails is -1.0"),
        (("--fps", "0"), "--fps is 0.0"),
        (("--save", "cvs"), "did you mean 'csv'"),
        (("--zone", "1,2,3"), "is not a zone"),
        (("--serve", 99999), "--serve is 99999"),
        (("--serve", 0, "--serve-host", "0.0.0.0"), "token"),
    ],
)
def test_an_impossible_request_is_refused_before_anything_is_read(
    yolo_ema_command, weights, footage, tmp_path, words, message
):
    done = yolo_ema_command("detect", footage, "--weights", weights, "--out", "out", *words)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out" / "detections.jsonl").exists()


def _line_count(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_a_video_with_complete_outputs(weights, tmp_path, number):
    clip = _clip(tmp_path / "long.mp4", 2000)
    jsonl = tmp_path / "out" / "detections.jsonl"
    words = (
        clip,
        "--weights",
        weights,
        "--out",
        "out",
        "--conf",
        CONF,
        "--save",
        "annotated,jsonl,coco",
    )
    with RunningDetect(tmp_path, *words) as running:
        running.wait_until(lambda: _line_count(jsonl) > 3)
        code, result = running.end(number)
    assert code == 130, running.err
    assert result["interrupted"]
    frames = result["sources"][0]["frames"]
    assert 3 < frames < 2000
    assert _line_count(jsonl) == frames
    assert len(list(VideoReader(tmp_path / "out" / "long.mp4"))) == frames
    (coco,) = result["files"]["coco"]
    assert json.loads((tmp_path / coco).read_text()) is not None


@pytest.mark.slow
def test_live_sources_are_served_on_a_page_and_ended_by_the_user_without_an_error(
    weights, tmp_path
):
    with HttpServer(plays()) as server, HttpServer(never_answers) as silent:
        addresses = (server.url(userinfo="me:secret@"), silent.url())
        with RunningDetect(
            tmp_path, *addresses, "--weights", weights, "--out", "out", "--conf", CONF, "--serve", 0
        ) as running:
            running.wait_until(
                lambda: running.page and _line_count(tmp_path / "out" / "detections.jsonl") > 3
            )
            with urllib.request.urlopen(running.page, timeout=20) as answer:
                assert answer.status == 200
            code, result = running.end(signal.SIGINT)
    live, hung = result["sources"]
    assert live["frames"] > 3
    assert live["frames_dropped"] >= 0
    assert not live["problem"]
    assert hung["frames"] == 0
    assert code in {0, 5}  # 5 where the silent one was already given up
    assert code == (5 if hung["problem"] else 0)
    written = " ".join(path.name for path in (tmp_path / "out").rglob("*"))
    for text in (
        written,
        running.err,
        json.dumps(result),
        (tmp_path / "out" / "detections.jsonl").read_text(),
    ):
        assert "secret" not in text


class TestStream:
    def test_images_of_a_folder_are_one_sequence_when_tracking(self, weights, tmp_path):
        image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        for number in (9, 10):
            assert cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        tracked = list(
            Detector(weights, conf=float(CONF), max_det=20, track=True).stream(tmp_path, fps=10)
        )
        assert [Path(results.path).name for results in tracked] == ["9.png", "10.png"]
        assert set(tracked[1].boxes.id.tolist()) & set(tracked[0].boxes.id.tolist()) - {-1.0}
        plain = list(Detector(weights, conf=float(CONF), max_det=20).stream(tmp_path))
        assert [(Path(results.path).name, results.boxes.id) for results in plain] == [
            ("10.png", None),
            ("9.png", None),
        ]

    def test_identities_are_in_the_results(self, weights, footage):
        frames = list(
            Detector(weights, conf=float(CONF), max_det=20, track=True).stream(footage / "c.mp4")
        )
        assert len(frames) == 5
        assert frames[-1].boxes.is_track
        assert set(frames[-1].boxes.id.tolist()) & set(frames[-2].boxes.id.tolist()) - {-1.0}
        assert frames[-1].plot().shape == (64, 96, 3)

    def test_tiles_are_given_as_numbers_or_a_word(self, weights, footage):
        by_numbers, by_word = (
            Detector(weights, conf=float(CONF), tile=tile) for tile in ((64, 64), "64x64")
        )
        one, two = (detector.detect(footage / "a.jpg") for detector in (by_numbers, by_word))
        torch.testing.assert_close(one.boxes.data, two.boxes.data)
        assert by_numbers.plan((120, 80)).startswith("6 tiles of 64x64 pixels")

    def test_an_outage_of_a_live_source_is_a_warning(self, weights):
        def watch(server: HttpServer) -> None:
            frames = Detector(weights, max_det=20).stream(server.url())
            for number, _ in enumerate(frames):
                if number == 1:
                    server.down()
                    server.up()
                if number > 500 or is_back():
                    break
            frames.close()

        def is_back() -> bool:
            return any("is back after" in str(one.message) for one in told)

        with (
            HttpServer(plays()) as server,
            pytest.warns(UserWarning, match=r"127\.0\.0\.1") as told,
        ):
            watch(server)
        assert is_back()

    def test_a_failed_source_is_raised_after_the_others_have_ended(
        self, weights, footage, tmp_path
    ):
        damaged = tmp_path / "0.jpg"
        damaged.write_bytes((footage / "a.jpg").read_bytes()[:500])
        seen = []
        with pytest.raises(SourceError, match=r"0\.jpg is"):
            seen.extend(
                result.path
                for result in Detector(weights, conf=float(CONF)).stream(
                    [damaged, footage / "a.jpg"]
                )
            )
        assert seen == [str(footage / "a.jpg")]
