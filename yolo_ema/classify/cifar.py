"""CIFAR-10 and CIFAR-100 in their binary form, which holds bytes alone and runs no code.

A record of CIFAR-10 is a label and 3072 bytes (32×32 pixels, red, green, blue plane); one of
CIFAR-100 has a coarse label before the fine one. See https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yolo_ema.errors import DataError, DataNotFoundError, OfflineError
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.io.download import fetch
from yolo_ema.io.text_files import say

_PIXELS = 3 * 32 * 32
_LICENCE = (
    "the authors state no licence and ask to cite Krizhevsky, Learning Multiple Layers of Features "
    "from Tiny Images, 2009; see https://www.cs.toronto.edu/~kriz/cifar.html"
)


@dataclasses.dataclass(frozen=True)
class CifarFiles:
    """Where a form of CIFAR is, and which of its files hold what.

    Attributes:
        title: its name in messages.
        url, size, sha256: of its archive, in bytes and hexadecimal.
        splits: names of the files of each split.
        names: the file of class names, one a line.
        labels: labels before each image; the last one counts.
    """

    title: str
    url: str
    size: int
    sha256: str
    splits: Mapping[str, tuple[str, ...]]
    names: str
    labels: int


CIFAR: dict[str, CifarFiles] = {
    "cifar10": CifarFiles(
        "CIFAR-10",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        {
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "val": ("test_batch.bin",),
        },
        "batches.meta.txt",
        1,
    ),
    "cifar100": CifarFiles(
        "CIFAR-100",
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        {"train": ("train.bin",), "val": ("test.bin",)},
        "fine_label_names.txt",
        2,
    ),
}

Content = tuple[tuple[str, ...], np.ndarray, list[int]]
"""Class names, images (N, 32, 32, 3) in bytes, and a label for each."""


def cifar_of_folder(folder: Path) -> CifarFiles | None:
    """Return which form of CIFAR a folder holds; None for neither."""
    return next((form for form in CIFAR.values() if (folder / form.names).is_file()), None)


def read_folder(folder: Path, form: CifarFiles, split: str) -> Content:
    """Return a split out of the unpacked binary files.

    Raises:
        DataNotFoundError: a file is missing.
        DataError: a file has broken records, or labels beyond the classes.
    """
    files = {}
    for name in (form.names, *form.splits[split]):
        if not (folder / name).is_file():
            raise DataNotFoundError(f"{folder / name} is missing: a file of {form.title}'s {split}")
        files[name] = (folder / name).read_bytes()
    return _content(files, form, split, str(folder))


def read_archive(name: str, root: Path, split: str, *, offline: bool) -> Content:
    """Return a split of ``cifar10`` or ``cifar100`` from the archive ``root/NAME/ARCHIVE``, which
    is fetched first if it is absent and ``offline`` does not forbid it.

    Raises:
        OfflineError: it would have to be fetched.
        DataError: it cannot be fetched, or has another hash than the published one.
    """
    form = CIFAR[name]
    archive = root / name / form.url.rpartition("/")[2]
    if not archive.is_file():
        _fetch(form, archive, offline=offline)
    elif (found := sha256_of(archive)) != form.sha256:
        raise DataError(
            f"{archive} has the SHA-256 {found}, expected {form.sha256}; remove it, and it is "
            f"fetched again"
        )
    wanted, files = {form.names, *form.splits[split]}, {}
    # The hash is that of a known file: nothing in it is unsafe, and nothing is unpacked to disk.
    with tarfile.open(archive, "r:gz") as packed:
        for member in packed:
            if (base := member.name.rpartition("/")[2]) in wanted:
                files[base] = (packed.extractfile(member) or io.BytesIO()).read()
    if missing := wanted - files.keys():
        raise DataError(f"{archive} lacks {', '.join(sorted(missing))}")
    return _content(files, form, split, str(archive))


def _fetch(form: CifarFiles, archive: Path, *, offline: bool) -> None:
    if offline:
        raise OfflineError(
            f"{form.title} would have to be fetched ({form.url}), and --offline forbids it; put "
            f"the file at {archive}, or give a folder you have with --data"
        )
    say(f"to be fetched: {form.title}, {form.size / 1e6:,.1f} MB, from {form.url}")
    say(f"  terms: {_LICENCE}")
    fetched = fetch([form.url], archive, sha256=form.sha256, label=form.title)
    say(f"fetched {archive.name}: SHA-256 {fetched.sha256}")


def _content(files: Mapping[str, bytes], form: CifarFiles, split: str, place: str) -> Content:
    text = files[form.names].decode("utf-8", "replace")
    classes = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not classes:
        raise DataError(f"{place}: {form.names} names no class; expected one a line")
    images, labels = [], []
    length = form.labels + _PIXELS
    for name in form.splits[split]:
        if not files[name] or len(files[name]) % length:
            raise DataError(
                f"{place}: {name} has {len(files[name])} bytes; expected a multiple of {length}, "
                f"the length of a record"
            )
        records = np.frombuffer(files[name], np.uint8).reshape(-1, length)
        found = records[:, form.labels - 1]
        if found.max() >= len(classes):
            record = int(np.argmax(found >= len(classes)))
            raise DataError(
                f"{place}: record {record} of {name} has the label {found[record]}; expected 0 to "
                f"{len(classes) - 1}, since {form.names} names {len(classes)} classes"
            )
        images.append(records[:, form.labels :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += found.tolist()
    return classes, np.concatenate(images), labels
