"""How figures came about: protocol, plan, thresholds, weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from yolo_ema.engine.training.run_record import versions
from yolo_ema.evaluate.class_map import distinct_names
from yolo_ema.inference.letterbox import Letterbox
from yolo_ema.inference.predictor import Predictor
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.options.val import ValOptions


def protocol_facts(
    predictor: Predictor,
    options: ValOptions,
    data_yaml: Path,
    ground_truth: Mapping[str, int],
    sizes_wh: Collection[tuple[int, int]],
) -> dict[str, Any]:
    """Return what has to be named beside every figure."""
    return {
        "split": options.split,
        "data": str(data_yaml),
        "ground_truth": dict(sorted(ground_truth.items())),
        "imgsz": list(predictor.imgsz_hw),
        "rectangular": predictor.rectangular,
        "conf": options.conf,
        "iou": options.iou,
        "nms_groups": list(options.nms_groups),
        "group_iou": options.group_iou if options.nms_groups else None,
        "max_det": min(most_detections(predictor, wh) for wh in set(sizes_wh)),
        "multi_label": predictor.settings.multi_label,
        "batch": options.batch if predictor.batched else 1,
        "tiles": _tile_facts(predictor, options, sizes_wh)
        if isinstance(predictor, TiledPredictor)
        else None,
        "megapixels_per_image": sum(network_pixels(predictor, wh) for wh in sizes_wh)
        / 1e6
        / len(sizes_wh),
        "order": "by falling score",
        "versions": versions(),
    }


def most_detections(predictor: Predictor, image_wh: tuple[int, int]) -> int:
    """Return how many detections an image of this size can have."""
    if isinstance(predictor, TiledPredictor):
        return predictor.max_det_of(image_wh)
    return predictor.max_det


def network_pixels(predictor: Predictor, image_wh: tuple[int, int]) -> int:
    """Return how many pixels of input an image of this size is for the network: over all tiles, the
    whole frame and, with ``augment``, their variants.
    """
    stride = predictor.stride if predictor.rectangular else None
    if not isinstance(predictor, TiledPredictor):
        return math.prod(Letterbox.of(image_wh[::-1], predictor.imgsz_hw, stride).input_hw)
    return sum(view.network_pixels(stride) for view in predictor.views(image_wh))


def _tile_facts(
    predictor: TiledPredictor, options: ValOptions, sizes_wh: Collection[tuple[int, int]]
) -> dict[str, Any]:
    """Return how the images went through the network."""
    plans = [predictor.plan(size) for size in sizes_wh]
    larger = Counter(
        "{}x{}".format(*plan.input_hw) for plan in plans if plan.input_hw != predictor.imgsz_hw
    )
    return {
        "tile": predictor.tile
        if isinstance(predictor.tile, str)
        else "{}x{}".format(*predictor.tile),
        "overlap": options.overlap,
        "merge": predictor.merge,
        "whole_frame": options.whole_frame is not False and all(plan.whole_frame for plan in plans),
        "augmented": options.augment,
        "tiles_an_image": sum(len(plan.tiles_xyxy) for plan in plans) / len(plans),
        "images_in_tiles": sum(len(plan.tiles_xyxy) > 0 for plan in plans),
        "images_at_larger_input": dict(larger),
    }


def weights_facts(
    predictor: Predictor, class_names: Sequence[str], classes: Mapping[int, int]
) -> dict[str, Any]:
    """Return which weights were scored, and which of their classes counted as which of the data."""
    path = predictor.weights
    names = dict(zip(predictor.names, distinct_names(list(predictor.names.values())), strict=True))
    return {
        "path": str(path),
        "format": predictor.format,
        "precision": predictor.precision,
        "sha256": sha256_of(path) if path.is_file() else None,
        "classes": {
            names[number]: class_names[class_id] for number, class_id in sorted(classes.items())
        },
    }
