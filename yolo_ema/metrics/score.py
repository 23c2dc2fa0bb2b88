"""The ``score`` verb: any detector's result files against annotations, by VisDrone's official
protocol and COCO's.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from yolo_ema.constants import IMAGE_SUFFIXES, is_hidden
from yolo_ema.errors import AnnotationError, DataError, DataNotFoundError
from yolo_ema.io.image_header import ImageHeaderError, image_wh
from yolo_ema.io.text_files import decode_text, say
from yolo_ema.metrics.scorecard import Scorecard, make_scorecard, some_names
from yolo_ema.options.score import ScoreOptions
from yolo_ema.visdrone.annotations import UNREADABLE, read_annotations, read_results
from yolo_ema.visdrone.split_folders import split_named

_T = TypeVar("_T")


def score(options: ScoreOptions) -> Scorecard:
    """Score the result files of ``options.results`` against ``options.annotations``.

    Warnings go to stderr and into the result: missing and empty result files, which count as no
    detections; unsorted files, which are sorted by falling score unless ``options.as_is``; result
    files without an annotation, and rows of the ground truth that cannot be read, which are left
    out and counted.

    Raises:
        DataNotFoundError: a folder, an image or the table of sizes does not exist, or a folder
            holds no annotations or no results.
        AnnotationError: a row of a result file cannot be read, or with ``options.strict`` one of
            the ground truth; the message names file and row.
        DataError: no result file belongs to an annotation, or an image's size is not known.
    """
    files = _text_files(options.annotations, "annotations")
    if not files:
        raise DataNotFoundError(
            f"{options.annotations} holds no annotation files; expected one .txt per image"
        )
    names, unreadable = list(files), []
    ground_truth = {}
    for name, path in _progress(files.items(), "annotations"):
        ground_truth[name], of_file = read_annotation_rows(path)
        unreadable += of_file
    detections, strays, warnings = _read_detections(options, names)
    warnings = [*unreadable_rows(unreadable, strict=options.strict), *warnings]
    sizes_wh = (
        _sizes_from_table(options.sizes, names)
        if options.sizes
        else _sizes_from_images(options.images or Path(), names)
    )
    for warning in warnings:
        say(f"yolo-ema: warning: {warning}")
    protocol = {
        "split": _split_of(options.annotations),
        "order": "as written" if options.as_is else "by falling score",
    }
    return make_scorecard(
        ground_truth,
        detections,
        sizes_wh,
        about=protocol,
        warnings=warnings,
        left_out={"ground-truth rows": len(unreadable), "result files": len(strays)},
    )


def read_annotation_rows(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read an annotation file.

    Returns:
        (N, 6) left, top, width, height in pixels, score, category, and one sentence, with file and
        row, for each row that cannot be read and is left out.

    Raises:
        DataNotFoundError: the file does not exist.
    """
    annotations = read_annotations(path)
    problems = [
        f"{anomaly.file}, row {anomaly.row}: {anomaly.message.partition('; the row')[0]}"
        for anomaly in annotations.anomalies
        if anomaly.kind in UNREADABLE
    ]
    return annotations.rows, problems


def unreadable_rows(problems: Sequence[str], *, strict: bool) -> list[str]:
    """Return a warning that rows of the ground truth are left out, where there are any.

    Raises:
        AnnotationError: there are some, and ``strict`` is on.
    """
    if not problems:
        return []
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if strict:
        raise AnnotationError(
            f"{problems[0]}{more}; nothing is scored, since --strict forbids leaving ground truth "
            f"out"
        )
    rows = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
    note = f"cannot be read and {'is' if len(problems) == 1 else 'are'} left out"
    return [f"{rows} of the ground truth {note}, so the figures are not exact: {problems[0]}{more}"]


def _text_files(folder: Path, content: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataNotFoundError(f"the folder of {content} {folder} does not exist")
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".txt" and not is_hidden(path.name)
    }


