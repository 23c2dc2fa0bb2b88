"""Parts of Linux made as Windows is, where this project was never run.

They refuse what Windows refuses, so that code which counts on Linux fails here, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest


def flush_only_what_is_open_for_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `os.fsync` fail for a file that is open for reading alone."""
    fsync = os.fsync

    def flush(file: int) -> None:
        name = str(Path(f"/proc/self/fd/{file}").readlink())
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), name)
        fsync(file)

    monkeypatch.setattr(os, "fsync", flush)


def keep_files_that_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody remove, rename or replace a file while this process has it open or mapped, nor
    rename a folder with such a file, nor rename onto what exists.
    """

    def is_in_use(path: Any) -> bool:
        place = os.path.realpath(path)
        used = _open_files()
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        used += [line.split(maxsplit=5)[-1] for line in mapped]
        return any(name == place or name.startswith(f"{place}/") for name in used)

    def refusing(call: Callable[..., None], *, replaces: bool) -> Callable[..., None]:
        def refuse(path: Any, *more: Any, **options: Any) -> None:
            if not options and any(map(is_in_use, (path, *more))):
                raise PermissionError(errno.EACCES, "it is in use", os.fspath(path))
            if more and not replaces and os.path.lexists(more[0]):
                raise FileExistsError(errno.EEXIST, "it exists", os.fspath(more[0]))
            call(path, *more, **options)

        return refuse

    for name in ("unlink", "remove", "rmdir", "rename", "replace"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), replaces=name == "replace"))


def _open_files() -> list[str]:
    places = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # what listed them is closed again
            places.append(str(link.readlink()))
    return places


def end_lines_by_two_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let text files that are opened by their path get ``\\r\\n`` where nobody says otherwise."""
    opened = Path.open

    def open_text(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "b" not in mode and "r" not in mode and len(more) < 4:
            options = {"newline": "\r\n"} | options
        return opened(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", open_text)


def open_images_by_ascii_names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let OpenCV neither read nor write files whose path has other letters."""
    read, write = cv2.imread, cv2.imwrite
    monkeypatch.setattr(
        cv2, "imread", lambda name, *more: read(name, *more) if name.isascii() else None
    )
    monkeypatch.setattr(cv2, "imwrite", lambda name, *more: name.isascii() and write(name, *more))
