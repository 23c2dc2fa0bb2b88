from __future__ import annotations

import contextlib
import json
from fractions import Fraction

import numpy as np

from yolo_ema.media.drawing.annotator import draw_detections
from yolo_ema.media.drawing.style import class_colour_bgr
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sinks.annotated import AnnotatedCopies
from yolo_ema.media.sinks.jsonl import JsonLines
from yolo_ema.media.sinks.sink import FrameContext
from yolo_ema.media.sources.video_reader import VideoReader

NAMES = {0: "pedestrian", 1: "car"}


def _found(boxes, source="a.jpg", index=0, image_wh=(200, 150), track_ids=None) -> FrameDetections:
    rows = np.array(boxes, float).reshape(-1, 6)
    frame = Frame(np.zeros((image_wh[1], image_wh[0], 3), np.uint8), source, index, index / 10)
    return FrameDetections(frame, rows[:, :4], rows[:, 4], rows[:, 5].astype(int), NAMES, track_ids)


def test_a_json_line_has_the_promised_keys(tmp_path):
    lines = JsonLines(tmp_path / "out")
    lines.write(_found([[1.234, 2, 30, 40, 0.987654, 1]], index=7), FrameContext(None, "a"))
    lines.write(_found([], index=8), FrameContext(None, "a"))
    first, second = [
        json.loads(line)
        for line in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    ]
    lines.close()
    assert first == {
        "source": "a.jpg",
        "frame": 7,
        "time_s": 0.7,
        "width": 200,
        "height": 150,
        "detections": [
            {"class_id": 1, "class": "car", "score": 0.98765, "box_xyxy": [1.23, 2.0, 30.0, 40.0]}
        ],
    }
    assert second["detections"] == []


def test_an_object_without_identity_has_track_id_null():
    found = _found(
        [[0, 0, 9, 9, 0.9, 1], [5, 5, 9, 9, 0.8, 0]], track_ids=np.array([4, -1])
    ).as_json()
    assert [one["track_id"] for one in found["detections"]] == [4, None]


def test_boxes_are_drawn_where_they_are_and_the_frame_is_unchanged():
    found = _found([[50, 60, 150, 120, 0.9, 1]])
    drawn = draw_detections(found)
    assert not found.frame.image_bgr.any()
    assert tuple(drawn[90, 50]) == class_colour_bgr(1)
    assert tuple(drawn[120, 100]) == class_colour_bgr(1)
    assert not drawn[80:110, 60:140].any()


def test_a_crowd_has_a_legend_instead_of_labels():
    rng = np.random.default_rng(0)
    corners = rng.uniform([0, 40], [1100, 900], (300, 2))
    rows = np.column_stack([corners, corners + 30, np.full(300, 0.5), np.zeros(300)])
    crowd, few = _found(rows, image_wh=(1200, 960)), _found(rows[:30], image_wh=(1200, 960))
    outline = draw_detections(
        FrameDetections(few.frame, few.boxes_xyxy, few.scores, few.class_ids, {0: " ", 1: " "})
    )
    assert (draw_detections(few) != outline).any()
    boxes_only = np.zeros((960, 1200), bool)
    for x1, y1, x2, y2 in crowd.boxes_xyxy.round().astype(int):
        boxes_only[max(0, y1 - 4) : y2 + 5, max(0, x1 - 4) : x2 + 5] = True
    boxes_only[:80, :220] = True  # the legend
    assert not draw_detections(crowd)[~boxes_only].any()


def test_colours_of_the_ten_classes_differ():
    assert len({class_colour_bgr(one) for one in range(10)}) == 10


def test_a_source_in_the_folder_of_the_copies_is_unchanged(tmp_path):
    image, clip = tmp_path / "a.jpg", tmp_path / "b.mp4"
    image.write_bytes(b"the user's image")
    clip.write_bytes(b"the user's clip")
    with contextlib.closing(AnnotatedCopies(tmp_path)) as copies:
        copies.write(_found([[5, 5, 50, 50, 0.9, 1]], source=str(image)), FrameContext(None, "a"))
        copies.write(
            _found([[5, 5, 50, 50, 0.9, 1]], source=str(clip)), FrameContext(Fraction(10), "b")
        )
    assert [path.name for path in copies.paths] == ["a-2.jpg", "b-2.mp4"]
    assert (image.read_bytes(), clip.read_bytes()) == (b"the user's image", b"the user's clip")


def test_copies_of_images_and_videos_never_collide(tmp_path):
    with contextlib.closing(AnnotatedCopies(tmp_path)) as copies:
        for folder in ("x", "y"):
            copies.write(
                _found([[5, 5, 50, 50, 0.9, 1]], source=f"{folder}/a.jpg"), FrameContext(None, "a")
            )
        for index in range(4):  # frames of two sources come interleaved
            for source in ("x/a.mp4", "y/a.avi"):
                copies.write(
                    _found([[5, 5, 50, 50, 0.9, 1]], source=source, index=index),
                    FrameContext(Fraction(10), "a"),
                )
    assert [path.name for path in copies.paths] == ["a.jpg", "a-2.jpg", "a.mp4", "a-2.mp4"]
    for path in copies.paths[2:]:
        assert len(list(VideoReader(path))) == 4
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        path.name for path in copies.paths
    )