def _read_detections(
    options: ScoreOptions, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Return the detections, the result files without an annotation, and what is odd about them."""
    files = _text_files(options.results, "results")
    if not files:
        below = sorted({path.parent.name for path in options.results.glob("*/*.txt")})
        hint = f"; there are some in its sub-folders {some_names(below, 3)}" if below else ""
        raise DataNotFoundError(
            f"{options.results} holds no result files; expected one .txt per image, empty where "
            f"nothing was found{hint}"
        )
    strays = [name for name in files if name not in set(names)]
    if len(strays) == len(files):
        raise DataError(
            f"none of the {len(files)} result files in {options.results} is named like an "
            f"annotation in {options.annotations}: the first are {files[strays[0]].name} and "
            f"{names[0]}.txt"
        )
    detections = {
        name: read_results(files[name]) for name in _progress(names, "results") if name in files
    }
    empty = [name for name, rows in detections.items() if not len(rows)]
    unsorted = [name for name, rows in detections.items() if (np.diff(rows[:, 4]) > 0).any()]
    if not options.as_is:
        for name in unsorted:
            detections[name] = detections[name][np.argsort(-detections[name][:, 4], kind="stable")]
    unsorted_fate = (
        "scored as written"
        if options.as_is
        else "sorted before scoring; --as-is scores rows in file order"
    )
    findings = (
        (
            [name for name in names if name not in files],
            "without a result file, counted as no detections",
        ),
        (empty, "with an empty result file, counted as no detections"),
        (unsorted, f"with rows not by falling score, {unsorted_fate}"),
        (strays, "with a result file but no annotation, left out"),
    )
    return detections, strays, [_finding(names, note) for names, note in findings if names]


def _progress(images: Collection[_T], title: str) -> Iterable[_T]:
    return tqdm(images, desc=title, unit="image", leave=False, disable=None)


def _finding(names: Sequence[str], note: str) -> str:
    return f"{len(names)} image{'s' if len(names) > 1 else ''} {note}: {some_names(names, 3)}"


def _sizes_from_table(path: Path, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    if not path.is_file():
        raise DataNotFoundError(f"the table of sizes {path} does not exist")
    try:
        rows = list(csv.DictReader(decode_text(path.read_bytes()).splitlines()))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    columns = {"image", "width", "height"}
    if not rows or not columns <= set(rows[0]):
        header = ", ".join(map(str, rows[0])) if rows else "nothing below its first row"
        raise DataError(
            f"{path} has {header}; expected the columns image,width,height and one row per image"
        )
    sizes_wh = {}
    for number, row in enumerate(rows, start=2):
        width, height = str(row["width"]).strip(), str(row["height"]).strip()
        if not (_is_whole(width) and _is_whole(height) and int(width) and int(height)):
            raise DataError(
                f"{path}, row {number}: size is {width!r} x {height!r}; expected whole pixels of "
                f"at least 1"
            )
        name = str(row["image"]).strip()
        image = Path(name)
        sizes_wh[image.stem if image.suffix.lower() in IMAGE_SUFFIXES else name] = (
            int(width),
            int(height),
        )
    if unsized := [name for name in names if name not in sizes_wh]:
        raise DataError(f"{path} has no size for {_finding(unsized, 'with annotations')}")
    return sizes_wh


def _sizes_from_images(folder: Path, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    if not folder.is_dir():
        raise DataNotFoundError(f"the folder of images {folder} does not exist")
    files = {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name)
    }
    if missing := [name for name in names if name not in files]:
        raise DataNotFoundError(
            f"{folder} lacks the images of {_finding(missing, 'with annotations')}"
        )
    return {name: _size_of(files[name]) for name in _progress(names, "image sizes")}


def _size_of(file: Path) -> tuple[int, int]:
    try:
        return image_wh(file)
    except (ImageHeaderError, OSError) as error:
        raise DataError(f"{file} {getattr(error, 'strerror', None) or error}") from error


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _split_of(folder: Path) -> str | None:
    """Return the split that the folder's name or else its parent's ends in, as in
    ``VisDrone2019-DET-val/annotations``.
    """
    folder = folder.resolve()
    return split_named(folder.name) or split_named(folder.parent.name)
