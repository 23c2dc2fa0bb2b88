"""Any weights on any dataset, scored by VisDrone's official protocol and COCO's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.engine.data.data_yaml import read_data
from yolo_ema.engine.data.dataset_lookup import local_data
from yolo_ema.engine.data.label_files import label_row_length
from yolo_ema.engine.data.split_files import split_images
from yolo_ema.engine.prediction.torch_predictor import open_predictor
from yolo_ema.engine.training.run_record import RECORD_NAME
from yolo_ema.errors import DataError, SourceError, YoloEmaError
from yolo_ema.evaluate.class_map import distinct_names, map_classes
from yolo_ema.evaluate.ground_truth import image_names, read_ground_truth
from yolo_ema.evaluate.protocol_facts import most_detections, protocol_facts, weights_facts
from yolo_ema.evaluate.val_result import Evidence, ValResult
from yolo_ema.inference.predictor import Predictor, input_size
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.io.atomic_files import read_json
from yolo_ema.io.text_files import say
from yolo_ema.media.sources.image_reader import read_image
from yolo_ema.metrics.score import unreadable_rows
from yolo_ema.metrics.scorecard import make_scorecard, some_names
from yolo_ema.metrics.visdrone_protocol import MAX_DETS
from yolo_ema.options.class_names import nms_groups
from yolo_ema.options.tiles import tile_size
from yolo_ema.options.val import ValOptions
from yolo_ema.visdrone.submission import rounded, write_submission

__all__ = ["open_for_scoring", "validate"]

DETECTIONS_PER_IMAGE = MAX_DETS[-1]


def validate(options: ValOptions, *, predictor: Predictor | None = None) -> ValResult:
    """Score weights on a dataset's split.

    An image that cannot be read, or whose ground truth cannot, is left out and named, as training
    leaves it out.

    ``predictor`` is the weights, if they are open already, with the options' thresholds.

    Raises:
        DataError: the dataset or its split is wrong or missing, or no image has labels; with
            ``options.strict`` also where ground truth cannot be read.
        OfflineError: the dataset's images are not here.
        WeightsError: the weights are missing, damaged, foreign, or carry code.
        ConfigError: the classes of weights and data don't fit, or a file takes another size.
        SourceError: no image can be read, or with ``options.strict`` one of them cannot.
        MachineError: the device or a package is not there.

    Examples:
        >>> from yolo_ema import ValOptions, validate
        >>> result = validate(ValOptions(weights="best.onnx", data="scenes", imgsz=(320,)))
        >>> 0 <= result.scorecard.official.official["AP"] <= 100
        True
    """
    predictor = predictor or open_for_scoring(options)  # before the data: mistyped names show
    data_yaml = local_data(options.data)
    data = read_data(data_yaml)
    class_names = distinct_names(tuple(data["names"].values()))
    images = split_images(data_yaml, options.split)
    classes = map_classes(predictor.names, tuple(data["names"].values()), options.map)
    predictor.settings.classes = sorted(classes)
    split = _detect(predictor, images, data, classes, options)
    _check_scorable(split, data_yaml, f"none of the {len(images)} images of {options.split!r}")
    evidence = Evidence(
        class_names, split.images, split.sizes_wh, split.ground_truth, split.detections
    )
    if options.save_results:
        write_submission(options.save_results, evidence.detections)
    limits = {name: most_detections(predictor, wh) for name, wh in split.sizes_wh.items()}
    at_limit = tuple(key for key, rows in evidence.detections.items() if len(rows) >= limits[key])
    warnings = [
        *_left_out_warnings(split.left_out, len(images)),
        *unreadable_rows(split.unreadable_rows, strict=options.strict),
        *_class_warnings(predictor, class_names, classes),
        *_saved_warnings(options.save_results, len(class_names)),
        *_limit_warnings(limits, options.max_det, at_limit),
    ]
    for warning in warnings:
        say(f"yolo-ema: warning: {warning}")
    scorecard = make_scorecard(
        evidence.ground_truth,
        evidence.detections,
        evidence.sizes_wh,
        class_names=class_names,
        about=protocol_facts(predictor, options, data_yaml, split.origins, split.sizes_wh.values()),
        warnings=warnings,
        left_out={"images": len(split.left_out), "ground-truth rows": len(split.unreadable_rows)},
    )
    batches = split.batches[1:] or split.batches  # the first one warms up
    return ValResult(
        scorecard,
        weights_facts(predictor, class_names, classes),
        _mean_seconds(batches),
        at_limit,
        evidence,
        median_seconds=median(sum(seconds.values()) / images for images, seconds in batches),
        images_left_out={image: str(error) for image, error in split.left_out.items()},
        run_record=_run_record(options.weights),
        saved_results=options.save_results,
    )


def open_for_scoring(options: ValOptions) -> Predictor:
    """Open the weights with the settings that both protocols need. Raises `WeightsError`,
    `ConfigError` or `MachineError` as `validate` does.
    """
    predictor = open_predictor(
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
    predictor.settings.nms_groups = nms_groups(options.nms_groups, predictor.names)
    predictor.settings.group_iou = options.group_iou
    tile = options.tile
    if tile == "recommended":
        tile = "auto" if predictor.plan_figures and not options.imgsz else "off"
    if tile == "off" and not options.augment:
        return predictor
    return TiledPredictor(
        predictor,
        tile=tile_size(tile) or tile,
        overlap=options.overlap,
        whole_frame=options.whole_frame,
        merge=options.merge,
        augment=options.augment,
    )


@dataclass
class _Detected:
    """What one pass over the images gives, by image name, but for ``left_out``, by file."""

    images: dict[str, Path] = field(default_factory=dict)
    sizes_wh: dict[str, tuple[int, int]] = field(default_factory=dict)
    ground_truth: dict[str, np.ndarray] = field(default_factory=dict)
    detections: dict[str, np.ndarray] = field(default_factory=dict)
    origins: Counter[str] = field(default_factory=Counter)
    unreadable_rows: list[str] = field(default_factory=list)
    left_out: dict[Path, YoloEmaError] = field(default_factory=dict)
    batches: list[tuple[int, dict[str, float]]] = field(default_factory=list)


def _detect(
    predictor: Predictor,
    images: Sequence[Path],
    data: Mapping[str, Any],
    classes: Mapping[int, int],
    options: ValOptions,
) -> _Detected:
    """Run the weights over all images."""
    split = _Detected()
    names, class_names = image_names(images), tuple(data["names"].values())
    row_length = label_row_length(data)
    batch = options.batch if predictor.batched else 1
    progress = tqdm(total=len(images), desc="val", unit="image", disable=None)
    for start in range(0, len(images), batch):
        readable: dict[str, np.ndarray] = {}
        for name, file in zip(names[start:], images[start : start + batch], strict=False):
            try:
                image = read_image(file, max_pixels=options.max_pixels)
                image_wh = (image.shape[1], image.shape[0])
                rows, origin, unreadable = read_ground_truth(
                    file, image_wh, class_names, row_length=row_length
                )
            except (SourceError, DataError) as error:
                if options.strict:
                    raise
                split.left_out[file] = error
                continue
            readable[name], split.images[name] = image, file
            split.sizes_wh[name], split.ground_truth[name] = image_wh, rows
            split.origins[origin] += 1
            split.unreadable_rows += unreadable
        if readable:
            boxes = predictor(list(readable.values()))
            split.batches.append((len(readable), predictor.seconds))
            for name, of_image in zip(readable, boxes, strict=True):
                split.detections[name] = _rows(of_image, classes)
        progress.update(min(batch, len(images) - start))
    progress.close()
    return split


def _check_scorable(split: _Detected, data_yaml: Path, none_of_them: str) -> None:
    if not split.sizes_wh:
        error = next(iter(split.left_out.values()))
        raise type(error)(f"{none_of_them} can be scored; the first: {error}")
    if set(split.origins) == {"nothing"}:
        raise DataError(
            f"{data_yaml}: {none_of_them} has labels; there is nothing to score against"
        )


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
    # Where several classes of the weights count as one, a box that carries several of them counts
    # once, with its best score.
    first = np.unique(rows[:, [0, 1, 2, 3, 5]], axis=0, return_index=True)[1]
    return rows[np.sort(first)]


def _mean_seconds(batches: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    count = sum(images for images, _ in batches)
    return {stage: sum(seconds[stage] for _, seconds in batches) / count for stage in batches[0][1]}


def _left_out_warnings(left_out: Mapping[Path, YoloEmaError], image_count: int) -> list[str]:
    if not left_out:
        return []
    count, first = len(left_out), next(iter(left_out.values()))
    more = f" (and {count - 1} more)" if count > 1 else ""
    note = "cannot be scored and are left out, so the figures are not exact"
    return [f"{count} of {image_count} images {note}: {first}{more}"]


def _class_warnings(
    predictor: Predictor, class_names: Sequence[str], classes: Mapping[int, int]
) -> list[str]:
    warnings = []
    never = [name for class_id, name in enumerate(class_names) if class_id not in classes.values()]
    if never:
        warnings.append(
            f"no class of the weights counts as {', '.join(never)}: they count as never found"
        )
    unused = [name for number, name in predictor.names.items() if number not in classes]
    if unused:
        shown = some_names(unused, 5)
        warnings.append(f"classes of the weights that the data does not have are left out: {shown}")
    return warnings


def _saved_warnings(folder: Path | None, class_count: int) -> list[str]:
    most = len(VISDRONE_CLASSES)
    if not folder or class_count <= most:
        return []
    unread = f"and VisDrone's format ends at {most}: yolo-ema score cannot score them"
    return [f"the results in {folder} have categories up to {class_count}, {unread}"]


def _limit_warnings(limits: Mapping[str, int], max_det: int, at_limit: Sequence[str]) -> list[str]:
    """Return what to say of the most detections of each image, by name; of images in tiles an
    exported file may hold more than of whole ones.
    """
    warnings, lowest = [], min(limits.values())
    if at_limit:
        reached = " or ".join(map(str, sorted({limits[name] for name in at_limit})))
        warnings.append(
            f"{len(at_limit)} of {len(limits)} images reach the limit of {reached} "
            f"detections: {some_names(at_limit, 3)}"
        )
    if lowest < DETECTIONS_PER_IMAGE:
        limited_by = (
            f"--max-det is {max_det}: there are" if lowest == max_det else "the exported file holds"
        )
        warnings.append(
            f"{limited_by} at most {lowest} detections per image, and the protocols use up to "
            f"{DETECTIONS_PER_IMAGE}; the figures do not compare with those at the full number"
        )
    return warnings


def _run_record(weights: Path) -> dict[str, Any] | None:
    """Return the record of the run whose ``weights`` folder the file lies in."""
    path = weights.absolute().parent.parent / RECORD_NAME
    record = read_json(path) if path.is_file() else None
    return record if isinstance(record, dict) else None
