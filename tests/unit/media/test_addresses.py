"""What is shown of an address, and what never is."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_ema.errors import SourceError
from yolo_ema.media.sources.addresses import is_address, parse_address
from yolo_ema.media.sources.open_sources import open_sources

_SECRET = st.text("abcdefgXYZ0123456789!$&'()*+,;=:@/?#%äß-._~ ", min_size=4, max_size=24).map(
    "Qx{}Zz".format
)


@pytest.mark.parametrize(
    ("given_address", "shown", "stem"),
    [
        ("rtsp://cam1/live", "rtsp://cam1/live", "cam1-live"),
        ("rtsp://user:pw@cam1:8554/live", "rtsp://cam1:8554/live", "cam1-8554-live"),
        ("RTSP://CAM1/Live", "rtsp://cam1/Live", "cam1-Live"),
        ("rtsp://a:p@ss@cam1/live", "rtsp://cam1/live", "cam1-live"),
        (
            "rtsp://u:p@10.0.0.7:554/cam/realmonitor?channel=2&subtype=0&auth=s3cret",
            "rtsp://10.0.0.7:554/cam/realmonitor?channel=2&subtype=0&…",
            "10.0.0.7-554-cam-realmonitor-channel-2-subtype-0",
        ),
        (
            "http://cam/axis-cgi/mjpg/video.cgi?resolution=640x480",
            "http://cam/axis-cgi/mjpg/video.cgi?resolution=640x480",
            None,
        ),
        ("https://host/live?token", "https://host/live?…", "host-live"),
        (
            "rtmp://a.rtmp.example/live2/abcd-1234-efgh-5678-ijkl",
            "rtmp://a.rtmp.example/live2/…",
            "a.rtmp.example-live2",
        ),
        ("http://host/a;jsessionid=12/b#frag", "http://host/a/b", "host-a-b"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234", "239.0.0.1-1234"),
        ("udp://:1234", "udp://:1234", "1234"),
        ("rtsp://[fe80::1]:554/x", "rtsp://[fe80::1]:554/x", "fe80-1-554-x"),
    ],
)
def test_the_shown_part_of_an_address(given_address, shown, stem):
    address = parse_address(given_address)
    assert address.shown == shown
    if stem is not None:
        assert address.stem == stem


def test_a_request_keeps_what_it_is_given_and_encodes_the_rest():
    assert (
        parse_address("http://h/a%20b/ä?x=1&y=%2F&z=é").bare_url
        == "http://h/a%20b/%C3%A4?x=1&y=%2F&z=%C3%A9"
    )


def test_user_and_password_are_decoded_for_the_server():
    address = parse_address("http://dr%40ne:p%2Fw@host/live")
    assert (address.username, address.password, address.bare_url) == (
        "dr@ne",
        "p/w",
        "http://host/live",
    )


@settings(deadline=None, max_examples=200)
@given(user=_SECRET, password=_SECRET, token=_SECRET)
def test_no_secret_is_shown_anywhere(user, password, token):
    user_info = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = f"rtsp://{user_info}@camera.example:554/h264?token={quote(token, safe='')}"
    source = open_sources([url])[0]
    address = parse_address(url)
    told = [
        source.name,
        source.stem,
        repr(source),
        repr(address),
        address.shown,
        address.cleaned(f"failed: {url} {quote(password, safe='')}"),
    ]
    assert source.name == "rtsp://camera.example:554/h264?…"
    for text in told:
        for secret in {
            user,
            password,
            token,
            quote(user, safe=""),
            quote(password, safe=""),
            quote(token, safe=""),
        }:
            assert secret not in text.replace("rtsp://camera.example:554/h264?…", "")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("rtps://u:geheim@cam/x", "did you mean 'rtsps'"),
        ("file:///etc/passwd", "not a supported kind of stream"),
        ("rtsp://", "no host"),
        ("rtsp:///live", "no host"),
        ("rtsp://u:geheim/1@cam/x", "host or port cannot be read"),
        ("rtsp://u:12/geheim@cam/x", "there is an @ after its host"),
        ("rtsp://u:12#geheim@cam/x", "there is an @ after its host"),
        ("rtsp://ad/min:geheim@cam/x", "there is an @ after its host"),
        ("rtsp://u:geheim@ss/w@cam/x", "there is an @ after its host"),
        ("rtsp://u?geheim@cam/x", "there is an @ after its host"),
        ("udp://@239.0.0.1:1234/geheim@x", "there is an @ after its host"),
        ("rtsp://u:geheim@cam:99999/x", "host or port cannot be read"),
        ("rtsp://u:geheim@cam/a b", "space"),
        ("rtsp://u:geheim@[cam/x", "host or port cannot be read"),
    ],
)
def test_an_unusable_address_is_named_without_its_secret(address, reason):
    assert is_address(address)
    with pytest.raises(SourceError, match=reason) as caught:
        open_sources([address])
    error: BaseException | None = caught.value
    while error is not None:
        assert "geheim" not in f"{error}{error!r}"
        error = error.__context__


_MISTYPED = [
    "srt://admin:geheim@10.0.0.7/x",
    "rtsp://admin:geheim@10.0.0.7:5O4/x",
    "rtps://admin:geheim@10.0.0.7/x",
    "rtsp://admin:geh eim@10.0.0.7/x",
    "rtsp://ad/min:geheim@10.0.0.7/x",
    "rtsp:/admin:geheim@10.0.0.7/x",
    "rtsp//admin:geheim@10.0.0.7/x",
    "rtsp;//10.0.0.7/x?token=geheim",
    "admin:geheim@10.0.0.7/x?y",
    "'rtsp://admin:geheim@10.0.0.7/x'",
    '"http://10.0.0.7/x?token=geheim"',
]


@pytest.mark.parametrize("way", ["given", "in a list"])
@pytest.mark.parametrize("address", _MISTYPED)
def test_an_unusable_address_among_others_fails_without_its_secret(tmp_path, way, address):
    (tmp_path / "a.jpg").write_bytes(b"x")
    names = [str(tmp_path / "a.jpg"), address, address]
    if way == "in a list":
        (tmp_path / "list.txt").write_text("\n".join(names))
        names = [str(tmp_path / "list.txt")]
    _, first, second = open_sources(names)
    assert first.name != second.name, "an account of its own"
    assert (f"list.txt, line {2}" in first.name) == (way == "in a list")
    for source in (first, second):
        with pytest.raises(SourceError) as caught:
            source.open()
        for text in (source.name, source.stem, repr(source), repr(caught.value)):
            assert not any(secret in text for secret in ("geheim", "geh eim", "admin"))


@pytest.mark.parametrize(
    "name", ["photo@2x.jpg", "a:b.jpg", "tcp/a.jpg", "rtsp.mp4", "C:\\a@b.jpg"]
)
def test_a_missing_file_with_an_odd_name_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="no file or folder at") as caught:
        open_sources([name])
    assert name in str(caught.value)


def test_streams_that_differ_in_their_secrets_only_are_distinguished():
    addresses = [
        "http://a:1@cam/live",
        "http://b:2@cam/live",
        "http://a:1@cam/live",
        "http://cam/live?token=x",
    ]
    sources = open_sources(addresses)
    assert [one.name for one in sources] == [
        "http://cam/live",
        "http://cam/live #2",
        "http://cam/live?…",
    ]
    assert [one.stem for one in sources] == ["cam-live", "cam-live-2", "cam-live-3"]
    assert all(one.is_live and one.is_video for one in sources)
