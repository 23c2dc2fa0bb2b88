"""From weights to one file in a format for deployment, written whole or not at all."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from ultralytics.cfg import DEFAULT_CFG_DICT, smart_value

from yolo_ema.engine import artifact_metadata
from yolo_ema.engine.agreement import Agreement, compare_runtimes
from yolo_ema.engine.calibration_images import calibration_dataset, calibration_files
from yolo_ema.engine.export_limits import check_request
from yolo_ema.engine.loading import LoadedModel, load_model
from yolo_ema.engine.runtime import Runtime, select_device
from yolo_ema.engine.ultralytics_export import run_exporter
from yolo_ema.errors import CheckFailedError, ConfigError, DataNotFoundError, MachineError, WeightsError, YoloEmaError, did_you_mean
from yolo_ema.files import atomic_path, disk_full_is_clear, sha256_of
from yolo_ema.footage.images import read_image
from yolo_ema.options.export import ExportOptions

__all__ = ["Artifact", "ExportResult", "ExportedFile", "export", "export_artifact", "final_path", "input_hw", "publish"]

_OWN_INT8 = ("onnx", "openvino")
"""Formats that this project quantizes by itself: Ultralytics would quantize the sensitive layers, too."""

_BITS = {"fp16": 16, "int8": 8}
_INT8_WORDS = ("w8a16", "w8a32")
"""Ultralytics' further precisions, as ``quantize=…`` of the formats that know them."""


@dataclass(frozen=True)
class Artifact:
    """One exported file or folder.

    Attributes:
        format: as Ultralytics names it.
        path: where it lies.
        imgsz_hw: the input's height and width in pixels; of a dynamic file those that it was made with.
        dynamic: it takes any batch, height and width.
        batch: images a forward pass; of a dynamic file with NMS inside the most.
        quantize: fp16, int8, or None for float32.
        seconds: what making it took.
    """

    format: str
    path: Path
    imgsz_hw: tuple[int, int]
    dynamic: bool
    batch: int
    quantize: str | None
    seconds: float


def export_artifact(name: str, options: ExportOptions, loaded: LoadedModel, folder: Path) -> Artifact:
    """Write weights in one format into a folder; nothing is proven, and nothing gets its final name.

    Args:
        name: the format as Ultralytics names it.
        options: how to write it.
        loaded: the model of ``options.weights``; it stays as it is.
        folder: an empty folder for this format alone.

    Raises:
        ConfigError: an unknown setting, or one that the format or the weights do not take.
        MissingPackageError: a package that the format needs is not installed.
        MachineError: the format cannot be written on this machine.
        DataNotFoundError: there are no images to calibrate on.
        DiskFullError: there is no room.
    """
    settings = _settings(name, options, loaded)
    check_request(name, options, loaded.model)
    started = time.perf_counter()
    with disk_full_is_clear(folder):
        made = _made(name, options, loaded, settings, folder)
    seconds = time.perf_counter() - started
    return Artifact(name, made, tuple(settings["imgsz"]), options.dynamic, options.batch, options.quantize, seconds)


def input_hw(options: ExportOptions, loaded: LoadedModel) -> tuple[int, int]:
    """Return the input's height and width in pixels: what is asked for, raised to the weights' stride."""
    asked = options.imgsz or (loaded.imgsz,)
    height, width = (math.ceil(side / loaded.stride) * loaded.stride for side in (asked[0], asked[-1]))
    return height, width


