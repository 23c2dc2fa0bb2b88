from __future__ import annotations

import math
import socket
import sys
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from telemetry_files import US_2026, tlog, write_still, write_video

from yolo_ema.errors import ConfigError, MissingPackageError
from yolo_ema.geo.pose import NoPose, Pose, PoseTrack
from yolo_ema.geo.telemetry.live import LiveTelemetry, is_live
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.options.telemetry import TelemetryOptions

messages = pytest.importorskip("pymavlink.dialects.v20.ardupilotmega")
BEGIN = datetime.fromtimestamp(US_2026 / 1e6, timezone.utc)


def place(seconds: float, *, latitude: float = 47.123, height: float = 103.4, heading: int = 8750):
    return (
        seconds,
        messages.MAVLink_global_position_int_message(
            int(seconds * 1000), round(latitude * 1e7), 87_654_321, 561_200, round(height * 1000),
            0, 0, 0, heading,
        ),
    )  # fmt: skip


def attitude(seconds: float, yaw: float):
    return (
        seconds,
        messages.MAVLink_attitude_message(0, 0.1, 0.2, math.radians(yaw), 0, 0, 0),
    )


def mount(seconds: float, yaw: float, pitch: float, absolute: float = 0.0):
    return seconds, messages.MAVLink_mount_orientation_message(0, 1.0, pitch, yaw, absolute)


def gimbal(seconds: float, yaw: float, pitch: float, flags: int):
    y, p = math.radians(yaw) / 2, math.radians(pitch) / 2
    wxyz = [
        math.cos(p) * math.cos(y),
        -math.sin(p) * math.sin(y),
        math.sin(p) * math.cos(y),
        math.cos(p) * math.sin(y),
    ]
    return (
        seconds,
        messages.MAVLink_gimbal_device_attitude_status_message(0, 0, 0, flags, wxyz, 0, 0, 0, 0),
    )


def feedback(seconds: float, image: int, yaw: float = 99.5):
    return (
        seconds,
        messages.MAVLink_camera_feedback_message(
            0, 0, 0, image, 471_230_000 + image, 87_654_321, 561.2, 103.4, 0.5, -41.0, yaw, 8.8, 0,
        ),
    )  # fmt: skip


def opened(tmp_path, log: bytes, source="clip.mp4", **more) -> PoseTrack | tuple[NoPose, ...]:
    path = tmp_path / "flight.tlog"
    path.write_bytes(log)
    more.setdefault("start_utc", BEGIN)
    return open_telemetry(source, TelemetryOptions(telemetry=(str(path),)), **more)


def test_a_gimbal_in_the_earths_frame_is_interpolated_at_the_positions(tmp_path):
    log = tlog([gimbal(0.0, 170, -40, 64), place(0.5), gimbal(1.0, -170, -44, 64), place(1.0)])
    track = opened(tmp_path, log)
    assert [pose.time_s for pose in track.poses] == pytest.approx([0.5, 1.0])
    first = track.poses[0]
    assert (first.yaw_deg, first.pitch_deg) == pytest.approx((-180, -42), abs=1e-4)
    assert (first.height_takeoff_m, first.altitude_m) == (103.4, 561.2)
    assert first.utc == BEGIN + timedelta(seconds=0.5)
    assert any("GIMBAL_DEVICE_ATTITUDE_STATUS" in one for one in track.assumptions)


@pytest.mark.parametrize(("flags", "yaw"), [(32, 102.0), (0, 102.0), (16, 12.0), (64, 12.0)])
def test_a_yaw_from_the_aircrafts_nose_is_added_to_its_heading(flags, yaw, tmp_path):
    """Flags: yaw in the vehicle's frame, none, locked, in the earth's."""
    log = tlog([attitude(0, 90), gimbal(0, 12, -41, flags), place(0.1)])
    assert opened(tmp_path, log).poses[0].yaw_deg == pytest.approx(yaw, abs=1e-4)


def test_a_mounts_orientation_with_and_without_absolute_yaw(tmp_path):
    log = tlog([place(0, heading=8750), mount(0, 12.0, -41.0), place(0.1)])
    pose = opened(tmp_path, log).poses[1]
    # ATTITUDE is missing: the heading of the position message, 87.5 degrees, serves.
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((99.5, -41, 1))
    log = tlog([place(0), mount(0, 12.0, -41.0, absolute=200.0), place(0.1)])
    assert opened(tmp_path, log).poses[1].yaw_deg == pytest.approx(-160)
    log = tlog([place(0, heading=65_535), mount(0, 12.0, -41.0), place(0.1, heading=65_535)])
    pose = opened(tmp_path, log).poses[1]
    assert (pose.yaw_deg, pose.pitch_deg) == (None, -41)


def test_the_aircrafts_attitude_is_not_the_cameras(tmp_path):
    track = opened(tmp_path, tlog([attitude(0, 90), place(0), place(0.2)]))
    assert track.missing == ("yaw", "pitch", "hfov")
    assert any("ATTITUDE" in one for one in track.assumptions)


def test_angles_that_are_too_old_are_none(tmp_path):
    track = opened(tmp_path, tlog([gimbal(0, 12, -41, 64), place(0), place(1.5), place(3)]))
    assert [pose.pitch_deg is None for pose in track.poses] == [False, True, True]


def test_the_field_of_view(tmp_path):
    view = messages.MAVLink_camera_fov_status_message(0, 0, 0, 0, 0, 0, 0, [1, 0, 0, 0], 62.5, 36.0)
    track = opened(tmp_path, tlog([(0, view), place(0), place(1)]))
    assert [pose.hfov_deg for pose in track.poses] == [62.5, 62.5]


