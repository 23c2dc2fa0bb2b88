"""The training dataset: any YOLO layout, read safely, with ignored regions, tiles and what drone
footage needs.

Ultralytics' own dataset unpickles ``labels.cache`` from the data folder and writes one there,
rewrites truncated JPEGs, deletes ``.npy`` files beside images that it can't read, and drops a whole
image for one bad row. This one never unpickles, writes only into the cache folder, alters no file
of the user, and leaves out no more than the row that is wrong.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from ultralytics.data.augment import Compose
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import get_split_fraction, img2label_paths
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.patches import imread

from yolo_ema.engine.data.augment import add_drone_augmentations
from yolo_ema.engine.data.ignored_regions import (
    IGNORED_CLASS,
    RegionFormat,
    add_regions,
    carry_regions,
    collate_regions,
)
from yolo_ema.engine.data.label_files import Scan, scan_labels
from yolo_ema.engine.data.paste import paste_boxes
from yolo_ema.engine.data.train_tiles import cut_into_tiles
from yolo_ema.engine.setup.environment import cache_dir
from yolo_ema.errors import DataError, DataNotFoundError, SourceError
from yolo_ema.io.atomic_files import atomic_path
from yolo_ema.media.sources.image_files import read_image
from yolo_ema.options.drone import DroneOptions

__all__ = ["DroneDataset", "build_train_dataset"]

_NAMED_PROBLEMS = 20  # on the log; all of them are in `DroneDataset.problems`


def build_train_dataset(
    args: Any,
    image_path: str | list[str],
    batch: int,
    data: dict[str, Any],
    *,
    drone: DroneOptions,
    mode: str = "train",
    stride: int = 32,
    rect: bool = False,
) -> DroneDataset:
    """Return the dataset for training, or for the validation during it.

    Args:
        args: Ultralytics' settings (imgsz, cache, single_cls, classes, fraction and the
            augmentation's).
        image_path: folder or list file of the images, or several.
        batch: images per batch.
        data: the data YAML's content, with ``names``.
        drone: what this project adds. Tiles, augmentations and pasting act on training only.
        mode: ``train`` or ``val``.
        stride: the model's largest stride in pixels.
        rect: batches of the images' shape in place of squares.

    Raises:
        DataNotFoundError: there are no images.
        DataError: none of them can be used, or ``drone.strict_labels`` is set and something is
            wrong.
    """
    training = mode == "train"
    return DroneDataset(
        img_path=image_path,
        imgsz=args.imgsz,
        batch_size=batch,
        augment=training,
        hyp=args,
        rect=bool(args.rect or rect),
        cache=args.cache or None,
        single_cls=args.single_cls or False,
        stride=stride,
        pad=0.0 if training else 0.5,
        prefix=colorstr(f"{mode}: "),
        task="detect",
        classes=args.classes,
        data=data,
        fraction=1.0
        if data.get("complete")
        else get_split_fraction(args.fraction, "train" if training else args.split),
        drone=drone,
    )


class DroneDataset(YOLODataset):
    """A detection dataset whose samples also carry ``ignored_xyxy``, and whose batches
    ``ignored_xyxy`` and ``ignored_batch_idx``.

    Args:
        drone: what this project adds to Ultralytics' settings.
        arguments: those of `YOLODataset`.

    Attributes:
        problems: rows and images that were left out, as text with file and row.
    """

    format_class = RegionFormat
    im_files: list[str]

    def __init__(self, *args: Any, drone: DroneOptions | None = None, **kwargs: Any) -> None:
        self.drone = drone or DroneOptions()
        self.problems: tuple[str, ...] = ()
        self._polygons = False
        self._pasting = self.drone.paste_boxes
        super().__init__(*args, **kwargs)

    # Labels

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        """Return the images' paths. Raises `DataNotFoundError` where there are none."""
        try:
            return super().get_img_files(img_path)
        except FileNotFoundError as error:
            reason = str(error.__cause__ or error)
            raise DataNotFoundError(f"no images in {img_path}: {reason}") from error

    def get_labels(self) -> list[dict[str, Any]]:
        """Read and check labels, images and ignored regions; leave out and name what is wrong."""
        label_files = self.get_label_files()
        nkpt, ndim = self.data.get("kpt_shape", (0, 0))
        scan = scan_labels(
            self.im_files,
            label_files,
            _region_files(self.im_files, label_files),
            class_count=None if self.single_cls else len(self.data["names"]),
            image_hw=self._decoded_hw,
            cache=cache_dir() / "labels",
            row_length=5 + nkpt * ndim,
            title=f"{self.prefix}labels",
        )
        self._report(scan)
        if not scan.images:
            raise DataError(f"no image of {self.img_path} can be used: {scan.problems[0]}")
        if self.augment and scan.without_file == len(scan.images):
            raise DataError(
                f"no image of {self.img_path} has a label file; the first was looked for at "
                f"{label_files[scan.images[0]]}"
            )
        labels: list[dict[str, Any]] = [
            {
                "im_file": self.im_files[place],
                "shape": tuple(shape.tolist()),
                "cls": found.rows[:, :1].copy(),
                "bboxes": found.rows[:, 1:].copy(),
                "segments": found.polygons,
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
                "ignored": regions,
            }
            for place, shape, found, regions in zip(
                scan.images, scan.shapes_hw, scan.labels, scan.regions, strict=True
            )
        ]
        self.verify_labels(labels, Path(label_files[0]).parent)
        if self.augment and self.drone.tile_wh is not None:
            labels = self._cut(labels, self.drone.tile_wh)
        self._polygons = any(len(label["segments"]) for label in labels)
        self._shapes_hw = [label["shape"] for label in labels]
        self.im_files = [label["im_file"] for label in labels]
        return labels

    def _cut(self, labels: list[dict[str, Any]], tile_wh: tuple[int, int]) -> list[dict[str, Any]]:
        """Cut images into tiles, and say what comes of it."""
        tiles = cut_into_tiles(labels, tile_wh, self.drone.tile_overlap)
        LOGGER.info(
            f"{self.prefix}{len(tiles)} tiles of at most {tile_wh[0]}x{tile_wh[1]} pixels from "
            f"{len(labels)} images"
        )
        if max(tile_wh) != self.imgsz:
            LOGGER.warning(
                f"{self.prefix}tiles are scaled by {self.imgsz / max(tile_wh):.2f}: imgsz is "
                f"{self.imgsz}, their longer side "
                f"{max(tile_wh)}. For native resolution give imgsz the tile's longer side"
            )
        return tiles

    def _decoded_hw(self, image: str) -> tuple[int, int]:
        """Decode an image as training will, and return its height and width. Raises `OSError` or
        `ValueError`.
        """
        path = Path(image)
        if self.channels == 3 and path.suffix.lower() not in {
            ".avif",
            ".heic",
            ".heif",
            ".dng",
            ".mpo",
        }:
            height, width = read_image(path).shape[:2]
            return height, width
        decoded = imread(path, flags=self.cv2_flag)
        if decoded is None:
            raise SourceError(f"{path} cannot be decoded")
        return decoded.shape[0], decoded.shape[1]

    def _report(self, scan: Scan) -> None:
        self.problems = tuple(map(str, scan.problems))
        if self.problems and self.drone.strict_labels:
            raise DataError(
                f"{len(self.problems)} things are wrong in {self.img_path}: "
                + "; ".join(self.problems[:_NAMED_PROBLEMS])
            )
        for found, what in ((scan.problems, "left out"), (scan.notes, "put right")):
            if found:
                more = (
                    f"\n  and {len(found) - _NAMED_PROBLEMS} more"
                    if len(found) > _NAMED_PROBLEMS
                    else ""
                )
                LOGGER.warning(
                    f"{self.prefix}{len(found)} {what}:\n  "
                    + "\n  ".join(map(str, found[:_NAMED_PROBLEMS]))
                    + more
                )
        regions, boxes = (
            sum(map(len, scan.regions)),
            sum(len(labels.rows) for labels in scan.labels),
        )
        counts = (
            f"{len(scan.images)} images, {boxes} boxes, {regions} ignored regions, "
            f"{scan.without_file} without a label file"
        )
        LOGGER.info(self.prefix + counts)

    def update_labels_info(self, label: dict[str, Any]) -> dict[str, Any]:
        """Return the label with its boxes and ignored regions as instances."""
        regions = label.pop("ignored")
        label.pop("tile_xyxy", None)
        return add_regions(super().update_labels_info(label), regions, with_polygons=self._polygons)

    # Images

    @property
    def npy_files(self) -> list[Path]:
        """Where decoded images are kept with ``cache=disk``: in the cache folder, named after path,
        size and time of the image.
        """
        return self._npy_files

    @npy_files.setter
    def npy_files(self, _beside_the_images: list[Path]) -> None:
        folder = cache_dir() / "images"
        self._npy_files = [
            folder / f"{_image_key(label, self.cv2_flag)}.npy" for label in self.labels
        ]

    def check_cache_disk(self, safety_margin: float = 0.1) -> bool:
        """Return whether the cache folder's disk has room for all decoded images; says so where it
        has not.
        """
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        missing = sum(
            pixels
            for pixels, file in zip(self._pixels(), self.npy_files, strict=True)
            if not file.exists()
        )
        required, free = (
            missing * self.channels * (1 + safety_margin),
            shutil.disk_usage(folder).free,
        )
        if required > free:
            self.cache = None
            LOGGER.warning(
                f"{self.prefix}cache=disk needs {required / 1e9:.1f} GB in {folder}, "
                f"{free / 1e9:.1f} GB are free: not cached"
            )
        return required <= free

    def _pixels(self) -> list[int]:
        return [height * width for height, width in self._shapes_hw]

    def cache_images_to_disk(self, i: int) -> None:
        """Keep one decoded image or tile as a plain array in the cache folder. Raises
        `DiskFullError` where there is no room.
        """
        file = self.npy_files[i]
        if not file.exists():
            with atomic_path(file) as beside:
                np.save(beside, self._read(i), allow_pickle=False)

    def _read(self, i: int) -> np.ndarray:
        """Decode an image; of a tile, cut it out."""
        image = imread(self.im_files[i], flags=self.cv2_flag)
        if image is None:
            raise SourceError(
                f"{self.im_files[i]} was sound when training started, and cannot be read any more"
            )
        tile = self.labels[i].get("tile_xyxy")
        if tile is None:
            return image
        x1, y1, x2, y2 = tile
        return np.ascontiguousarray(image[y1:y2, x1:x2])

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """Return an image or tile at training size, and its height and width before and after, as
        Ultralytics does for images.
        """
        if "tile_xyxy" not in self.labels[i] or self.ims[i] is not None:
            return super().load_image(i, rect_mode, resize_short)
        kept = self.npy_files[i]
        image = (
            np.load(kept, allow_pickle=False)
            if self.cache == "disk" and kept.exists()
            else self._read(i)
        )
        height, width = image.shape[:2]
        longest = max(self.imgsz) if isinstance(self.imgsz, tuple | list) else self.imgsz
        ratio = longest / max(height, width)
        if ratio != 1:
            size_wh = (
                min(math.ceil(width * ratio), longest),
                min(math.ceil(height * ratio), longest),
            )
            image = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
        image = image[..., None] if image.ndim == 2 else image
        if self.augment and self.cache != "ram":
            self._buffer_for_mosaic(i, image, (height, width))
        return image, (height, width), image.shape[:2]

    def _buffer_for_mosaic(self, i: int, image: np.ndarray, original_hw: tuple[int, int]) -> None:
        self.ims[i], self.im_hw0[i], self.im_hw[i] = image, original_hw, image.shape[:2]
        self.buffer.append(i)
        if 1 < len(self.buffer) >= self.max_buffer_length:
            oldest = self.buffer.pop(0)
            self.ims[oldest], self.im_hw0[oldest], self.im_hw[oldest] = None, None, None

    # Samples

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        """Return one image with its labels and regions, and with copies of small objects where
        pasting is on and drawn.
        """
        label = super().get_image_and_label(index)
        if self.augment and self._pasting:
            rng = np.random.default_rng(random.getrandbits(64))
            if rng.random() < self._pasting:
                _paste_into(label, rng)
        return label

    def build_transforms(self, hyp: SimpleNamespace) -> Compose:
        """Return Ultralytics' pipeline, with ignored regions carried along and the augmentations of
        `DroneOptions` in it.
        """
        transforms = super().build_transforms(hyp)
        carry_regions(transforms)
        if self.augment:
            add_drone_augmentations(transforms, self.drone.augment)
        return transforms

    def close_mosaic(self, hyp: SimpleNamespace) -> None:
        """End mosaic, mixing and pasting for the last epochs; the other augmentations go on."""
        self._pasting = 0.0
        super().close_mosaic(hyp)

    @staticmethod
    def collate_fn(batch: list[dict[str, Any]]) -> dict[str, Any]:
        """Return samples as one batch, with ``ignored_xyxy`` (R, 4) as shares of the input and
        ``ignored_batch_idx`` (R,).
        """
        samples = [dict(sample) for sample in batch]
        regions = collate_regions(samples)
        return YOLODataset.collate_fn(samples) | regions


