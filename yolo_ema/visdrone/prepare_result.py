"""What ``data prepare`` made, for the terminal and for machines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from yolo_ema.errors import DataError
from yolo_ema.text_table import text_table
from yolo_ema.visdrone.annotations import Anomaly
from yolo_ema.visdrone.fingerprint import Fingerprint, SplitRecord
from yolo_ema.visdrone.split_content import losses

_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class PrepareResult:
    """What ``data prepare`` made.

    Attributes:
        data_yaml: the data YAML to train and validate with.
        record: what was made from what.
        splits: the splits that were asked for and are ready.
        failures: what could not be prepared, by source or split, and why.
        up_to_date: whether there was nothing to do.
        seconds: how long it took.
    """

    data_yaml: Path
    record: Fingerprint
    splits: tuple[str, ...]
    failures: dict[str, str]
    up_to_date: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """0, or that of a `DataError` where something could not be prepared."""
        return DataError.exit_code if self.failures else 0

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
        records = {split: self.record.splits[split] for split in self.splits}
        return {
            "data_yaml": str(self.data_yaml),
            "root": str(self.data_yaml.parent),
            "dataset": self.record.dataset,
            "up_to_date": self.up_to_date,
            "seconds": round(self.seconds, 3),
            "names": list(self.record.names),
            "splits": {split: self._split_json(record) for split, record in records.items()},
            "failures": dict(self.failures),
            "anomaly_count": len(self.anomalies),
            "anomalies": [
                {"split": split, **dataclasses.asdict(anomaly)} for split, anomaly in self.anomalies
            ],
        }

    def _split_json(self, record: SplitRecord) -> dict[str, Any]:
        names = self.record.names
        return {
            "images": record.images,
            "boxes": sum(record.boxes_per_class),
            "boxes_per_class": dict(zip(names, record.boxes_per_class, strict=True)),
            "ignored_regions": record.ignored_regions,
            "others": record.others,
            "images_left_out": losses(record.anomalies, "image"),
            "annotations_left_out": losses(record.anomalies, "annotation"),
            "trailing_commas": record.trailing_commas,
            "anomalies": record.anomaly_counts,
            "official": record.official,
            "official_equal": record.official_equal,
            "images_from": record.images_from,
            "annotations_from": record.annotations_from,
            "archive": record.archive,
        }

    def as_text(self) -> str:
        """Return a table of the splits, what failed, the first anomalies, and where the data YAML
        is.
        """
        records = [self.record.splits[split] for split in self.splits]
        figures = [("images", [record.images for record in records])]
        for index, name in enumerate(self.record.names):
            figures.append((name, [record.boxes_per_class[index] for record in records]))
        figures.append(("boxes", [sum(record.boxes_per_class) for record in records]))
        figures.append(("ignored regions", [record.ignored_regions for record in records]))
        if any(record.others for record in records) or self.record.dataset == "visdrone":
            figures.append(("others (unused)", [record.others for record in records]))
        for kind in ("image", "annotation"):
            counts = [sum(losses(record.anomalies, kind).values()) for record in records]
            figures.append((f"{kind}s left out", counts))
        figures.append(("anomalies", [len(record.anomalies) for record in records]))
        rows = [[title, *(f"{number:,}" for number in row)] for title, row in figures]
        done = "nothing to do: " if self.up_to_date else ""
        without = f", without {' and '.join(self.failures)}" if self.failures else ""
        return "\n".join(
            [
                *text_table([["", *self.splits], *rows]),
                "",
                *self.findings(),
                f"{done}{self.data_yaml} is ready{without} ({self.seconds:.1f} s)",
            ]
        )

    def findings(self) -> list[str]:
        """Return the lines that say what could not be prepared, how the splits compare with the
        official ones, what is left out, and the first anomalies.
        """
        records = {split: self.record.splits[split] for split in self.splits}
        lines = [f"{name} could not be prepared: {error}" for name, error in self.failures.items()]
        lines += [f"{split}: {part.official}" for split, part in records.items() if part.official]
        for split, record in records.items():
            for kind in ("image", "annotation"):
                if counts := losses(record.anomalies, kind):
                    reasons = ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
                    lines.append(f"{split}: {kind}s left out: {reasons}")
        return [*lines, *self._anomaly_lines()]

    def _anomaly_lines(self) -> list[str]:
        anomalies = self.anomalies
        if not anomalies:
            return []
        kinds = Counter(anomaly.kind for _, anomaly in anomalies).most_common()
        lines = [f"anomalies: {', '.join(f'{number:,} {kind}' for kind, number in kinds)}"]
        lines += [f"  {anomaly}" for _, anomaly in anomalies[:_SHOWN]]
        if len(anomalies) > _SHOWN:
            rest = self.data_yaml.parent / "anomalies.txt"
            lines.append(f"  … and {len(anomalies) - _SHOWN:,} more, all in {rest}")
        return lines
