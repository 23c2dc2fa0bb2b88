"""The splits that a preparation works on: where the files of each lie, and how they are read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES
from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.coco_reader import read_coco
from yolo_ema.visdrone.fingerprint import Fingerprint, SplitRecord
from yolo_ema.visdrone.official_totals import compare_with_official
from yolo_ema.visdrone.prepared_files import folders_digest
from yolo_ema.visdrone.split_content import SplitContent
from yolo_ema.visdrone.split_folders import SplitFolder
from yolo_ema.visdrone.split_sources import (
    PUBLISHED_SPLITS,
    Acquired,
    acquire_public,
    acquire_sources,
)
from yolo_ema.visdrone.visdrone_reader import read_split


@dataclasses.dataclass(frozen=True)
class SplitReader:
    """One split to prepare.

    Attributes:
        images_from: folder of the user's images.
        annotations_from: folder, or JSON file, of the user's annotations; None where there are
            none.
        read: reads them. Raises `DataError`.
        origin: ``source`` (given by the user) or ``download``.
        given: absolute paths of the sources that the user gave.
        archive: the archive that it was unpacked from.
    """

    images_from: Path
    annotations_from: Path | None
    read: Callable[[], SplitContent]
    origin: str = "source"
    given: tuple[str, ...] = ()
    archive: dict[str, Any] | None = None

    def source_digest(self) -> str:
        """Return a hash over path, size and modification time of the user's files."""
        folders = [(self.images_from, DATASET_IMAGE_SUFFIXES)]
        if self.annotations_from is None:
            return folders_digest(folders)
        if self.annotations_from.is_dir():
            return folders_digest([*folders, (self.annotations_from, frozenset({".txt"}))])
        info, file = self.annotations_from.stat(), str(self.annotations_from.absolute())
        place = hashlib.sha256(file.encode("utf-8", "replace")).hexdigest()[:16]
        return f"{folders_digest(folders)}-{place}-{info.st_size}-{info.st_mtime_ns}"


def visdrone_readers(
    options: PrepareOptions, root: Path, record: Fingerprint, failures: dict[str, DataError]
) -> dict[str, SplitReader]:
    """Return the splits to prepare in VisDrone's layout: those of the sources, else those that were
    prepared before, and the public ones. ``failures`` takes what cannot be had.

    Raises:
        ConfigError: a source's name does not tell its split, or two sources hold the same one.
        OfflineError: something would have to be fetched, and that is forbidden.
    """
    splits = tuple("test-dev" if split == "test" else split for split in options.splits)
    if options.source:
        sources = [Path(source) for source in options.source]
        acquired = acquire_sources(sources, root, splits, options.hashes, failures)
        given = tuple(str(source.resolve()) for source in options.source)
        return {split: _visdrone_reader(source, given) for split, source in acquired.items()}
    before = {
        split: part
        for split, part in record.splits.items()
        if part.origin == "source" and record.complete
    }
    splits = splits or tuple(before) or PUBLISHED_SPLITS
    public = acquire_public(
        [split for split in splits if split not in before],
        root,
        mirrors=options.mirror,
        hashes=options.hashes,
        offline=options.offline,
        failures=failures,
    )
    readers = {}
    for split in splits:
        if split in public:
            readers[split] = _visdrone_reader(public[split], ())
        elif split in before:
            try:
                readers[split] = _visdrone_reader(_again(split, before[split]), before[split].given)
            except DataError as error:
                failures[split] = error
    return readers


def _again(split: str, before: SplitRecord) -> Acquired:
    """Return the folders that a split was prepared from before."""
    images, annotations = Path(before.images_from), before.annotations_from
    if not images.is_dir() or (annotations is not None and not Path(annotations).is_dir()):
        raise DataNotFoundError(
            f"{split} was prepared from {images.parent}, which is not there any more; give its "
            f"place by --source"
        )
    folder = SplitFolder(split, images, None if annotations is None else Path(annotations))
    return Acquired(folder, before.origin, before.archive)


def _visdrone_reader(acquired: Acquired, given: tuple[str, ...]) -> SplitReader:
    folder = acquired.folder

    def read() -> SplitContent:
        content = read_split(folder)
        equal, sentence = compare_with_official(
            folder.split,
            content.rows_per_category,
            found=content.images_found,
            used=len(content.images),
            certain=acquired.origin == "download",
        )
        return dataclasses.replace(content, official=sentence, official_equal=equal)

    return SplitReader(
        folder.images.absolute(),
        folder.annotations and folder.annotations.absolute(),
        read,
        acquired.origin,
        given,
        acquired.archive,
    )


def coco_readers(options: PrepareOptions, failures: dict[str, DataError]) -> dict[str, SplitReader]:
    """Return the splits to prepare in COCO's layout. ``failures`` takes those whose file is not
    there.
    """
    readers = {}
    splits = options.splits or ("train",)
    for split, file, folder in zip(splits, options.annotations, options.images, strict=True):
        if not Path(file).is_file():
            failures[split] = DataNotFoundError(f"the annotation file {file} is not there")
            continue
        readers[split] = _coco_reader(Path(file), Path(folder))
    return readers


def _coco_reader(file: Path, folder: Path) -> SplitReader:
    return SplitReader(
        folder.absolute(),
        file.absolute(),
        lambda: read_coco(file, folder),
        given=(str(file.resolve()),),
    )