def test_pictures_are_images_in_the_order_of_their_names(tmp_path):
    log = tlog([feedback(0, 0), feedback(1, 1, yaw=10)])
    images = [write_still(tmp_path / name) for name in ("b.jpg", "a.jpg")]
    track = opened(tmp_path, log, images)
    assert [track.still(path).yaw_deg for path in images] == [10, 99.5]
    assert any("order of their names" in one for one in track.assumptions)
    (reason,) = opened(tmp_path, log, images[:1])
    assert reason.reason == "other_clip"


def test_a_video_begins_somewhere_in_a_log(tmp_path):
    log = tlog([place(seconds / 5, height=seconds) for seconds in range(100)])
    track = opened(tmp_path, log, start_utc=BEGIN + timedelta(seconds=8), duration_s=5)
    assert track.at(0).height_takeoff_m == pytest.approx(40)
    assert track.at(-8).height_takeoff_m == 0
    (reason,) = opened(tmp_path, log, start_utc=BEGIN + timedelta(hours=8), duration_s=5)
    assert reason.reason == "other_clip"
    (reason,) = opened(tmp_path, log, start_utc=None)
    assert reason.reason == "no_common_clock"


def test_a_video_that_says_when_it_begins_finds_its_place_in_a_log(tmp_path):
    video = write_video(tmp_path / "flight.mp4", begin=BEGIN + timedelta(seconds=8))
    (tmp_path / "flight.tlog").write_bytes(
        tlog([place(seconds / 5, height=seconds) for seconds in range(100)])
    )
    track = open_telemetry(video, duration_s=2)
    assert isinstance(track, PoseTrack), track
    assert track.source == "mavlink"
    assert track.at(1).height_takeoff_m == pytest.approx(45)
    assert any("as its file says" in one for one in track.assumptions)


def test_damaged_packets_and_foreign_vehicles_are_named(tmp_path):
    log = bytearray(tlog([place(seconds) for seconds in range(5)]))
    each = len(log) // 5
    log[2 * each + 30] ^= 1
    other = tlog([place(5, latitude=10)], system=7)
    track = opened(tmp_path, bytes(log) + other + bytes(log[:20]))
    assert [pose.time_s for pose in track.poses] == [0, 1, 3, 4]
    assert any("damaged packets" in one for one in track.assumptions)
    assert any("several vehicles: 1 is taken, 7 left out" in one for one in track.assumptions)


def test_a_log_of_something_else(tmp_path):
    for content in (b"", b"\xfd" * 5000, bytes(range(256)) * 40):
        (reason,) = opened(tmp_path, content)
        assert reason.reason == "no_position"


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Sender:
    """An autopilot at the other end of a loopback."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._address = ("127.0.0.1", port)
        self._link = messages.MAVLink(None, srcSystem=1, srcComponent=1)

    def send(self, *sent) -> None:
        for _, message in sent:
            self.send_bytes(bytes(message.pack(self._link)))

    def send_bytes(self, content: bytes) -> None:
        self._socket.sendto(content, self._address)

    def close(self) -> None:
        self._socket.close()


def awaited(live: LiveTelemetry, wanted) -> Pose | NoPose:
    """Ask until the answer is as wanted; the last answer after a while."""
    end = time.monotonic() + 20
    while not wanted(found := live.newest()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def test_live_poses_arrive_age_and_return(port):
    sender = Sender(port)
    options = TelemetryOptions(hfov=60)
    with LiveTelemetry(f"udp:127.0.0.1:{port}", options, max_age_s=0.5) as live:
        assert live.newest().reason == "no_position"
        sender.send_bytes(bytes(range(256)) * 4 + b"\xfd\xff\xfe")
        sender.send(attitude(0, 90), mount(0, 12, -41), place(0, height=50))
        pose = awaited(live, lambda found: isinstance(found, Pose))
        assert (pose.height_takeoff_m, pose.pitch_deg, pose.hfov_deg) == (50, -41, 60)
        assert pose.yaw_deg == pytest.approx(102, abs=1e-3)
        stale = awaited(live, lambda found: isinstance(found, NoPose))
        assert stale.reason == "stale"
        sender.send((0, messages.MAVLink_heartbeat_message(0, 0, 0, 0, 0, 0)), place(1, height=60))
        pose = awaited(live, lambda found: isinstance(found, Pose))
        assert pose.height_takeoff_m == 60
        # A position at the other end of the world does not look sure.
        sender.send(place(2, latitude=-30.0))
        assert awaited(live, lambda found: isinstance(found, NoPose)).reason in {"jump", "stale"}
    sender.close()


@pytest.mark.parametrize(
    "port", ["/dev/ttyACM0", "/dev/serial/by-id/usb-1", "/dev/cu.usb1", "COM3"]
)
def test_serial_ports_are_live_by_their_names_on_every_system(port, monkeypatch):
    assert is_live(port)
    assert not is_live("COM3.csv")
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingPackageError, match=f"{port} .* needs pyserial"):
        LiveTelemetry(port)


def test_a_live_address_that_cannot_be_opened(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("could not open port")

    serial = SimpleNamespace(Serial=refuse, SerialException=OSError)
    monkeypatch.setitem(sys.modules, "serial", serial)
    with pytest.raises(ConfigError, match="no host and port"):
        LiveTelemetry("udp:127.0.0.1")
    with pytest.raises(ConfigError, match="cannot be opened: could not open port"):
        LiveTelemetry("/dev/ttyNOT_THERE")
    (reason,) = open_telemetry("clip.mp4", TelemetryOptions(telemetry=("udp:127.0.0.1:14550",)))
    assert "live" in str(reason)
