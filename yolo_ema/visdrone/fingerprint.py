"""The files right below a prepared root: ``fingerprint.json``, which says what was made from what
and which files are ours, the data YAML and the list of anomalies.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from yolo_ema.errors import ConfigError
from yolo_ema.io.atomic_files import write_json, write_text
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.prepared_files import FOLDERS
from yolo_ema.visdrone.split_sources import LICENCE

MARK = "# Made by 'yolo-ema data prepare'; made anew when the dataset is prepared again."
"""First line of the files right below the root that are ours."""

VERSION = 2
_FILE = "fingerprint.json"
_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class SplitRecord:
    """One prepared split.

    Attributes:
        images_from: folder of the user's images.
        annotations_from: folder, or JSON file, of the user's annotations; None where the split has
            none.
        origin: ``source`` (given by the user) or ``download``.
        given: absolute paths of the sources that the user gave; none where it was fetched.
        archive: name, size in bytes and SHA-256 of the archive that it was unpacked from; None
            where it was a folder.
        source_digest: hash over path, size and modification time of the user's files.
        derived_digest: the same over the files below the root.
        images: number of images that can be used.
        boxes_per_class: number of labelled boxes of each class.
        ignored_regions: number of ignored regions.
        others: annotations of VisDrone's category 11, neither labelled nor ignored.
        trailing_commas: rows that end in a comma.
        official: the comparison with the official totals, as a sentence.
        official_equal: its verdict; None where there is nothing to compare with.
        anomalies: everything odd.
    """

    images_from: str
    annotations_from: str | None
    origin: str
    given: tuple[str, ...]
    archive: dict[str, Any] | None
    source_digest: str
    derived_digest: str
    images: int
    boxes_per_class: tuple[int, ...]
    ignored_regions: int
    others: int
    trailing_commas: int
    official: str
    official_equal: bool | None
    anomalies: tuple[Anomaly, ...]

    @property
    def anomaly_counts(self) -> dict[str, int]:
        """Return the number of anomalies of each kind, the commonest first."""
        return dict(Counter(anomaly.kind for anomaly in self.anomalies).most_common())

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SplitRecord:
        """Build a record from what `dataclasses.asdict` gave. Raises `TypeError` or `KeyError`
        where it is something else.
        """
        anomalies = tuple(Anomaly(**anomaly) for anomaly in content["anomalies"])
        lists = {key: tuple(content[key]) for key in ("boxes_per_class", "given")}
        return cls(**{**content, **lists, "anomalies": anomalies})


@dataclasses.dataclass
class Fingerprint:
    """The content of ``fingerprint.json``.

    It is written before the first derived file with ``complete`` off, which marks the root as ours
    and tells an interrupted preparation from a finished one, and after the last.

    Attributes:
        dataset: ``visdrone`` or ``coco``.
        names: the classes.
        splits: the prepared splits.
        files: by split, the places of what was derived, or may have been before an interruption
            (see `places_of`). Files at other places are not ours, whatever folder they lie in.
        complete: whether the last preparation came to its end.
    """

    dataset: str
    names: tuple[str, ...]
    splits: dict[str, SplitRecord]
    files: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    complete: bool = False

    @classmethod
    def read(cls, root: Path, dataset: str) -> Fingerprint:
        """Read a root's fingerprint, or return a new one.

        Raises:
            ConfigError: the root holds another kind of dataset, or files of somebody else where
                ours would go.
        """
        try:
            content = json.loads((root / _FILE).read_bytes())
            files = {_split(split): _places(lists) for split, lists in content["files"].items()}
            fingerprint = cls(
                content["dataset"],
                tuple(content["names"]),
                {
                    _split(split): SplitRecord.from_json(record)
                    for split, record in content["splits"].items()
                },
                files,
                bool(content["complete"]),
            )
            version = content["version"]
        except FileNotFoundError:
            _refuse_foreign_folders(root)
            return cls(dataset, (), {})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # A torn or foreign fingerprint: what lies next to it is ours only if it looks like it,
            # else nothing is touched.
            return cls(dataset, (), {}, _recognised_files(root))
        if fingerprint.dataset != dataset:
            raise ConfigError(
                f"{root} holds a dataset prepared from {fingerprint.dataset}, not {dataset}; give "
                f"another --root"
            )
        return fingerprint if version == VERSION else cls(dataset, (), {}, _recognised_files(root))

    def write(self, root: Path) -> None:
        """Write the fingerprint. Raises `DiskFullError`."""
        splits = {split: dataclasses.asdict(self.splits[split]) for split in sorted(self.splits)}
        content = {
            "version": VERSION,
            "dataset": self.dataset,
            "names": self.names,
            "complete": self.complete,
            "splits": splits,
            "files": {split: _lists(self.files[split]) for split in sorted(self.files)},
        }
        write_json(root / _FILE, content)


def _split(name: str) -> str:
    """Return a split's name. Raises `ValueError` for one that leads out of its folder."""
    if not _SPLIT_NAME.fullmatch(name):
        raise ValueError(name)
    return name


