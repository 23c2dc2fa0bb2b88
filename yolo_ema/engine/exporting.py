"""The ``export`` verb: weights in a format for deployment, written whole or not at all, and checked against the weights."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from ultralytics.cfg import DEFAULT_CFG_DICT, smart_value
from ultralytics.engine.exporter import Exporter
from ultralytics.utils import callbacks

import yolo_ema
from yolo_ema.engine.agreement import Agreement, compare_runtimes
from yolo_ema.engine.environment import quiet_ultralytics, use_all_cores
from yolo_ema.engine.loading import LoadedModel, load_model
from yolo_ema.engine.offline import confined
from yolo_ema.engine.runtime import Runtime, select_device
from yolo_ema.errors import (
    CheckFailedError,
    ConfigError,
    DataNotFoundError,
    MachineError,
    MissingPackageError,
    WeightsError,
    YoloEmaError,
    did_you_mean,
)
from yolo_ema.files import atomic_path, disk_full_is_clear, sha256_of
from yolo_ema.footage.images import read_image
from yolo_ema.nn import trace_for
from yolo_ema.options.export import ExportOptions

__all__ = ["ExportResult", "ExportedFile", "export"]

_CHECK_SCENES = 3
_MOST_CHECK_IMAGES = 20
_MISSING_SHARE = 0.01  # boxes without a counterpart: where two overlap by just the threshold, NMS may keep either
_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_BITS = {"fp16": 16, "int8": 8}
_EXTRAS = {"onnx": "onnx", "onnxslim": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx", "openvino": "openvino"}


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
    """Write weights in each of the formats.

    A file appears under its name when it is whole and has passed the check; one that was there before stays until then.

    Raises:
        WeightsError: the weights cannot be used.
        ConfigError: an unknown setting, or one that the format does not take.
        MissingPackageError: a package that the format needs is not installed.
        CheckFailedError: the file's boxes are not those of the weights, or it cannot be checked whether they are.
        DiskFullError: there is no room; what was there before is intact.
        DataNotFoundError: there are no images to check on.
        SourceError: an image to check on cannot be read.
        MachineError: the format cannot be written on this machine.
    """
    settings = _settings(options)
    loaded = load_model(options.weights, trust=options.trust)
    images = list(_check_images(options.images)) if options.prove else []
    formats = tqdm(options.format, desc="export", unit="format", file=sys.stderr, disable=not sys.stderr.isatty())
    return ExportResult(tuple(_export_one(name, loaded, options, settings, images) for name in formats))


def _settings(options: ExportOptions) -> dict[str, Any]:
    """Return Ultralytics' settings for the export. Raises `ConfigError` for an unknown key."""
    size = options.imgsz[0] if len(options.imgsz) == 1 else list(options.imgsz)
    own: dict[str, Any] = {
        **({"imgsz": size} if options.imgsz else {}),
        "dynamic": options.dynamic,
        "batch": options.batch,
        "nms": options.nms,
        "conf": options.conf,
        "iou": options.iou,
        "max_det": options.max_det,
        **({"quantize": _BITS[options.quantize]} if options.quantize else {}),
        "mode": "export",
        "data": None,
    }
    for key, text in options.settings.items():
        if key not in DEFAULT_CFG_DICT:
            raise ConfigError(f"{key!r} is no setting of Ultralytics{did_you_mean(key, DEFAULT_CFG_DICT)}")
        if own.get(key) is not None:
            raise ConfigError(f"{key}={text} is set by a flag of its own: --{key.replace('_', '-')}")
        own[key] = smart_value(text)
    return own


def _export_one(
    name: str, loaded: LoadedModel, options: ExportOptions, settings: dict[str, Any], images: Sequence[np.ndarray]
) -> ExportedFile:
    with tempfile.TemporaryDirectory(prefix="yolo-ema-export-") as folder, disk_full_is_clear(Path(folder)):
        started = time.perf_counter()
        exporter, made = _run_exporter(name, loaded, options, settings, Path(folder))
        seconds = time.perf_counter() - started
        size_hw = (int(exporter.imgsz[0]), int(exporter.imgsz[1]))
        agreement = _check(made, size_hw, options, images) if options.prove else None
        final = _final_path(made, options)
        _put(made, final)
    size = sum(part.stat().st_size for part in (final.rglob("*") if final.is_dir() else [final]) if part.is_file())
    return ExportedFile(name, final, size, seconds, size_hw, agreement, "" if agreement else "--no-prove")


def _run_exporter(
    name: str, loaded: LoadedModel, options: ExportOptions, settings: dict[str, Any], folder: Path
) -> tuple[Exporter, Path]:
    """Run Ultralytics' exporter on a model that it believes to lie in ``folder``; return it and the file that it made."""
    loaded.model.pt_path = str(folder / f"{options.weights.stem}.pt")  # the exporter writes beside this
    loaded.model.args = {**DEFAULT_CFG_DICT, "data": ""}  # the path of the training data is nobody's business
    trace_for(loaded.model, name)
    hooks = callbacks.get_default_callbacks()
    digest = sha256_of(options.weights)

    def describe(exporter: Exporter) -> None:
        exporter.metadata |= {"max_det": options.max_det, "producer": f"yolo-ema {yolo_ema.__version__}", "weights_sha256": digest}

    hooks["on_export_start"].append(describe)
    device = select_device(options.device)
    overrides = {"imgsz": loaded.imgsz, **settings, "format": name, "device": device.index if device.type == "cuda" else "cpu"}
    try:
        # Tracing warns of every branch on a shape; the check afterwards says whether one mattered.
        with confined(), quiet_ultralytics(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exporter = Exporter(overrides=overrides, _callbacks=hooks)
            return exporter, Path(exporter(model=loaded.model))
    except (YoloEmaError, OSError, MemoryError):
        raise
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        wanted = f"yolo-ema[{_EXTRAS[package]}]" if package in _EXTRAS else package
        raise MissingPackageError(
            f"export to {name} needs the package {package}; install it with: pip install '{wanted}'"
        ) from error
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"export to {name} is refused by Ultralytics: {_first_line(error)}") from error
    except Exception as error:  # converters have errors of their own
        raise MachineError(f"export to {name} failed here: {_first_line(error)}") from error
    finally:
        use_all_cores()


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


def _final_path(made: Path, options: ExportOptions) -> Path:
    if options.out is None:
        return options.weights.parent / made.name
    is_file_name = bool(options.out.suffix) and not options.out.is_dir()
    if is_file_name and options.out.suffix != made.suffix:
        raise ConfigError(f"--out is {options.out}; expected a folder, or a file ending in {made.suffix or made.name}")
    return options.out if is_file_name else options.out / made.name


def _put(made: Path, final: Path) -> None:
    """Give a finished file or folder its name; what bore it before goes only then."""
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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
