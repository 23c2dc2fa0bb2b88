"""Which sources of ``detect`` are read window by window: TIFFs with a georeference, and TIFFs too
large to be an image.
"""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

from yolo_ema.detect.inputs import selection_of
from yolo_ema.errors import ConfigError
from yolo_ema.geo.orthomosaic.object_files import SUFFIXES
from yolo_ema.io.tiff_file import TiffPage, is_tiff, main_page, tiff_pages
from yolo_ema.options.detect import DetectOptions

_MODEL_TAGS = frozenset({33550, 33922, 34264, 34735})
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory."""
_WORLD_FILES = (".tfw", ".tifw", ".wld")
_DEFAULT = ("annotated", "jsonl")


def orthomosaics_in(options: DetectOptions) -> tuple[tuple[Path, ...], list[str]]:
    """Return the sources that are read window by window, and what is to be said of others.

    Raises:
        ConfigError: they are mixed with other sources, or something is asked for that only images
            and videos have.
    """
    files, remarks = [], []
    for word in options.source:
        path = Path(word)
        page = _first_page(path)
        if page is None:
            continue
        has_place = bool(_MODEL_TAGS & page.entries.keys()) or any(
            path.with_suffix(suffix).is_file() or path.with_suffix(suffix.upper()).is_file()
            for suffix in _WORLD_FILES
        )
        if page.wh[0] * page.wh[1] > options.max_pixels:
            files.append(path)
        elif has_place and options.georeference:
            if all(importlib.util.find_spec(name) for name in ("rasterio", "pyproj")):
                files.append(path)
            else:
                remarks.append(
                    f"{path} has a georeference, and is read as a plain image: polygons in its "
                    f'projection need pip install "yolo-ema[geo]"'
                )
    if files:
        _check(options, files)
    return tuple(files), remarks


def kinds_to_save(options: DetectOptions) -> tuple[str, ...]:
    """Return the kinds of files that are written of orthomosaics."""
    if options.save == _DEFAULT:
        return tuple(SUFFIXES)
    return tuple(kind for kind in options.save if kind in SUFFIXES)


def _first_page(path: Path) -> TiffPage | None:
    """Return what a TIFF says of its image; None for anything else."""
    with contextlib.suppress(OSError, ValueError):
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if is_tiff(file.read(4)):
                file.seek(0)
                return main_page(tiff_pages(file))
    return None


def _check(options: DetectOptions, files: list[Path]) -> None:
    if others := [word for word in options.source if Path(word) not in files]:
        raise ConfigError(
            f"{files[0]} is an orthomosaic, and {others[0]} is not; detect on each in a run of its "
            f"own, or give --no-georeference"
        )
    asked = {
        "--track, lines and zones": options.tracks,
        "--vid-stride, --start and --end": not selection_of(options).is_all,
        "--show": options.show,
        "--serve": options.serve is not None,
    }
    if wrong := [name for name, is_asked in asked.items() if is_asked]:
        raise ConfigError(
            f"{', '.join(wrong)}: not for {files[0]}, which is an orthomosaic; give "
            f"--no-georeference to take it for an image"
        )
    unknown = [kind for kind in options.save if kind not in {*SUFFIXES, "none"}]
    if options.save != _DEFAULT and unknown:
        raise ConfigError(
            f"--save {unknown[0]} is not for {files[0]}, which is an orthomosaic; expected "
            f"{', '.join(SUFFIXES)} or none; or give --no-georeference to take it for an image"
        )
