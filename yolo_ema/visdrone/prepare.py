"""Turns VisDrone's folders and archives, or COCO's JSON files, into what training reads, and leaves
what the user has as it is.

Below the root lie ``<name>.yaml`` (data YAML), ``images/<split>`` and ``annotations/<split>``
(links to the user's files), ``labels/<split>``, ``ignored/<split>``, ``fingerprint.json`` (what was
made from what) and, where there are any, ``anomalies.txt``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from yolo_ema.constants import IMAGE_SUFFIXES, OTHERS, VISDRONE_CLASSES
from yolo_ema.errors import AnnotationError, ConfigError, DataError, DataNotFoundError, YoloEmaError
from yolo_ema.io.atomic_files import locked, write_text
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.split_sources import (
    LICENCE,
    PUBLISHED_SPLITS,
    Acquired,
    acquire_public,
    acquire_sources,
    say,
)
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.coco_reader import read_coco
from yolo_ema.visdrone.prepared_files import (
    derived_digest,
    folders_digest,
    foreign_files,
    places_of,
    remove_files,
    write_split,
)
from yolo_ema.visdrone.split_folders import SplitFolder
from yolo_ema.visdrone.fingerprint import (
    MARK,
    PrepareResult,
    Record,
    SplitRecord,
    is_marked,
    refuse_other_names,
)
from yolo_ema.visdrone.visdrone_reader import read_split
from yolo_ema.visdrone.official_totals import compare_with_official
from yolo_ema.visdrone.image_labels import LabelledImage

__all__ = ["prepare"]


def prepare(options: PrepareOptions, *, alone: bool = False) -> PrepareResult:
    """Prepare a dataset for training and scoring below its root.

    Files that are right already stay as they are: a second run finds nothing to do, and an
    interrupted one goes on. Splits prepared earlier from other sources stay in the data YAML. The
    user's images and annotations are only read. Below the root, only what was made by an earlier
    preparation is replaced or removed.

    Args:
        options: what to prepare, from where, to where.
        alone: the root stands for ``options.source`` and nothing else: refuse one that was prepared
            from elsewhere, and drop splits that the sources do not have any more.

    Returns:
        Where the data YAML is, and what was found.

    Raises:
        ConfigError: the root holds something else, or files that are not ours, or cannot be
            written; or a source's name does not tell its split.
        DataNotFoundError: a source or a split is not there.
        AnnotationError: ``strict``, and there are anomalies; the message names the first.
        ArchiveError: an archive is unsafe, damaged, or has the wrong hash.
        OfflineError: something would have to be fetched, and that is forbidden.
        DataError: a download failed; the same command goes on with it.
        DiskFullError: the disk is full; what was written is whole, and the same command goes on.
    """
    started = time.monotonic()
    root = Path(options.root or Path("datasets") / options.dataset).absolute()
    with _places_are_named(root):
        Record.read(
            root, options.dataset
        )  # refuses a folder of somebody else's before anything is written there
        with _one_at_a_time(root):
            return _prepare(options, root, started, alone=alone)


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Keep other processes from preparing the same root while the block runs. Folders that it
    leaves empty are gone again.
    """
    new = [folder for folder in (root, *root.parents) if not folder.exists()]
    with contextlib.ExitStack() as held:
        for folder in reversed(new):
            held.callback(_remove_empty, folder)
        # Where nothing can be written, a root that is ready will do, and any other is refused at
        # the first file.
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            held.enter_context(
                locked(
                    root / ".lock", lambda: say(f"another process prepares {root}: waiting for it")
                )
            )
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _prepare(options: PrepareOptions, root: Path, started: float, *, alone: bool) -> PrepareResult:
    record = Record.read(root, options.dataset)
    if alone:
        _refuse_other_sources(record, options.source, root)
    readers = (
        _coco_readers(options)
        if options.dataset == "coco"
        else _visdrone_readers(options, root, record)
    )
    stale = [
        split for split, reader in readers.items() if not _is_current(record, split, reader, root)
    ]
    data_yaml = root / f"{'visdrone' if options.dataset == 'visdrone' else root.name}.yaml"
    gone = sorted(record.files.keys() - readers.keys()) if alone else []
    up_to_date = record.complete and not stale and not gone and data_yaml.is_file()
    if not up_to_date:
        _make(
            record,
            {split: readers[split] for split in stale},
            root,
            data_yaml,
            gone=gone,
            strict=options.strict,
        )
    elif options.strict:
        for split in readers:
            _refuse_anomalies(split, record.splits[split].anomalies)
    return PrepareResult(data_yaml, record, tuple(readers), up_to_date, time.monotonic() - started)


