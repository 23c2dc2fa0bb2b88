"""Sun, haze, time of day and the camera's flaws: what changes a scene's look but not its boxes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_ema.scenes.camera import Camera

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """The light of a scene.

    Attributes:
        sun: unit vector towards the sun, world coordinates.
        sunlight: brightness that the sun adds to a face turned towards it.
        ambient: brightness of a face turned away from it.
        shadow: how dark cast shadows are, 0 to 1; 0 draws none.
        tint: factors on blue, green and red.
        haze: share of the haze's colour per 100 m of air.
        blur_px: standard deviation of the lens's blur in the image, pixels.
        noise: standard deviation of the sensor's noise, grey levels.
        grain: strength of the ground's texture; 1 is natural, 0 leaves it flat.
    """

    sun: tuple[float, float, float]
    sunlight: float
    ambient: float
    shadow: float
    tint: tuple[float, float, float]
    haze: float
    blur_px: float
    noise: float
    grain: float = 1.0


def draw_look(rng: np.random.Generator) -> Look:
    """Return the light of a time of day: noon, cloud, a warm evening or dusk."""
    azimuth = float(rng.uniform(0, 2 * math.pi))
    noise, haze = float(rng.uniform(1.0, 4.0)), float(rng.uniform(0.0, 0.12))
    kind = int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))
    low, high = ((40, 70), (40, 70), (22, 35), (25, 40))[kind]
    height = math.radians(float(rng.uniform(low, high)))
    sun = (
        math.cos(height) * math.cos(azimuth),
        math.cos(height) * math.sin(azimuth),
        math.sin(height),
    )
    if kind == 0:
        return Look(
            sun, 0.5, 0.58, float(rng.uniform(0.35, 0.5)), (0.98, 1.0, 1.02), haze, 0.35, noise
        )
    if kind == 1:
        return Look(
            sun,
            0.14,
            0.82,
            float(rng.uniform(0.08, 0.16)),
            (1.03, 1.0, 0.97),
            0.06 + haze,
            0.35,
            noise,
        )
    if kind == 2:
        return Look(
            sun, 0.55, 0.46, float(rng.uniform(0.3, 0.45)), (0.82, 0.97, 1.1), haze, 0.35, noise
        )
    return Look(
        sun, 0.2, 0.42, float(rng.uniform(0.1, 0.2)), (1.16, 1.0, 0.9), 0.04 + haze, 0.4, noise + 2
    )


@functools.cache
def texture() -> NDArray[np.float32]:
    """Return a tile (512, 512) of seamless cloudy noise: mean 0, standard deviation 1."""
    rng = np.random.default_rng(20_190_101)
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((512, 512))) * frequency**-0.8
    tile = np.fft.ifft2(spectrum).real
    return ((tile - tile.mean()) / tile.std()).astype(np.float32)


def develop(
    image: NDArray[np.float32], camera: Camera, look: Look, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Turn linear colours (H, W, 3) into a photograph: tint, haze by distance, blur, noise."""
    image = image * np.asarray(look.tint, np.float32)
    if look.haze:
        clear = np.exp(-look.haze * _ground_distance(camera) / 100).astype(np.float32)[
            :, None, None
        ]
        veil = np.float32(214 * (look.ambient + 0.6 * look.sunlight))
        image = image * clear + veil * (1 - clear)
    if look.blur_px:
        image = cv2.GaussianBlur(image, (0, 0), look.blur_px)
    if look.noise:
        grain = rng.standard_normal(image.shape[:2], np.float32)[..., None]
        image = image + np.float32(look.noise) * grain
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _ground_distance(camera: Camera) -> Array:
    """Return (H,): metres of air between the lens and the ground in the middle of each row."""
    width, height = camera.image_wh
    down = (np.arange(height) + 0.5 - height / 2) / (camera.focal * width)
    rotation = camera.rotation
    descent = -(rotation[2, 2] + down * rotation[1, 2])
    length = np.sqrt(1 + down**2)
    return np.minimum(camera.position[2] / np.maximum(descent, 1e-3) * length, 2000.0)
