"""Inspects a dataset: counts, sizes and places of boxes, labels and images that deserve a second
look, plots and a contact sheet.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.engine.data.data_yaml import SPLITS, read_data
from yolo_ema.engine.data.dataset_lookup import local_data
from yolo_ema.engine.data.label_files import label_row_length
from yolo_ema.engine.data.split_files import split_images
from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.evaluate.class_map import distinct_names
from yolo_ema.options.data import InspectOptions
from yolo_ema.report.inspect.contact_sheet import draw_contact_sheet
from yolo_ema.report.inspect.dataset_plots import SIZE_EDGES_PX, draw_plots
from yolo_ema.report.inspect.dataset_scan import SplitScan, one_line, percent_below, scan_split
from yolo_ema.report.inspect.near_duplicates import NearDuplicate, near_duplicates
from yolo_ema.report.inspect.suspicious_labels import KINDS, Suspicion, suspicious_labels
from yolo_ema.text_table import text_table

_SHOWN = 5


def inspect(options: InspectOptions) -> InspectResult:
    """Inspect a dataset's splits and draw what was found.

    Raises:
        DataNotFoundError: the dataset, a split or its images are missing.
        DataError: the data YAML is wrong, or no image can be used.
        OfflineError: the dataset would have to be downloaded, which this command does not do.
        DiskFullError: the disk is full.
    """
    data_yaml = local_data(options.data)
    data = read_data(data_yaml)
    names = list(data["names"].values())
    scans = [
        scan_split(
            split,
            images,
            len(names),
            thumbnails=options.duplicates,
            row_length=label_row_length(data),
        )
        for split, images in _images_of_splits(data_yaml, data, options.splits).items()
    ]
    if not any(scan.images for scan in scans):
        raise DataError(f"no image of {data_yaml} can be used; the first: {scans[0].problems[0]}")
    suspicions = [suspicion for scan in scans for suspicion in suspicious_labels(scan)]
    folder = Path(options.out or Path("runs") / "inspect" / data_yaml.stem)
    plots = []
    if options.plots:
        shown = list(map(one_line, names))
        plots = [
            *draw_plots(scans, shown, options.imgsz, folder),
            draw_contact_sheet(scans, shown, folder / "contact-sheet.jpg"),
        ]
    return InspectResult(
        data_yaml, names, options.imgsz, scans, suspicions, near_duplicates(scans), plots
    )


def _images_of_splits(
    data_yaml: Path, data: dict[str, Any], splits: tuple[str, ...]
) -> dict[str, list[Path]]:
    """Return the images of the wanted splits, or of all that have images."""
    if splits:
        return {split: split_images(data_yaml, split) for split in splits}
    images = {}
    for split in [split for split in SPLITS if split in data]:
        # A prepared root names train and val even if one of them was not prepared, and is empty.
        with contextlib.suppress(DataNotFoundError):
            images[split] = split_images(data_yaml, split)
    if not images:
        raise DataNotFoundError(f"{data_yaml} has no images in any split")
    return images


@dataclasses.dataclass(frozen=True, eq=False)
class InspectResult:
    """What `inspect` found.

    Attributes:
        data_yaml: the data YAML that was inspected.
        names: the classes in their order.
        imgsz: the longer side in pixels at which box sizes are given.
        scans: the splits.
        suspicions: labels to check.
        near_duplicates: images to check.
        plots: the files drawn.
    """

    data_yaml: Path
    names: list[str]
    imgsz: int
    scans: list[SplitScan]
    suspicions: list[Suspicion]
    near_duplicates: list[NearDuplicate]
    plots: list[Path]

    def as_json(self) -> dict[str, Any]:
        """Return everything; shares in percent, boxes in pixels."""
        return {
            "data_yaml": str(self.data_yaml),
            "imgsz": self.imgsz,
            "names": self.names,
            "splits": {scan.split: self._split_json(scan) for scan in self.scans},
            "suspicious": {
                "kinds": KINDS,
                "counts": {scan.split: self._suspicious_counts(scan.split) for scan in self.scans},
                "labels": [dataclasses.asdict(suspicion) for suspicion in self.suspicions],
            },
            "near_duplicates": [dataclasses.asdict(pair) for pair in self.near_duplicates],
            "pictures": [str(path) for path in self.plots],
        }

    def _split_json(self, scan: SplitScan) -> dict[str, Any]:
        counts = np.bincount(scan.classes, minlength=len(self.names)).tolist()
        names = distinct_names(self.names)
        per_image = scan.objects_per_image
        return {
            "images": len(scan.images),
            "images_left_out": scan.left_out,
            "images_without_objects": int((per_image == 0).sum()),
            "images_without_label_file": len(scan.without_labels),
            "without_label_file": [str(image) for image in scan.without_labels],
            "boxes": len(scan.classes),
            "boxes_per_class": dict(zip(names, counts, strict=True)),
            "ignored_regions": len(scan.regions_of),
            "objects_per_image": {
                "least": int(per_image.min()) if len(per_image) else 0,
                "median": float(np.median(per_image)) if len(per_image) else 0.0,
                "mean": round(float(per_image.mean()), 3) if len(per_image) else 0.0,
                "most": int(per_image.max()) if len(per_image) else 0,
            },
            "box_sizes": self._sizes_json(scan.training_sizes_px(self.imgsz)),
            "box_sizes_per_class": {
                name: self._sizes_json(scan.training_sizes_px(self.imgsz)[scan.classes == index])
                for index, name in enumerate(names)
            },
            "problems": [dataclasses.asdict(problem) for problem in scan.problems],
        }

    def _sizes_json(self, sizes_px: np.ndarray) -> dict[str, float | None]:
        """Return the median in pixels and the percentage of boxes below each edge, or None."""
        has_boxes = len(sizes_px) > 0
        shares = {
            f"below_{edge}_px": round(percent_below(sizes_px, edge), 2) if has_boxes else None
            for edge in SIZE_EDGES_PX
        }
        return {"median_px": round(float(np.median(sizes_px)), 2) if has_boxes else None, **shares}

    def _suspicious_counts(self, split: str) -> dict[str, int]:
        counts = Counter(label.kind for label in self.suspicions if label.split == split)
        return {kind: counts[kind] for kind in KINDS}

    def as_text(self) -> str:
        """Return a table with a column per split, then what deserves a second look."""
        lines = self._table()
        for scan in self.scans:
            problems = [f"{problem} ({scan.split}, left out)" for problem in scan.problems]
            lines += _first_lines(problems, f" in {scan.split}")
            missing = [f"{image} has no label file ({scan.split})" for image in scan.without_labels]
            lines += _first_lines(missing, f" in {scan.split} without a label file")
        lines += ["", *self._suspicious_lines(), *self._duplicate_lines()]
        if self.plots:
            names = ", ".join(path.name for path in self.plots)
            lines += ["", f"plots in {self.plots[0].parent}: {names}"]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        splits = [self._split_json(scan) for scan in self.scans]
        sizes = [split["box_sizes"] for split in splits]
        per_image = [split["objects_per_image"] for split in splits]
        rows: dict[str, list[str]] = {
            "": [scan.split for scan in self.scans],
            "images": [f"{split['images']:,}" for split in splits],
        }
        for name, key in (
            ("images left out", "images_left_out"),
            ("images without a label file", "images_without_label_file"),
        ):
            if any(split[key] for split in splits):
                rows[name] = [f"{split[key]:,}" for split in splits]
        classes = [
            [one_line(name), *(f"{split['boxes_per_class'][name]:,}" for split in splits)]
            for name in distinct_names(self.names)
        ]
        totals: dict[str, list[str]] = {
            "boxes": [f"{split['boxes']:,}" for split in splits],
            "ignored regions": [f"{split['ignored_regions']:,}" for split in splits],
            "objects per image, median": [f"{counts['median']:g}" for counts in per_image],
            "objects per image, most": [f"{counts['most']:,}" for counts in per_image],
            f"box size at {self.imgsz}, median px": [_number(row["median_px"]) for row in sizes],
            **{
                f"boxes below {edge} px, %": [_number(row[f"below_{edge}_px"]) for row in sizes]
                for edge in SIZE_EDGES_PX
            },
        }
        return text_table(
            [
                *([name, *cells] for name, cells in rows.items()),
                *classes,
                *([name, *cells] for name, cells in totals.items()),
            ]
        )

    def _suspicious_lines(self) -> list[str]:
        if not self.suspicions:
            return ["suspicious labels: none"]
        lines = [f"suspicious labels: {len(self.suspicions):,}; they may be right, --json has all"]
        for kind, meaning in KINDS.items():
            of_kind = [label for label in self.suspicions if label.kind == kind]
            if of_kind:
                example = f"{of_kind[0].file}, row {of_kind[0].row}"
                lines.append(f"  {len(of_kind):>6,} {kind}: {meaning}; the first: {example}")
        return lines

    def _duplicate_lines(self) -> list[str]:
        if len(self.scans) < 2 or self.scans[0].thumbnails is None:
            return []
        if not self.near_duplicates:
            return ["near-duplicate images across splits: none"]
        pairs = [
            f"  {pair.images[0]} and {pair.images[1]} ({pair.bits} of 64 bits differ, correlation "
            f"{pair.correlation:.3f})"
            for pair in self.near_duplicates
        ]
        return [f"near-duplicate images across splits: {len(pairs):,}", *_first_lines(pairs)]


def _first_lines(lines: list[str], of: str = "") -> list[str]:
    """Return the first lines, and how many more there are."""
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"… and {more:,} more{of}; --json has all"] if more > 0 else [])]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
