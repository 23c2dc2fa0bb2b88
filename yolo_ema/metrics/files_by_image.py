"""Which file of a folder belongs to which image, sub-folders included."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from itertools import filterfalse
from pathlib import Path

from yolo_ema.constants import is_hidden
from yolo_ema.errors import DataError, DataNotFoundError


def files_below(folder: Path, suffixes: Collection[str], what: str) -> dict[str, Path]:
    """Return the files of a folder and its sub-folders by their path below it, without suffix, with
    ``/`` between folders. Hidden ones are left out, and linked folders followed, each real one
    once.

    Raises:
        DataNotFoundError: there is no such folder; the message calls it ``what``.
        DataError: a folder cannot be read.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"the folder of {what} {folder} does not exist")
    found, visited = {}, set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = Path(parent).resolve()
        folders[:] = [] if real in visited else sorted(filterfalse(is_hidden, folders))
        if real in visited:
            continue
        visited.add(real)
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in suffixes and not is_hidden(name):
                found[path.relative_to(folder).with_suffix("").as_posix()] = path
    return found


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror or error}") from error


def image_names(places: Sequence[str]) -> dict[str, str]:
    """Return each image's name by its path as of `files_below`: as ``val`` writes results, its stem
    where no two are equal.
    """
    stems = [place.rpartition("/")[2] for place in places]
    return dict(zip(places, stems if len(set(stems)) == len(stems) else places, strict=True))


def of_images(
    files: Mapping[str, Path], names: Mapping[str, str]
) -> tuple[dict[str, Path], list[str]]:
    """Assign files to images.

    Args:
        files: by their path below their folder.
        names: the images' names by their path.

    Returns:
        The file that lies where the image does, or else the one of its name, by name; and the paths
        of files that belong to none.
    """
    chosen = {
        name: place if place in files else name
        for place, name in names.items()
        if place in files or name in files
    }
    strays = sorted(set(files) - set(chosen.values()))
    return {name: files[place] for name, place in chosen.items()}, strays
