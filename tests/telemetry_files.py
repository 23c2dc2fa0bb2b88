"""Telemetry with made-up values, as drones and ground stations write it, for tests."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

LABEL = bytes.fromhex("060e2b34020b01010e01030101000000")
US_2026 = 1_780_000_000_000_000


def timecode(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    return (
        f"{milliseconds // 3_600_000:02d}:{milliseconds // 60_000 % 60:02d}:"
        f"{milliseconds // 1000 % 60:02d},{milliseconds % 1000:03d}"
    )


def srt(texts: Iterable[str], step_s: float = 0.5, begin_s: float = 0.0) -> str:
    """Return subtitles, one for each text."""
    return "\n".join(
        f"{place + 1}\n{timecode(begin_s + place * step_s)} --> "
        f"{timecode(begin_s + (place + 1) * step_s)}\n{text}\n"
        for place, text in enumerate(texts)
    )


@dataclass(frozen=True)
class Flown:
    """What a camera did at one moment, for the writers of all dialects."""

    latitude: float
    longitude: float
    height: float
    altitude: float
    yaw: float
    pitch: float
    roll: float = 0.0


SRT_WRITERS: dict[str, tuple[Callable[[Flown], str], frozenset[str]]] = {
    "rel_alt with gimbal": (
        lambda one: (
            f'<font size="28">FrameCnt: 1, DiffTime: 16ms\n2026-05-17 08:28:30.219\n'
            f"[iso: 180] [focal_len: 24.00] [dzoom_ratio: 1.00] [latitude: {one.latitude:.6f}] "
            f"[longitude: {one.longitude:.6f}] [rel_alt: {one.height:.3f} abs_alt: "
            f"{one.altitude:.3f}] [gb_yaw: {one.yaw:.1f} gb_pitch: {one.pitch:.1f} gb_roll: "
            f"{one.roll:.1f}] [ct: 5419] </font>"
        ),
        frozenset({"height", "altitude", "yaw", "pitch", "roll"}),
    ),
    "rel_alt, no font": (
        lambda one: (
            f"[latitude: {one.latitude:.6f}] [longitude: {one.longitude:.6f}] [rel_alt: "
            f"{one.height:.3f} abs_alt: {one.altitude:.3f}] [shutter : 1/30]</font></font>"
        ),
        frozenset({"height", "altitude"}),
    ),
    "longtitude": (
        lambda one: (
            f'<font size="36">[iso : 100] [focal_len : 280] [latitude : {one.latitude:.6f}] '
            f"[longtitude : {one.longitude:.6f}] [altitude: {one.altitude:.6f}]"
        ),
        frozenset({"altitude"}),
    ),
    "GpsLongtitude": (
        lambda one: f"[GpsLatitude: {one.latitude:.6f}] [GpsLongtitude: {one.longitude:.6f}]",
        frozenset(),
    ),
    "Phantom 4 RTK": (
        lambda one: (
            f"F/2.8, SS 400, ISO 100, EV 0, GPS ({one.longitude:.6f}, {one.latitude:.6f}, 15), "
            f"HOME (8.7650, 47.1230, 55.10m), D 48.70m, H {one.height:.3f}m, H.S 1.00m/s, V.S "
            f"0.00m/s, F.PRY (2.7°, -7.0°, 110.1°), G.PRY ({one.pitch:.1f}°, {one.roll:.1f}°, "
            f"{one.yaw:.1f}°)"
        ),
        frozenset({"height", "yaw", "pitch", "roll"}),
    ),
    "Mavic Mini": (
        lambda one: (
            f"F/2.8, SS 30.15, GPS ({one.longitude:.6f}, {one.latitude:.6f}, 17), D 2.21m, H "
            f"{one.height:.3f}m, H.S n/a, V.S n/a "
        ),
        frozenset({"height"}),
    ),
    "Avata": (
        lambda one: (
            f"GPS({one.latitude:.6f},{one.longitude:.6f},{one.altitude:.3f}) BAROMETER(91.2)"
        ),
        frozenset({"altitude"}),
    ),
    "Mavic Pro": (
        lambda one: (
            f"HOME({one.longitude:.4f},{one.latitude:.4f}) 2017.08.05 14:11:51\n"
            f"GPS({one.longitude:.6f},{one.latitude:.6f},16) BAROMETER:{one.height:.3f}M\nISO:100"
        ),
        frozenset({"height"}),
    ),
    "oldest": (
        lambda one: (
            f"GPS({one.longitude:.6f},{one.latitude:.6f},16) Hb:{one.height:.3f} Hs:1.9\nTV:60"
        ),
        frozenset({"height"}),
    ),
}
"""By dialect: the text of a subtitle, and which quantities besides the place it tells."""


def _integer(value: float, length: int, low: float, high: float, *, signed: bool) -> bytes:
    if signed:
        return round(value / high * (256**length // 2 - 1)).to_bytes(length, "big", signed=True)
    return round((value - low) / (high - low) * (256**length - 1)).to_bytes(length, "big")


_KLV = {
    5: ("heading", 2, 0, 360, False),
    6: ("platform_pitch", 2, -20, 20, True),
    7: ("platform_roll", 2, -50, 50, True),
    13: ("latitude", 4, -90, 90, True),
    14: ("longitude", 4, -180, 180, True),
    15: ("altitude", 2, -900, 19_000, False),
    16: ("hfov", 2, 0, 180, False),
    18: ("azimuth", 4, 0, 360, False),
    19: ("elevation", 4, -180, 180, True),
    20: ("sensor_roll", 4, 0, 360, False),
    25: ("ground", 2, -900, 19_000, False),
}


def klv_packet(values: Mapping[str, float], time_us: int = US_2026) -> bytes:
    """Return a packet of MISB ST 0601 with its checksum."""
    body = bytes([2, 8]) + time_us.to_bytes(8, "big")
    for tag, (name, length, low, high, signed) in _KLV.items():
        if name in values:
            content = _integer(values[name], length, low, high, signed=signed)
            body += bytes([tag, length]) + content
    body += bytes([1, 2])
    head = LABEL + bytes([0x81, len(body) + 2]) + body
    total = 0
    for place, byte in enumerate(head):  # as the standard writes it
        total += byte << (8 * ((place + 1) % 2))
    return head + (total % 65_536).to_bytes(2, "big")


def tlog(messages: Iterable[tuple[float, Any]], system: int = 1) -> bytes:
    """Return a log of pymavlink's messages, each with seconds after `US_2026`."""
    from pymavlink.dialects.v20 import ardupilotmega

    link = ardupilotmega.MAVLink(None, srcSystem=system, srcComponent=1)
    return b"".join(
        struct.pack(">Q", US_2026 + round(seconds * 1e6)) + bytes(message.pack(link))
        for seconds, message in messages
    )


