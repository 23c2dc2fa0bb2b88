"""Who may see the page."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping

from yolo_ema.errors import ConfigError

_SHORTEST_TOKEN = 8


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address: 127.0.0.0/8, ``::1``, ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class TokenAuth:
    """Decides by a request's headers.

    Without a token, only requests that name this machine pass: otherwise a web page elsewhere could
    make its own name point here and read the images (DNS rebinding). With a token, only viewers who
    know it pass, by header, by cookie, or once in the address.
    """

    def __init__(self, host: str, token: str | None) -> None:
        """Check that the page is protected as its address requires.

        Raises:
            ConfigError: others could reach the page without a token, or the token is easily
                guessed.
        """
        if token is not None and (
            len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()
        ):
            raise ConfigError(
                f"the page's token has {len(token)} characters; expected {_SHORTEST_TOKEN} or "
                f"more, in plain ASCII"
            )
        if token is None and not is_loopback(host):
            raise ConfigError(
                f"the page would be open to everybody who can reach {host}; set a token of "
                f"{_SHORTEST_TOKEN} or more characters "
                "with --serve-token, or leave the address at 127.0.0.1"
            )
        self._token = token
        self._session = hmac.new(
            secrets.token_bytes(32), (token or "").encode(), hashlib.sha256
        ).hexdigest()

    def knows_host(self, headers: Mapping[str, str]) -> bool:
        """Return whether the request was meant for this machine; with a token, any name will do."""
        if self._token is not None:
            return True
        name = headers.get("Host", "")
        bare = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        return is_loopback(bare)

    def lets_in(self, headers: Mapping[str, str], cookie_name: str) -> bool:
        """Return whether the request carries the token, or the cookie that was set for it."""
        if self._token is None:
            return True
        scheme, _, word = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(word.strip()):
            return True
        # Read by hand: Python's reader drops everything behind a cookie that is not in its grammar,
        # and other programs of this host may have set such.
        pairs = [pair.partition("=") for pair in headers.get("Cookie", "").split(";")]
        values = [value.strip() for name, _, value in pairs if name.strip() == cookie_name]
        matches = [hmac.compare_digest(value.encode(), self._session.encode()) for value in values]
        return any(matches)

    def is_token(self, word: str) -> bool:
        """Compare in a time that reveals nothing about where the words differ."""
        return self._token is not None and hmac.compare_digest(
            word.encode("utf-8", "replace"), self._token.encode()
        )

    def cookie(self, name: str) -> str:
        """Return the header that spares a viewer the token from now on, for this run only."""
        return f"{name}={self._session}; Path=/; HttpOnly; SameSite=Strict"