def _settings(name: str, options: ExportOptions, loaded: LoadedModel) -> dict[str, Any]:
    """Return Ultralytics' settings for the export. Raises `ConfigError` for an unknown key."""
    own: dict[str, Any] = {
        "format": name,
        "mode": "export",
        "imgsz": list(input_hw(options, loaded)),
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
    taken = {*own, "model", "task", "half", "int8"}
    for key, text in options.settings.items():
        if key not in DEFAULT_CFG_DICT:
            raise ConfigError(f"{key!r} is no setting of Ultralytics{did_you_mean(key, DEFAULT_CFG_DICT)}")
        if key in taken and not (key == "quantize" and text in _INT8_WORDS and options.quantize is None):
            flag = {"half": "quantize", "int8": "quantize", "model": "weights"}.get(key, key).replace("_", "-")
            raise ConfigError(f"{key}={text} is set by a flag of its own: --{flag}")
        own[key] = smart_value(text)
    if name == "qnn" and own["quantize"] == _BITS["int8"]:
        own["quantize"] = "w8a16"  # the one precision that it knows
    device = select_device(options.device)
    own["device"] = device.index if device.type == "cuda" else "cpu"
    return own


def _made(name: str, options: ExportOptions, loaded: LoadedModel, settings: dict[str, Any], folder: Path) -> Path:
    """Return the file or folder that was made."""
    int8 = options.quantize == "int8"
    entries = artifact_metadata.own_entries(
        loaded, precision=options.quantize or "fp32", max_det=options.max_det, weights_sha256=sha256_of(options.weights)
    )
    run = partial(run_exporter, loaded.model, name, stem=_stem(options), entries=entries)
    if not int8:
        made = run(settings, folder)
    elif name in _OWN_INT8:
        made = _quantized(run, options, settings, folder)
    else:
        with tempfile.TemporaryDirectory(prefix="calibration-", dir=folder) as beside:
            data = calibration_dataset(calibration_files(options), loaded.names, Path(beside))
            made = run(settings | {"data": str(data)}, folder)
    if name == "openvino":  # its model can carry them as well as the file beside it
        artifact_metadata.write(made, name, entries)
    return made


def _quantized(run: Callable[..., Path], options: ExportOptions, settings: dict[str, Any], folder: Path) -> Path:
    """Return an int8 file: the float one, quantized on the images that the user names."""
    from yolo_ema.engine.quantization import calibration_inputs, quantize_int8

    files = calibration_files(options)
    with tempfile.TemporaryDirectory(prefix="float-", dir=folder) as beside:
        exact = run(settings | {"quantize": None}, Path(beside))
        inputs = calibration_inputs(files, tuple(settings["imgsz"]), options.calibration_images)
        made = quantize_int8(exact, settings["format"], inputs, out=folder / exact.name)
        artifact_metadata.write(made, settings["format"], artifact_metadata.read_entries(exact))
    return made


def _stem(options: ExportOptions) -> str:
    """Return the file's name without its ending: the weights', and the precision where it is not float32."""
    return options.weights.stem + (f"-{options.quantize}" if options.quantize else "")


def final_path(made: Path, options: ExportOptions) -> Path:
    """Return where a finished file or folder belongs. Raises `ConfigError` where ``--out`` names a file of another format."""
    ending = made.name.removeprefix(_stem(options))
    if options.out is None:
        return options.weights.parent / made.name
    if options.out.is_dir() and not options.out.name.endswith(ending):
        return options.out / made.name
    if options.out.name.endswith(ending):
        return options.out
    if options.out.suffix:
        raise ConfigError(f"--out is {options.out}; expected a folder, or a name ending in {ending}")
    return options.out / made.name


def publish(made: Path, final: Path) -> None:
    """Give a finished file or folder its name; what bore it before goes only then.

    Raises:
        DiskFullError: there is no room; what bore the name before is intact.
    """
    if made.is_file():
        with atomic_path(final) as beside:
            shutil.copyfile(made, beside)
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    with disk_full_is_clear(final), tempfile.TemporaryDirectory(prefix=f".{final.name}-", dir=final.parent) as waiting:
        shutil.copytree(made, Path(waiting) / "new")
        if final.exists():
            final.rename(Path(waiting) / "old")
        (Path(waiting) / "new").rename(final)


_CHECK_SCENES = 3
_MOST_CHECK_IMAGES = 20
_MISSING_SHARE = 0.01  # boxes without a counterpart: where two overlap by just the threshold, NMS may keep either
_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class ExportedFile:
    """One file (or folder) that was written.

    Attributes:
        format: as Ultralytics names it.
        path: where it lies.
        size: in bytes.
        seconds: what exporting it took, the check not counted.
        imgsz_hw: the input's height and width in pixels.
        agreement: what the check found; None where there was none.
        unchecked: why there was none; empty where there was one.
    """

    format: str
    path: Path
    size: int
    seconds: float
    imgsz_hw: tuple[int, int]
    agreement: Agreement | None
    unchecked: str

    def as_json(self) -> dict[str, Any]:
        """Return the file as plain values."""
        return {
            "format": self.format,
            "path": str(self.path),
            "bytes": self.size,
            "seconds": round(self.seconds, 3),
            "imgsz_hw": list(self.imgsz_hw),
            "check": self.agreement.as_json() if self.agreement else None,
            "unchecked": self.unchecked or None,
        }

    def as_text(self) -> str:
        """Return two lines."""
        height, width = self.imgsz_hw
        checked = f"not checked: {self.unchecked}"
        if self.agreement:
            checked = (
                f"checked on {self.agreement.images} images: {self.agreement.boxes} boxes within {self.agreement.box_px:.2g} px "
                f"and {self.agreement.score:.2g} in score, {self.agreement.missing} without a counterpart"
            )
            if not self.agreement.tells:
                checked += "; the weights answer these images as an empty one, so that a file that ignores its input agrees, too"
        return f"{self.path}: {self.format}, {height}x{width}, {self.size / 1e6:.1f} MB, {self.seconds:.1f} s\n  {checked}"


@dataclass(frozen=True)
class ExportResult:
    """What ``export`` wrote, in the order of the formats asked for."""

    files: tuple[ExportedFile, ...]

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {"files": [one.as_json() for one in self.files]}

    def as_text(self) -> str:
        """Return two lines a file."""
        return "\n".join(one.as_text() for one in self.files)


def export(options: ExportOptions) -> ExportResult:
    """Write weights in each of the formats, compare each file with the weights, and give it its name."""
    loaded = load_model(options.weights, trust=options.trust)
    images = list(_check_images(options.images)) if options.prove else []
    formats = tqdm(options.format, desc="export", unit="format", file=sys.stderr, disable=not sys.stderr.isatty())
    return ExportResult(tuple(_export_one(name, loaded, options, images) for name in formats))


def _export_one(name: str, loaded: LoadedModel, options: ExportOptions, images: Sequence[np.ndarray]) -> ExportedFile:
    with tempfile.TemporaryDirectory(prefix="yolo-ema-export-") as folder, disk_full_is_clear(Path(folder)):
        made = export_artifact(name, options, loaded, Path(folder))
        agreement = _check(made.path, made.imgsz_hw, options, images) if options.prove else None
        final = final_path(made.path, options)
        publish(made.path, final)
    size = sum(part.stat().st_size for part in (final.rglob("*") if final.is_dir() else [final]) if part.is_file())
    return ExportedFile(name, final, size, made.seconds, made.imgsz_hw, agreement, "" if agreement else "--no-prove")


def _check(made: Path, size_hw: tuple[int, int], options: ExportOptions, images: Sequence[np.ndarray]) -> Agreement:
    """Compare the file with the weights at the same input size, and return how close they are.

    Raises:
        CheckFailedError: they differ, or they cannot be compared.
    """
    try:
        found = _compared(made, size_hw, options, images)
    except (WeightsError, MachineError) as error:
        raise CheckFailedError(_uncheckable(made, str(error))) from error
    most_missing = _MISSING_SHARE * (found.boxes + found.missing)
    if found.score > options.tolerance_score or found.box_px > options.tolerance_px or found.missing > most_missing:
        raise CheckFailedError(
            f"{made.name} is not written: of {found.boxes + found.missing} boxes on {found.images} images {found.missing} have no "
            f"counterpart in the weights' (at most {most_missing:.0f} may), the others differ by up to {found.box_px:.3g} px "
            f"(at most {options.tolerance_px:g}) and {found.score:.3g} in score (at most {options.tolerance_score:g})"
        )
    if not found.boxes:
        raise CheckFailedError(
            _uncheckable(
                made, f"neither it nor the weights find anything on {found.images} images at --conf {options.conf:g}; lower that"
            )
        )
    return found


def _compared(made: Path, size_hw: tuple[int, int], options: ExportOptions, images: Sequence[np.ndarray]) -> Agreement:
    limits: dict[str, Any] = {"conf": options.conf, "iou": options.iou, "max_det": options.max_det, "device": options.device}
    limits |= {"imgsz": size_hw, "rectangular": False}
    other = Runtime(made, **limits, trust=True)
    nms_free = options.nms is False and other.chooses
    reference = Runtime(options.weights, **limits, nms_free=nms_free, trust=options.trust)
    if nms_free:  # such a head knows no threshold: its best boxes are compared however low they score
        reference.conf = other.conf = 0.0
    try:
        return compare_runtimes(
            reference, other, images, tolerance_px=options.tolerance_px, tolerance_score=options.tolerance_score
        )
    except (YoloEmaError, MemoryError):
        raise
    except Exception as error:  # each runtime has errors of its own for a file that it cannot run
        raise MachineError(f"it cannot be run here: {_first_line(error)}") from error


def _uncheckable(made: Path, why: str) -> str:
    return f"{made.name} is not written, because it cannot be checked: {why}; or write it unchecked with --no-prove"


def _check_images(places: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield the images to check on: of those given at most a few, evenly spread, else drawn scenes.

    Raises:
        DataNotFoundError: there are none.
        SourceError: one cannot be read.
    """
    if not places:
        from yolo_ema.scenes.scene import draw_scene

        yield from (draw_scene(seed).image_bgr for seed in range(_CHECK_SCENES))
        return
    files = [file for place in places for file in (sorted(place.iterdir()) if place.is_dir() else [place])]
    files = [file for file in files if file.suffix.lower() in _PICTURES or file in places]
    if not files:
        raise DataNotFoundError(f"there are no images to check on in {', '.join(map(str, places))}")
    for file in files[:: math.ceil(len(files) / _MOST_CHECK_IMAGES)]:
        yield read_image(file)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
