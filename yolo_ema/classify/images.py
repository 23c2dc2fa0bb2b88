"""The images that classifiers learn from and are scored on: a folder for each class, or CIFAR."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from yolo_ema.classify.cifar import CIFAR, cifar_of_folder, read_archive, read_folder
from yolo_ema.classify.models import timm_module
from yolo_ema.classify.recipes import Recipe
from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, is_hidden
from yolo_ema.engine.data.split_files import files_below
from yolo_ema.errors import DataError, DataNotFoundError, did_you_mean
from yolo_ema.io.image_header import pillow_open

_LAYOUT = "expected train/CLASS/IMAGE and val/CLASS/IMAGE (or test)"

_BITS = 258  # BitsPerSample
_KEPT_BYTES = 256e6
"""Images of one size that take no more than this are read once and kept in memory."""


@dataclasses.dataclass(eq=False)
class ClassImages(Dataset[tuple[Tensor, int]]):
    """Images with a class each.

    Attributes:
        classes: names by class id.
        images: paths, or an array (N, H, W, 3) of bytes in RGB.
        labels: class id of each image.
        left_out: files that are no images or in no class folder, by path.
        transform: from a Pillow image to a network's input (3, H, W).
        seed, epoch: what an image's random changes depend on, beside its index, so that they are
            the same for any number of loading processes; None for a transform without chance.
    """

    classes: tuple[str, ...]
    images: Sequence[Path] | np.ndarray
    labels: Sequence[int]
    left_out: tuple[str, ...] = ()
    transform: Callable[[Image.Image], Tensor] | None = None
    seed: int | None = None
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.transform is None:
            raise ValueError("the images have no transform yet")
        one = self.images[index]
        image = Image.fromarray(one) if isinstance(one, np.ndarray) else read_rgb(one)
        if self.seed is None:
            return self.transform(image), self.labels[index]
        with _seeded(self.seed, self.epoch, index):
            return self.transform(image), self.labels[index]

    def keep_in_memory(self) -> None:
        """Read all images now if they are small, of one size and files of their own: decoding them
        anew in each epoch would take longer than to learn from them.

        Raises:
            DataError: an image cannot be read.
        """
        if isinstance(self.images, np.ndarray) or not self.images:
            return
        shape = np.asarray(read_rgb(self.images[0])).shape
        if len(self) * math.prod(shape) > _KEPT_BYTES:
            return
        kept = np.empty((len(self), *shape), np.uint8)
        for index, path in enumerate(self.images):
            pixels = np.asarray(read_rgb(path))
            if pixels.shape != shape:
                return
            kept[index] = pixels
        self.images = kept

    def facts(self) -> dict[str, Any]:
        """Return count, classes, and a hash by which the record tells these images again."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        digest.update(bytes(str(list(self.labels)), "ascii"))
        for one in self.images:
            digest.update(
                one.tobytes()
                if isinstance(one, np.ndarray)
                else f"{one.parent.name}/{one.name} {one.stat().st_size}".encode()
            )
        return {
            "images": len(self),
            "classes": len(self.classes),
            "sha256": digest.hexdigest(),
            "left_out": list(self.left_out),
        }


@contextlib.contextmanager
def _seeded(*numbers: int) -> Iterator[None]:
    """Have the transforms' random numbers depend on ``numbers`` alone, and torch's go on after the
    block as if nothing had been drawn.
    """
    before = torch.get_rng_state()
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what timm's transforms draw from
    try:
        yield
    finally:
        torch.set_rng_state(before)


