"""Turns VisDrone's folders and archives, or COCO's JSON files, into what training reads, and leaves
what the user has as it is.

Below the root lie ``<name>.yaml`` (data YAML), ``images/<split>`` and ``annotations/<split>``
(links to the user's files), ``labels/<split>``, ``ignored/<split>``, ``fingerprint.json`` (what was
made from what) and, where there are any, ``anomalies.txt``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from yolo_ema.errors import AnnotationError, ConfigError, DataError, YoloEmaError
from yolo_ema.io.atomic_files import locked
from yolo_ema.io.text_files import say, shown_path
from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.fingerprint import (
    Fingerprint,
    SplitRecord,
    is_marked,
    write_anomalies,
    write_data_yaml,
)
from yolo_ema.visdrone.prepare_result import PrepareResult
from yolo_ema.visdrone.prepared_files import (
    derived_digest,
    foreign_files,
    places_of,
    remove_files,
    write_split,
)
from yolo_ema.visdrone.split_content import SplitContent, common_names, refuse_empty, with_names
from yolo_ema.visdrone.split_readers import SplitReader, coco_readers, visdrone_readers

__all__ = ["prepare"]


def prepare(options: PrepareOptions, *, alone: bool = False) -> PrepareResult:
    """Prepare a dataset for training and scoring below its root.

    Files that are right already stay as they are: a second run finds nothing to do, and an
    interrupted one continues. Splits prepared earlier from other sources stay in the data YAML. The
    user's images and annotations are only read. Below the root, only what was made by an earlier
    preparation is replaced or removed. A source or split that cannot be prepared does not hold up
    the others: the result names it.

    Args:
        options: what to prepare, from where, to where.
        alone: the root belongs to ``options.source`` and nothing else: refuse one that was prepared
            from elsewhere, and drop splits that the sources no longer have.

    Returns:
        Where the data YAML is, and what was found.

    Raises:
        ConfigError: the root holds something else, or files that are not ours, or cannot be
            written; a source's name does not tell its split; or a path cannot be written down.
        AnnotationError: ``strict``, and there are anomalies; the message names the first.
        OfflineError: something would have to be fetched, and that is forbidden.
        DataError: nothing could be prepared, or with ``strict`` not everything: a source is not
            there, an archive is unsafe or damaged, a download failed, nothing in a split can be
            used, or its classes are not those of the others.
        DiskFullError: the disk is full; what was written is whole, and the same command resumes.

    Examples:
        >>> from yolo_ema import PrepareOptions, prepare
        >>> options = PrepareOptions(source=("scenes/VisDrone2019-DET-val",), root="prepared")
        >>> prepare(options).data_yaml.name
        'visdrone.yaml'
    """
    started = time.monotonic()
    root = Path(options.root or Path("datasets") / options.dataset).absolute()
    for path in (root, *options.source, *options.annotations, *options.images):
        _refuse_unwritable_name(path)
    with _os_errors_named(root):
        Fingerprint.read(root, options.dataset)  # refuses a foreign folder before anything is made
        with _one_at_a_time(root):
            return _prepare(options, root, started, alone=alone)


def _refuse_unwritable_name(path: Path) -> None:
    if "\0" in str(path) or shown_path(path) != str(path):
        raise ConfigError(
            f"the path {shown_path(path)!r} cannot be written into a data YAML: expected Unicode "
            f"without NUL; rename it"
        )


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Keep other processes from preparing the same root while the block runs. Folders that it
    leaves empty are removed again.
    """
    new = [folder for folder in (root, *root.parents) if not folder.exists()]
    with contextlib.ExitStack() as held:
        for folder in reversed(new):
            held.callback(_remove_empty, folder)
        # Where nothing can be written, a root that is ready will do, and any other is refused at
        # the first file.
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            wait = f"another process prepares {root}: waiting for it"
            held.enter_context(locked(root / ".lock", lambda: say(wait)))
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _prepare(options: PrepareOptions, root: Path, started: float, *, alone: bool) -> PrepareResult:
    record = Fingerprint.read(root, options.dataset)
    if alone:
        _refuse_other_sources(record, options.source, root)
    failures: dict[str, DataError] = {}
    if options.dataset == "coco":
        readers = coco_readers(options, failures)
    else:
        readers = visdrone_readers(options, root, record, failures)
    gone = sorted(record.files.keys() - readers.keys()) if alone and not failures else []
    stale, digests = _stale(record, readers, root, failures)
    data_yaml = root / f"{'visdrone' if options.dataset == 'visdrone' else root.name}.yaml"
    up_to_date = record.complete and not stale and not gone and data_yaml.is_file()
    if not up_to_date:
        _refuse_foreign_files(record, [*stale, *gone], root, data_yaml)
    contents = _read(stale, failures, strict=options.strict)
    ready = [split for split in readers if split not in failures]
    if failures and (options.strict or not ready):
        raise next(iter(failures.values()))
    contents = _with_common_names(record, contents, gone)
    for split in ready if options.strict else ():
        anomalies = contents[split] if split in contents else record.splits[split]
        _refuse_anomalies(split, anomalies.anomalies)
    if not up_to_date:
        made = {split: (stale[split], digests[split], data) for split, data in contents.items()}
        _make(record, made, root, data_yaml, gone=gone)
    return PrepareResult(
        data_yaml,
        record,
        tuple(ready),
        {name: str(error) for name, error in failures.items()},
        up_to_date,
        time.monotonic() - started,
    )


