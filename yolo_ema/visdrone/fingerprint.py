"""What a preparation found and made: the record kept under the root, and the result shown to the
user.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yolo_ema.errors import ConfigError, DataError
from yolo_ema.io.atomic_files import write_json
from yolo_ema.text_table import text_table
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.prepared_files import FOLDERS

__all__ = ["MARK", "PrepareResult", "Record", "SplitRecord", "is_marked", "refuse_other_names"]

MARK = "# Made by 'yolo-ema data prepare'; made anew when the dataset is prepared again."
"""First line of the files right below the root that are ours."""

VERSION = 2
_FILE = "fingerprint.json"
_SHOWN = 10


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
        source_digest: hash over path, size and time of change of the user's files.
        derived_digest: the same over the files below the root.
        images: number of images that can be used.
        boxes_per_class: number of labelled boxes of each class.
        ignored_regions: number of ignored regions.
        others: rows of VisDrone's category 11, neither labelled nor ignored.
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
        anomalies = tuple(Anomaly(**one) for one in content["anomalies"])
        lists = {key: tuple(content[key]) for key in ("boxes_per_class", "given")}
        return cls(**{**content, **lists, "anomalies": anomalies})


@dataclasses.dataclass
class Record:
    """The file ``fingerprint.json`` below a root: what was prepared from what.

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
    def read(cls, root: Path, dataset: str) -> Record:
        """Read a root's record, or return a new one.

        Raises:
            ConfigError: the root holds another kind of dataset, or files of somebody else where
                ours would go.
        """
        try:
            content = json.loads((root / _FILE).read_bytes())
            splits = {split: SplitRecord.from_json(one) for split, one in content["splits"].items()}
            files = {split: _places(lists) for split, lists in content["files"].items()}
            record = cls(
                content["dataset"],
                tuple(content["names"]),
                splits,
                files,
                bool(content["complete"]),
            )
            version = content["version"]
        except FileNotFoundError:
            _refuse_foreign_folders(root)
            return cls(dataset, (), {})
        except (ValueError, TypeError, KeyError, AttributeError):
            # A torn or foreign fingerprint: what lies beside it is ours only if it looks like it,
            # else nothing is touched.
            return cls(dataset, (), {}, _recognised_files(root))
        if record.dataset != dataset:
            raise ConfigError(
                f"{root} holds a dataset prepared from {record.dataset}, not {dataset}; give "
                f"another --root"
            )
        return record if version == VERSION else cls(dataset, (), {}, _recognised_files(root))

    def write(self, root: Path) -> None:
        """Write the record. Raises `DiskFullError`."""
        splits = {split: dataclasses.asdict(self.splits[split]) for split in sorted(self.splits)}
        files = {split: _lists(self.files[split]) for split in sorted(self.files)}
        content = {
            "version": VERSION,
            "dataset": self.dataset,
            "names": self.names,
            "complete": self.complete,
            "splits": splits,
        }
        write_json(root / _FILE, {**content, "files": files})


def _lists(places: Iterable[str]) -> dict[str, list[str]]:
    """Return places as JSON holds them: a sorted list of files for each folder."""
    lists: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
    for place in sorted(places):
        folder, _, name = place.partition("/")
        lists[folder].append(name)
    return lists


def _places(lists: dict[str, list[str]]) -> frozenset[str]:
    return frozenset(f"{folder}/{name}" for folder in FOLDERS for name in lists[folder])


