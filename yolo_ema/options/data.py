"""Options of ``yolo-ema data prepare`` and ``yolo-ema data inspect``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from yolo_ema.errors import did_you_mean
from yolo_ema.options.fields import LEAST_SIDE_PX, Options, option

__all__ = ["LAYOUTS", "VISDRONE_SPLITS", "InspectOptions", "PrepareOptions"]

LAYOUTS = ("visdrone", "coco")

VISDRONE_SPLITS = ("train", "val", "test-dev", "test-challenge")

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_USUAL = {"train", "val", "test"}
_YAML_KEYS = {
    *("path", "names", "nc", "channels", "kpt_shape", "download", "images", "labels"),
    *("valid", "validation"),
}


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(Options):
    """What to prepare, where it comes from and where the derived files go.

    Examples:
        >>> from yolo_ema import PrepareOptions
        >>> PrepareOptions(source=("scenes/VisDrone2019-DET-val",), root="prepared").dataset
        'visdrone'
    """

    dataset: str = option(
        "visdrone",
        positional=True,
        choices=LAYOUTS,
        help="visdrone, or coco for JSON files of your own (--annotations, --images)",
    )
    root: Path | None = option(
        None, metavar="DIR", help="folder for derived files; default: datasets/DATASET"
    )
    source: tuple[Path, ...] = option(
        (),
        metavar="DIR|ZIP",
        help="folders or archives in VisDrone's layout that you have; default: download them",
    )
    splits: tuple[str, ...] = option(
        (),
        metavar="SPLIT",
        help="only these: train, val, test-dev, test-challenge; for coco train, val, test, or "
        "names for a data YAML of your own",
    )
    annotations: tuple[Path, ...] = option(
        (), metavar="JSON", help="coco: one annotation file per split, in the order of --splits"
    )
    images: tuple[Path, ...] = option(
        (), metavar="DIR", help="coco: one image folder per annotation file"
    )
    strict: bool = option(False, help="stop at anomalies and failures instead of reporting them")
    offline: bool = option(False, help="forbid downloads")
    mirror: tuple[str, ...] = option(
        (), metavar="URL", help="web folders with the archives, tried before the public one"
    )
    sha256: tuple[str, ...] = option(
        (),
        metavar="NAME=HASH",
        help="refuse the archive with this file name if its SHA-256 differs",
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from self._layout_problems()
        for split in self.splits:
            if self.dataset == "visdrone" and split != "test" and split not in VISDRONE_SPLITS:
                yield (
                    f"--splits has {split!r}; expected "
                    f"{', '.join(VISDRONE_SPLITS)}{did_you_mean(split, VISDRONE_SPLITS)}"
                )
            elif not _SPLIT_NAME.fullmatch(split):
                yield f"--splits has {split!r}; expected a plain name such as train"
            elif split.lower() in _YAML_KEYS or (split.lower() in _USUAL and split not in _USUAL):
                yield (
                    f"--splits has {split!r}, too close to a key of data YAMLs; expected train, "
                    f"val, test, or another name"
                )
        if {"test", "test-dev"} <= set(self.splits):
            yield "--splits has test and test-dev, which are one in a data YAML; expected one"
        if len(set(self.splits)) < len(self.splits):
            yield f"--splits names a split twice: {' '.join(self.splits)}"
        for url in self.mirror:
            if not url.startswith(("https://", "http://")):
                from yolo_ema.io.download import shown_url

                yield f"--mirror is {shown_url(url)!r}; expected an address that starts with https://"
        for pin in self.sha256:
            name, _, value = pin.rpartition("=")
            if not name or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
                yield f"--sha256 is {pin!r}; expected NAME=HASH with 64 hexadecimal digits"

    def _layout_problems(self) -> Iterator[str]:
        if self.dataset != "coco":
            if self.source and self.mirror:
                yield "--mirror is for downloads, and --source needs none; give one of them"
            if self.annotations or self.images:
                yield (
                    "--annotations and --images belong to 'data prepare coco'; for VisDrone's "
                    "layout use --source"
                )
            return
        if self.source:
            yield (
                "--source belongs to 'data prepare visdrone'; for COCO use --annotations and "
                "--images"
            )
        if self.mirror or self.sha256:
            yield "--mirror and --sha256 belong to 'data prepare visdrone', which fetches archives"
        if not self.annotations or len(self.images) != len(self.annotations):
            yield (
                f"coco needs one --images per --annotations, found {len(self.annotations)} and "
                f"{len(self.images)}"
            )
        if len(self.splits) not in (
            {0, 1} if len(self.annotations) == 1 else {len(self.annotations)}
        ):
            yield (
                f"coco needs one name in --splits per --annotations, found {len(self.splits)} "
                f"and {len(self.annotations)}"
            )

    @property
    def hashes(self) -> Mapping[str, str]:
        """Return the pinned SHA-256 of each archive's file name, in lower case."""
        return {
            name: value.lower() for name, _, value in (pin.rpartition("=") for pin in self.sha256)
        }


@dataclass(frozen=True, kw_only=True)
class InspectOptions(Options):
    """Which dataset to inspect, at which training size, and where the plots go."""

    data: str = option(
        positional=True,
        help="visdrone, a folder in VisDrone's layout, a prepared root, or a data YAML",
    )
    imgsz: int = option(
        640,
        help="longer side in training, 32 to 8192, at which box sizes are given",
        at_least=LEAST_SIDE_PX,
        at_most=8192,
        unit="pixels",
    )
    out: Path | None = option(
        None,
        metavar="DIR",
        help="folder for plots and the contact sheet; default: runs/inspect/NAME",
    )
    splits: tuple[str, ...] = option(
        (), metavar="SPLIT", help="only these splits; default: all that the data YAML has"
    )
    plots: bool = option(True, help="draw the plots and the contact sheet")
    duplicates: bool = option(
        True, help="find near-duplicate images across splits, which reads every image"
    )