def _refuse_other_sources(record: Fingerprint, sources: Sequence[Path], root: Path) -> None:
    """Refuse a root with splits from elsewhere than the given folders: splits of two datasets would
    be mixed silently.
    """
    dirs = [source.resolve() for source in sources]
    for split, old in record.splits.items():
        inside = [any(Path(given).is_relative_to(source) for source in dirs) for given in old.given]
        if not inside or not all(inside):
            before = ", ".join(old.given) or "what was fetched"
            raise ConfigError(
                f"{root} was prepared from {before} ({split}), not from "
                f"{', '.join(map(str, dirs))}; prepare that with a --root of its own (yolo-ema "
                f"data prepare visdrone --source … --root …) and give this root"
            )


@contextlib.contextmanager
def _os_errors_named(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says whether the root or a source is at
    fault.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, YoloEmaError) or error.filename is None:
            raise
        path = Path(error.filename)
        if root in (path, *path.parents) or path in root.parents:
            raise ConfigError(
                f"{root} cannot be written ({path}: {error.strerror}); give another --root"
            ) from error
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _stale(
    record: Fingerprint,
    readers: Mapping[str, SplitReader],
    root: Path,
    failures: dict[str, DataError],
) -> tuple[dict[str, SplitReader], dict[str, str]]:
    """Return the splits that are not what the record says, and the digest of every source."""
    stale, digests = {}, {}
    for split, reader in readers.items():
        known = record.splits.get(split)
        with _failure_noted(split, failures):
            digests[split] = reader.source_digest()
            if (
                known is None
                or known.source_digest != digests[split]
                or known.derived_digest != derived_digest(root, split)
            ):
                stale[split] = reader
    return stale, digests


@contextlib.contextmanager
def _failure_noted(split: str, failures: dict[str, DataError]) -> Iterator[None]:
    """Let a split that cannot be read fail alone."""
    try:
        yield
    except DataError as error:
        failures[split] = error
    except OSError as error:
        if isinstance(error, YoloEmaError) or error.filename is None:
            raise
        failures[split] = DataError(f"{error.filename} cannot be read: {error.strerror}")


