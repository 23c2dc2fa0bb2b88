"""Looks at a dataset: counts, sizes and places of boxes, labels and images that deserve a second
look, pictures.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.engine.data.data_yaml import SPLITS, read_data
from yolo_ema.engine.data.dataset_lookup import local_data
from yolo_ema.engine.data.split_files import split_images
from yolo_ema.errors import DataNotFoundError
from yolo_ema.options.data import InspectOptions
from yolo_ema.report.inspect.contact_sheet import draw_contact_sheet
from yolo_ema.report.inspect.dataset_plots import SIZE_EDGES_PX, draw_plots
from yolo_ema.report.inspect.dataset_scan import SplitScan, percent_below, scan_split
from yolo_ema.report.inspect.near_duplicates import NearDuplicate, near_duplicates
from yolo_ema.report.inspect.suspicious_labels import KINDS, Suspicion, suspicious_labels
from yolo_ema.text_table import text_table

__all__ = ["InspectResult", "inspect"]

_SHOWN = 5


def inspect(options: InspectOptions) -> InspectResult:
    """Look at a dataset's splits and draw what was found.

    Args:
        options: the dataset, the training size that box sizes are reckoned at, and where the
            pictures go.

    Raises:
        DataNotFoundError: the dataset, a split or its images are not there.
        DataError: the data YAML is wrong.
        OfflineError: the dataset would have to be fetched, which this does not do.
        DiskFullError: the disk is full.
    """
    data_yaml = local_data(options.data)
    data = read_data(data_yaml)
    names = list(data["names"].values())
    scans = [
        scan_split(split, images, len(names), thumbnails=options.duplicates)
        for split, images in _images_of_splits(data_yaml, data, options.splits).items()
    ]
    suspicions = [one for scan in scans for one in suspicious_labels(scan)]
    folder = Path(options.out or Path("runs") / "inspect" / data_yaml.stem)
    pictures = []
    if options.plots:
        pictures = [
            *draw_plots(scans, names, options.imgsz, folder),
            draw_contact_sheet(scans, names, folder / "contact-sheet.jpg"),
        ]
    return InspectResult(
        data_yaml, names, options.imgsz, scans, suspicions, near_duplicates(scans), pictures
    )


def _images_of_splits(
    data_yaml: Path, data: dict[str, Any], wanted: tuple[str, ...]
) -> dict[str, list[Path]]:
    """Return the images of the wanted splits, or of all that have images."""
    if wanted:
        return {split: split_images(data_yaml, split) for split in wanted}
    # A prepared root names train and val even where one of them was not prepared, and its folder is
    # empty.
    found = {
        split: images
        for split in SPLITS
        if split in data and (images := _images_if_any(data_yaml, split))
    }
    if not found:
        raise DataNotFoundError(f"{data_yaml} has no images in any split")
    return found


def _images_if_any(data_yaml: Path, split: str) -> list[Path]:
    try:
        return split_images(data_yaml, split)
    except DataNotFoundError:
        return []


@dataclasses.dataclass(frozen=True, eq=False)
class InspectResult:
    """What `inspect` found.

    Attributes:
        data_yaml: the data YAML that was looked at.
        names: the classes in their order.
        imgsz: the longer side in pixels that box sizes are reckoned at.
        scans: the splits.
        suspicions: labels to look at.
        near_duplicates: images to look at.
        pictures: the files drawn.
    """

    data_yaml: Path
    names: list[str]
    imgsz: int
    scans: list[SplitScan]
    suspicions: list[Suspicion]
    near_duplicates: list[NearDuplicate]
    pictures: list[Path]

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
                "labels": [dataclasses.asdict(one) for one in self.suspicions],
            },
            "near_duplicates": [dataclasses.asdict(one) for one in self.near_duplicates],
            "pictures": [str(path) for path in self.pictures],
        }

    def _split_json(self, scan: SplitScan) -> dict[str, Any]:
        counts = np.bincount(scan.classes, minlength=len(self.names)).tolist()
        per_image = scan.objects_per_image
        return {
            "images": len(scan.images),
            "images_without_objects": int((per_image == 0).sum()),
            "images_without_label_file": scan.without_labels,
            "boxes": len(scan.classes),
            "boxes_per_class": dict(zip(self.names, counts, strict=True)),
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
                for index, name in enumerate(self.names)
            },
            "problems": [dataclasses.asdict(problem) for problem in scan.problems],
        }

    def _sizes_json(self, sizes_px: np.ndarray) -> dict[str, float | None]:
        """Return the median size in pixels and the percent of boxes below each edge; None where
        there are no boxes.
        """
        some = len(sizes_px) > 0
        shares = {
            f"below_{edge}_px": round(percent_below(sizes_px, edge), 2) if some else None
            for edge in SIZE_EDGES_PX
        }
        return {"median_px": round(float(np.median(sizes_px)), 2) if some else None, **shares}

    def _suspicious_counts(self, split: str) -> dict[str, int]:
        counts = Counter(one.kind for one in self.suspicions if one.split == split)
        return {kind: counts[kind] for kind in KINDS}

    def as_text(self) -> str:
        """Return tables per split, then what deserves a second look."""
        lines = self._table()
        for scan in self.scans:
            lines += [
                f"{problem} ({scan.split}, cannot be used)" for problem in scan.problems[:_SHOWN]
            ]
            if len(scan.problems) > _SHOWN:
                lines.append(
                    f"… and {len(scan.problems) - _SHOWN:,} more in {scan.split}; --json has all"
                )
        lines += ["", *self._suspicious_lines(), *self._duplicate_lines()]
        if self.pictures:
            lines += [
                "",
                (
                    f"pictures in {self.pictures[0].parent}: "
                    f"{', '.join(path.name for path in self.pictures)}"
                ),
            ]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        splits = {scan.split: self._split_json(scan) for scan in self.scans}
        rows: list[list[str]] = [["", *splits]]
        rows.append(["images", *(f"{one['images']:,}" for one in splits.values())])
        rows += [
            [name, *(f"{one['boxes_per_class'][name]:,}" for one in splits.values())]
            for name in self.names
        ]
        rows.append(["boxes", *(f"{one['boxes']:,}" for one in splits.values())])
        rows.append(
            ["ignored regions", *(f"{one['ignored_regions']:,}" for one in splits.values())]
        )
        rows.append(
            [
                "objects per image, median",
                *(f"{one['objects_per_image']['median']:g}" for one in splits.values()),
            ]
        )
        rows.append(
            [
                "objects per image, most",
                *(f"{one['objects_per_image']['most']:,}" for one in splits.values()),
            ]
        )
        rows.append(
            [
                f"box size at {self.imgsz}, median px",
                *(_number(one["box_sizes"]["median_px"]) for one in splits.values()),
            ]
        )
        for edge in SIZE_EDGES_PX:
            cells = [_number(one["box_sizes"][f"below_{edge}_px"]) for one in splits.values()]
            rows.append([f"boxes below {edge} px, %", *cells])
        return text_table(rows)

    def _suspicious_lines(self) -> list[str]:
        if not self.suspicions:
            return ["suspicious labels: none"]
        lines = [
            f"suspicious labels: {len(self.suspicions):,}; they need not be wrong, --json has all"
        ]
        for kind, meaning in KINDS.items():
            of_kind = [one for one in self.suspicions if one.kind == kind]
            if of_kind:
                first = of_kind[0]
                example = f"{first.file}, row {first.row}" if first.row else first.file
                lines.append(f"  {len(of_kind):>6,} {kind}: {meaning}; the first: {example}")
        return lines

    def _duplicate_lines(self) -> list[str]:
        if len(self.scans) < 2 or self.scans[0].thumbnails is None:
            return []
        if not self.near_duplicates:
            return ["near-duplicate images across splits: none"]
        lines = [f"near-duplicate images across splits: {len(self.near_duplicates):,}"]
        lines += [
            f"  {one.images[0]} and {one.images[1]} ({one.bits} of 64 bits differ, correlation "
            f"{one.correlation:.3f})"
            for one in self.near_duplicates[:_SHOWN]
        ]
        if len(self.near_duplicates) > _SHOWN:
            lines.append(f"  … and {len(self.near_duplicates) - _SHOWN:,} more; --json has all")
        return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
