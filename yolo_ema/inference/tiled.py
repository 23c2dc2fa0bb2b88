"""Detection in tiles, with the call of a `Runtime`."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from yolo_ema.engine.prediction.runtime import Runtime, check_images
from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.options.tiles import MERGES
from yolo_ema.tiling.merge import merge_views
from yolo_ema.tiling.plan import TilePlan, plan_tiles

__all__ = ["TiledRuntime"]

_NO_LIMIT = 30_000  # as many boxes as Ultralytics' NMS looks at
_CUT_MARGIN_PX = 2.0  # in the network's input
_TURNS = 4  # tiles of a chunk for each worker: few wait at its end, and few are in memory
_GPU_CHUNK_PIXELS = 32 * 640 * 640  # what goes through a GPU at once, at first


Box = tuple[int, int, int, int]


class _View(NamedTuple):
    """A part of an image that goes through the network."""

    image: int
    xyxy: Box
    max_det: int | None

    def kind(self) -> tuple[int, int, bool]:
        """Return what views of one chunk have in common: height, width, and whether they have the
        runtime's own limit.
        """
        return self.xyxy[3] - self.xyxy[1], self.xyxy[2] - self.xyxy[0], self.max_det is None


class TiledRuntime:
    """Looks at large images in tiles, and calls like the `Runtime` that it looks through.

    Tiles go through the network in chunks of one shape: many at once on a GPU; side by side on a
    CPU, where batches gain nothing. A tile's pixels are copied when its chunk's turn comes, so that
    memory does not grow with their number. Calls from several threads wait for each other.

    Args:
        runtime: the detector; its input size, thresholds and classes hold for each tile.
        tile: ``auto`` (see `plan_tiles`), ``off``: the runtime itself, or a tile's width and height
            in pixels.
        overlap: least overlap of neighbouring tiles as a share of the tile, 0 to 0.9.
        whole_frame: look at the whole frame besides the tiles, for objects longer than the overlap:
            any other lies whole in some tile. None for yes.
        merge: how the boxes of the tiles become one set, see `merge_views`.
        merge_iou: overlap above which the weaker of two boxes of different tiles is dropped, 0…1.
        chunk: tiles a forward pass; None for what suits the device.

    Attributes:
        names, stride, imgsz_hw, format, batched, rectangular, multi_label, weights, conf, iou:
            those of the runtime.
        max_det: the most boxes an image, after merging.
        seconds: what the last call took, over all tiles: ``preprocess``, ``inference``,
            ``postprocess``.
        last_plans: how the images of the last call were looked at.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        tile: str | tuple[int, int] = "auto",
        overlap: float = 0.2,
        whole_frame: bool | None = None,
        merge: str = "nms",
        merge_iou: float = 0.5,
        chunk: int | None = None,
    ) -> None:
        """Wrap a runtime.

        Raises:
            ConfigError: ``tile``, ``overlap`` or ``merge`` makes no sense.
        """
        if merge not in MERGES:
            raise ConfigError(
                f"there is no way to merge named {merge!r}{did_you_mean(merge, MERGES)}; there are "
                f"{', '.join(MERGES)}"
            )
        self.runtime = runtime
        self.tile, self.overlap, self.whole_frame = tile, overlap, whole_frame
        self.merge = "agnostic-nms" if runtime.agnostic and merge == "nms" else merge
        self.merge_iou = merge_iou
        self.names, self.stride, self.imgsz_hw, self.format = (
            runtime.names,
            runtime.stride,
            runtime.imgsz_hw,
            runtime.format,
        )
        self.batched, self.rectangular, self.multi_label = (
            runtime.batched,
            runtime.rectangular,
            runtime.multi_label,
        )
        self.weights, self.conf, self.iou = runtime.weights, runtime.conf, runtime.iou
        self.seconds: dict[str, float] = {}
        self.last_plans: tuple[TilePlan, ...] = ()
        self._one_at_a_time = threading.Lock()
        self._objects = runtime.object_sizes
        self._chunk = chunk or self._fitting_chunk()
        self.plan((1, 1))  # a word that makes no sense shows here

    @property
    def classes(self) -> list[int] | None:
        """Only these class ids; None for all."""
        return self.runtime.classes

    @classes.setter
    def classes(self, ids: list[int] | None) -> None:
        self.runtime.classes = ids

    @property
    def max_det(self) -> int:
        """The most boxes an image; an exported file may hold fewer, but that is for each tile."""
        in_tiles = any(len(plan.tiles_xyxy) for plan in self.last_plans)
        return self.runtime.wanted_max_det if in_tiles else self.runtime.max_det

    def plan(self, image_wh: tuple[int, int]) -> TilePlan:
        """Return how an image of this size is looked at, and why."""
        return plan_tiles(
            image_wh,
            self.imgsz_hw,
            tile=self.tile,
            overlap=self.overlap,
            whole_frame=self.whole_frame,
            stride=self.stride if self.rectangular else None,
            objects=self._objects,
        )

    def at_once(self, image_wh: tuple[int, int]) -> int:
        """Return how many images of this size should share a call: several where workers look at
        them side by side.
        """
        return 1 if len(self.plan(image_wh).tiles_xyxy) else self.runtime.at_once

    def __call__(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Detect on images, each by its plan.

        Args:
            images_bgr: arrays (H, W, 3) uint8 in BGR order, of any sizes.

        Returns:
            For each image (N, 6) float32, sorted by falling score: x1, y1, x2, y2 in pixels of that
            image, score, class id.

        Raises:
            ConfigError: an image has another shape or type.
        """
        check_images(images_bgr)
        with self._one_at_a_time:
            return self._found(images_bgr)

    def _found(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        sizes = [(image.shape[1], image.shape[0]) for image in images_bgr]
        self.last_plans = tuple(self.plan(size) for size in sizes)
        if not any(len(plan.tiles_xyxy) for plan in self.last_plans):
            found = self.runtime(images_bgr)
            self.seconds = dict(self.runtime.seconds)
            return found
        self.seconds = dict.fromkeys(("preprocess", "inference", "postprocess"), 0.0)
        found_in: list[dict[Box, np.ndarray]] = [{} for _ in sizes]
        for views in self._chunks(sizes):
            for view, rows in zip(views, self._look(images_bgr, views), strict=True):
                found_in[view.image][view.xyxy] = rows
        started = time.perf_counter()
        merged = [
            self._merged(found, plan, size)
            for found, plan, size in zip(found_in, self.last_plans, sizes, strict=True)
        ]
        self.seconds["postprocess"] += time.perf_counter() - started
        return merged

    def _fitting_chunk(self) -> int:
        if self.runtime.at_once > 1:
            return _TURNS * self.runtime.at_once
        if not self.batched or self.runtime.device.type != "cuda":
            return 1
        height, width = self.imgsz_hw
        return max(1, _GPU_CHUNK_PIXELS // (height * width))

    def _chunks(self, sizes_wh: Sequence[tuple[int, int]]) -> Iterator[list[_View]]:
        """Yield the views of all images, those of one shape together: they share one input
        shape.
        """
        views = []
        for number, (plan, (width, height)) in enumerate(
            zip(self.last_plans, sizes_wh, strict=True)
        ):
            limit = _NO_LIMIT if len(plan.tiles_xyxy) else None
            views += [_View(number, tuple(tile), limit) for tile in plan.tiles_xyxy.tolist()]
            if plan.whole_frame:
                views.append(_View(number, (0, 0, width, height), limit))
        views.sort(key=_View.kind)
        for _, alike in itertools.groupby(views, _View.kind):
            waiting = list(alike)
            while waiting:
                size = self._chunk  # asked anew each time: a GPU may have turned out to be smaller
                yield waiting[:size]
                waiting = waiting[size:]

    def _look(self, images_bgr: Sequence[np.ndarray], views: list[_View]) -> list[np.ndarray]:
        """Return what is found in views of one shape, in pixels of their images."""
        crops = [
            images_bgr[view.image][view.xyxy[1] : view.xyxy[3], view.xyxy[0] : view.xyxy[2]]
            for view in views
        ]
        try:
            found = self.runtime(crops, max_det=views[0].max_det)
        except torch.OutOfMemoryError:
            if len(views) == 1:
                raise
            torch.cuda.empty_cache()
            self._chunk = half = len(views) // 2
            return self._look(images_bgr, views[:half]) + self._look(images_bgr, views[half:])
        for stage, seconds in self.runtime.seconds.items():
            self.seconds[stage] += seconds
        return [
            rows + np.array([*view.xyxy[:2], *view.xyxy[:2], 0, 0], np.float32)
            for rows, view in zip(found, views, strict=True)
        ]

    def _merged(
        self, found: dict[Box, np.ndarray], plan: TilePlan, image_wh: tuple[int, int]
    ) -> np.ndarray:
        """Return one image's boxes."""
        frame = (0, 0, *image_wh)
        if not len(plan.tiles_xyxy):
            return found[frame]
        if plan.whole_frame:
            rows = found[frame]
            found[frame] = rows[(rows[:, 2:4] - rows[:, :2] > plan.overlap_px).any(axis=1)]
        tile_wh = plan.tiles_xyxy[0, 2:] - plan.tiles_xyxy[0, :2]
        shrinking = max(1.0, tile_wh[0] / self.imgsz_hw[1], tile_wh[1] / self.imgsz_hw[0])
        return merge_views(
            list(found.values()),
            np.array(list(found)),
            image_wh,
            method=self.merge,
            threshold=self.merge_iou,
            margin_px=_CUT_MARGIN_PX * shrinking,
            max_det=self.runtime.wanted_max_det,
        )
