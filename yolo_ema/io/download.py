"""Downloads one file over HTTP: resumed when the connection breaks, tried at several addresses,
complete or not there at all. An address's user and password go to its server alone, never into a
message or a file.
"""

from __future__ import annotations

import base64
import dataclasses
import errno
import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolo_ema.errors import DataError
from yolo_ema.io.atomic_files import disk_full_is_clear, sha256_of, write_json

_PIECE = 1 << 18
_TIMEOUT_S = 30.0
_GONE = {400, 401, 403, 404, 405, 410, 451}


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A file that was fetched: from where (see `shown_url`), how many bytes, and its SHA-256 in
    hexadecimal.
    """

    url: str
    size: int
    sha256: str


def shown_url(url: str) -> str:
    """Return an address for messages and files: without user and password, fragment, and what its
    query says, all of which may be secret.
    """
    scheme, mark, rest = url.partition("://")
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    if "@" not in host and "@" in rest and ":" in host:
        return f"{scheme}{mark}…"  # a password with / ? or # in it: where it ends cannot be told
    query = "?…" if "?" in rest else ""
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}{query}"


def remote_size(urls: Sequence[str]) -> int | None:
    """Return the size in bytes that the first address to answer states, or None if none does."""
    return next((size for size in map(_stated_size, urls) if size is not None), None)


def _stated_size(url: str) -> int | None:
    try:
        with _open(url, {}, method="HEAD") as response:
            length = response.headers.get("Content-Length")
    except (OSError, http.client.HTTPException, _AddressError):
        return None
    return int(length) if length and length.isdecimal() else None


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None = None,
    attempts: int = 5,
    pause_s: float = 1.0,
    label: str = "",
) -> Fetched:
    """Download ``target`` from the first of several addresses that gives it whole.

    What arrives goes into ``<target>.part``; a later call resumes it if the server allows that and
    still has the same file.

    Args:
        urls: ``http(s)`` addresses of the same file, in order of preference.
        target: the file to create; it appears only when whole, with the size that the server stated
            and the hash if one is given.
        sha256: the expected hash in hexadecimal, or None.
        attempts: how many times in a row an address may fail without sending a byte before the
            next one is tried.
        pause_s: pause in seconds after the first failure; it doubles with each further one, up to
            30.
        label: name for the progress bar.

    Raises:
        DataError: no address gave the file; the message says what each answered. What has arrived
            is kept for the next call.
        DiskFullError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    answers = []
    for url in urls:
        try:
            with disk_full_is_clear(target):
                _fetch_from(url, target, attempts, pause_s, label or target.name)
        except _AddressError as error:
            answers.append(f"{shown_url(url)}: {error}")
            continue
        part = _part(target)
        digest = sha256_of(part)
        if sha256 is not None and digest != sha256.lower():
            _discard(target)
            answers.append(f"{shown_url(url)}: its SHA-256 is {digest}, expected {sha256.lower()}")
            continue
        size = part.stat().st_size
        part.replace(target)
        _discard(target)
        return Fetched(shown_url(url), size, digest)
    raise DataError(
        f"{target.name} could not be fetched: {'; '.join(answers)}. Run the same command again to "
        f"resume"
    )


class _AddressError(Exception):
    """An address does not give the file."""


