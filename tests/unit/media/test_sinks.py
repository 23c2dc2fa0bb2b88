"""Every format as its readers want it: what is written, under which names, and what is left when
the end comes early.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import ConfigError
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sinks.annotated import AnnotatedCopies
from yolo_ema.media.sinks.coco_json import CocoJson
from yolo_ema.media.sinks.crops import Crops
from yolo_ema.media.sinks.csv_rows import CsvRows
from yolo_ema.media.sinks.jsonl import JsonLines
from yolo_ema.media.sinks.open_sinks import SINK_KINDS, open_sinks
from yolo_ema.media.sinks.sink import FrameContext
from yolo_ema.media.sinks.visdrone_results import VisdroneResults
from yolo_ema.media.sinks.yolo_labels import YoloLabels
from yolo_ema.media.sources.video_reader import VideoReader
from yolo_ema.visdrone.annotations import read_results
from yolo_ema.visdrone.submission import write_submission

NAMES = dict(enumerate(VISDRONE_CLASSES))
PICTURE, CLIP = FrameContext(None, "a"), FrameContext(Fraction(10), "clip")
LIVE = FrameContext(None, "camera", is_live=True)


def found_in(
    boxes=(), source="a.jpg", index=0, image_wh=(200, 150), track_ids=None, time_s=None, names=NAMES
) -> FrameDetections:
    rows = np.array(boxes, float).reshape(-1, 6)
    image = np.random.default_rng(index).integers(
        0, 255, (image_wh[1], image_wh[0], 3), dtype=np.uint8
    )
    frame = Frame(image, source, index, index / 10 if time_s is None else time_s)
    ids = None if track_ids is None else np.array(track_ids)
    return FrameDetections(frame, rows[:, :4], rows[:, 4], rows[:, 5].astype(int), names, ids)


TWO = [[10, 20, 50, 40, 0.9, 3], [100.256, 100, 130, 150, 0.5, 0]]


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_csv_has_one_row_per_object(tmp_path):
    with contextlib.closing(CsvRows(tmp_path)) as sink:
        sink.write(
            found_in(TWO, source='with "quotes", commas.mp4', index=3, track_ids=[7, -1]), CLIP
        )
        sink.write(found_in([]), PICTURE)
    rows = list(csv.DictReader(io.StringIO(sink.paths[0].read_text())))
    assert len(rows) == 2
    assert rows[0] == {
        "source": 'with "quotes", commas.mp4',
        "frame": "3",
        "time_s": "0.3",
        "width": "200",
        "height": "150",
        "track_id": "7",
        "class_id": "3",
        "class": "car",
        "score": "0.9",
        "x1": "10.0",
        "y1": "20.0",
        "x2": "50.0",
        "y2": "40.0",
    }
    assert (rows[1]["track_id"], rows[1]["x1"]) == ("", "100.26")


@pytest.mark.parametrize("kind", [JsonLines, CsvRows])
def test_a_growing_file_is_readable_before_it_is_closed(tmp_path, kind):
    sink = kind(tmp_path)
    sink.write(found_in(TWO), PICTURE)
    content = sink.paths[0].read_text()
    sink.close()
    sink.close()
    assert content.endswith("\n")
    assert sink.paths[0].read_text() == content


def test_names_that_are_not_plain_text_are_written_as_json(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    with contextlib.closing(JsonLines(tmp_path)) as sink:
        sink.write(found_in(TWO, source=name), PICTURE)
    assert json.loads(lines_of(sink.paths[0])[0])["source"] == name


def test_coco_loads_in_pycocotools(tmp_path, capsys):
    with contextlib.closing(CocoJson(tmp_path, NAMES)) as sink:
        sink.write(found_in(TWO, source="x/a.jpg"), PICTURE)
        sink.write(found_in(TWO[:1], source="c.mp4", index=12, track_ids=[-1]), CLIP)
        sink.write(found_in([], source="x/b.jpg"), FrameContext(None, "b"))
        assert sink.paths == ()
        assert list(tmp_path.iterdir()) == []  # nothing half-made is there to be read
    coco = COCO(sink.paths[0])
    assert [one["file_name"] for one in coco.loadImgs(coco.getImgIds())] == [
        "x/a.jpg",
        "clip_000012.jpg",
        "x/b.jpg",
    ]
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == list(VISDRONE_CLASSES)
    first, second, third = coco.loadAnns(coco.getAnnIds())
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 4,
        "bbox": [10.0, 20.0, 40.0, 20.0],
        "area": 800.0,
        "iscrowd": 0,
        "score": 0.9,
    }
    assert coco.loadCats(second["category_id"])[0]["name"] == "pedestrian"
    assert (third["image_id"], third["track_id"]) == (2, None)
    assert coco.getAnnIds(imgIds=[3]) == []
    assert len(coco.loadRes(list(coco.anns.values())).anns) == 3
    capsys.readouterr()


def test_coco_without_a_frame_is_valid(tmp_path):
    with contextlib.closing(CocoJson(tmp_path, NAMES)) as sink:
        pass
    sink.close()
    assert json.loads(sink.paths[0].read_text())["annotations"] == []
    assert [one.name for one in tmp_path.iterdir()] == ["coco.json"]


def test_visdrone_det_files_are_those_of_the_submission_format(tmp_path):
    with contextlib.closing(VisdroneResults(tmp_path, NAMES, VISDRONE_CLASSES)) as sink:
        sink.write(found_in(TWO), PICTURE)
        sink.write(found_in([]), FrameContext(None, "empty"))
    rows = np.array([[10, 20, 40, 20, 0.9, 4], [100.256, 100, 29.744, 50, 0.5, 1]])
    write_submission(tmp_path / "expected", {"a": rows, "empty": np.zeros((0, 6))})
    for name in ("a.txt", "empty.txt"):
        assert (tmp_path / "visdrone" / name).read_text() == (
            tmp_path / "expected" / name
        ).read_text()
    assert read_results(tmp_path / "visdrone" / "a.txt") == pytest.approx(rows.round(2))


def test_visdrone_vid_files_count_frames_from_one(tmp_path):
    sink = VisdroneResults(tmp_path, NAMES, VISDRONE_CLASSES)
    for index in range(2):
        for source in ("x/clip.mp4", "y/clip.mp4"):
            sink.write(found_in(TWO[:1], source=source, index=index, track_ids=[5]), CLIP)
    sink.end_source("x/clip.mp4")
    sink.close()
    expected = [
        "1,-1,10.00,20.00,40.00,20.00,0.900000,4,-1,-1",
        "2,-1,10.00,20.00,40.00,20.00,0.900000,4,-1,-1",
    ]
    assert (
        lines_of(tmp_path / "visdrone" / "clip.txt")
        == lines_of(tmp_path / "visdrone" / "clip-2.txt")
        == expected
    )


def test_visdrone_classes_match_by_name_not_by_number(tmp_path):
    names = {5: "Awning Tricycle", 9: "car"}
    with contextlib.closing(VisdroneResults(tmp_path, names, VISDRONE_CLASSES)) as sink:
        sink.write(found_in([[0, 0, 9, 9, 0.9, 5], [0, 0, 9, 9, 0.8, 9]], names=names), PICTURE)
    assert [line.split(",")[5] for line in lines_of(tmp_path / "visdrone" / "a.txt")] == ["8", "4"]


def test_a_class_unknown_to_visdrone_is_reported_before_anything_is_written(tmp_path):
    with pytest.raises(
        ConfigError, match=r"cannot hold the classes zebra; VisDrone's are pedestrian.*--classes"
    ):
        open_sinks(
            ("jsonl", "visdrone"),
            tmp_path,
            names={0: "car", 1: "zebra"},
            visdrone_names=VISDRONE_CLASSES,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scores", [False, True])
def test_yolo_labels_give_the_boxes_back(tmp_path, scores):
    with contextlib.closing(YoloLabels(tmp_path, NAMES, scores=scores)) as sink:
        sink.write(found_in([*TWO, [-5, -5, 20, 20, 0.4, 1]]), PICTURE)
        sink.write(found_in(TWO[:1], index=4), CLIP)
        sink.write(found_in([]), FrameContext(None, "empty"))
    rows = np.loadtxt(tmp_path / "yolo" / "labels" / "a.txt", ndmin=2)
    assert rows[:, 0].tolist() == [3, 0, 1]
    centre, size = rows[:, 1:3] * (200, 150), rows[:, 3:5] * (200, 150)
    expected = [[10, 20, 50, 40], [100.256, 100, 130, 150], [0, 0, 20, 20]]
    assert np.hstack([centre - size / 2, centre + size / 2]) == pytest.approx(
        np.array(expected), abs=1e-3
    )
    assert rows.shape[1] == (6 if scores else 5)
    if scores:
        assert rows[:, 5].tolist() == [0.9, 0.5, 0.4]
    assert sorted(path.name for path in (tmp_path / "yolo" / "labels").iterdir()) == [
        "a.txt",
        "clip_000004.txt",
        "empty.txt",
    ]
    assert (tmp_path / "yolo" / "labels" / "empty.txt").read_text() == ""
    assert lines_of(tmp_path / "yolo" / "classes.txt") == list(VISDRONE_CLASSES)


def test_the_line_of_a_class_is_its_id_whatever_its_name_contains(tmp_path):
    names = {0: "a\nb", 1: "c\r\nd\u2028e\x1b[31m", 2: "f\ud800", 4: "g"}
    with contextlib.closing(YoloLabels(tmp_path, names)):
        pass
    found = (tmp_path / "yolo" / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert found == ["a b", "c d e [31m", "f", "class 3", "g"]


def test_crops_are_the_pixels_of_the_boxes(tmp_path):
    found = found_in(
        [*TWO, [190, 140, 300, 300, 0.4, 1], [300, 300, 310, 310, 0.3, 1]], track_ids=[7, -1, 8, 9]
    )
    smooth = cv2.GaussianBlur(found.frame.image_bgr, (0, 0), 9)
    found.frame.image_bgr[:] = smooth
    with contextlib.closing(Crops(tmp_path)) as sink:
        sink.write(found, PICTURE)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    assert names == [
        "crops/car/a-001-id7.jpg",
        "crops/pedestrian/a-002.jpg",
        "crops/people/a-003-id8.jpg",
    ]
    crop = cv2.imread(str(tmp_path / "crops" / "car" / "a-001-id7.jpg")).astype(int)
    assert crop.shape == (20, 40, 3)
    assert np.abs(crop - smooth[20:40, 10:50]).mean() < 4
    assert cv2.imread(str(tmp_path / "crops" / "people" / "a-003-id8.jpg")).shape == (10, 10, 3)


def test_a_crop_too_long_for_jpeg_is_a_png(tmp_path):
    found = found_in([[0, 0, 66_000, 2, 0.9, 0]])
    found = replace(found, frame=replace(found.frame, image_bgr=np.zeros((2, 66_000, 3), np.uint8)))
    with contextlib.closing(Crops(tmp_path)) as sink:
        sink.write(found, PICTURE)
    (path,) = (tmp_path / "crops").rglob("*.*")
    assert path.suffix == ".png"
    assert cv2.imread(str(path)).shape == (2, 66_000, 3)


def test_crops_are_bounded_and_stay_in_their_folder(tmp_path):
    with contextlib.closing(Crops(tmp_path / "out", limit=3)) as sink:
        for index in range(2):
            sink.write(
                found_in(
                    [[0, 0, 9, 9, 0.9, 0], [5, 5, 20, 20, 0.8, 0]],
                    index=index,
                    names={0: "../../evil/x"},
                ),
                CLIP,
            )
    assert sink.left_out == 1
    assert [path.parent.name for path in (tmp_path / "out" / "crops").rglob("*.jpg")] == [
        "evil_x"
    ] * 3
    assert not list(tmp_path.glob("evil*"))


def everything(out: Path, kinds=SINK_KINDS):
    return open_sinks(kinds, out, names=NAMES, visdrone_names=VISDRONE_CLASSES)


def test_no_existing_file_is_replaced(tmp_path):
    def run() -> list[Path]:
        sinks = everything(tmp_path)
        for context, source in ((PICTURE, "a.jpg"), (CLIP, "clip.mp4")):
            for sink in sinks:
                sink.write(found_in(TWO, source=source), context)
                sink.end_source(source)
                sink.end_source("never seen")
        for sink in sinks:
            sink.close()
            sink.close()
        return [path for sink in sinks for path in sink.paths]

    before = run()
    content = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    after = run()
    assert {path: path.read_bytes() for path in content} == content
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2 * len(content)
    assert all(path.exists() for path in [*before, *after])
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_unknown_kinds_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no output 'jsnol'; did you mean 'jsonl'"):
        everything(tmp_path, ("jsnol",))


def test_sinks_come_in_the_order_of_their_kinds(tmp_path):
    kinds = ("jsonl", "csv", "visdrone", "yolo")
    sinks = open_sinks(kinds, tmp_path, names=NAMES, visdrone_names=VISDRONE_CLASSES)
    assert [type(sink) for sink in sinks] == [JsonLines, CsvRows, VisdroneResults, YoloLabels]
    for sink in sinks:
        sink.close()


def test_every_kind_opens_its_sink_once(tmp_path):
    sinks = everything(tmp_path, ("csv", "jsonl", "csv"))
    assert sorted(type(one).__name__ for one in sinks) == ["CsvRows", "JsonLines"]
    for one in sinks:
        one.close()


def test_a_live_video_plays_at_real_speed(tmp_path):
    times = [100.0, 100.1, 101.6, 101.7, 104.0]  # frames were dropped between them
    with contextlib.closing(AnnotatedCopies(tmp_path)) as sink:
        for index, time_s in enumerate(times):
            sink.write(found_in(TWO, source="rtsp://camera/1", index=index, time_s=time_s), LIVE)
    shown = [time_s for _, time_s in VideoReader(sink.paths[0])]
    assert shown == pytest.approx([time_s - 100 for time_s in times], abs=2e-3)


def test_a_source_that_changes_its_size_gets_another_file(tmp_path):
    with contextlib.closing(AnnotatedCopies(tmp_path)) as sink:
        for index, image_wh in enumerate([(200, 150)] * 3 + [(160, 120)] * 2):
            sink.write(found_in([], source="rtsp://camera/1", index=index, image_wh=image_wh), LIVE)
    assert [path.name for path in sink.paths] == ["camera.mp4", "camera-2.mp4"]
    frames = [list(VideoReader(path)) for path in sink.paths]
    assert [(len(one), one[0][0].shape[:2]) for one in frames] == [(3, (150, 200)), (2, (120, 160))]
    assert frames[1][0][1] == 0.0


def colours_of(sink: AnnotatedCopies) -> dict[str, int]:
    """Return the grey of each video by the name of its file."""
    return {path.name: round(next(iter(VideoReader(path)))[0].mean() / 50) for path in sink.paths}


def show(sink: AnnotatedCopies, stem: str, grey: int, side: int) -> None:
    image = np.full((side, side, 3), 50 * grey, np.uint8)
    frame = Frame(image, f"rtsp://{stem}", 0, 0.0)
    nothing = FrameDetections(frame, np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), NAMES)
    for _ in range(3):
        sink.write(nothing, FrameContext(None, stem, is_live=True))


def test_a_second_video_of_a_source_never_has_another_sources_name(tmp_path):
    stems = ["live", "LIVE-2"]
    with contextlib.closing(AnnotatedCopies(tmp_path / "known", stems=stems)) as sink:
        show(sink, "live", 1, 64)
        show(sink, "live", 2, 96)
        show(sink, "LIVE-2", 3, 64)
    assert colours_of(sink) == {"live.mp4": 1, "live-3.mp4": 2, "LIVE-2.mp4": 3}
    with contextlib.closing(AnnotatedCopies(tmp_path / "learnt")) as sink:
        show(sink, "live", 1, 64)
        sink.write(found_in(source="rtsp://live-2"), FrameContext(None, "live-2", is_live=True))
        show(sink, "live", 2, 96)
        show(sink, "live", 4, 64)
    names = [path.name for path in sink.paths]
    assert names == ["live.mp4", "live-2.mp4", "live-3.mp4", "live-4.mp4"]
    assert colours_of(sink)["live-3.mp4"] == 2


def test_a_second_run_never_gives_a_source_the_name_of_another(tmp_path):
    for _ in range(2):
        with contextlib.closing(AnnotatedCopies(tmp_path, stems=["live", "live-2"])) as sink:
            show(sink, "live", 1, 64)
            show(sink, "live-2", 2, 64)
    assert colours_of(sink) == {"live-3.mp4": 1, "live-2-2.mp4": 2}


def test_huge_and_lossless_images_become_png(tmp_path):
    with contextlib.closing(AnnotatedCopies(tmp_path)) as sink:
        sink.write(found_in([], source="a.tif"), PICTURE)
        sink.write(
            found_in([], source="long.jpg", image_wh=(66_000, 2)), FrameContext(None, "long")
        )
        sink.write(found_in([], source="a.webp"), PICTURE)
    assert [path.name for path in sink.paths] == ["a.png", "long.png", "a.jpg"]
    assert cv2.imread(str(sink.paths[1])).shape == (2, 66_000, 3)


def small_disk(tmp_path: Path, body: str) -> subprocess.CompletedProcess:
    """Run ``body`` where no file can grow above 200 kB."""
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + textwrap.dedent(
        """
        import resource
        from test_sinks import *
        from yolo_ema.errors import DiskFullError
        out = Path(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        """
    )
    return subprocess.run(
        [sys.executable, "-c", script + textwrap.dedent(body), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", ["JsonLines", "CsvRows", "CocoJson"])
def test_on_a_full_disk_what_was_written_stays_readable(tmp_path, kind):
    done = small_disk(
        tmp_path,
        f"""
        sink = {kind}(out, NAMES) if {kind} is CocoJson else {kind}(out)
        try:
            for index in range(100_000):
                sink.write(found_in(TWO * 20, index=index), CLIP)
        except DiskFullError as error:
            print(index, error)
        sink.close()
        """,
    )
    assert "disk full while writing" in done.stdout, done.stderr
    frames = int(done.stdout.split()[0])
    if kind == "CocoJson":
        return  # its file needs the room of both parts; see the next test
    path = next(tmp_path.iterdir())
    text = path.read_text()
    assert text.endswith("\n")
    if kind == "JsonLines":
        assert len([json.loads(line) for line in text.splitlines()]) == frames
    else:
        assert len(list(csv.DictReader(io.StringIO(text)))) == 40 * frames


def test_coco_on_a_full_disk_leaves_nothing_or_everything(tmp_path):
    done = small_disk(
        tmp_path,
        """
        sink = CocoJson(out, NAMES)
        for index in range(1000):  # annotations and images fit, but not both in one file
            found = found_in(TWO * 16 if index < 30 else [], index=index, image_wh=(20, 15))
            sink.write(found, CLIP)
        try:
            sink.close()
        except DiskFullError as error:
            print(error)
        """,
    )
    assert "no partial file is left" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_video_on_a_full_disk_plays_as_far_as_it_goes(tmp_path):
    done = small_disk(
        tmp_path,
        """
        sink = AnnotatedCopies(out)
        try:
            for index in range(1000):
                sink.write(found_in([], source="clip.mp4", index=index), CLIP)
        except DiskFullError as error:
            print(index, error)
        sink.close()
        """,
    )
    assert "it plays as far as it goes" in done.stdout, done.stderr
    index = int(done.stdout.split()[0])
    assert (
        len(list(VideoReader(tmp_path / "clip.mp4"))) >= index - 6 > 0
    )  # the encoder's threads hold a few frames


@pytest.mark.slow
def test_a_killed_run_leaves_what_was_written(tmp_path):
    script = (
        f"import sys, os, signal; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        + textwrap.dedent(
            """
        from test_sinks import *
        sinks = everything(Path(sys.argv[1]))
        for index in range(40):
            for sink in sinks:
                sink.write(found_in(TWO, source="clip.mp4", index=index), CLIP)
        os.kill(os.getpid(), signal.SIGKILL)
        """
        )
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len([json.loads(line) for line in lines_of(tmp_path / "detections.jsonl")]) == 40
    assert len(lines_of(tmp_path / "detections.csv")) == 81
    assert len(lines_of(tmp_path / "visdrone" / "clip.txt")) == 80
    assert len(list((tmp_path / "yolo" / "labels").iterdir())) == 40
    assert len(list((tmp_path / "crops").rglob("*.jpg"))) == 80
    assert len(list(VideoReader(tmp_path / "clip.mp4"))) >= 40 - 6
    assert not (tmp_path / "coco.json").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
def test_memory_does_not_grow_with_frames(tmp_path):
    sinks = everything(tmp_path, ("jsonl", "csv", "coco", "visdrone"))
    found = found_in(TWO * 20, source="clip.mp4")

    def write(frames: int) -> int:
        for _ in range(frames):
            for sink in sinks:
                sink.write(found, CLIP)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = write(100)
    assert write(1500) - before < 6000  # kB; kept in memory the rows would take tens of MB
    for sink in sinks:
        sink.close()


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_of_the_csv_is_a_formula(tmp_path, name):
    frame = Frame(np.zeros((8, 8, 3), np.uint8), f"{name}.jpg", 0, 0.0)
    found = FrameDetections(
        frame, np.array([[-1.5, 0, 4, 4]]), np.array([0.5]), np.array([0]), {0: name}
    )
    sink = CsvRows(tmp_path)
    sink.write(found, FrameContext(None, "x"))
    sink.close()
    with (tmp_path / "detections.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    shown = "'" + name.replace("\r", " ")
    assert (row["source"], row["class"]) == (f"{shown}.jpg", shown)
    assert row["x1"] == "-1.5", "numbers stay numbers"
