"""Detection in tiles, as a `Predictor` around another one."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.errors import ConfigError, DeviceMemoryError, did_you_mean
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.predictor import Predictor, PredictorSettings, check_images
from yolo_ema.inference.suppression import suppress_groups
from yolo_ema.inference.view import View
from yolo_ema.options.tiles import MERGES
from yolo_ema.tiling.merge import merge_views
from yolo_ema.tiling.plan import ObjectSizes, SizeFixedBy, TilePlan, plan_tiles
from yolo_ema.tiling.plan_figures import PlanFigures

__all__ = ["NO_LIMIT", "TiledPredictor", "cut_margin_px"]

NO_LIMIT = 30_000
"""Boxes of a tile: as many as NMS takes."""

_CUT_MARGIN_PX = 2.0  # in the network's input
_TURNS = 4  # tiles of a chunk for each worker: few wait at its end, and few are in memory
_GPU_CHUNK_PIXELS = 32 * 640 * 640  # what goes through a GPU at once, at first
_ENLARGED = 1.25  # the input of an image that is run once more; smaller ones lose small objects


class TiledPredictor:
    """Detects on large images in tiles, or as a whole at a larger input.

    Tiles go through the network in chunks of one shape: many at once on a GPU; side by side on a
    CPU, where batches gain nothing. A tile's pixels are copied when its chunk's turn comes, so that
    memory does not grow with their number. Calls from several threads wait for each other.

    Args:
        predictor: runs each tile; its input size holds for each, its settings are shared.
        tile: ``auto`` (see `plan_tiles`), ``off``, or a tile's width and height in pixels.
        overlap: minimum overlap of neighbouring tiles as a share of the tile, 0 to 0.9.
        whole_frame: also run the whole frame, for objects longer than the overlap: any other lies
            whole in some tile. None for yes.
        merge: how the boxes of the tiles are merged, see `merge_views`.
        merge_iou: overlap above which the weaker of two boxes of different tiles is dropped, 0…1.
        augment: run each view mirrored as well and, unless the file has a fixed size, at a larger
            input; what is found is merged as that of tiles is.
        chunk: tiles per forward pass; None for what suits the device.

    Attributes:
        predictor: what runs each tile.
        seconds: the last call's, over all tiles: ``preprocess``, ``inference``, ``postprocess``.
        last_plans: how the images of the last call were divided.

    All other attributes are those of the predictor itself.

    Examples:
        >>> from yolo_ema import TiledPredictor, open_predictor
        >>> tiled = TiledPredictor(open_predictor("best.onnx"), tile=(640, 640))
        >>> len(tiled.plan((1920, 1080)).tiles_xyxy)
        8
    """

    settings: PredictorSettings
    weights: Path
    format: str
    device: str
    names: dict[int, str]
    stride: int
    imgsz_hw: tuple[int, int]
    rectangular: bool
    input_scale: float
    size_fixed_by: SizeFixedBy
    batched: bool
    has_builtin_nms: bool
    metadata: ArtifactMetadata | None
    precision: str
    object_sizes: ObjectSizes | None
    plan_figures: PlanFigures | None

    def __init__(
        self,
        predictor: Predictor,
        *,
        tile: str | tuple[int, int] = "auto",
        overlap: float = 0.2,
        whole_frame: bool | None = None,
        merge: str = "nms",
        merge_iou: float = 0.5,
        augment: bool = False,
        chunk: int | None = None,
    ) -> None:
        """Wrap a predictor.

        Raises:
            ConfigError: ``tile``, ``overlap`` or ``merge`` makes no sense.
        """
        if merge not in MERGES:
            raise ConfigError(
                f"merge is {merge!r}; expected one of {', '.join(MERGES)}"
                f"{did_you_mean(merge, MERGES)}"
            )
        self.predictor = predictor
        self.tile, self.overlap, self.whole_frame = tile, overlap, whole_frame
        self._merge, self.merge_iou, self.augment = merge, merge_iou, augment
        self.seconds: dict[str, float] = {}
        self.last_plans: tuple[TilePlan, ...] = ()
        self._one_at_a_time = threading.Lock()
        self._chunk = chunk or self._fitting_chunk()
        self.plan((1, 1))  # a wrong tile or overlap shows here

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the predictor; nothing of it is copied."""
        if name == "predictor" or name.startswith("_"):
            raise AttributeError(f"a TiledPredictor has no attribute {name!r}")
        return getattr(self.predictor, name)

    @property
    def merge(self) -> str:
        """How the boxes of the tiles are merged: across classes where NMS is."""
        agnostic = self.settings.agnostic and self._merge == "nms"
        return "agnostic-nms" if agnostic else self._merge

    @property
    def max_det(self) -> int:
        """Maximum boxes per image: of the last call's images the fewest, see `max_det_of`."""
        several = [self.augment or len(plan.tiles_xyxy) > 0 for plan in self.last_plans]
        return self._most_boxes(several=all(several) if several else self.augment)

    def max_det_of(self, image_wh: tuple[int, int]) -> int:
        """Maximum boxes of an image of this size; an exported file may hold fewer, but that is for
        each tile or view.
        """
        return self._most_boxes(several=self.augment or len(self.plan(image_wh).tiles_xyxy) > 0)

    def _most_boxes(self, *, several: bool) -> int:
        return self.settings.max_det if several else self.predictor.max_det

    def plan(
        self, image_wh: tuple[int, int], *, imgsz_hw: tuple[int, int] | None = None
    ) -> TilePlan:
        """Return how an image of this size goes through the network, and why; with ``imgsz_hw`` as
        if that input size had been asked for.
        """
        plan = plan_tiles(
            image_wh,
            imgsz_hw or self.imgsz_hw,
            tile=self.tile,
            overlap=self.overlap,
            whole_frame=self.whole_frame,
            stride=None if self.size_fixed_by == "file" else self.stride,
            rectangular=self.rectangular,
            objects=self.object_sizes,
            figures=self.plan_figures,
            size_fixed_by="imgsz" if imgsz_hw else self.size_fixed_by,
        )
        if not self.augment:
            return plan
        larger = "" if self.size_fixed_by == "file" else f", and {_ENLARGED} times as large"
        return replace(plan, reason=f"{plan.reason}; also mirrored{larger}")

    def at_once(self, image_wh: tuple[int, int], *, imgsz_hw: tuple[int, int] | None = None) -> int:
        """Return how many images of this size should share a call: several where workers run them
        side by side.
        """
        plan = self.plan(image_wh, imgsz_hw=imgsz_hw)
        if len(plan.tiles_xyxy):
            return 1
        return self.predictor.at_once(image_wh, imgsz_hw=plan.input_hw)

    def __call__(
        self,
        images_bgr: Sequence[np.ndarray],
        *,
        max_det: int | None = None,
        imgsz_hw: tuple[int, int] | None = None,
    ) -> list[np.ndarray]:
        """Detect on images, each by its plan; see `Predictor`. ``max_det`` counts after merging."""
        check_images(images_bgr)
        with self._one_at_a_time:
            sizes = [(image.shape[1], image.shape[0]) for image in images_bgr]
            self.last_plans = tuple(self.plan(size, imgsz_hw=imgsz_hw) for size in sizes)
            own_hw = imgsz_hw or self.imgsz_hw
            if not self.augment and not any(
                len(plan.tiles_xyxy) or plan.input_hw != own_hw for plan in self.last_plans
            ):
                boxes = self.predictor(images_bgr, max_det=max_det, imgsz_hw=own_hw)
                self.seconds = dict(self.predictor.seconds)
                return boxes
            self.seconds = dict.fromkeys(("preprocess", "inference", "postprocess"), 0.0)
            view_rows: list[list[tuple[View, np.ndarray]]] = [[] for _ in sizes]
            waiting = self._views_by_shape(sizes, max_det)
            while waiting:
                at_once = max(1, self._chunk // self._tiles_in(waiting[0][0]))
                views = waiting[0][:at_once]
                crops = [view.pixels_of(images_bgr[view.image]) for view in views]
                input_hw, limit = views[0].input_hw, views[0].max_det
                try:
                    boxes = self.predictor(crops, max_det=limit, imgsz_hw=input_hw)
                except DeviceMemoryError:
                    if len(views) == 1:
                        raise
                    self._chunk = len(views) // 2 * self._tiles_in(views[0])
                    continue
                for view, rows in zip(views, boxes, strict=True):
                    view_rows[view.image].append((view, view.to_image(rows)))
                for stage, seconds in self.predictor.seconds.items():
                    self.seconds[stage] += seconds
                waiting[:1] = [rest] if (rest := waiting[0][len(views) :]) else []
            started = time.perf_counter()
            most = max_det or self.settings.max_det
            merged = [
                self.merged(of_image, plan, size, most)
                for of_image, plan, size in zip(view_rows, self.last_plans, sizes, strict=True)
            ]
            self.seconds["postprocess"] += time.perf_counter() - started
            return merged

    def candidates(self, image_bgr: np.ndarray) -> np.ndarray | None:
        """Return what the network proposes for the whole image, see `Predictor`."""
        return self.predictor.candidates(image_bgr)

    def proposals(
        self, image_bgr: np.ndarray, *, imgsz_hw: tuple[int, int] | None = None
    ) -> np.ndarray | None:
        """Return what the network proposes in all tiles, and for the whole image where that is run,
        in pixels of the image.
        """
        if self.has_builtin_nms:
            return None
        height, width = image_bgr.shape[:2]
        plan = self.plan((width, height), imgsz_hw=imgsz_hw)
        views = plan.tiles_xyxy.tolist() + [[0, 0, width, height]] * plan.whole_frame
        proposals = []
        for x1, y1, x2, y2 in views:
            rows = self.predictor.proposals(image_bgr[y1:y2, x1:x2], imgsz_hw=plan.input_hw)
            if rows is not None:
                rows[:, :4] += (x1, y1, x1, y1)
                proposals.append(rows)
        return np.concatenate(proposals) if proposals else None

    def _fitting_chunk(self) -> int:
        height, width = self.imgsz_hw
        if (workers := self.predictor.at_once((width, height))) > 1:
            return _TURNS * workers
        if not self.batched or not self.device.startswith("cuda"):
            return 1
        return max(1, _GPU_CHUNK_PIXELS // (height * width))

    def _views_by_shape(
        self, sizes_wh: Sequence[tuple[int, int]], max_det: int | None
    ) -> list[list[View]]:
        """Return the views of all images, those of one shape together: they share one input
        shape.
        """
        views = []
        for number, (plan, size) in enumerate(zip(self.last_plans, sizes_wh, strict=True)):
            limit = NO_LIMIT if len(plan.tiles_xyxy) or self.augment else max_det
            views += self._views_of(number, plan, size, limit)
        views.sort(key=View.kind)
        return [list(alike) for _, alike in itertools.groupby(views, View.kind)]

    def views(self, image_wh: tuple[int, int]) -> list[View]:
        """Return everything of an image of this size that goes through the network."""
        return self._views_of(0, self.plan(image_wh), image_wh, None)

    def _views_of(
        self, number: int, plan: TilePlan, image_wh: tuple[int, int], max_det: int | None
    ) -> list[View]:
        boxes = [tuple(tile) for tile in plan.tiles_xyxy.tolist()]
        boxes += [(0, 0, *image_wh)] * plan.whole_frame
        return [
            View(number, xyxy, max_det, input_hw, mirrored)
            for xyxy in boxes
            for input_hw, mirrored in self._variants(plan)
        ]

    def _variants(self, plan: TilePlan) -> list[tuple[tuple[int, int], bool]]:
        """Return at which inputs each view runs, and whether mirrored."""
        once = [(plan.input_hw, False)]
        if not self.augment:
            return once
        height, width = (
            math.ceil(side * _ENLARGED / self.stride) * self.stride for side in plan.input_hw
        )
        larger = [((height, width), False)] if self.size_fixed_by != "file" else []
        return [*once, (plan.input_hw, True), *larger]

    def _tiles_in(self, view: View) -> int:
        """Return how many of the network's own inputs have the pixels of this view's."""
        stride = self.stride if self.rectangular else None
        return math.ceil(view.network_pixels(stride) / math.prod(self.imgsz_hw))

    def merged(
        self,
        found: Sequence[tuple[View, np.ndarray]],
        plan: TilePlan,
        image_wh: tuple[int, int],
        max_det: int | None,
    ) -> np.ndarray:
        """Return one image's boxes (M, 6) from those of its views, in pixels of the image."""
        if len(found) == 1:
            return found[0][1]
        frame = (0, 0, *image_wh)
        if len(plan.tiles_xyxy):
            found = [
                (view, _longer(rows, plan.overlap_px) if view.xyxy == frame else rows)
                for view, rows in found
            ]
        merged = merge_views(
            [rows for _, rows in found],
            np.array([view.xyxy for view, _ in found]),
            image_wh,
            method=self.merge,
            threshold=self.merge_iou,
            margin_px=cut_margin_px(plan),
        )
        return suppress_groups(merged, self.settings)[:max_det]


def cut_margin_px(plan: TilePlan) -> float:
    """Return how close to a tile's border a box is cut by it, in pixels of the image."""
    if not len(plan.tiles_xyxy):
        return _CUT_MARGIN_PX
    tile_wh = plan.tiles_xyxy[0, 2:] - plan.tiles_xyxy[0, :2]
    input_h, input_w = plan.input_hw
    return _CUT_MARGIN_PX * max(1.0, tile_wh[0] / input_w, tile_wh[1] / input_h)


def _longer(rows: np.ndarray, overlap_px: tuple[int, int]) -> np.ndarray:
    """Return the boxes (N, 6) that are longer than the overlap, in width or height."""
    return rows[(rows[:, 2:4] - rows[:, :2] > overlap_px).any(axis=1)]
