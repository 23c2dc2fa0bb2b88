"""The images that int8 is calibrated on: the user's, and no others."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from ultralytics.data.utils import IMG_FORMATS

from yolo_ema.constants import is_hidden
from yolo_ema.engine.data.dataset_lookup import resolve_data
from yolo_ema.engine.data.split_files import files_below, split_images
from yolo_ema.errors import DataNotFoundError
from yolo_ema.io.atomic_files import write_text
from yolo_ema.options.export import ExportOptions


def calibration_files(options: ExportOptions) -> list[Path]:
    """Return the images of ``--calibrate``, or of ``--data``'s train split; larger sets are sampled
    evenly.

    Raises:
        DataNotFoundError: there are none.
        DataError: ``--data`` is not a dataset.
    """
    if options.calibrate:
        files = [
            file
            for path in options.calibrate
            for file in (sorted(files_below(path)) if path.is_dir() else [path])
        ]
        named = set(options.calibrate)
        files = [
            file
            for file in files
            if file in named
            or (file.suffix[1:].lower() in IMG_FORMATS and not is_hidden(file.name))
        ]
        missing = [str(file) for file in files if not file.is_file()]
        where = ", ".join(map(str, options.calibrate))
    else:
        data = resolve_data(str(options.data), offline=True)
        files, missing, where = split_images(data, "train"), [], f"the train split of {data}"
    if missing or not files:
        problem = f"{missing[0]} is not there" if missing else f"there are no images in {where}"
        raise DataNotFoundError(f"nothing to calibrate int8 on: {problem}")
    most = options.calibration_images
    if len(files) <= most:
        return list(files)
    return [files[round(index * (len(files) - 1) / max(most - 1, 1))] for index in range(most)]


def calibration_dataset(files: Sequence[Path], names: Mapping[int, str], folder: Path) -> Path:
    """Return a data YAML over copies of images: Ultralytics' calibration writes next to its images
    and repairs damaged ones in place.

    Raises:
        DiskFullError: there is no room.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    for number, file in enumerate(files):
        shutil.copyfile(file, images / f"{number:06d}{file.suffix.lower()}")
    data_yaml = folder / "calibration.yaml"
    content = {
        "path": str(folder.resolve()),
        "train": "images",
        "val": "images",
        "names": dict(names),
    }
    write_text(data_yaml, yaml.safe_dump(content, allow_unicode=True))
    return data_yaml