def _refuse_foreign_files(
    record: Fingerprint, splits: Sequence[str], root: Path, data_yaml: Path
) -> None:
    """Refuse to work among files that no preparation made: they would be overwritten, or trained on
    silently.
    """
    tops = (data_yaml, root / "anomalies.txt")
    foreign = [path for path in tops if path.exists() and not is_marked(path)]
    for split in splits:
        foreign += foreign_files(root, split, record.files.get(split, frozenset()))
    if foreign:
        more = f" and {len(foreign) - 3:,} more" if len(foreign) > 3 else ""
        raise ConfigError(
            f"{root} holds what 'data prepare' did not make: "
            f"{', '.join(map(str, foreign[:3]))}{more}; "
            "it is left untouched: move it elsewhere, or give another --root"
        )


def _read(
    readers: Mapping[str, SplitReader], failures: dict[str, DataError], *, strict: bool
) -> dict[str, SplitContent]:
    contents = {}
    for split, reader in readers.items():
        with _failure_noted(split, failures):
            content = reader.read()
            if strict:
                _refuse_anomalies(split, content.anomalies)
            refuse_empty(split, content)
            contents[split] = content
    return contents


def _with_common_names(
    record: Fingerprint, contents: Mapping[str, SplitContent], gone: Sequence[str]
) -> dict[str, SplitContent]:
    """Return the splits with one numbering of classes, which is the root's where other splits stay
    in it.

    Raises:
        DataError: a split has a class that the root does not have, or none has all classes.
    """
    if not contents:
        return {}
    if record.names and set(record.splits) - set(contents) - set(gone):
        names = record.names
        for content in contents.values():
            if not set(content.names) <= set(names):
                raise DataError(
                    f"the classes are {', '.join(content.names)}, but the root has splits with "
                    f"{', '.join(names)}; give another --root"
                )
    else:
        names = common_names({split: content.names for split, content in contents.items()})
    return {split: with_names(split, content, names) for split, content in contents.items()}


def _refuse_anomalies(split: str, anomalies: Sequence[Anomaly]) -> None:
    if anomalies:
        more = f" (and {len(anomalies) - 1} more)" if len(anomalies) > 1 else ""
        raise AnnotationError(
            f"{split} has anomalies, and --strict stops at them: {anomalies[0]}{more}"
        )


def _make(
    record: Fingerprint,
    made: Mapping[str, tuple[SplitReader, str, SplitContent]],
    root: Path,
    data_yaml: Path,
    *,
    gone: Sequence[str],
) -> None:
    """Write the splits that are not as they should be, drop those that are gone, and write what
    describes all of them.
    """
    places = {split: places_of(content.images) for split, (_, _, content) in made.items()}
    known = record.files
    record.files = known | {
        split: known.get(split, frozenset()) | new for split, new in places.items()
    }
    record.complete = False
    record.write(root)
    for split in gone:
        remove_files(root, split, record.files.pop(split))
        record.splits.pop(split, None)
    for split, (reader, digest, content) in made.items():
        write_split(root, split, content.images)
        remove_files(root, split, record.files[split] - places[split])
        record.files[split] = places[split]
        record.names = content.names
        record.splits[split] = _split_record(reader, content, digest, derived_digest(root, split))
    write_anomalies(record, root)
    write_data_yaml(record, root, data_yaml)
    record.complete = True
    record.write(root)


def _split_record(
    reader: SplitReader, content: SplitContent, source_digest: str, derived: str
) -> SplitRecord:
    classes = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(image.classes for image in content.images)]
    )
    return SplitRecord(
        images_from=str(reader.images_from),
        annotations_from=None if reader.annotations_from is None else str(reader.annotations_from),
        origin=reader.origin,
        given=reader.given,
        archive=reader.archive,
        source_digest=source_digest,
        derived_digest=derived,
        images=len(content.images),
        boxes_per_class=tuple(np.bincount(classes, minlength=len(content.names)).tolist()),
        ignored_regions=sum(len(image.ignored_xyxy) for image in content.images),
        others=content.others,
        trailing_commas=content.trailing_commas,
        official=content.official,
        official_equal=content.official_equal,
        anomalies=tuple(content.anomalies),
    )