def _refuse_other_sources(record: Record, sources: Sequence[Path], root: Path) -> None:
    """Refuse a root with splits from elsewhere than the given folders: splits of two datasets would
    be mixed without a word.
    """
    ours = [source.resolve() for source in sources]
    for split, one in record.splits.items():
        inside = [any(Path(given).is_relative_to(source) for source in ours) for given in one.given]
        if not inside or not all(inside):
            before = ", ".join(one.given) or "what was fetched"
            raise ConfigError(
                f"{root} was prepared from {before} ({split}), not from "
                f"{', '.join(map(str, ours))}; "
                "prepare that with a --root of its own (yolo-ema data prepare visdrone --source … "
                "--root …) and give this root"
            )


@contextlib.contextmanager
def _places_are_named(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says whether the root or a source is at
    fault.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, YoloEmaError) or error.filename is None:
            raise
        place = Path(error.filename)
        if root in (place, *place.parents) or place in root.parents:
            raise ConfigError(
                f"{root} cannot be written ({place}: {error.strerror}); give another --root"
            ) from error
        raise DataError(f"{place} cannot be read: {error.strerror}") from error


class _Reader:
    """One split to prepare: where its files lie, and how to read them."""

    def __init__(
        self,
        images_from: Path,
        annotations_from: Path | None,
        read: Callable[[], _Content],
        **origin: Any,
    ) -> None:
        self.images_from, self.annotations_from = (
            images_from.absolute(),
            annotations_from and annotations_from.absolute(),
        )
        self.read = read
        self.origin: dict[str, Any] = {"origin": "source", "given": (), "archive": None, **origin}

    def source_digest(self) -> str:
        """Return a hash over path, size and time of change of the user's files."""
        folders = [(self.images_from, IMAGE_SUFFIXES)]
        if self.annotations_from is None:
            return folders_digest(folders)
        if self.annotations_from.is_dir():
            return folders_digest([*folders, (self.annotations_from, frozenset({".txt"}))])
        found = self.annotations_from.stat()
        return f"{folders_digest(folders)}-{found.st_size}-{found.st_mtime_ns}"


class _Content:
    """What was read of a split."""

    def __init__(
        self,
        names: tuple[str, ...],
        images: list[LabelledImage],
        anomalies: list[Anomaly],
        **more: Any,
    ) -> None:
        self.names, self.images, self.anomalies = names, images, anomalies
        self.more: dict[str, Any] = {
            "others": 0,
            "trailing_commas": 0,
            "official": "",
            "official_equal": None,
            **more,
        }


def _visdrone_readers(options: PrepareOptions, root: Path, record: Record) -> dict[str, _Reader]:
    wanted = tuple("test-dev" if split == "test" else split for split in options.splits)
    given: dict[str, SplitRecord] = {}
    if options.source:
        acquired = acquire_sources(
            [Path(source) for source in options.source], root, wanted, options.hashes
        )
    else:
        given = {
            split: one
            for split, one in record.splits.items()
            if one.origin == "source" and record.complete
        }
        wanted = wanted or (tuple(given) if given else PUBLISHED_SPLITS)
        public = acquire_public(
            [split for split in wanted if split not in given],
            root,
            mirrors=options.mirror,
            hashes=options.hashes,
            offline=options.offline,
        )
        acquired = {split: public.get(split) or _again(split, given[split]) for split in wanted}
    given_paths = tuple(str(source.resolve()) for source in options.source)
    return {
        split: _visdrone_reader(
            one, given_paths if options.source or split not in given else given[split].given
        )
        for split, one in acquired.items()
    }


def _again(split: str, before: SplitRecord) -> Acquired:
    """Return the folders that a split was prepared from before."""
    images, notes = Path(before.images_from), before.annotations_from
    if not images.is_dir() or (notes is not None and not Path(notes).is_dir()):
        raise DataNotFoundError(
            f"{split} was prepared from {images.parent}, which is not there any more; give its "
            f"place by --source"
        )
    return Acquired(
        SplitFolder(split, images, None if notes is None else Path(notes)),
        before.origin,
        before.archive,
    )


def _visdrone_reader(acquired: Acquired, given: tuple[str, ...]) -> _Reader:
    folder = acquired.folder

    def read() -> _Content:
        found = read_split(folder)
        equal, sentence = compare_with_official(
            folder.split,
            found.rows_per_category,
            found=found.images_found,
            used=len(found.images),
            certain=acquired.origin == "download",
        )
        return _Content(
            VISDRONE_CLASSES,
            found.images,
            found.anomalies,
            others=int(found.rows_per_category[OTHERS]),
            trailing_commas=found.trailing_commas,
            official=sentence,
            official_equal=equal,
        )

    return _Reader(
        folder.images,
        folder.annotations,
        read,
        origin=acquired.origin,
        given=given,
        archive=acquired.archive,
    )


def _coco_readers(options: PrepareOptions) -> dict[str, _Reader]:
    def reader(file: Path, folder: Path) -> _Reader:
        def read() -> _Content:
            found = read_coco(file, folder)
            return _Content(found.names, found.images, found.anomalies)

        if not file.is_file():
            raise DataNotFoundError(f"the annotation file {file} is not there")
        return _Reader(folder, file, read, given=(str(file.resolve()),))

    splits = options.splits or ("train",)
    pairs = zip(splits, options.annotations, options.images, strict=True)
    return {split: reader(Path(file), Path(folder)) for split, file, folder in pairs}


