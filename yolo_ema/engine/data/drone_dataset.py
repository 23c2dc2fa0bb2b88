"""The training dataset: any YOLO layout, read safely, with ignored regions, tiles and what drone
footage needs.

Ultralytics' own dataset unpickles ``labels.cache`` from the data folder and writes one there,
rewrites truncated JPEGs, deletes ``.npy`` files beside images that it can't read, and drops a whole
image for one bad row. This one never unpickles, writes only into the cache folder, alters no file
of the user, and leaves out no more than the row that is wrong.
"""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ultralytics.data.augment import Compose
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import get_split_fraction
from ultralytics.utils import LOGGER, colorstr

from yolo_ema.engine.data.copy_paste import paste_into_sample
from yolo_ema.engine.data.drone_augmentations import add_drone_augmentations
from yolo_ema.engine.data.ignored_regions import (
    RegionFormat,
    add_regions,
    carry_regions,
    collate_regions,
)
from yolo_ema.engine.data.label_files import label_row_length
from yolo_ema.engine.data.label_scan import MOST_LOGGED, Scan, scan_labels
from yolo_ema.engine.data.split_files import images_in, region_files
from yolo_ema.engine.data.train_tiles import cut_into_tiles
from yolo_ema.engine.data.training_images import (
    decoded_hw,
    kept_image_path,
    read_kept_image,
    read_training_image,
    scaled_to,
    write_kept_image,
)
from yolo_ema.engine.setup.environment import cache_dir
from yolo_ema.errors import DataError, DataNotFoundError, SourceError
from yolo_ema.options.drone import DroneOptions


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
        args: Ultralytics' settings, those of the augmentation included.
        image_path: folder or list file of the images, or several.
        batch: batch size.
        data: the data YAML's content, with ``names``.
        drone: what this project adds. Tiles, augmentations and pasting act on training only.
        mode: ``train`` or ``val``.
        stride: the model's largest stride in pixels.
        rect: batches in the shape of their images in place of squares.

    Raises:
        DataNotFoundError: there are no images.
        DataError: none of them can be used, training has no box to learn from, or
            ``drone.strict_labels`` is set and something is wrong.
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
        left_out: how many of them there are of each kind.
    """

    format_class = RegionFormat
    im_files: list[str]

    def __init__(self, *args: Any, drone: DroneOptions | None = None, **kwargs: Any) -> None:
        self.drone = drone or DroneOptions()
        self.problems: tuple[str, ...] = ()
        self.left_out: dict[str, int] = {}
        self._polygons = False
        self._pasting = self.drone.paste_boxes
        self._classes = kwargs.get("classes")
        super().__init__(*args, **kwargs)

    # Labels

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        """Return the images' paths, sorted; ``fraction`` of them. Raises `DataNotFoundError` where
        there are none.
        """
        files = sorted(map(str, images_in(img_path if isinstance(img_path, list) else [img_path])))
        if not files:
            raise DataNotFoundError(f"no images in {img_path}")
        if isinstance(self.fraction, int):
            return files[: self.fraction]
        return files[: max(1, round(len(files) * self.fraction))]

    def get_labels(self) -> list[dict[str, Any]]:
        """Read and check labels, images and ignored regions; leave out and name what is wrong."""
        label_files = self.get_label_files()
        scan = scan_labels(
            self.im_files,
            label_files,
            region_files(self.im_files),
            class_count=None if self.single_cls else len(self.data["names"]),
            image_hw=decoded_hw,
            cache=cache_dir() / "labels",
            row_length=label_row_length(self.data),
            title=f"{self.prefix}labels",
        )
        self._report(scan)
        if not scan.images:
            raise DataError(f"no image of {self.img_path} can be used: {scan.problems[0]}")
        if self.augment and scan.without_file == len(scan.images):
            raise DataError(
                f"no image of {self.img_path} has a label file; the first was expected at "
                f"{label_files[scan.images[0]]}"
            )
        labels: list[dict[str, Any]] = [
            {
                "im_file": self.im_files[index],
                "shape": tuple(shape.tolist()),
                "cls": image_labels.rows[:, :1].copy(),
                "bboxes": image_labels.rows[:, 1:].copy(),
                "segments": image_labels.polygons,
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
                "ignored": regions,
            }
            for index, shape, image_labels, regions in zip(
                scan.images, scan.shapes_hw, scan.labels, scan.regions, strict=True
            )
        ]
        self.verify_labels(labels, Path(label_files[0]).parent)
        if self.augment and self.drone.tile_wh is not None:
            labels = self._cut(labels, self.drone.tile_wh)
        self._polygons = any(len(label["segments"]) for label in labels)
        self.im_files = [label["im_file"] for label in labels]
        return labels

    def _cut(self, labels: list[dict[str, Any]], tile_wh: tuple[int, int]) -> list[dict[str, Any]]:
        """Cut images into tiles, add whole images where asked, and say what comes of it."""
        tiles = cut_into_tiles(labels, tile_wh, self.drone.tile_overlap, self._classes)
        whole = [{**label, "segments": []} for label in labels * self.drone.tile_whole]
        LOGGER.info(
            f"{self.prefix}{len(tiles)} tiles of at most {tile_wh[0]}x{tile_wh[1]} pixels from "
            f"{len(labels)} images" + (f", and {len(whole)} whole images" if whole else "")
        )
        if (side := max(tile_wh)) != self.imgsz:
            LOGGER.warning(
                f"{self.prefix}tiles are scaled by {self.imgsz / side:.2f}: their longer side is "
                f"{side}, imgsz is {self.imgsz}; with imgsz={side} they keep their resolution"
            )
        return tiles + whole

    def update_labels(self, include_class: list[int] | None) -> None:
        """Keep the chosen classes. Raises `DataError` where training would learn from no box."""
        super().update_labels(include_class)
        if self.augment and not any(len(label["cls"]) for label in self.labels):
            chosen = "" if include_class is None else f" of the classes {include_class}"
            raise DataError(
                f"the {len(self.labels)} images of {self.img_path} have no labelled box{chosen}; "
                f"there is nothing to learn"
            )

    def set_rectangle(self) -> None:
        """Sort by aspect ratio as Ultralytics does, which takes the labels' shapes away, and put
        them back.
        """
        for label in self.labels:
            label["shape_kept"] = label["shape"]
        super().set_rectangle()
        for label in self.labels:
            label["shape"] = label.pop("shape_kept")

    def _report(self, scan: Scan) -> None:
        self.problems = tuple(map(str, scan.problems))
        self.left_out = dict(Counter(problem.kind for problem in scan.problems))
        if self.problems and self.drone.strict_labels:
            raise DataError(
                f"{self.img_path} has {len(self.problems)} faults: "
                + "; ".join(self.problems[:MOST_LOGGED])
            )
        for warning in scan.warnings():
            LOGGER.warning(self.prefix + warning)
        LOGGER.info(self.prefix + scan.summary())

    def update_labels_info(self, label: dict[str, Any]) -> dict[str, Any]:
        """Return the label with its boxes and ignored regions as instances."""
        regions = label.pop("ignored")
        label.pop("tile_xyxy", None)
        return add_regions(super().update_labels_info(label), regions, with_polygons=self._polygons)

    # Images

    @property
    def npy_files(self) -> list[Path]:
        """Where decoded images are kept with ``cache=disk``."""
        return self._npy_files

    @npy_files.setter
    def npy_files(self, _beside_the_images: list[Path]) -> None:
        self._npy_files = [kept_image_path(label) for label in self.labels]

    def check_cache_disk(self, safety_margin: float = 0.1) -> bool:
        """Return whether the cache folder's disk has room for all decoded images; warn where it
        has not.
        """
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        missing = sum(
            math.prod(label["shape"])
            for label, file in zip(self.labels, self.npy_files, strict=True)
            if not file.exists()
        )
        required = missing * self.channels * (1 + safety_margin)
        free = shutil.disk_usage(folder).free
        if required > free:
            self.cache = None
            LOGGER.warning(
                f"{self.prefix}cache=disk needs {required / 1e9:.1f} GB in {folder}, "
                f"{free / 1e9:.1f} GB are free: not cached"
            )
        return required <= free

    def cache_images_to_disk(self, i: int) -> None:
        """Keep one decoded image or tile in the cache folder. Raises `DiskFullError` where there is
        no room.
        """
        if not self.npy_files[i].exists():
            write_kept_image(self.npy_files[i], self._read(i))

    def _read(self, i: int) -> np.ndarray:
        """Decode an image; of a tile, cut it out."""
        file = self.im_files[i]
        try:
            image = read_training_image(Path(file))
        except (SourceError, OSError) as error:
            raise SourceError(
                f"{file} could be read when training started, and no longer can be: {error}"
            ) from error
        tile = self.labels[i].get("tile_xyxy")
        if tile is None:
            return image
        x1, y1, x2, y2 = tile
        return np.ascontiguousarray(image[y1:y2, x1:x2])

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """Return an image or tile at training size, and its height and width before and after. The
        switches have no effect: detection training only ever scales the longer side.
        """
        if self.ims[i] is not None:
            return self.ims[i], self.im_hw0[i], self.im_hw[i]
        image = read_kept_image(self.npy_files[i]) if self.cache == "disk" else None
        image = self._read(i) if image is None else image
        height, width = image.shape[:2]
        image = scaled_to(image, self.imgsz)
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
                paste_into_sample(label, rng)
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
        """End mosaic, mixing and pasting for the last epochs; the other augmentations continue."""
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
