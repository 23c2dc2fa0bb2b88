"""The cameras of many boxes at once: few cameras, each with many boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.camera import CameraIntrinsics

Array = NDArray[np.float64]


class Lenses:
    """Which camera took each of n boxes."""

    def __init__(self, cameras: Sequence[CameraIntrinsics]) -> None:
        """Take the camera of each box; boxes that share one are computed together."""
        self._cameras = list(dict.fromkeys(cameras))
        number = {camera: index for index, camera in enumerate(self._cameras)}
        self._of = np.array([number[camera] for camera in cameras], int)

    def __len__(self) -> int:
        return len(self._of)

    def image_wh(self) -> Array:
        """Return (n, 2): width and height of the frames, pixels."""
        sizes = [(camera.width_px, camera.height_px) for camera in self._cameras]
        return np.array(sizes, float).reshape(-1, 2)[self._of]

    def to_rays(self, pixels_xy: Array) -> Array:
        """Return the rays (n, 2) of pixels (n, 2), see `CameraIntrinsics.to_rays`."""
        return self._each(lambda camera, rows: camera.to_rays(pixels_xy[rows]), (2,))

    def to_pixels(self, rays_xy: Array) -> Array:
        """Return the pixels (n, 2) of rays (n, 2), see `CameraIntrinsics.to_pixels`."""
        return self._each(lambda camera, rows: camera.to_pixels(rays_xy[rows]), (2,))

    def ray_changes(self, rays_xy: Array) -> Array:
        """Return (n, 2, 3): how rays change with the pixel's x and y, per pixel, and with the field
        of view, per radian.
        """

        def changes(camera: CameraIntrinsics, rows: NDArray[np.intp]) -> Array:
            rays = rays_xy[rows]
            by_pixel = camera.ray_derivative(rays)
            offsets = camera.to_pixels(rays) - (camera.cx_px, camera.cy_px)
            half_width = camera.width_px / 2 / camera.focal_px
            widening = (1 + half_width**2) / (2 * half_width)  # 1 / sin of the field of view
            by_view = (by_pixel @ offsets[..., None]) * widening
            return np.concatenate([by_pixel, by_view], axis=2)

        return self._each(changes, (2, 3))

    def _each(
        self,
        function: Callable[[CameraIntrinsics, NDArray[np.intp]], Array],
        shape: tuple[int, ...],
    ) -> Array:
        result = np.empty((len(self), *shape))
        order = np.argsort(self._of, kind="stable")
        ends = np.searchsorted(self._of[order], np.arange(len(self._cameras) + 1))
        for index, camera in enumerate(self._cameras):
            rows = order[ends[index] : ends[index + 1]]
            result[rows] = function(camera, rows)
        return result
