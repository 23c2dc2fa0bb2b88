"""How a web server is logged in to, by what it offers."""

from __future__ import annotations

import secrets
from email.message import Message

import misbehaving_servers as servers
import pytest
from misbehaving_servers import HttpServer

from yolo_ema.errors import SourceRefusedError
from yolo_ema.media.sources import http_login
from yolo_ema.media.sources.addresses import parse_address
from yolo_ema.media.sources.http_login import offers_in, unsupported
from yolo_ema.media.sources.http_stream import HttpConnection
from yolo_ema.media.sources.network_options import NetworkOptions

BASIC = 'Basic realm="camera"'
DIGEST = 'Digest realm="camera", qop="auth", nonce="abc", opaque="x", algorithm='


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")


def head_of(*offers: str) -> Message:
    head = Message()
    for offer in offers:
        head["WWW-Authenticate"] = offer
    return head


def frames_from(server: HttpServer, userinfo: str) -> int:
    """Return how many images arrive, three at most."""
    connection = HttpConnection(parse_address(server.url(userinfo=userinfo)), NetworkOptions())
    try:
        connection.open()
        return sum(1 for _ in zip(range(3), connection.frames(), strict=False))
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("offers", "way"),
    [
        ([BASIC], "Basic"),
        ([DIGEST + "MD5"], "algorithm=MD5"),
        ([DIGEST + "SHA-256"], "algorithm=SHA-256"),
        ([DIGEST + "SHA-256", DIGEST + "MD5"], "algorithm=SHA-256"),
        ([DIGEST + "SHA-512-256", DIGEST + "MD5"], "algorithm=MD5"),
        ([BASIC, DIGEST + "MD5"], "algorithm=MD5"),
        ([DIGEST + "SHA-512-256", BASIC], "Basic"),
        (["Bearer", BASIC], "Basic"),
        (['Bearer realm="x", error="a, b"', DIGEST + "SHA-256"], "algorithm=SHA-256"),
        (["Negotiate", DIGEST + "MD5"], "algorithm=MD5"),
        ([f"Negotiate YII=, {DIGEST}MD5, {BASIC}"], "algorithm=MD5"),
        (['Digest realm="camera", qop="auth-int", nonce="abc"', BASIC], "Basic"),
        (['Digest realm="camera", qop="auth-int, auth", nonce="abc"'], "Digest"),
    ],
)
def test_the_first_offer_that_can_be_answered_is(offers, way):
    with HttpServer(servers.wants_password("dr@ne", "geh/eim", offers=offers)) as server:
        assert frames_from(server, "dr%40ne:geh%2Feim@") == 3
        assert len(server.requests) == 2
        assert way in server.requests[1].partition("Authorization: ")[2].partition("\r\n")[0]


@pytest.mark.parametrize("offers", [[BASIC], [DIGEST + "MD5"], [DIGEST + "SHA-256", BASIC]])
def test_a_wrong_password_is_tried_once(offers):
    with HttpServer(servers.wants_password("drone", "right", offers=offers)) as server:
        with pytest.raises(SourceRefusedError, match="wrong user or password"):
            frames_from(server, "drone:geheim@")
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("offers", "told"),
    [
        (['Bearer realm="camera"'], "it offers bearer"),
        (["Negotiate", DIGEST + "SHA-512-256"], "it offers negotiate, digest SHA-512-256"),
    ],
)
def test_an_offer_that_cannot_be_answered_is_a_refusal(offers, told):
    with HttpServer(servers.wants_password("drone", "geheim", offers=offers)) as server:
        with pytest.raises(SourceRefusedError, match=told) as caught:
            frames_from(server, "drone:geheim@")
        assert "401" in str(caught.value)
        assert "geheim" not in str(caught.value)
        assert len(server.requests) == 1


def test_a_nonce_that_has_run_out_is_replaced_once():
    offer = 'Digest realm="camera", qop="auth", nonce="abc", stale=TRUE'
    with HttpServer(servers.wants_password("drone", "right", offers=[offer])) as server:
        with pytest.raises(SourceRefusedError, match="wrong user or password"):
            frames_from(server, "drone:geheim@")
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616(monkeypatch, algorithm, response):
    once = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    monkeypatch.setattr(secrets, "token_hex", lambda _: once)
    offer = (
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    ((_, parameters),) = offers_in(head_of(offer))
    value = http_login._digest(parameters, "Mufasa", "Circle of Life", "GET", "/dir/index.html")
    assert f'response="{response}"' in value
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in value


def test_quotes_and_commas_in_an_offer_stay_in_their_place():
    (first, second) = offers_in(head_of('Digest realm="a \\"b\\", c" , nonce = "x=y"', "Basic"))
    assert first == ("digest", {"realm": 'a "b", c', "nonce": "x=y"})
    assert second == ("basic", {})
    value = http_login._digest(first[1], 'u"s', "p", "GET", "/")
    assert 'realm="a \\"b\\", c"' in value
    assert 'username="u\\"s"' in value


@pytest.mark.parametrize("offer", ["", ",,", "=", "Digest", 'Digest nonce="', "\u20ac x", '"'])
def test_no_offer_is_an_error(offer):
    assert isinstance(unsupported(head_of(offer)), str)
