"""Any weights on any dataset, scored by VisDrone's official protocol and COCO's."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from yolo_ema.engine.data.data_yaml import read_data
from yolo_ema.engine.data.dataset_lookup import local_data
from yolo_ema.engine.data.label_files import label_row_length
from yolo_ema.engine.data.split_files import split_images
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.training.run_record import RECORD_NAME, versions
from yolo_ema.errors import AnnotationError, DataError
from yolo_ema.evaluate.class_map import map_classes
from yolo_ema.evaluate.ground_truth import image_names, read_truth
from yolo_ema.inference.predictor import Predictor, input_size
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.io.atomic_files import read_json, sha256_of
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.metrics.score import unreadable_truth
from yolo_ema.metrics.scorecard import Scorecard, make_scorecard
from yolo_ema.metrics.visdrone_protocol import MAX_DETS
from yolo_ema.options.tiles import tile_size
from yolo_ema.options.val import ValOptions
from yolo_ema.visdrone.submission import rounded, write_submission

__all__ = ["Evidence", "ValResult", "open_runtime", "validate"]

DETECTIONS_PER_IMAGE = MAX_DETS[-1]


@dataclass(frozen=True)
class Evidence:
    """What was scored: for each image's name its file, size in pixels, ground truth and detections.

    Rows are left, top, width, height in pixels, score, category (classes from 1), detections by
    falling score.
    """

    class_names: tuple[str, ...]
    images: Mapping[str, Path]
    sizes_wh: Mapping[str, tuple[int, int]]
    ground_truth: Mapping[str, np.ndarray]
    detections: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ValResult:
    """What ``val`` found.

    Attributes:
        scorecard: the figures of both protocols.
        weights: path, format, SHA-256 and classes of the weights.
        seconds_per_image: mean time to preprocess, infer and postprocess, not to read; the first
            batch, which warms up, is left out where there are more.
        images_at_limit: images with as many detections as are looked at: weaker ones were cut off.
        evidence: what was scored, for the report.
        run_record: the record of the run that the weights come from, where it lies beside them.
        saved_results: the folder of submission files, where they were asked for.
        report: the page, where it was asked for.
    """

    scorecard: Scorecard
    weights: Mapping[str, Any]
    seconds_per_image: Mapping[str, float]
    images_at_limit: tuple[str, ...]
    evidence: Evidence
    run_record: Mapping[str, Any] | None = None
    saved_results: Path | None = None
    report: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the figures and how they came about as plain values."""
        return {
            **self.scorecard.as_json(),
            "weights": dict(self.weights),
            "seconds_per_image": dict(self.seconds_per_image),
            "images_at_limit": list(self.images_at_limit),
            "saved_results": str(self.saved_results) if self.saved_results else None,
            "report": str(self.report) if self.report else None,
        }

    def as_text(self) -> str:
        """Return the tables for a terminal."""
        about = self.scorecard.protocol
        times = ", ".join(
            f"{name} {1000 * seconds:.1f} ms" for name, seconds in self.seconds_per_image.items()
        )
        lines = [
            self.scorecard.as_text(),
            *_tile_line(about["tiles"]),
            (
                f"input {about['imgsz'][0]}x{about['imgsz'][1]} pixels (height x width); an image: "
                f"{times}"
            ),
        ]
        lines += [
            f"{what}: {path}"
            for what, path in (("results", self.saved_results), ("report", self.report))
            if path
        ]
        return "\n".join(lines)


def _tile_line(tiles: Mapping[str, Any] | None) -> list[str]:
    if tiles is None:
        return []
    frame = "and the whole frame" if tiles["whole_frame"] else "without the whole frame"
    counts = f"{tiles['tiles_an_image']:.1f} an image, {tiles['images_in_tiles']} images in tiles"
    return [
        (
            f"tiles {tiles['tile']} {frame}, overlap {tiles['overlap']}, merged by "
            f"{tiles['merge']}: "
            f"{counts}"
        )
    ]


