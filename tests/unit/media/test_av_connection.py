"""Connections through FFmpeg, without a server."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from yolo_ema.errors import SourceError
from yolo_ema.media.sources.addresses import parse_address
from yolo_ema.media.sources.av_stream import AvConnection
from yolo_ema.media.sources.network_options import NetworkOptions


def sound(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    return path


def video(path: Path, latin_title: str = "") -> Path:
    with av.open(str(path), "w", metadata_encoding="latin-1") as container:
        container.metadata["title"] = latin_title
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8), format="bgr24")
        container.mux(stream.encode(grey))
        container.mux(stream.encode())
    return path


def test_a_title_of_another_encoding_is_no_reason_to_refuse(tmp_path, monkeypatch):
    path = video(tmp_path / "x.mp4", "Überflug")
    really_open = av.open
    monkeypatch.setattr(
        av, "open", lambda _address, timeout, **settings: really_open(str(path), **settings)
    )
    connection = AvConnection(parse_address("rtsp://cam/x"), NetworkOptions())
    connection.open()
    assert len(list(connection.frames())) == 1


@pytest.mark.parametrize(
    ("make", "name", "told"), [(sound, "x.wav", "no video"), (video, "x.mp4", "160x120")]
)
def test_what_cannot_be_used_is_closed(tmp_path, monkeypatch, make, name, told):
    opened = []
    really_open = av.open

    def opens(_address: str, **_settings: object) -> object:
        opened.append(really_open(str(path)))
        return opened[-1]

    path = make(tmp_path / name)
    monkeypatch.setattr(av, "open", opens)
    connection = AvConnection(parse_address("rtsp://cam/x"), NetworkOptions(), max_pixels=1000)
    with pytest.raises(SourceError, match=told):
        connection.open()
    with pytest.raises((AssertionError, ValueError), match="not open"):
        next(opened[0].demux())
