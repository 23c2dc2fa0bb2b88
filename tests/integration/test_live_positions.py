"""``yolo-ema detect`` on a stream with MAVLink alongside: positions on the live page and in
the files, before the first packet, while packets come, and after the last.
"""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.request

import cv2
import numpy as np
import pytest
from misbehaving_servers import HttpServer, begin
from running_detect import RunningDetect

from yolo_ema.geo.camera import CameraIntrinsics
from yolo_ema.geo.ground import LevelGround
from yolo_ema.geo.placing import place_boxes
from yolo_ema.geo.uncertainty import SIGMAS
from yolo_ema.geo.views import Views
from yolo_ema.io.resources import weights_dir
from yolo_ema.scenes import draw_clip

messages = pytest.importorskip("pymavlink.dialects.v20.ardupilotmega")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow

LATITUDE, LONGITUDE, HEIGHT_M, YAW, PITCH, HFOV = 47.1234, 8.7654, 42.0, 92.0, -60.0, 53.0
WEIGHTS = weights_dir() / "yolo11n-ema-visdrone.onnx"


class Autopilot(threading.Thread):
    """Sends position and gimbal ten times a second while it flies."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.flies, self._ended, self._port = threading.Event(), threading.Event(), port

    def run(self) -> None:
        link = messages.MAVLink(None, srcSystem=1, srcComponent=1)
        told = (
            messages.MAVLink_mount_orientation_message(0, 0.0, PITCH, 2.0, YAW),
            messages.MAVLink_global_position_int_message(
                0, round(LATITUDE * 1e7), round(LONGITUDE * 1e7), 500_000,
                round(HEIGHT_M * 1e3), 0, 0, 0, 9000,
            ),
        )  # fmt: skip
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            while not self._ended.wait(0.1):
                for message in told if self.flies.is_set() else ():
                    line.sendto(bytes(message.pack(link)), ("127.0.0.1", self._port))

    def land(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def autopilot():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pilot = Autopilot(port)
    pilot.start()
    yield pilot
    pilot.land()


def shows(image_bgr: np.ndarray):
    content = cv2.imencode(".jpg", image_bgr)[1].tobytes()

    def behave(server: HttpServer, line: socket.socket, _: str) -> None:
        begin(line)
        while not threading.Event().wait(0.1):
            line.sendall(b"--frame\r\nContent-Type: image/jpeg\r\n")
            line.sendall(b"Content-Length: %d\r\n\r\n%s\r\n" % (len(content), content))

    return behave


def state_of(page: str) -> dict:
    with urllib.request.urlopen(f"{page}state.json", timeout=20) as answer:
        return json.loads(answer.read())["sources"][0]


def places_of(row: dict):
    """Return where geo puts the boxes of a line of detections.jsonl, by the pose that was sent."""
    boxes = np.array([one["box_xyxy"] for one in row["detections"]])
    count = len(boxes)
    pose = (LATITUDE, LONGITUDE, HEIGHT_M, YAW, PITCH, 0.0)
    return place_boxes(
        boxes,
        Views(*(np.full(count, value) for value in pose)),
        [CameraIntrinsics.from_hfov(row["width"], row["height"], HFOV)] * count,
        LevelGround(),
        sigmas=SIGMAS["mavlink"],
        sizes=np.full((count, 5), np.nan),
        base="bottom",
    )


def test_positions_appear_and_disappear_with_the_telemetry(autopilot, tmp_path):
    image = next(iter(draw_clip(3, frames=1, fps=2, image_wh=(320, 240), objects=20))).image_bgr
    with (
        HttpServer(shows(image)) as server,
        RunningDetect(
            tmp_path, server.url(), "--weights", WEIGHTS, "--conf", 0.2, "--track", "--serve", 0,
            "--telemetry", f"udp:127.0.0.1:{autopilot._port}", "--hfov", HFOV, "--base", "bottom",
            "--save", "jsonl,parquet,geojson", "--out", "out",
        ) as running,
    ):  # fmt: skip
        seen: dict[str, dict] = {}

        def comes(name: str, true) -> bool:
            if not running.page:
                return False
            source = state_of(running.page)
            if "map" not in source or not source["objects"] or not true(source["map"]):
                return False
            seen[name] = source
            return True

        running.wait_until(lambda: comes("before", lambda one: one["no_camera"]))
        autopilot.flies.set()
        running.wait_until(lambda: comes("flying", lambda one: one["objects"]))
        autopilot.flies.clear()
        running.wait_until(lambda: comes("after", lambda one: one["no_camera"]))
        code, result = running.end(signal.SIGINT)
    assert code == 0, running.err
    before, flying, after = (seen[name]["map"] for name in ("before", "flying", "after"))
    _no_position(before, "no_position", seen["before"]["objects"])
    assert "no position has arrived" in before["no_camera"]
    _no_position(after, "stale", seen["after"]["objects"])
    assert "s old" in after["no_camera"]
    assert (
        after["frames_without_pose"]["no_position"] >= before["frames_without_pose"]["no_position"]
    )
    assert flying["camera"]["age_s"] <= flying["max_age_s"] == 2.0
    assert (flying["camera"]["longitude"], flying["camera"]["latitude"]) == (LONGITUDE, LATITUDE)
    lines = (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    rows = {row["frame"]: row for row in map(json.loads, lines)}
    _page_file_and_geo_agree(rows[seen["flying"]["frame"]], flying)
    _parquet_has_the_same(tmp_path / "out" / "detections.parquet", rows)
    assert result["map"]["sightings"] == sum(len(row["detections"]) for row in rows.values())
    assert {"no_position", "stale"} <= set(result["map"]["sightings_not_placed"])


def _no_position(shown: dict, reason: str, count: int) -> None:
    assert (shown["camera"], shown["objects"], shown["view"]) == (None, [], [])
    assert [(one["reason"], one["count"]) for one in shown["unplaced"]] == [(reason, count)]
    assert shown["frames_without_pose"][reason] >= 1


def _page_file_and_geo_agree(row: dict, shown: dict) -> None:
    places = places_of(row)
    placed = [one for one in row["detections"] if "longitude" in one]
    assert len(placed) == (places.reasons == "").sum() > 3
    by_box = {tuple(one["box_xyxy"]): one for one in shown["objects"]}
    for at, one in enumerate(row["detections"]):
        if "longitude" not in one:
            continue
        on_page = by_box[tuple(one["box_xyxy"])]
        assert one.items() <= on_page.items()
        assert one["track_id"] is None or one["track_id"] > 0
        assert one["longitude"] == pytest.approx(places.longitude_deg[at], abs=3e-7)
        assert one["latitude"] == pytest.approx(places.latitude_deg[at], abs=3e-7)
        error_m = places.ellipses.semi_major_m[at]
        assert one["position_error_m"] == pytest.approx(error_m, rel=0.02)
        assert on_page["error_minor_m"] == pytest.approx(places.ellipses.semi_minor_m[at], rel=0.02)


def _parquet_has_the_same(path, rows: dict[int, dict]) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pylist()
    names = ("longitude", "latitude", "position_error_m")
    expected = [
        one.get(name) for row in rows.values() for one in row["detections"] for name in names
    ]
    assert [row[name] for row in table for name in names] == expected
    assert None in expected
    assert any(expected)