def _lists(places: Iterable[str]) -> dict[str, list[str]]:
    """Return places as JSON holds them: a sorted list of files for each folder."""
    lists: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
    for place in sorted(places):
        folder, _, name = place.partition("/")
        lists[folder].append(name)
    return lists


def _places(lists: dict[str, list[str]]) -> frozenset[str]:
    """Return what `_lists` was made from. Raises `ValueError` for a place that leads out of its
    folder: whatever stands here may be removed.
    """
    for name in (name for folder in FOLDERS for name in lists[folder]):
        path = PurePosixPath(name)
        leads_out = path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name)
        if leads_out or not path.parts:
            raise ValueError(name)
    return frozenset(f"{folder}/{name}" for folder in FOLDERS for name in lists[folder])


def is_marked(path: Path) -> bool:
    """Say whether a text file right below the root is ours. Raises `OSError` where it cannot be
    read.
    """
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _refuse_foreign_folders(root: Path) -> None:
    existing = [
        folder for folder in FOLDERS if (root / folder).is_dir() and any((root / folder).iterdir())
    ]
    if existing:
        raise ConfigError(
            f"{root} already has the folder {existing[0]}, which was not made by 'data prepare'; "
            f"nothing is written into it: give another --root"
        )


def _recognised_files(root: Path) -> dict[str, frozenset[str]]:
    """Return what must be ours though no fingerprint says so: links to images, and texts of the
    same name.

    Raises:
        ConfigError: there is no data YAML of ours, or ``images`` holds files of their own rather
            than links.
    """
    if not any(is_marked(path) for path in root.glob("*.yaml")):
        raise ConfigError(
            f"{root / _FILE} is not ours, or damaged, so what lies there may be yours; give "
            f"another --root"
        )
    files: dict[str, set[str]] = {}
    for path in (root / "images").glob("*/**/*"):
        if path.is_dir():
            continue
        if not path.is_symlink() and path.stat().st_nlink == 1:
            raise ConfigError(
                f"{root / _FILE} cannot be read, and {path} may be yours; give another --root, or "
                f"remove {root}"
            )
        split, _, name = path.relative_to(root / "images").as_posix().partition("/")
        text = f"{name.removesuffix(path.suffix)}.txt"
        files.setdefault(split, set()).update(
            {f"images/{name}", *(f"{folder}/{text}" for folder in FOLDERS[1:])}
        )
    return {split: frozenset(places) for split, places in files.items()}


def write_anomalies(record: Fingerprint, root: Path) -> None:
    """Write ``anomalies.txt``, or remove it where nothing is odd."""
    lines = [
        f"{split}: {anomaly.kind}: {anomaly}\n"
        for split, split_record in record.splits.items()
        for anomaly in split_record.anomalies
    ]
    if lines:
        write_text(root / "anomalies.txt", "".join([f"{MARK}\n", *lines]))
    else:
        (root / "anomalies.txt").unlink(missing_ok=True)


def write_data_yaml(record: Fingerprint, root: Path, data_yaml: Path) -> None:
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
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(data_yaml, "\n".join(head) + f"\n{text}")
