"""Augmentations for drone footage, switchable by name; the photometric ones are Albumentations'
transforms.

- ``motion_blur``: the gimbal's and the aircraft's movement during the exposure.
- ``haze``: air between camera and ground, after Koschmieder: ``seen = t · image + (1 - t) ·
  airlight``, thicker towards the top of the image, where an oblique view reaches further.
- ``low_light``: a gamma curve that darkens, as at dusk.
- ``noise``: the sensor's, at high gain.
- ``compression``: JPEG's, as in footage that a link has squeezed.
- ``quarter_turns``: a turn by 0, 90, 180 or 270 degrees, boxes and ignored regions too. From
  straight above, up has no meaning.

Ultralytics wraps Albumentations so that every failure in building it goes unnoticed. These run in a
step of their own that swallows nothing, and `add_drone_augmentations` tries each on a test
image before training starts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from ultralytics.data.augment import Albumentations, BaseTransform, Compose
from ultralytics.utils.instance import Instances

from yolo_ema.errors import CheckFailedError

PROBABILITY = 0.1
"""How often a photometric augmentation acts on an image; quarter turns: three of four."""


def add_drone_augmentations(transforms: Compose, names: Sequence[str]) -> None:
    """Insert the named augmentations into a training pipeline, after mixing and before the colour
    changes.

    Raises:
        CheckFailedError: one does not act, or an Albumentations step was silently left out.
    """
    steps = transforms.transforms
    position = next(
        (index for index, step in enumerate(steps) if isinstance(step, Albumentations)), None
    )
    if position is None:
        raise CheckFailedError(
            "Ultralytics' training pipeline has no Albumentations step; its version is outside the "
            "supported range"
        )
    if steps[position].transform is None:
        raise CheckFailedError(
            "the Albumentations step of Ultralytics could not be built, and would have been "
            "dropped silently: is another package installed under that name, or a transform given "
            "that it does not take? pip install "
            "'albumentations>=2.0.8,<2.1'"
        )
    added: list[BaseTransform] = []
    if photometric := [name for name in names if name != "quarter_turns"]:
        added.append(DroneAugmentation(photometric))
    if "quarter_turns" in names:
        added.append(QuarterTurns())
    for step in added:
        check_active(step)
    steps[position + 1 : position + 1] = added


def check_active(step: BaseTransform) -> None:
    """Try each augmentation of a step on a test image. Raises `CheckFailedError` where one changes
    nothing, or fails.
    """
    image = _test_image()
    for name, act in step.parts().items():
        try:
            changed = not np.array_equal(act(image.copy()), image)
        except Exception as error:
            raise CheckFailedError(
                f"the augmentation {name} failed on a test image: {type(error).__name__}: {error}"
            ) from error
        if not changed:
            raise CheckFailedError(
                f"the augmentation {name} changes nothing; training would only seem to use it"
            )


def _test_image() -> np.ndarray:
    """Return an image with edges and a gradient, on which every augmentation shows."""
    down, across = np.mgrid[0:64, 0:64]
    checks = 120 * ((down // 8 + across // 8) % 2)
    return np.stack((checks + 40, 2 * down + 40, 3 * across + 20), axis=-1).astype(np.uint8)


class Haze(A.ImageOnlyTransform):
    """Blend an image towards a bright airlight, thicker towards its top."""

    def get_params(self) -> dict[str, Any]:
        """Draw the share of airlight at the bottom (at the top it is half again as much), and the
        airlight's brightness.
        """
        return {
            "haze": self.py_random.uniform(0.1, 0.4),
            "airlight": self.py_random.uniform(190, 240),
        }

    def apply(
        self, img: np.ndarray, haze: float = 0.0, airlight: float = 220.0, **_: Any
    ) -> np.ndarray:
        """Return the image (H, W, C) uint8 with haze."""
        clear = 1.0 - haze * np.linspace(1.5, 1.0, img.shape[0], dtype=np.float32)
        weights = np.broadcast_to(clear[:, None, None], img.shape)
        return cv2.convertScaleAbs(img * weights + np.float32(airlight) * (1 - weights)).reshape(
            img.shape
        )


def _photometric(name: str, p: float) -> A.BasicTransform:
    makers: dict[str, Callable[[], A.BasicTransform]] = {
        "motion_blur": lambda: A.MotionBlur(blur_limit=(3, 9), p=p),
        "haze": lambda: Haze(p=p),
        "low_light": lambda: A.RandomGamma(gamma_limit=(150, 300), p=p),
        "noise": lambda: A.GaussNoise(std_range=(0.02, 0.08), per_channel=True, p=p),
        "compression": lambda: A.ImageCompression(quality_range=(30, 80), p=p),
    }
    return makers[name]()


class DroneAugmentation(BaseTransform):
    """The named photometric augmentations, of `AUGMENTATIONS` without ``quarter_turns``, each with
    `PROBABILITY`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.transform = A.Compose([_photometric(name, PROBABILITY) for name in self.names])
        self.seed: int | None = None

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Change the image of ``labels``; boxes stay."""
        # Albumentations draws from its own generator: it follows torch's seed, so that workers
        # differ and a seed repeats.
        if self.seed != torch.initial_seed():
            self.seed = torch.initial_seed()
            self.transform.set_random_seed(self.seed % (1 << 32))
        labels["img"] = self.transform(image=labels["img"])["image"]
        return labels

    def parts(self) -> dict[str, Any]:
        """Return each augmentation as a function that certainly acts, by name."""

        def always(name: str) -> Any:
            transform = A.Compose([_photometric(name, 1.0)], seed=0)
            return lambda image: transform(image=image)["image"]

        return {name: always(name) for name in self.names}


class QuarterTurns(BaseTransform):
    """A turn by 0, 90, 180 or 270 degrees, equally probable; by 0 or 180 where the image is oblong,
    since its shape must stay.
    """

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Turn image, boxes, polygons and ignored regions of ``labels``."""
        height, width = labels["img"].shape[:2]
        turns = random.getrandbits(2) if height == width else 2 * random.getrandbits(1)
        return turned(labels, turns)

    def parts(self) -> dict[str, Any]:
        """Return the turn as a function that certainly acts."""
        return {"quarter_turns": lambda image: turned({"img": image}, 1)["img"]}


def turned(labels: dict[str, Any], turns: int) -> dict[str, Any]:
    """Turn ``labels`` by ``turns`` quarter turns, counter-clockwise as seen."""
    if not turns:
        return labels
    height, width = labels["img"].shape[:2]
    labels["img"] = np.ascontiguousarray(np.rot90(labels["img"], turns))
    labels["resized_shape"] = labels["img"].shape[:2]
    if (instances := labels.get("instances")) is None:
        return labels
    instances.convert_bbox("xyxy")
    instances.denormalize(width, height)
    boxes, polygons = instances.bboxes, instances.segments
    for _ in range(turns):
        # A point x, y goes to y, width - x; then the sides have changed places.
        boxes = np.stack(
            (boxes[:, 1], width - boxes[:, 2], boxes[:, 3], width - boxes[:, 0]), axis=1
        )
        polygons = np.stack((polygons[..., 1], width - polygons[..., 0]), axis=-1)
        width, height = height, width
    labels["instances"] = Instances(boxes, polygons, bbox_format="xyxy", normalized=False)
    return labels
