"""Images out of a motion JPEG stream, whatever stands between them."""

from __future__ import annotations

import io
import struct
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_servers import jpeg
from PIL import Image

from yolo_ema.media.sources import jpeg_splitter
from yolo_ema.media.sources.jpeg_splitter import JpegSplitter

_NOISE = np.random.default_rng(3).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def _images() -> list[bytes]:
    plain = cv2.imencode(".jpg", _NOISE, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    restarts = cv2.imencode(".jpg", _NOISE, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    progressive = cv2.imencode(".jpg", _NOISE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(plain) + 2) + plain
    buffer = io.BytesIO()
    Image.fromarray(_NOISE).save(buffer, "JPEG", comment=b"\xff\xd8\xff\xe0 no image \xff\xd9")
    return [
        plain,
        restarts,
        progressive,
        plain[:2] + thumbnail + plain[2:],
        buffer.getvalue(),
        jpeg(77),
    ]


IMAGES = _images()


@settings(deadline=None, max_examples=150)
@given(
    order=st.lists(st.integers(0, len(IMAGES) - 1), max_size=6),
    between=st.lists(
        st.binary(max_size=40).filter(lambda one: b"\xff" not in one), min_size=7, max_size=7
    ),
    cuts=st.lists(st.integers(0, 20_000), max_size=12),
)
def test_images_come_out_unchanged_however_the_stream_is_split(order, between, cuts):
    stream = between[0] + b"".join(
        IMAGES[one] + gap for one, gap in zip(order, between[1:], strict=False)
    )
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    splitter = JpegSplitter()
    found = [one for start, end in pairwise(places) for one in splitter.feed(stream[start:end])]
    assert found == [IMAGES[one] for one in order]
    assert splitter.broken == 0


def test_byte_by_byte():
    splitter = JpegSplitter()
    stream = b"--x\r\n\r\n" + IMAGES[3] + b"\r\n--x\r\n\r\n" + IMAGES[1]
    assert [one for at in range(len(stream)) for one in splitter.feed(stream[at : at + 1])] == [
        IMAGES[3],
        IMAGES[1],
    ]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.99])
def test_a_truncated_image_is_left_out_and_counted(share):
    cut = IMAGES[0][: int(len(IMAGES[0]) * share)]
    splitter = JpegSplitter()
    found = splitter.feed(
        b"--x\r\n\r\n"
        + cut
        + b"\r\n--x\r\nContent-Type: image/jpeg\r\n\r\n"
        + IMAGES[5]
        + IMAGES[5]
    )
    assert IMAGES[5] in found
    assert all(one == IMAGES[5] for one in found)
    assert splitter.broken >= 1


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=3000))
def test_garbage_never_raises_and_what_follows_is_found(garbage):
    splitter = JpegSplitter()
    splitter.feed(garbage)
    found = [one for _ in range(4) for one in splitter.feed(b"\r\n" + IMAGES[5])]
    assert found.count(IMAGES[5]) >= 1 or b"\xff\xd8\xff" in garbage


def test_an_endless_image_is_refused(monkeypatch):
    monkeypatch.setattr(jpeg_splitter, "_LARGEST_BYTES", 10_000)
    splitter = JpegSplitter()
    splitter.feed(IMAGES[0][:-100])
    with pytest.raises(ValueError, match="without an end"):
        for _ in range(100):
            splitter.feed(b"\x00" * 200)


def test_data_that_is_not_an_image_is_not_kept():
    splitter = JpegSplitter()
    for _ in range(100):
        assert splitter.feed(b"\x00" * 100_000) == []
    assert len(splitter._buffer) < 10