DJI = 'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"'


def xmp(attributes: str, *, inner: str = "", namespaces: str = DJI) -> bytes:
    """Return an XMP packet."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'rdf:about="" {namespaces} {attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def write_still(
    path: Path,
    *,
    packet: bytes = b"",
    gps: Mapping[int, Any] | None = None,
    focal: int = 0,
    image_wh: tuple[int, int] = (64, 48),
) -> Path:
    """Write a small JPEG with XMP, and EXIF about the place and the focal length."""
    from PIL import Image

    image = Image.new("RGB", image_wh)
    exif = image.getexif()
    if gps:
        exif.get_ifd(0x8825).update(gps)
        exif[0x8825] = dict(gps)
    if focal:
        exif[0x8769] = {0xA405: focal}
    image.save(path, exif=exif)
    if packet:  # as the standard has it: a segment APP1 that begins with this name
        segment = b"http://ns.adobe.com/xap/1.0/\0" + packet
        head = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big")
        content = path.read_bytes()
        path.write_bytes(content[:2] + head + segment + content[2:])
    return path


def write_video(
    path: Path,
    *,
    data: str = "",
    packets: Iterable[tuple[float, float, bytes]] = (),
    container: str | None = None,
    begin: datetime | None = None,
) -> Path:
    """Write two seconds of a small video, with a track of packets: seconds, duration, content."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w", format=container) as output:
        if begin is not None:
            output.metadata["creation_time"] = begin.isoformat().replace("+00:00", "Z")
        video = output.add_stream("mpeg4" if container is None else "mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = None
        if data:
            track = output.add_data_stream(data) if data == "klv" else output.add_mux_stream(data)
        for place in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            frame.pts = place
            output.mux(video.encode(frame))
        output.mux(video.encode())
        for seconds, duration, content in packets:
            packet = av.Packet(content)
            packet.stream, packet.time_base = track, Fraction(1, 90_000)
            packet.pts = packet.dts = round(seconds * 90_000)
            packet.duration = round(duration * 90_000)
            output.mux(packet)
    return path
