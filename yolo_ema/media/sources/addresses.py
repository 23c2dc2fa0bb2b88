"""Addresses of streams: what may be shown of them, and what never is: user, password, and whatever
in a query or path may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from yolo_ema.errors import SourceError, did_you_mean

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "tcp")

_HIDDEN = "…"
# Cameras commonly use these to tell their streams apart; everything else may be a secret.
_HARMLESS_KEYS = frozenset(
    {
        *("cam", "camera", "channel", "codec", "fps", "id", "profile", "resolution", "stream"),
        *("subtype", "type"),
    }
)
_HARMLESS_VALUE = re.compile(r"[A-Za-z]{0,10}[0-9]{0,4}(x[0-9]{1,4})?")
_LIKE_A_KEY = re.compile(r"(?=(?:.*[0-9]){4})[A-Za-z0-9_=+~-]{20,}")
_SAFE = "%/:@!$&'()*+,;=?~[]"  # only what HTTP cannot carry is encoded
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LIKE_AN_ADDRESS = re.compile(
    rf"://|:.*@|^[\s\"'<(]*(?:{'|'.join(SCHEMES)})(?:[:;]|//)", re.IGNORECASE | re.DOTALL
)
_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")


@dataclass(frozen=True)
class Address:
    """A stream's address.

    Attributes:
        url: as the user gave it, secrets and all: only for whoever connects; not in the repr.
        shown: without user, password, fragment, and whatever in query and path may be a secret.
        username: of the server, percent signs decoded; "" where none is given.
        password: likewise; not in the repr.
    """

    url: str = field(repr=False)
    shown: str
    username: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """The address's scheme, in lower case."""
        return self.shown.partition(":")[0]

    @property
    def stem(self) -> str:
        """A name for files: the shown address in letters, digits, dots and dashes."""
        rest = self.shown.partition("://")[2].replace(_HIDDEN, "")
        return re.sub(r"[^A-Za-z0-9.]+", "-", rest).strip("-.")[:80].rstrip("-.") or self.scheme

    @property
    def bare_url(self) -> str:
        """The address without user and password, as an HTTP request names it."""
        parts = urlsplit(self.url)
        path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE)
        return parts._replace(
            netloc=parts.netloc.rpartition("@")[2], path=path, query=query, fragment=""
        ).geturl()

    def cleaned(self, text: str) -> str:
        """Return a message of a library with every secret of this address taken out."""
        text = text.replace(self.url, self.shown)
        parts = urlsplit(self.url)
        userinfo = parts.netloc.rpartition("@")[0]
        secrets = {userinfo, *userinfo.split(":", 1), parts.query, self.password, self.username}
        secrets |= {pair.partition("=")[2] for pair in parts.query.split("&")}
        secrets |= {value for _, value in parse_qsl(parts.query)}
        secrets |= {part for part in parts.path.split("/") if _is_key(part)}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) > 2 and secret not in self.shown:
                text = text.replace(secret, _HIDDEN)
        return text


def is_address(text: str) -> bool:
    """Return whether a source is an address (``scheme://…``) and not a path."""
    return _SCHEME.match(text) is not None


def may_hold_secrets(text: str) -> bool:
    """Return whether a name that no file has looks like an address, mistyped or not, so that none
    of it may be shown: ``rtsp:/user:password@host``.
    """
    return _LIKE_AN_ADDRESS.search(_DRIVE.sub("", text)) is not None


def shown_of_unusable(text: str) -> str:
    """Return what may be shown of a name that cannot be used: all of it, or its scheme alone."""
    if not may_hold_secrets(text):
        return text
    scheme = _SCHEME.match(text)
    return f"{scheme[1].lower() if scheme else 'address'}://{_HIDDEN}"


def parse_address(text: str) -> Address:
    """Take an address apart.

    Raises:
        SourceError: the scheme is unknown, the host is missing, the port is not a number, or user
            and password are not encoded as addresses need them; the message repeats no secret.
    """
    scheme = text.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise SourceError(
            f"{scheme}:// is not a supported kind of stream "
            f"({' '.join(SCHEMES)}){did_you_mean(scheme, SCHEMES)}"
        )
    if any(sign.isspace() or ord(sign) < 32 for sign in text):
        raise SourceError(
            f"the {scheme}:// address contains a space or control character; write a space as %20"
        )
    problem = ""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its message repeats parts of the address
        problem = "its host or port cannot be read"
    if not problem and "@" in text.partition("://")[2].removeprefix(parts.netloc):
        problem = "there is an @ after its host, which looks like part of a password"
    if not problem and not parts.hostname and scheme != "udp":
        problem = "it has no host"
    if problem:
        raise SourceError(
            f"the {scheme}:// address cannot be used: {problem}; expected "
            f"{scheme}://[user:password@]host[:port]/path, "
            "where / @ : ? # in a user or password, and @ in a path or query, are written as "
            "%2F %40 %3A %3F %23"
        )
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    place = host if port is None else f"{host}:{port}"
    shown = f"{scheme}://{place}{_shown_path(parts)}{_shown_query(parts)}"
    return Address(text, shown, unquote(parts.username or ""), unquote(parts.password or ""))


def _shown_path(parts: SplitResult) -> str:
    return "/".join(
        _HIDDEN if _is_key(part) else part.partition(";")[0] for part in parts.path.split("/")
    )


def _shown_query(parts: SplitResult) -> str:
    shown = [
        f"{key}={value}"
        if key.lower() in _HARMLESS_KEYS and _HARMLESS_VALUE.fullmatch(value)
        else _HIDDEN
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return "?" + "&".join(shown) if parts.query else ""


def _is_key(part: str) -> bool:
    """Return whether a part of a path looks like the key that some services put there: long, and
    full of digits.
    """
    return _LIKE_A_KEY.fullmatch(part) is not None
