"""Logs in at a web server by what it offers: Digest with SHA-256 or MD5 (RFC 7616), or Basic.

Texts of headers stand for bytes, a character each (Latin-1), as `http.client` has them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from email.message import Message
from typing import Any

_HASHES = {"md5": "md5", "sha-256": "sha256"}  # to the names of hashlib
_PARAMETER = re.compile(r"([^\s=,]+)\s*=\s*(.*)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z0-9-]{1,30}")

Offer = tuple[str, dict[str, str]]
"""A scheme in lower case, such as ``digest``, with its parameters."""


class LoginHandler(urllib.request.BaseHandler):
    """Answers the first 401 of a server, whatever stands first among its offers."""

    def __init__(self, url: str, username: str, password: str) -> None:
        """Log in below ``url`` alone: other servers, as after a redirect, get nothing."""
        self._passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        self._passwords.add_password(None, url, username, password)

    def http_error_401(
        self, request: urllib.request.Request, answer: Any, _code: int, _reason: str, head: Message
    ) -> Any:
        """Ask again with user and password; None if that is of no use, and the error holds."""
        username, password = self._passwords.find_user_password(None, request.full_url)
        offer = _best(offers_in(head))
        if username is None or password is None or offer is None:
            return None
        is_stale = offer[1].get("stale", "").lower() == "true"
        tries: int = getattr(request, "login_tries", 0)
        if tries > 1 or (tries == 1 and not is_stale):
            return None
        request.login_tries = tries + 1  # type: ignore[attr-defined]
        user, word = (text.encode().decode("latin-1") for text in (username, password))
        if offer[0] == "basic":
            value = "Basic " + b64encode(f"{user}:{word}".encode("latin-1")).decode()
        else:
            value = _digest(offer[1], user, word, request.get_method(), request.selector)
        request.add_unredirected_header("Authorization", value)
        answer.close()
        return self.parent.open(request, timeout=request.timeout)


def offers_in(head: Message) -> list[Offer]:
    """Return what a server offers in its ``WWW-Authenticate`` headers, in its order."""
    offers: list[Offer] = []
    for header in head.get_all("WWW-Authenticate", []):
        for item in urllib.request.parse_http_list(" ".join(str(header).splitlines())):
            parameter = _PARAMETER.fullmatch(item)
            if parameter is None:
                scheme, _, rest = item.partition(" ")
                offers.append((scheme.lower(), {}))
                parameter = _PARAMETER.fullmatch(rest.strip())
            if parameter is not None and offers:
                text = parameter[2].strip()
                quoted = len(text) > 1 and text[0] == text[-1] == '"'
                offers[-1][1][parameter[1].lower()] = text[1:-1] if quoted else text
    return offers


def unsupported(head: Message) -> str:
    """Return in words what a server offers, if none of it can be used; "" otherwise."""
    offers = offers_in(head)
    if not offers or _best(offers) is not None:
        return ""
    words = [f"{scheme} {parameters.get('algorithm', '')}".split() for scheme, parameters in offers]
    shown = [" ".join(word for word in named if _WORD.fullmatch(word)) for named in words]
    return ", ".join(dict.fromkeys(text for text in shown if text))


def _best(offers: Sequence[Offer]) -> Offer | None:
    """Return the first Digest that can be answered, otherwise Basic, otherwise None."""
    digests = [offer for offer in offers if offer[0] == "digest" and _is_known(offer[1])]
    basics = [offer for offer in offers if offer[0] == "basic"]
    return next(iter(digests + basics), None)


def _is_known(parameters: dict[str, str]) -> bool:
    ways = re.split(r"[\s,]+", parameters.get("qop", "auth").lower())
    return _algorithm(parameters) in _HASHES and "auth" in ways and "nonce" in parameters


def _algorithm(parameters: dict[str, str]) -> str:
    return parameters.get("algorithm", "MD5").lower().removesuffix("-sess")


def _digest(parameters: dict[str, str], user: str, password: str, method: str, target: str) -> str:
    """Return the header's value for a request of ``method`` to ``target``, a path with query."""
    algorithm = _HASHES[_algorithm(parameters)]

    def hashed(*parts: str) -> str:
        content = ":".join(parts).encode("latin-1")
        # as the camera asks for it, also where MD5 is forbidden for secrets of one's own
        return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()

    realm, nonce = parameters.get("realm", ""), parameters["nonce"]
    once, count = secrets.token_hex(8), "00000001"
    secret = hashed(user, realm, password)
    if parameters.get("algorithm", "").lower().endswith("-sess"):
        secret = hashed(secret, nonce, once)
    asked = hashed(method, target)
    quoted = {"username": user, "realm": realm, "nonce": nonce, "uri": target}
    plain = {key: parameters[key] for key in ("algorithm",) if key in parameters}
    if "qop" in parameters:
        quoted |= {"cnonce": once, "response": hashed(secret, nonce, count, once, "auth", asked)}
        plain |= {"qop": "auth", "nc": count}
    else:  # servers from before RFC 2617
        quoted |= {"cnonce": once, "response": hashed(secret, nonce, asked)}
    quoted |= {key: parameters[key] for key in ("opaque",) if key in parameters}
    words = [f'{key}="{_escaped(value)}"' for key, value in quoted.items()]
    return "Digest " + ", ".join(words + [f"{key}={value}" for key, value in plain.items()])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
