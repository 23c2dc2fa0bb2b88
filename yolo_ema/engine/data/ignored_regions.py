"""Ignored regions on their way through Ultralytics' transforms.

A region travels as one more instance, of the reserved class `IGNORED_CLASS`, so that mosaic, flips,
scaling, letterbox and mixing move it exactly as they move the labels; at the end `RegionFormat`
takes the regions out again, into ``ignored_xyxy``. Three transforms drop instances that are
strongly clipped, which is right for an object and wrong for a region, whose visible part must stay
ignored. They are replaced in the pipeline by the classes here:

- `RegionPerspective` keeps whatever is left of a region inside the image. A rotated rectangle is
  not a rectangle any more: under rotation, shear and perspective a region is first cut into cells
  of at most `CELL_PX` (above `_MOST_CELLS` of them along a side, that many), and each cell becomes
  the rectangle around it, so that the whole covers the region and reaches beyond it by no more than
  a cell's corners.
- `RegionCutMix` brings along every region that the patch touches.
- `RegionFormat` takes them out.

Where images are mixed, a region of either is a region of both, since objects without a label shine
through.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ultralytics.data.augment import BaseMixTransform, Compose, CutMix, Format, RandomPerspective
from ultralytics.utils.instance import Instances
from ultralytics.utils.metrics import bbox_ioa
from ultralytics.utils.ops import resample_segments

from yolo_ema.inference.suppression import centers_to_corners

IGNORED_CLASS = -1.0
"""The class of a region while it travels; labels are 0 and up."""

CELL_PX = 32
"""Longest side, in pixels, of the cells that a region is cut into before it is rotated."""

_MOST_CELLS = 40
"""Along a side: enough for 1280 pixels. Above, cells are larger: each is a box of the loss."""


def add_regions(
    labels: dict[str, Any], regions_xywh: np.ndarray, *, with_polygons: bool
) -> dict[str, Any]:
    """Append ignored regions to an image's labels as instances of `IGNORED_CLASS`.

    Args:
        labels: Ultralytics' labels of one image with ``cls`` (N, 1) and normalised ``instances``.
        regions_xywh: (R, 4) x_center y_center w h as shares of the image.
        with_polygons: whether the dataset's instances have polygons; the regions need some too,
            then, to stay in step.
    """
    if not len(regions_xywh):
        return labels
    instances = labels["instances"]
    instances.convert_bbox("xywh")
    points = instances.segments.shape[1] if with_polygons else 0
    regions = box_instances(
        centers_to_corners(regions_xywh), points=points, normalized=instances.normalized
    )
    regions.convert_bbox("xywh")
    if not points:
        regions.segments = np.zeros((0, instances.segments.shape[1], 2), dtype=np.float32)
    labels["instances"] = Instances.concatenate([instances, regions])
    labels["cls"] = np.concatenate(
        (labels["cls"], np.full((len(regions_xywh), 1), IGNORED_CLASS, dtype=labels["cls"].dtype))
    )
    return labels


def carry_regions(transform: Any) -> None:
    """Replace, in a pipeline that Ultralytics built, the transforms that would drop regions.

    The replacements have the same state, and one object may stand in several places of the
    pipeline: so its class is exchanged.
    """
    if isinstance(transform, Compose):
        for step in transform.transforms:
            carry_regions(step)
    elif type(transform) is RandomPerspective:
        transform.__class__ = RegionPerspective
    elif isinstance(transform, BaseMixTransform):
        if type(transform) is CutMix:
            transform.__class__ = RegionCutMix
        if transform.pre_transform is not None:
            carry_regions(transform.pre_transform)


def collate_regions(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Take the regions out of each sample and return them for the batch: ``ignored_xyxy`` (R, 4)
    and ``ignored_batch_idx`` (R,).
    """
    regions = [sample.pop("ignored_xyxy") for sample in samples]
    counts = torch.tensor([len(boxes) for boxes in regions])
    return {
        "ignored_xyxy": torch.cat(regions),
        "ignored_batch_idx": torch.repeat_interleave(torch.arange(len(regions)), counts).float(),
    }


