"""The files of a dataset's splits: images, and what lies next to each.

Labels lie next to the images by Ultralytics' convention, ``…/images/a.jpg`` → ``…/labels/a.txt``;
ignored regions likewise under ``ignored``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ultralytics.data.utils import IMG_FORMATS

from yolo_ema.engine.data.data_yaml import SPLIT_ALIASES, SPLITS, path_exists, read_data
from yolo_ema.errors import DataError, DataNotFoundError, did_you_mean
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.io.text_files import encoding_of


def split_images(data_yaml: str | Path, split: str) -> list[Path]:
    """Return the images of ``train``, ``val`` or ``test`` (``test-dev`` is another name of it) in
    order of path, each once.

    Raises:
        DataNotFoundError: the YAML has no such split, or its folder, list file or images are
            missing.
        DataError: a list file is not text, or a file's name is not UTF-8.
    """
    data = read_data(data_yaml)
    key = SPLIT_ALIASES.get(split, split)
    if key not in SPLITS or key not in data:
        have = [name for name in SPLITS if name in data]
        can_be_fetched = (
            key == "test"
            and (data["path"] / "fingerprint.json").is_file()
            and Path(data_yaml).name == "visdrone.yaml"
        )
        hint = (
            "; to add it: yolo-ema data prepare visdrone --splits test-dev"
            if can_be_fetched
            else did_you_mean(split, have)
        )
        raise DataNotFoundError(
            f"{data_yaml} has no split {split!r}; it has {', '.join(have)}{hint}"
        )
    try:
        images = sorted(set(images_in(data[key])))
    except DataNotFoundError as error:
        raise DataNotFoundError(f"{data_yaml}: {error}") from error
    if not images:
        raise DataNotFoundError(f"{data_yaml}: no images for {split!r} in {', '.join(data[key])}")
    return images


def images_in(entries: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the images that a split's entries name; rows of a list file may repeat.

    Hidden files and those that operating systems leave behind are skipped. Linked folders are
    followed, each real folder once.

    Args:
        entries: folders, image files, and list files with a path a row, where ``./`` means the
            list's own folder.

    Raises:
        DataNotFoundError: an entry does not exist.
        DataError: a list file is not text, or a file's name is not UTF-8.
    """
    for entry in map(Path, entries):
        if entry.is_dir():
            files: Iterable[Path] = files_below(entry)
        elif _is_image_name(entry.name) and path_exists(entry):
            files = [entry]
        elif path_exists(entry):
            files = _listed(entry)
        else:
            raise DataNotFoundError(f"{entry} does not exist")
        for file in files:
            if _is_image_name(file.name):
                _check_utf8(file)
                yield file


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and name.rpartition(".")[2].lower() in IMG_FORMATS


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and those below it, by folder in order; hidden folders are left
    out, and linked ones followed, each real folder once. Raises `DataError` where one cannot be
    read.
    """
    visited: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(parent)  # noqa: PTH116 - os.walk gives text
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "__MACOSX"
        )
        yield from (Path(parent) / name for name in names)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror or error}") from error


def _listed(file: Path) -> Iterator[Path]:
    try:
        rows = decoded_text(file).split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not a list of images: it is neither UTF-8 nor UTF-16 text ({error.reason} "
            f"at byte {error.start})"
        ) from error
    for row in map(str.strip, rows):
        if "\0" in row:
            raise DataError(f"{file} is not a list of images: a row holds a NUL character")
        if row:
            yield _placed(row, file.parent)


def _placed(row: str, folder: Path) -> Path:
    """Return the image that a row names: from the list's folder where it begins with ``./``, or
    where the working folder does not have it.
    """
    if row.startswith("./"):
        return folder / row[2:]
    return Path(row).absolute() if path_exists(Path(row)) else folder / row


def decoded_text(file: Path) -> str:
    """Return a text file's content, as `encoding_of` finds it encoded.

    Raises:
        UnicodeDecodeError: it is not.
        OSError: it cannot be read.
    """
    content = file.read_bytes()
    return content.decode(encoding_of(content))


def _check_utf8(file: Path) -> None:
    try:
        str(file).encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(file).decode("utf-8", errors="backslashreplace")
        raise DataError(f"the path {shown} is not UTF-8 text; rename it") from None


def label_path(image: Path) -> Path:
    """Return where an image's labels lie: the last folder ``images`` of its path becomes
    ``labels``, its suffix ``.txt``.
    """
    return _beside(image, "labels")


def ignored_path(image: Path) -> Path:
    """Return where an image's ignored regions lie, whether or not the file exists."""
    return _beside(image, "ignored")


def region_files(images: Iterable[str]) -> list[str | None]:
    """Return where each image's ignored regions would lie; None where images don't lie in a folder
    ``images``: there the convention leads to the label file, whose rows are not regions.
    """
    pairs = [(ignored_path(Path(image)), label_path(Path(image))) for image in images]
    return [None if regions == labels else str(regions) for regions, labels in pairs]


def _beside(image: Path, folder: str) -> Path:
    head, images, tail = str(image.parent / image.stem).rpartition(f"{os.sep}images{os.sep}")
    return Path(
        f"{head}{os.sep}{folder}{os.sep}{tail}.txt"
        if images
        else f"{image.parent / image.stem}.txt"
    )


def data_fingerprint(data_yaml: str | Path) -> dict[str, Any]:
    """Return what tells this dataset from another: its classes, and each split's number of images
    and SHA-256 over them and over their ignored regions (None where there are none).

    The first digest covers each image's name and size in bytes, and its label file; an image that
    is gone counts by its name. A test split that cannot be read is left out: training does not need
    it. Compare splits by `yolo_ema.engine.data.split_facts.is_same_split`.

    The prepared dataset's own fingerprint, made when it was prepared, is added where there is one.
    """
    data = read_data(data_yaml)
    splits = {}
    for split in [name for name in SPLITS if name in data]:
        with contextlib.suppress(*([DataError] if split == "test" else [])):
            images = split_images(data_yaml, split)
            splits[split] = {
                "images": len(images),
                "sha256": _digest(images),
                "regions_sha256": _regions_digest(images),
            }
    fingerprint: dict[str, Any] = {"names": list(data["names"].values()), "splits": splits}
    prepared = data["path"] / "fingerprint.json"
    if prepared.is_file():
        fingerprint["prepared_sha256"] = sha256_of(prepared)
    return fingerprint


def _digest(images: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for image in images:
        labels = label_path(image)
        size = image.stat().st_size if path_exists(image) else "gone"
        digest.update(f"{image.name}\0{size}\0".encode())
        digest.update(labels.read_bytes() if labels.is_file() else b"-")
        digest.update(b"\0")
    return digest.hexdigest()


def _regions_digest(images: list[Path]) -> str | None:
    digest, any_regions = hashlib.sha256(), False
    for image, regions in zip(images, region_files(map(str, images)), strict=True):
        if regions is not None and Path(regions).is_file():
            digest.update(f"{image.name}\0".encode() + Path(regions).read_bytes() + b"\0")
            any_regions = True
    return digest.hexdigest() if any_regions else None
