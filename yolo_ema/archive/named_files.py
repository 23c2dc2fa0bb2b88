"""The files that an archive's options name besides its sources, as its record keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolo_ema.archive.places import absolute
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.options.archive import ArchiveOptions


def with_named_files(options: ArchiveOptions) -> dict[str, Any]:
    """Return the entries of a record that say how is detected: the settings, in which files stand
    by their absolute path, and the SHA-256 of each, since the same word can mean another file, and
    a file can be edited.
    """
    settings, files = options.settings(), []
    if "dem" in settings:
        files.append(settings["dem"])
        settings["dem"] = absolute(settings["dem"])
    if "telemetry" in settings:
        from yolo_ema.geo.telemetry.kinds import KINDS
        from yolo_ema.geo.telemetry.live import is_live

        words = settings["telemetry"]
        named = [not (word == "auto" or word in KINDS or is_live(word)) for word in words]
        pairs = list(zip(words, named, strict=True))
        files += [word for word, is_named in pairs if is_named]
        settings["telemetry"] = [absolute(word) if is_named else word for word, is_named in pairs]
    digests = {absolute(file): sha256_of(Path(file)) for file in files if Path(file).is_file()}
    return {"settings": settings, "files_sha256": digests}


def comparable(
    record: dict[str, Any], known: dict[str, Any], options: ArchiveOptions
) -> dict[str, Any]:
    """Return a record in the form of one that is known, which may be of a time when records held
    the words alone.
    """
    if "files_sha256" in known:
        return record
    return {**record, "settings": options.settings(), "files_sha256": {}}


def changed_files(known: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Return what is to be said of files that both records name, and that differ."""
    before, now = known.get("files_sha256", {}), record["files_sha256"]
    return [
        f"{file} is not the file that it was (by its SHA-256)"
        for file in sorted(before.keys() & now.keys())
        if before[file] != now[file]
    ]