class _Interrupted(Exception):  # noqa: N818 - not an error yet: the transfer is resumed
    """The transfer stopped before its end."""


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _state(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def _discard(target: Path) -> None:
    _part(target).unlink(missing_ok=True)
    _state(target).unlink(missing_ok=True)


def _fetch_from(url: str, target: Path, attempts: int, pause_s: float, label: str) -> None:
    """Complete the part file from one address. Raises `_AddressError` if that fails for good."""
    failures = 0
    with tqdm(
        desc=label, unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False
    ) as bar:
        while True:
            before = _size_of(_part(target))
            reason = _attempt(url, target, bar)
            if reason is None:
                return
            failures = 0 if _size_of(_part(target)) > before else failures + 1
            if failures >= attempts:
                raise _AddressError(f"{reason}, {attempts} times in a row")
            time.sleep(min(30.0, pause_s * 2 ** max(0, failures - 1)))


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _attempt(url: str, target: Path, bar: Any) -> str | None:
    """Transfer what is missing; return why it stopped early, or None if the part file is whole."""
    try:
        _transfer(url, target, bar)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _GONE:
            raise _AddressError(f"{error.code} {error.reason}") from error
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _discard(target)  # what we have is longer than the file: another version of it
        return f"{error.code} {error.reason}"
    except (OSError, http.client.HTTPException, _Interrupted) as error:
        if isinstance(error, OSError) and _is_of_our_disk(error):
            raise
        return _without_query(str(getattr(error, "reason", error)), url) or type(error).__name__
    return None


def _is_of_our_disk(error: OSError) -> bool:
    """Return whether an error comes from our disk rather than from the network, whose errors name
    no file.
    """
    return error.filename is not None or error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def _transfer(url: str, target: Path, bar: Any) -> None:
    """Append what is missing to the part file. Raises `_Interrupted` if the body ends early."""
    part, known = _part(target), _read_state(target)
    identity = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    have = part.stat().st_size if part.exists() and known.get("url_sha256") == identity else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and known.get("validator"):
        headers["If-Range"] = known["validator"]
    with _open(url, headers) as response:
        if response.status == 206:
            start, size = _content_range(response.headers.get("Content-Range", ""))
            if start != have or (size is not None and known.get("size") not in {None, size}):
                _discard(target)
                raise _Interrupted("the server has another file now; the download starts over")
        else:
            have, length = 0, response.headers.get("Content-Length")
            size = int(length) if length and length.isdecimal() else None
            write_json(
                _state(target),
                {"url_sha256": identity, "size": size, "validator": _validator(response.headers)},
            )
        bar.total = size
        bar.n = have
        bar.refresh()
        with part.open("ab" if have else "wb") as file:
            while piece := response.read(_PIECE):
                file.write(piece)
                bar.update(len(piece))
    arrived = part.stat().st_size
    if size is not None and arrived < size:
        raise _Interrupted(f"the connection ended after {arrived} of {size} bytes")
    if size is not None and arrived > size:
        _discard(target)
        raise _Interrupted(f"{arrived} bytes arrived where the server stated {size}")


def _read_state(target: Path) -> dict[str, Any]:
    try:
        state = json.loads(_state(target).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _validator(headers: Any) -> str | None:
    """Return what identifies a version of the server's file; weak tags do not serve for ranges."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _content_range(text: str) -> tuple[int | None, int | None]:
    """Return start and full size from ``bytes 10-99/100``."""
    unit, _, rest = text.partition(" ")
    span, _, size = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdecimal():
        return None, None
    return int(start), int(size) if size.isdecimal() else None


def _open(url: str, headers: dict[str, str], *, method: str = "GET") -> Any:
    if not url.startswith(("https://", "http://")):
        raise _AddressError("expected an address that starts with https://")
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:  # its message repeats parts of the address
        raise _AddressError("its host or port cannot be read") from None
    userinfo, _, place = parts.netloc.rpartition("@")
    # Plain bytes: a compressed transfer could not be resumed by position.
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        parts._replace(netloc=place, fragment="").geturl(),
        headers={"User-Agent": "yolo-ema", "Accept-Encoding": "identity", **headers},
        method=method,
    )
    if userinfo:  # for this server alone, not for one that it redirects to
        token = base64.b64encode(urllib.parse.unquote_to_bytes(userinfo)).decode("ascii")
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - the scheme is checked above


def _without_query(text: str, url: str) -> str:
    """Return a library's message without the query of the address, which it may repeat."""
    query = url.partition("?")[2]
    return text.replace(query, "…") if query else text