def validate(options: ValOptions, *, predictor: Predictor | None = None) -> ValResult:
    """Score weights on a dataset's split.

    Args:
        options: which weights, on what, and how.
        predictor: the weights, if they are open already; it has the options' thresholds.

    Raises:
        DataError: the dataset or its split is wrong or missing, or with ``options.strict`` a row of
            the ground truth is wrong.
        OfflineError: the dataset's images are not here.
        WeightsError: the weights are missing, damaged, foreign, or carry code.
        ConfigError: the classes of weights and data don't fit, or the input size does not fit an
            exported file.
        SourceError: an image cannot be read.
        MachineError: the device or a package is not there.
    """
    # Before the data: a wrong word for the weights shows at once.
    runtime = predictor or open_runtime(options)
    data_yaml = local_data(options.data)
    data = read_data(data_yaml)
    class_names = tuple(data["names"].values())
    images = split_images(data_yaml, options.split)
    classes = map_classes(runtime.names, class_names, options.map)
    runtime.settings.classes = sorted(classes)
    evidence, seconds, origins, unreadable = _detect(runtime, images, data, classes, options)
    if set(origins) == {"nothing"}:
        raise DataError(
            f"{data_yaml}: none of the {len(images)} images of {options.split!r} has labels; there "
            f"is nothing to score against"
        )
    if options.save_results:
        write_submission(options.save_results, evidence.detections)
    at_limit = tuple(
        name for name, rows in evidence.detections.items() if len(rows) >= runtime.max_det
    )
    warnings = unreadable_truth(unreadable, strict=options.strict)
    warnings += _class_warnings(runtime, class_names, classes) + _limit_warnings(
        runtime, options.max_det, at_limit, len(images)
    )
    for warning in warnings:
        print(f"yolo-ema: warning: {warning}", file=sys.stderr)  # noqa: T201 - stdout is for the result
    scorecard = make_scorecard(
        evidence.ground_truth,
        evidence.detections,
        evidence.sizes_wh,
        class_names=class_names,
        about=_about(runtime, data_yaml, options, origins, list(evidence.sizes_wh.values())),
        warnings=warnings,
    )
    return ValResult(
        scorecard,
        _weights_facts(runtime, class_names, classes),
        seconds,
        at_limit,
        evidence,
        run_record=_run_record(options.weights),
        saved_results=options.save_results,
    )


def open_runtime(options: ValOptions) -> Predictor:
    """Return what the options look at images with. Raises `WeightsError`, `ConfigError` or
    `MachineError` as `validate` does.
    """
    runtime = open_predictor(
        options.weights,
        device=options.device,
        imgsz=input_size(options.imgsz),
        half=options.half,
        conf=options.conf,
        iou=options.iou,
        max_det=options.max_det,
        multi_label=True,
        rectangular=options.rectangular,
        trust=options.trust,
    )
    if options.tile == "off":
        return runtime
    tile = tile_size(options.tile) or options.tile
    return TiledPredictor(
        runtime,
        tile=tile,
        overlap=options.overlap,
        whole_frame=options.whole_frame,
        merge=options.merge,
    )


def _detect(
    runtime: Predictor,
    images: Sequence[Path],
    data: Mapping[str, Any],
    classes: Mapping[int, int],
    options: ValOptions,
) -> tuple[Evidence, dict[str, float], Counter[str], list[str]]:
    """Run the weights over all images.

    Returns:
        What is scored, the mean seconds an image, where the ground truth comes from, and which of
        its rows cannot be read.
    """
    names, class_names = image_names(images), tuple(data["names"].values())
    row_length = label_row_length(data)
    sizes_wh: dict[str, tuple[int, int]] = {}
    truth: dict[str, np.ndarray] = {}
    detections: dict[str, np.ndarray] = {}
    origins: Counter[str] = Counter()
    unreadable: list[str] = []
    batch = options.batch if runtime.batched else 1
    batches: list[tuple[int, dict[str, float]]] = []
    progress = tqdm(total=len(images), desc="val", unit="image", disable=not sys.stderr.isatty())
    for start in range(0, len(images), batch):
        files = images[start : start + batch]
        pictures = [read_image(file, max_pixels=options.max_pixels) for file in files]
        found = runtime(pictures)
        batches.append((len(files), runtime.seconds))
        for name, file, picture, boxes in zip(names[start:], files, pictures, found, strict=False):
            size_wh = (picture.shape[1], picture.shape[0])
            try:
                rows, origin, problems = read_truth(
                    file, size_wh, class_names, row_length=row_length
                )
            except AnnotationError as error:  # training leaves such an image out, too
                unreadable.append(f"the image {file} is left out: {error}")
                continue
            sizes_wh[name], truth[name] = size_wh, rows
            unreadable += problems
            detections[name] = _rows(boxes, classes)
            origins[origin] += 1
        progress.update(len(files))
    progress.close()
    scored = {name: image for name, image in zip(names, images, strict=True) if name in truth}
    if not scored:
        raise DataError(f"no image of {options.split!r} can be scored: {unreadable[0]}")
    evidence = Evidence(class_names, scored, sizes_wh, truth, detections)
    return evidence, _mean_seconds(batches[1:] or batches), origins, unreadable