def _is_current(record: Record, split: str, reader: _Reader, root: Path) -> bool:
    known = record.splits.get(split)
    return (
        known is not None
        and known.source_digest == reader.source_digest()
        and known.derived_digest == derived_digest(root, split)
    )


def _make(
    record: Record,
    readers: dict[str, _Reader],
    root: Path,
    data_yaml: Path,
    *,
    gone: Sequence[str],
    strict: bool,
) -> None:
    """Prepare the splits that are not as they should be, drop those that are gone, and write what
    describes all of them.
    """
    _refuse_foreign_files(record, [*readers, *gone], root, data_yaml)
    digests = {split: reader.source_digest() for split, reader in readers.items()}
    contents = {split: reader.read() for split, reader in readers.items()}
    for split, content in contents.items():
        if strict:
            _refuse_anomalies(split, content.anomalies)
        refuse_other_names(record, content.names, [*contents, *gone])
    before, places = (
        record.files,
        {split: places_of(content.images) for split, content in contents.items()},
    )
    record.files = before | {
        split: before.get(split, frozenset()) | new for split, new in places.items()
    }
    record.complete = False
    record.write(root)
    for split in gone:
        remove_files(root, split, record.files.pop(split))
        record.splits.pop(split, None)
    for split, content in contents.items():
        write_split(root, split, content.images)
        remove_files(root, split, record.files[split] - places[split])
        record.files[split] = places[split]
        record.names = content.names
        record.splits[split] = _split_record(
            readers[split], content, digests[split], derived_digest(root, split)
        )
    _write_anomalies(record, root)
    _write_data_yaml(record, root, data_yaml)
    record.complete = True
    record.write(root)


def _refuse_foreign_files(
    record: Record, splits: Sequence[str], root: Path, data_yaml: Path
) -> None:
    """Refuse to work among files that no preparation made: they would be overwritten, or trained on
    without a word.
    """
    tops = [
        path
        for path in (data_yaml, root / "anomalies.txt")
        if path.exists() and not is_marked(path)
    ]
    places = {split: record.files.get(split, frozenset()) for split in splits}
    foreign = [
        *tops,
        *(path for split, ours in places.items() for path in foreign_files(root, split, ours)),
    ]
    if foreign:
        more = f" and {len(foreign) - 3:,} more" if len(foreign) > 3 else ""
        raise ConfigError(
            f"{root} holds what 'data prepare' did not make: "
            f"{', '.join(map(str, foreign[:3]))}{more}; "
            "nothing of it is touched: move it elsewhere, or give another --root"
        )


def _refuse_anomalies(split: str, anomalies: Sequence[Anomaly]) -> None:
    if anomalies:
        more = f" (and {len(anomalies) - 1} more)" if len(anomalies) > 1 else ""
        raise AnnotationError(
            f"{split} has anomalies, and --strict stops at them: {anomalies[0]}{more}"
        )


def _split_record(
    reader: _Reader, content: _Content, source_digest: str, derived: str
) -> SplitRecord:
    classes = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(one.classes for one in content.images)]
    )
    return SplitRecord(
        images_from=str(reader.images_from),
        annotations_from=None if reader.annotations_from is None else str(reader.annotations_from),
        source_digest=source_digest,
        derived_digest=derived,
        images=len(content.images),
        boxes_per_class=tuple(np.bincount(classes, minlength=len(content.names)).tolist()),
        ignored_regions=sum(len(one.ignored_xyxy) for one in content.images),
        anomalies=tuple(content.anomalies),
        **reader.origin,
        **content.more,
    )


def _write_anomalies(record: Record, root: Path) -> None:
    lines = [
        f"{split}: {anomaly.kind}: {anomaly}\n"
        for split, one in record.splits.items()
        for anomaly in one.anomalies
    ]
    if lines:
        write_text(root / "anomalies.txt", "".join([f"{MARK}\n", *lines]))
    else:
        (root / "anomalies.txt").unlink(missing_ok=True)


def _write_data_yaml(record: Record, root: Path, data_yaml: Path) -> None:
    """Write the data YAML. Both train and val must be in it: one that was not prepared is an empty
    folder, and says so.
    """
    head = [MARK]
    if record.dataset == "visdrone":
        head.append(f"# Terms of the images and annotations: {LICENCE}")
    entries = {key: key for key in ("train", "val")}
    entries |= {"test" if split == "test-dev" else split: split for split in record.splits}
    for split in entries.values():
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        if split not in record.splits:
            head.append(f"# {split} was not prepared: its folder is empty.")
    content = {
        "path": str(root),
        **{key: f"images/{split}" for key, split in entries.items()},
        "names": dict(enumerate(record.names)),
    }
    write_text(
        data_yaml,
        "\n".join(head) + "\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
    )