def _region_files(images: Sequence[str], label_files: Sequence[str]) -> list[str | None]:
    """Return where each image's ignored regions would lie; None where images don't lie in a folder
    ``images``.
    """
    found = img2label_paths(list(images), label_dir="ignored")
    # Without such a folder the convention leads to the label file, whose rows are no regions.
    return [
        None if region == label else region
        for region, label in zip(found, label_files, strict=True)
    ]


def _image_key(label: dict[str, Any], flag: int) -> str:
    """Return a name for what decoding gives: it changes with the image's path, size, time, with the
    tile and the channels read.
    """
    stat = os.stat(label["im_file"])  # noqa: PTH116 - one call an image
    parts = (label["im_file"], stat.st_size, stat.st_mtime_ns, label.get("tile_xyxy"), flag)
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _paste_into(label: dict[str, Any], rng: np.random.Generator) -> None:
    instances = label["instances"]
    if len(instances.segments):  # a copy would have no polygon
        return
    height, width = label["img"].shape[:2]
    instances.convert_bbox("xyxy")
    instances.denormalize(width, height)
    is_region = label["cls"].reshape(-1) == IGNORED_CLASS
    boxes, classes = instances.bboxes, label["cls"]
    label["img"], copies, rows = paste_boxes(
        label["img"], boxes[~is_region], classes[~is_region], boxes[is_region], rng
    )
    instances.update(np.concatenate((boxes, copies)))
    label["cls"] = np.concatenate((classes, rows))
    instances.normalize(width, height)
    instances.convert_bbox("xywh")