def read_rgb(path: Path) -> Image.Image:
    """Return an image of 8 bits in RGB; 16 bits are scaled to 8. Raises `DataError` where it cannot
    be read.
    """
    try:
        with warnings.catch_warnings(), pillow_open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _eight_bits(image).convert("RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(
            f"the image {path} cannot be read: {error}; repair it or remove it"
        ) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image whose 16 bits are scaled to 8: Pillow would cut off all above 255."""
    if image.mode == "F":
        raise ValueError("its pixels are floating point numbers; expected whole ones")
    if not image.mode.startswith("I"):
        return image
    if image.format == "TIFF" and max(image.tag_v2.get(_BITS, (8,))) > 16:  # type: ignore[attr-defined]
        raise ValueError("its pixels are 32-bit numbers; expected 8 or 16 bits")
    return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))


def open_images(data: str, split: str, *, root: Path, offline: bool) -> ClassImages:
    """Return a split of ``cifar10``, ``cifar100``, or a folder of classes or of CIFAR's binary
    files, without a transform.

    A folder without ``val`` has ``test`` in its place. CIFAR's archives are fetched to ``root``,
    unless ``offline`` forbids it.

    Raises:
        DataNotFoundError: there is no such folder.
        DataError: a class has no images, ``val`` has other classes than ``train``, or CIFAR's files
            are broken.
        OfflineError: it would have to be fetched.
    """
    if data in CIFAR:
        return ClassImages(*read_archive(data, root, split, offline=offline))
    folder = Path(data)
    if not folder.is_dir():
        what = (
            f"{data} is a file, not a folder (an archive has to be unpacked)"
            if folder.is_file()
            else f"there is no folder {data}"
        )
        raise DataNotFoundError(
            f"{what}; {_LAYOUT}, or one of {', '.join(CIFAR)}, which are fetched"
            f"{did_you_mean(data, CIFAR)}"
        )
    if (form := cifar_of_folder(folder)) is not None:
        return ClassImages(*read_folder(folder, form, split))
    return _folder_of_classes(folder, split)


def _folder_of_classes(folder: Path, split: str) -> ClassImages:
    classes = _class_names(folder / "train")
    if split == "val" and not (folder / "val").is_dir() and (folder / "test").is_dir():
        split = "test"
    if split != "train":
        _check_same_classes(folder, split, classes)
    paths: list[Path] = []
    labels: list[int] = []
    loose = [path for path in sorted((folder / split).iterdir()) if path.is_file()]
    left_out = [str(path.relative_to(folder)) for path in loose if not is_hidden(path.name)]
    for label, name in enumerate(classes):
        files = [
            path
            for path in sorted(files_below(folder / split / name))
            if path.is_file() and not is_hidden(path.name)
        ]
        found = [path for path in files if path.suffix.lower() in DATASET_IMAGE_SUFFIXES]
        if not found:
            raise DataError(
                f"the class folder {folder / split / name} has no image; put some there, or take "
                f"the class out of all splits"
            )
        left_out += [str(path.relative_to(folder)) for path in sorted({*files} - {*found})]
        paths += found
        labels += [label] * len(found)
    return ClassImages(classes, paths, labels, tuple(left_out))


def _class_names(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataNotFoundError(f"there is no folder {folder}; {_LAYOUT}")
    names = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)
    )
    if len(names) < 2:
        raise DataError(f"{folder} has {len(names)} class folders; expected two or more: {_LAYOUT}")
    return tuple(names)


def _check_same_classes(folder: Path, split: str, classes: Sequence[str]) -> None:
    found = _class_names(folder / split)
    for has, lacks, these, those in (
        (split, "train", found, classes),
        ("train", split, classes, found),
    ):
        if only := sorted({*these} - {*those}):
            names = f"{', '.join(only[:5])}, …: {len(only)}" if len(only) > 5 else ", ".join(only)
            raise DataError(
                f"{folder}: {has} has classes that {lacks} lacks ({names}); both must have the same"
            )


def transform_for(recipe: Recipe, *, is_training: bool) -> Callable[[Image.Image], Tensor]:
    """Return what makes an image the input of a network: (3, H, W), normalised.

    Where the recipe augments as for ImageNet, that is timm's transform; otherwise images are
    resized to the input, and for training padded by an eighth, cropped at random and flipped.
    """
    normalised = {"mean": recipe.mean, "std": recipe.std}
    if recipe.rand_augment or recipe.crop_share < 1:
        create = timm_module("timm.data").create_transform
        made: Callable[[Image.Image], Tensor] = create(
            recipe.imgsz,
            is_training=is_training,
            auto_augment=recipe.rand_augment or None,
            re_prob=recipe.erasing,
            re_mode="pixel",
            interpolation="random" if is_training else "bicubic",
            crop_pct=recipe.crop_share,
            **normalised,
        )
        return made
    return _Plain(recipe.imgsz, recipe.mean, recipe.std, is_training=is_training)


class _Plain:
    """What torchvision's Resize, RandomCrop with padding, RandomHorizontalFlip, ToTensor and
    Normalize make of an image, to the last bit and with the same random numbers, in half the time:
    small images take longer to load with them than to learn from.
    """

    def __init__(
        self, side: int, mean: Sequence[float], std: Sequence[float], *, is_training: bool
    ) -> None:
        self._side, self._is_training = side, is_training
        self._mean, self._std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __call__(self, image: Image.Image) -> Tensor:
        side = self._side
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        if self._is_training:
            pixels = self._changed(pixels)
        channels_first = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        tensor = torch.from_numpy(channels_first).float().div_(255)
        return tensor.sub_(self._mean).div_(self._std)

    def _changed(self, pixels: np.ndarray) -> np.ndarray:
        """Return the image (H, W, 3) cropped at random out of a black margin, and mirrored or
        not.
        """
        side, margin = self._side, self._side // 8
        wide = np.zeros((side + 2 * margin, side + 2 * margin, 3), np.uint8)
        wide[margin : margin + side, margin : margin + side] = pixels
        top, left = (int(torch.randint(0, 2 * margin + 1, (1,))) for _ in range(2))
        cropped = wide[top : top + side, left : left + side]
        return cropped[:, ::-1] if torch.rand(1) < 0.5 else cropped
