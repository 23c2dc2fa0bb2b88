"""From weights to one file in a format for deployment, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ultralytics.cfg import DEFAULT_CFG_DICT, smart_value

from yolo_ema.engine.export import artifact_metadata
from yolo_ema.engine.export.artifact_files import artifact_stem
from yolo_ema.engine.export.calibration_images import calibration_dataset, calibration_files
from yolo_ema.engine.export.export_limits import check_request
from yolo_ema.engine.export.ultralytics_export import run_exporter
from yolo_ema.engine.setup.devices import select_device
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.errors import ConfigError, did_you_mean
from yolo_ema.io.atomic_files import disk_full_is_clear
from yolo_ema.io.text_files import say
from yolo_ema.options.export import ExportOptions

_OWN_INT8 = ("onnx", "openvino")
"""Formats that this project quantizes itself: Ultralytics would quantize the sensitive layers, too.
"""

_NO_ROOM_BYTES = 1 << 20
_BITS = {"fp16": 16, "int8": 8}
_INT8_WORDS = ("w8a16", "w8a32")
"""Ultralytics' further precisions, as ``quantize=…`` of the formats that know them."""


@dataclass(frozen=True)
class Artifact:
    """One exported file or folder.

    Attributes:
        format: as Ultralytics names it.
        path: where it lies.
        imgsz_hw: the input's height and width in pixels; of a dynamic file as it was made.
        dynamic: it takes any batch, height and width.
        batch: images per forward pass; of a dynamic file with NMS inside the maximum.
        quantize: fp16, int8, or None for float32.
        seconds: how long making it took.
    """

    format: str
    path: Path
    imgsz_hw: tuple[int, int]
    dynamic: bool
    batch: int
    quantize: str | None
    seconds: float


def export_artifact(
    name: str, options: ExportOptions, loaded: LoadedModel, folder: Path
) -> Artifact:
    """Write weights in one format into a folder; nothing is proven, and nothing gets its final
    name.

    ``folder`` is empty, and for this format alone; ``loaded`` stays as it is.

    Raises:
        ConfigError: an unknown setting, or one that the format or the weights do not take.
        MissingPackageError: a package that the format needs is not installed.
        MachineError: the format cannot be written on this machine.
        DataNotFoundError: there are no images to calibrate on.
        DiskFullError: there is no room.
    """
    settings = _settings(name, options, loaded)
    check_request(name, options, loaded.model)
    size_hw = settings["imgsz"]
    # Said once, however many formats there are.
    if (
        name == options.format[0]
        and options.imgsz
        and size_hw != [options.imgsz[0], options.imgsz[-1]]
    ):
        given, raised = ",".join(map(str, options.imgsz)), ",".join(map(str, size_hw))
        say(f"--imgsz {given} is rounded up to {raised}, multiples of the stride {loaded.stride}")
    started = time.perf_counter()
    with _full_disk_is_clear(folder):
        artifact = _made(name, options, loaded, settings, folder)
    seconds = time.perf_counter() - started
    return Artifact(
        name,
        artifact,
        (size_hw[0], size_hw[1]),
        options.dynamic,
        options.batch,
        options.quantize,
        seconds,
    )


@contextlib.contextmanager
def _full_disk_is_clear(folder: Path) -> Iterator[None]:
    """Raise `DiskFullError` for a full disk, also where a converter's error does not say so."""
    with disk_full_is_clear(folder):
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, OSError) or shutil.disk_usage(folder).free > _NO_ROOM_BYTES:
                raise
            raise OSError(errno.ENOSPC, str(error)) from error


def _settings(name: str, options: ExportOptions, loaded: LoadedModel) -> dict[str, Any]:
    """Return Ultralytics' settings for the export. Raises `ConfigError` for an unknown key."""
    imgsz, stride = options.imgsz or (loaded.imgsz,), loaded.stride
    settings: dict[str, Any] = {
        "format": name,
        "mode": "export",
        "imgsz": [math.ceil(side / stride) * stride for side in (imgsz[0], imgsz[-1])],
        "dynamic": options.dynamic,
        "batch": options.batch,
        "nms": options.nms,
        "conf": options.conf,
        "iou": options.iou,
        "max_det": options.max_det,
        "quantize": None if options.quantize is None else _BITS[options.quantize],
        "device": options.device,
        "data": None,
    }
    reserved = {*settings, "model", "task", "half", "int8"}
    for key, text in options.settings.items():
        if key in reserved and not (
            key == "quantize" and text in _INT8_WORDS and options.quantize is None
        ):
            flag = {"half": "quantize", "int8": "quantize", "model": "weights"}.get(
                key, key
            ).replace("_", "-")
            raise ConfigError(f"{key}={text} has a flag of its own: --{flag}")
        if key not in DEFAULT_CFG_DICT:
            raise ConfigError(
                f"{key!r} is not a setting of Ultralytics{did_you_mean(key, DEFAULT_CFG_DICT)}"
            )
        settings[key] = smart_value(text)
    if name == "qnn" and settings["quantize"] == _BITS["int8"]:
        settings["quantize"] = "w8a16"  # the one precision that it knows
    device = select_device(options.device)
    settings["device"] = device.index if device.type == "cuda" else "cpu"
    return settings


def _made(
    name: str, options: ExportOptions, loaded: LoadedModel, settings: dict[str, Any], folder: Path
) -> Path:
    int8 = options.quantize == "int8"
    entries = artifact_metadata.own_entries(
        loaded,
        imgsz_hw=settings["imgsz"],
        precision=options.quantize or "fp32",
        max_det=options.max_det,
        weights_sha256=loaded.sha256,
    )
    if options.nms:
        entries |= {"conf": options.conf, "iou": options.iou}
    run = partial(run_exporter, loaded.model, name, stem=artifact_stem(options), entries=entries)
    if not int8:
        path = run(settings, folder)
    elif name in _OWN_INT8:
        path = _quantized(run, options, settings, folder)
    else:
        with tempfile.TemporaryDirectory(prefix="calibration-", dir=folder) as temp:
            data = calibration_dataset(calibration_files(options), loaded.names, Path(temp))
            path = run(settings | {"data": str(data)}, folder)
    if name == "openvino":  # in the model, too, not only in the file beside it
        artifact_metadata.write(path, name, entries)
    return path


def _quantized(
    run: Callable[..., Path], options: ExportOptions, settings: dict[str, Any], folder: Path
) -> Path:
    """Return an int8 file: the float one, quantized on the images that the user names."""
    from yolo_ema.engine.export.quantization import calibration_inputs, quantize_int8

    files = calibration_files(options)
    with tempfile.TemporaryDirectory(prefix="float-", dir=folder) as temp:
        exact = run(settings | {"quantize": None}, Path(temp))
        inputs = calibration_inputs(files, tuple(settings["imgsz"]), options.calibration_images)
        path = quantize_int8(exact, settings["format"], inputs, out=folder / exact.name)
        artifact_metadata.write(path, settings["format"], artifact_metadata.read_entries(exact))
    return path