def is_marked(path: Path) -> bool:
    """Say whether a text file right below the root is ours. Raises `OSError` where it cannot be
    read.
    """
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _refuse_foreign_folders(root: Path) -> None:
    taken = [
        folder for folder in FOLDERS if (root / folder).is_dir() and any((root / folder).iterdir())
    ]
    if taken:
        raise ConfigError(
            f"{root} already has the folder {taken[0]}, which was not made by 'data prepare'; "
            "nothing of yours is written into: give another --root"
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
    found: dict[str, set[str]] = {}
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
        found.setdefault(split, set()).update(
            {f"images/{name}", *(f"{folder}/{text}" for folder in FOLDERS[1:])}
        )
    return {split: frozenset(places) for split, places in found.items()}


@dataclasses.dataclass(frozen=True)
class PrepareResult:
    """What ``data prepare`` made.

    Attributes:
        data_yaml: the data YAML to train and validate with.
        record: what was prepared from what.
        splits: the splits that were asked for.
        up_to_date: whether there was nothing to do.
        seconds: how long it took.
    """

    data_yaml: Path
    record: Record
    splits: tuple[str, ...]
    up_to_date: bool
    seconds: float

    @property
    def anomalies(self) -> list[tuple[str, Anomaly]]:
        """Return every anomaly with its split."""
        return [
            (split, anomaly)
            for split in self.splits
            for anomaly in self.record.splits[split].anomalies
        ]

    def as_json(self) -> dict[str, Any]:
        """Return everything, every anomaly included."""
        return {
            "data_yaml": str(self.data_yaml),
            "root": str(self.data_yaml.parent),
            "dataset": self.record.dataset,
            "up_to_date": self.up_to_date,
            "seconds": round(self.seconds, 3),
            "names": list(self.record.names),
            "splits": {split: self._split_json(self.record.splits[split]) for split in self.splits},
            "anomaly_count": len(self.anomalies),
            "anomalies": [
                {"split": split, **dataclasses.asdict(anomaly)} for split, anomaly in self.anomalies
            ],
        }

    def _split_json(self, split: SplitRecord) -> dict[str, Any]:
        return {
            "images": split.images,
            "boxes": sum(split.boxes_per_class),
            "boxes_per_class": dict(zip(self.record.names, split.boxes_per_class, strict=True)),
            "ignored_regions": split.ignored_regions,
            "others": split.others,
            "trailing_commas": split.trailing_commas,
            "anomalies": split.anomaly_counts,
            "official": split.official,
            "official_equal": split.official_equal,
            "images_from": split.images_from,
            "annotations_from": split.annotations_from,
            "archive": split.archive,
        }

    def as_text(self) -> str:
        """Return a table of the splits, the first anomalies, and where the data YAML is."""
        splits = [self.record.splits[split] for split in self.splits]
        rows: list[tuple[str, list[str]]] = [("images", [f"{one.images:,}" for one in splits])]
        rows += [
            (name, [f"{one.boxes_per_class[index]:,}" for one in splits])
            for index, name in enumerate(self.record.names)
        ]
        rows.append(("boxes", [f"{sum(one.boxes_per_class):,}" for one in splits]))
        rows.append(("ignored regions", [f"{one.ignored_regions:,}" for one in splits]))
        if self.record.dataset == "visdrone":
            rows.append(("others (unused)", [f"{one.others:,}" for one in splits]))
        rows.append(("anomalies", [f"{len(one.anomalies):,}" for one in splits]))
        lines = text_table([["", *self.splits], *([name, *cells] for name, cells in rows)])
        lines += ["", *self.findings()]
        lines.append(
            f"{'nothing to do: ' if self.up_to_date else ''}{self.data_yaml} is ready "
            f"({self.seconds:.1f} s)"
        )
        return "\n".join(lines)

    def findings(self) -> list[str]:
        """Return the lines that say how the splits compare with the official ones, and the first
        anomalies.
        """
        official = [
            f"{split}: {self.record.splits[split].official}"
            for split in self.splits
            if self.record.splits[split].official
        ]
        return [*official, *self._anomaly_lines()]

    def _anomaly_lines(self) -> list[str]:
        anomalies = self.anomalies
        if not anomalies:
            return []
        kinds = Counter(anomaly.kind for _, anomaly in anomalies).most_common()
        lines = [f"anomalies: {', '.join(f'{number:,} {kind}' for kind, number in kinds)}"]
        lines += [f"  {anomaly}" for _, anomaly in anomalies[:_SHOWN]]
        if len(anomalies) > _SHOWN:
            lines.append(
                f"  … and {len(anomalies) - _SHOWN:,} more, all in "
                f"{self.data_yaml.parent / 'anomalies.txt'}"
            )
        return lines


def refuse_other_names(record: Record, names: tuple[str, ...], replaced: Iterable[str]) -> None:
    """Raise `DataError` where a root would hold splits with different classes."""
    if record.names and record.names != names and set(record.splits) - set(replaced):
        raise DataError(
            f"the classes are {', '.join(names)}, but the root has splits with "
            f"{', '.join(record.names)}; give another --root"
        )