def _rows(boxes_xyxy: np.ndarray, classes: Mapping[int, int]) -> np.ndarray:
    """Return (M, 6) left, top, width, height, score, category, as a file holds them, for x1, y1,
    x2, y2, score, class id.
    """
    boxes = boxes_xyxy[np.isin(boxes_xyxy[:, 5], list(classes))].astype(np.float64)
    category = np.array([classes[int(number)] + 1 for number in boxes[:, 5]], dtype=np.float64)
    rows = rounded(
        np.column_stack([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2], boxes[:, 4], category])
    )
    if len(set(classes.values())) == len(classes):
        return rows
    # Where several classes of the weights count as one, a box that bears several of them counts
    # once, with its best score.
    first = np.unique(rows[:, [0, 1, 2, 3, 5]], axis=0, return_index=True)[1]
    return rows[np.sort(first)]


def _mean_seconds(batches: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    count = sum(images for images, _ in batches)
    return {stage: sum(seconds[stage] for _, seconds in batches) / count for stage in batches[0][1]}


def _class_warnings(
    runtime: Predictor, class_names: Sequence[str], classes: Mapping[int, int]
) -> list[str]:
    warnings = []
    never = [name for class_id, name in enumerate(class_names) if class_id not in classes.values()]
    if never:
        warnings.append(
            f"no class of the weights counts as {', '.join(never)}: they count as never found"
        )
    unused = [name for number, name in runtime.names.items() if number not in classes]
    if unused:
        shown = ", ".join(unused[:5]) + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
        warnings.append(f"classes of the weights that the data does not have are left out: {shown}")
    return warnings


def _limit_warnings(
    runtime: Predictor, asked: int, at_limit: Sequence[str], image_count: int
) -> list[str]:
    warnings = []
    if at_limit:
        shown = ", ".join(at_limit[:3]) + (
            f" and {len(at_limit) - 3} more" if len(at_limit) > 3 else ""
        )
        warnings.append(
            f"{len(at_limit)} of {image_count} images reach the limit of {runtime.max_det} "
            f"detections: {shown}"
        )
    if runtime.max_det < DETECTIONS_PER_IMAGE:
        who = (
            f"--max-det is {asked}: there are"
            if runtime.max_det == asked
            else "the exported file holds"
        )
        warnings.append(
            f"{who} at most {runtime.max_det} detections an image, and the protocols look at up to "
            f"{DETECTIONS_PER_IMAGE}; "
            "the figures do not compare with those at the full number"
        )
    return warnings


def _about(
    runtime: Predictor,
    data_yaml: Path,
    options: ValOptions,
    origins: Mapping[str, int],
    sizes: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    return {
        "split": options.split,
        "data": str(data_yaml),
        "ground_truth": dict(sorted(origins.items())),
        "imgsz": list(runtime.imgsz_hw),
        "rectangular": runtime.rectangular,
        "conf": options.conf,
        "iou": options.iou,
        "max_det": runtime.max_det,
        "multi_label": runtime.settings.multi_label,
        "batch": options.batch if runtime.batched else 1,
        "tiles": _tile_facts(runtime, options, sizes)
        if isinstance(runtime, TiledPredictor)
        else None,
        "order": "by falling score",
        "versions": versions(),
    }


def _tile_facts(
    runtime: TiledPredictor, options: ValOptions, sizes_wh: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """Return how the images were looked at."""
    plans = [runtime.plan(size) for size in sizes_wh]
    return {
        "tile": options.tile,
        "overlap": options.overlap,
        "merge": runtime.merge,
        "whole_frame": options.whole_frame is not False,
        "tiles_an_image": sum(len(plan.tiles_xyxy) for plan in plans) / len(plans),
        "images_in_tiles": sum(len(plan.tiles_xyxy) > 0 for plan in plans),
    }


def _weights_facts(
    runtime: Predictor, class_names: Sequence[str], classes: Mapping[int, int]
) -> dict[str, Any]:
    path = runtime.weights
    return {
        "path": str(path),
        "format": runtime.format,
        "sha256": sha256_of(path) if path.is_file() else None,
        "classes": {
            runtime.names[number]: class_names[class_id]
            for number, class_id in sorted(classes.items())
        },
    }


def _run_record(weights: Path) -> dict[str, Any] | None:
    """Return the record of the run whose ``weights`` folder the file lies in."""
    path = weights.absolute().parent.parent / RECORD_NAME
    record = read_json(path) if path.is_file() else None
    return record if isinstance(record, dict) else None