class RegionPerspective(RandomPerspective):
    """`RandomPerspective` that keeps the visible part of every ignored region."""

    def apply_instances(
        self, labels: dict[str, Any], params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Move labels as Ultralytics does, and regions without its filter on what is left of
        them.
        """
        is_region = _is_region(labels["cls"])
        if params is None or not is_region.any():
            return super().apply_instances(labels, params)
        height, width = params["orig_shape"]
        instances = labels["instances"]
        instances.convert_bbox("xyxy")
        instances.denormalize(width, height)
        boxes = instances.bboxes[is_region]
        labels["instances"], labels["cls"] = instances[~is_region], labels["cls"][~is_region]
        labels = super().apply_instances(labels, params)

        matrix = params["M"]
        keeps_rectangles = not self.perspective and _is_axis_aligned(matrix)
        moved = self.apply_bboxes(
            boxes if keeps_rectangles else _cells(boxes, float(params["scale"])), matrix
        )
        moved = _clipped(moved, params["size"])
        points = instances.segments.shape[1] if len(instances.segments) else 0
        regions = box_instances(moved, points=points, normalized=False)
        labels["instances"] = (
            Instances.concatenate([labels["instances"], regions])
            if len(moved)
            else labels["instances"]
        )
        labels["cls"] = np.concatenate(
            (labels["cls"], np.full((len(moved), 1), IGNORED_CLASS, dtype=labels["cls"].dtype))
        )
        return labels


class RegionCutMix(CutMix):
    """`CutMix` whose patch brings every ignored region it touches. Regions of the first image keep
    patches off, as objects do.
    """

    def get_params(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Choose the patch as Ultralytics does, and add the regions that its threshold on the
        visible share leaves out.
        """
        params = super().get_params(labels)
        if params.get("skip"):
            return params
        other = labels["mix_labels"][0]
        touched = bbox_ioa(params["area"][None], other["instances"].bboxes).squeeze(0) > 0
        regions = np.flatnonzero(touched & _is_region(other["cls"]))
        params["indexes2"] = np.union1d(params["indexes2"], regions)
        return params


class RegionFormat(Format):
    """`Format` that takes the regions out of the labels, into ``ignored_xyxy`` (R, 4), as shares of
    the network's input.
    """

    def apply_instances(
        self, labels: dict[str, Any], params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Format the labels; clip regions to the image, and drop those of which nothing is left."""
        if params is None:
            return super().apply_instances(labels, params)
        is_region = _is_region(params["cls"])
        instances, size_wh = params["instances"], (params["w"], params["h"])
        regions = _clipped(centers_to_corners(instances.bboxes[is_region]), size_wh)
        if is_region.any():
            kept = instances[~is_region]
            params = {
                **params,
                "instances": kept,
                "cls": params["cls"][~is_region],
                "nl": len(kept),
            }
        labels = super().apply_instances(labels, params)
        labels["ignored_xyxy"] = torch.from_numpy(
            (regions / np.tile(size_wh, 2)).astype(np.float32)
        )
        return labels


def _is_region(classes: np.ndarray) -> np.ndarray:
    return classes.reshape(-1) == IGNORED_CLASS


def _clipped(boxes_xyxy: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Return the parts of boxes that lie inside an image, without empty ones."""
    inside = np.clip(boxes_xyxy, 0, np.tile(size_wh, 2)).astype(np.float32)
    return inside[(inside[:, 2:] > inside[:, :2]).all(axis=1)]


def _is_axis_aligned(matrix: np.ndarray) -> bool:
    """Whether an affine matrix turns axis-aligned rectangles into axis-aligned rectangles (scale,
    shift, flip, quarter turn).
    """
    straight, crossed = abs(matrix[[0, 1], [0, 1]]), abs(matrix[[0, 1], [1, 0]])
    slight = 1e-6 * max(straight.max(), crossed.max())
    return bool((crossed <= slight).all() or (straight <= slight).all())


def _cells(boxes_xyxy: np.ndarray, scale: float) -> np.ndarray:
    """Cut boxes into cells whose sides, once scaled, are at most `CELL_PX`, and at most
    `_MOST_CELLS` along a side.
    """
    cells = []
    for x1, y1, x2, y2 in boxes_xyxy:
        across, down = (
            int(np.clip(np.ceil(side * scale / CELL_PX), 1, _MOST_CELLS))
            for side in (x2 - x1, y2 - y1)
        )
        xs, ys = np.linspace(x1, x2, across + 1), np.linspace(y1, y2, down + 1)
        left, top = (axis.reshape(-1) for axis in np.meshgrid(xs[:-1], ys[:-1]))
        right, bottom = (axis.reshape(-1) for axis in np.meshgrid(xs[1:], ys[1:]))
        cells.append(np.stack((left, top, right, bottom), axis=1))
    return np.concatenate(cells).astype(np.float32)


def box_instances(boxes_xyxy: np.ndarray, *, points: int, normalized: bool) -> Instances:
    """Return boxes as instances, with their outlines as polygons of ``points`` points where that is
    not 0.
    """
    boxes = boxes_xyxy.astype(np.float32)
    outlines = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    segments = (
        np.stack(resample_segments(list(outlines), n=points)) if points and len(boxes) else None
    )
    return Instances(boxes, segments, bbox_format="xyxy", normalized=normalized)
