"""An orthomosaic or another large raster, read window by window as 8-bit colours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_ema.errors import ConfigError, MissingPackageError, SourceError
from yolo_ema.geo.orthomosaic.georeference import Georeference, georeference_of
from yolo_ema.io.text_files import shown_path

HIDDEN_GREY = 114
"""What is shown where there is no data: the grey around images in the network's input."""

_CACHE_MB = 64
_MOST_CACHE_MB = 512
_OVERVIEW_PX = 1024
_SAMPLED_FROM_PIXELS = 100_000_000
_SAMPLES_PER_SIDE = 16
_SAMPLE_PX = 128
_PERCENTILES = (2, 98)


class DamagedWindowError(Exception):
    """A part of the file cannot be read; the message says why."""


class Window(NamedTuple):
    """A part of a raster.

    Attributes:
        image_bgr: (H, W, 3) uint8, `HIDDEN_GREY` where there is no data.
        has_data: (H, W) bool.
    """

    image_bgr: NDArray[np.uint8]
    has_data: NDArray[np.bool_]


class OrthomosaicReader:
    """Reads windows of a TIFF. GDAL's cache is kept small, so that memory does not grow with the
    file.

    Attributes:
        path: the file.
        image_wh: width and height in pixels.
        bands: the numbers, from 1, of what is taken for red, green and blue.
        stretch: the values that become black and white; None where 8-bit values stay as they are.
        place: where its pixels lie.
        remarks: what was decided about it, in sentences.
    """

    def __init__(
        self, path: Path, bands: Sequence[int] = (), stretch: Sequence[float] = (), rows: int = 640
    ) -> None:
        """Open a file.

        Args:
            path: a GeoTIFF or another TIFF.
            bands: three bands, or one for grey; empty for a choice by the file's colours.
            stretch: the values that become black and white; empty for a choice by type and values.
            rows: how many rows of pixels windows have, for the size of the cache.

        Raises:
            SourceError: it cannot be read, or has a kind of values that cannot be shown.
            ConfigError: it does not have those bands.
            MissingPackageError: rasterio or pyproj is not installed.
        """
        rasterio = _packages(path)
        self.path = path
        self._errors = rasterio.errors.RasterioError
        self._files = rasterio.Env()
        self._files.__enter__()
        try:
            try:
                with warnings.catch_warnings():  # without a georeference it is said in `remarks`
                    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                    self._raster = rasterio.open(path, driver="GTiff")
            except UnicodeEncodeError as error:  # GDAL takes UTF-8 alone
                raise SourceError(
                    f"{shown_path(path)} cannot be read: its name is not UTF-8; rename it"
                ) from error
            except self._errors as error:
                raise SourceError(f"{path} cannot be read: {_one_line(error)}") from error
            self._cache(rasterio, rows)
            self.image_wh = (self._raster.width, self._raster.height)
            self.remarks: list[str] = []
            self.bands = self._chosen_bands(tuple(bands))
            self.place: Georeference = georeference_of(self._raster)
            self.remarks += self.place.remarks
            self.stretch = self._chosen_stretch(tuple(stretch))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> OrthomosaicReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if raster := getattr(self, "_raster", None):
            raster.close()
        self._files.__exit__(None, None, None)

    def read(self, xyxy: tuple[int, int, int, int]) -> Window:
        """Return a part of the raster, x1, y1, x2, y2 in pixels.

        Raises:
            DamagedWindowError: it cannot be read.
        """
        values, has_data = self._values(xyxy)
        return Window(self._shown(values, has_data), has_data)

    def _values(
        self, xyxy: tuple[int, int, int, int], out_hw: tuple[int, int] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the chosen bands (B, H, W), and where there is data."""
        from rasterio.windows import Window as Part

        x1, y1, x2, y2 = xyxy
        part = Part(x1, y1, x2 - x1, y2 - y1)
        hw = out_hw or (y2 - y1, x2 - x1)
        bands = list(dict.fromkeys(self.bands))
        try:
            has_data = self._raster.dataset_mask(window=part, out_shape=hw) > 0
            if not has_data.any():
                return np.zeros((len(bands), *hw), self._raster.dtypes[0]), has_data
            values = self._raster.read(bands, window=part, out_shape=(len(bands), *hw))
        except self._errors as error:
            raise DamagedWindowError(_one_line(error)) from error
        if values.dtype.kind == "f":
            has_data = has_data & np.isfinite(values).all(axis=0)
        return values, has_data

    def _shown(self, values: NDArray[Any], has_data: NDArray[np.bool_]) -> NDArray[np.uint8]:
        if self.stretch is not None:
            low, high = self.stretch
            known = np.where(has_data, values, 0).astype(np.float32)
            shares = np.clip((known - np.float32(low)) / np.float32(high - low), 0, 1)
            values = np.rint(shares * 255)
        bgr = np.empty((*has_data.shape, 3), np.uint8)
        places = list(dict.fromkeys(self.bands))
        for channel, band in enumerate(reversed(self.bands)):
            bgr[..., channel] = np.where(has_data, values[places.index(band)], HIDDEN_GREY)
        return bgr

    def _chosen_bands(self, requested: tuple[int, ...]) -> tuple[int, int, int]:
        """Return the bands of red, green and blue."""
        from rasterio.enums import ColorInterp

        count, colours = self._raster.count, list(self._raster.colorinterp)
        if wrong := [band for band in requested if band > count]:
            raise ConfigError(
                f"--bands names band {wrong[0]}; {self.path} has {count}, counted from 1"
            )
        if ColorInterp.palette in colours:
            raise SourceError(
                f"{self.path} has a palette instead of colours; convert it with gdal_translate "
                f"-expand rgb"
            )
        rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        if requested:
            chosen = list(requested)
        elif all(colour in colours for colour in rgb):
            chosen = [colours.index(colour) + 1 for colour in rgb]
        else:
            shown = [n for n, colour in enumerate(colours, 1) if colour != ColorInterp.alpha]
            chosen = shown[:3] if len(shown) >= 3 else shown[:1]
        if not chosen:
            raise SourceError(f"{self.path} has no band but transparency")
        if len(chosen) == 1:
            self.remarks.append(f"band {chosen[0]} alone is shown, as grey")
            chosen *= 3
        elif count > 3 or chosen != [1, 2, 3]:
            self.remarks.append(f"bands {','.join(map(str, chosen))} of {count} are shown as R,G,B")
        kind = np.dtype(self._raster.dtypes[chosen[0] - 1]).kind
        if kind not in "uif":
            raise SourceError(f"{self.path} has complex values, which cannot be shown")
        return chosen[0], chosen[1], chosen[2]

    def _chosen_stretch(self, requested: tuple[float, ...]) -> tuple[float, float] | None:
        kinds = {np.dtype(self._raster.dtypes[band - 1]) for band in self.bands}
        if requested:
            low, high = requested
            basis = "as asked for"
        elif kinds == {np.dtype(np.uint8)}:
            return None
        else:
            values = self._sampled()
            low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
            high = high if high > low else low + 1.0
            basis = "the 2nd and 98th percentile of the whole file, for all bands alike"
        self.remarks.append(f"values from {low:g} to {high:g} are shown as 0 to 255: {basis}")
        return low, high

    def _sampled(self) -> NDArray[np.float64]:
        """Return values from all over the file: of an overview, or of parts where there is none
        and the file is large.
        """
        width, height = self.image_wh
        large = width * height > _SAMPLED_FROM_PIXELS and not self._raster.overviews(self.bands[0])
        samples = []
        if large:
            for y in np.linspace(0, height - _SAMPLE_PX, _SAMPLES_PER_SIDE).astype(int).tolist():
                for x in np.linspace(0, width - _SAMPLE_PX, _SAMPLES_PER_SIDE).astype(int).tolist():
                    samples += self._known((x, y, x + _SAMPLE_PX, y + _SAMPLE_PX), None)
        if not samples:
            shrinking = max(1.0, width / _OVERVIEW_PX, height / _OVERVIEW_PX)
            small = (max(1, round(height / shrinking)), max(1, round(width / shrinking)))
            samples = self._known((0, 0, width, height), small)
        if not samples:
            raise SourceError(
                f"{self.path} has no data to choose a stretch from, in an overview of it; where "
                f"there is some all the same, give --stretch LOW,HIGH"
            )
        return np.concatenate(samples)

    def _known(
        self, xyxy: tuple[int, int, int, int], out_hw: tuple[int, int] | None
    ) -> list[NDArray[np.float64]]:
        try:
            values, has_data = self._values(xyxy, out_hw)
        except DamagedWindowError:
            return []
        known = values[:, has_data].astype(np.float64).ravel()
        return [known] if len(known) else []

    def _cache(self, rasterio: Any, rows: int) -> None:
        """Let GDAL keep a row of windows where blocks are as wide as the file: each would be
        decoded once for every window otherwise.
        """
        raster, needed = self._raster, _CACHE_MB
        if raster.block_shapes[0][1] >= raster.width:
            size = sum(np.dtype(kind).itemsize for kind in raster.dtypes)
            needed += raster.width * rows * size // 2**20
        rasterio.env.setenv(GDAL_CACHEMAX=min(needed, _MOST_CACHE_MB) * 2**20)


def _packages(path: Path) -> Any:
    try:
        import pyproj  # noqa: F401 - of the same extra, and needed for what follows
        import rasterio
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{path} is read window by window, which needs {error.name}, and that is not installed "
            'here; install it with: pip install "yolo-ema[geo]"'
        ) from error
    return rasterio


def _one_line(error: Exception) -> str:
    cause = error.__cause__ or error
    return " ".join(str(cause).split())[:200]
