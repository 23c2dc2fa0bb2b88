"""The ``score`` verb: any detector's result files against annotations, by VisDrone's official
protocol and COCO's.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from yolo_ema.constants import IMAGE_SUFFIXES
from yolo_ema.errors import AnnotationError, DataError, DataNotFoundError
from yolo_ema.io.image_header import ImageHeaderError, image_wh
from yolo_ema.io.text_files import decode_text, say
from yolo_ema.metrics.files_by_image import files_below, image_names, of_images
from yolo_ema.metrics.scorecard import Scorecard, make_scorecard, some_names
from yolo_ema.options.score import ScoreOptions
from yolo_ema.visdrone.annotations import UNREADABLE, read_annotations, read_results
from yolo_ema.visdrone.split_folders import split_named

_T = TypeVar("_T")


def score(options: ScoreOptions) -> Scorecard:
    """Score the result files of ``options.results`` against ``options.annotations``.

    All folders are read with their sub-folders. A file belongs to the image at whose path below the
    annotations' folder it lies, or whose name it has, where no two images share one.

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
    files = files_below(options.annotations, (".txt",), "annotations")
    if not files:
        raise DataNotFoundError(
            f"{options.annotations} holds no annotation files; expected one .txt per image"
        )
    names, unreadable = image_names(list(files)), []
    ground_truth = {}
    for place, path in _progress(files.items(), "annotations"):
        ground_truth[names[place]], of_file = read_annotation_rows(path)
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


def _read_detections(
    options: ScoreOptions, names: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Return the detections, the result files without an annotation, and what is odd about them.
    ``names`` are the images' by their path.
    """
    found = files_below(options.results, (".txt",), "results")
    if not found:
        raise DataNotFoundError(
            f"{options.results} holds no result files; expected one .txt per image, empty where "
            f"nothing was found"
        )
    files, strays = of_images(found, names)
    if not files:
        raise DataError(
            f"none of the {len(found)} result files in {options.results} is named like an "
            f"annotation in {options.annotations}: the first are {strays[0]}.txt and "
            f"{next(iter(names))}.txt{_where_they_fit(strays, names)}"
        )
    detections = {
        name: read_results(files[name])
        for name in _progress(names.values(), "results")
        if name in files
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
            [name for name in names.values() if name not in files],
            "without a result file, counted as no detections",
        ),
        (empty, "with an empty result file, counted as no detections"),
        (unsorted, f"with rows not by falling score, {unsorted_fate}"),
        (strays, "with a result file but no annotation, left out"),
    )
    return detections, strays, [_finding(names, note) for names, note in findings if names]


def _where_they_fit(strays: Sequence[str], names: Mapping[str, str]) -> str:
    """Return which sub-folders of the results hold files for the images, if any do."""
    fitting = names.keys() | set(names.values())
    parts = [stray.partition("/") for stray in strays]
    folders = sorted({folder for folder, _, below in parts if below in fitting})
    return f"; there are such in its sub-folders {some_names(folders, 3)}" if folders else ""


def _progress(images: Collection[_T], title: str) -> Iterable[_T]:
    return tqdm(images, desc=title, unit="image", leave=False, disable=None)


def _finding(names: Sequence[str], note: str) -> str:
    return f"{len(names)} image{'s' if len(names) > 1 else ''} {note}: {some_names(names, 3)}"


def _sizes_from_table(path: Path, names: Mapping[str, str]) -> dict[str, tuple[int, int]]:
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
    sizes_wh, by_stem = {}, {}
    for number, row in enumerate(rows, start=2):
        width, height = str(row["width"]).strip(), str(row["height"]).strip()
        if not (_is_whole(width) and _is_whole(height) and int(width) and int(height)):
            raise DataError(
                f"{path}, row {number}: size is {width!r} x {height!r}; expected whole pixels of "
                f"at least 1"
            )
        image = PurePath(str(row["image"]).strip())
        image = image.with_suffix("") if image.suffix.lower() in IMAGE_SUFFIXES else image
        sizes_wh[image.as_posix()] = by_stem[image.name] = (int(width), int(height))
    in_folders = any("/" in name for name in names.values())
    known = sizes_wh if in_folders else by_stem | sizes_wh
    places = {name: place if place in known else name for place, name in names.items()}
    if unsized := [name for name, place in places.items() if place not in known]:
        raise DataError(f"{path} has no size for {_finding(unsized, 'with annotations')}")
    return {name: known[place] for name, place in places.items()}


def _sizes_from_images(folder: Path, names: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    files, _ = of_images(files_below(folder, IMAGE_SUFFIXES, "images"), names)
    if missing := [name for name in names.values() if name not in files]:
        raise DataNotFoundError(
            f"{folder} lacks the images of {_finding(missing, 'with annotations')}"
        )
    return {name: _size_of(files[name]) for name in _progress(names.values(), "image sizes")}


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
