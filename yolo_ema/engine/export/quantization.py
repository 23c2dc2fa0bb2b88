"""Int8 files for ONNX Runtime and OpenVINO, made from exported float files and the user's images.

Convolutions are quantized: their weights symmetrically with one scale per output channel, in seven
bits, since processors without VNNI add two products in sixteen; their inputs with one scale. What
decodes boxes always stays in float.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from tqdm import tqdm
from ultralytics.data.augment import LetterBox

from yolo_ema.engine.export.onnx_file import make_valid
from yolo_ema.engine.setup.environment import quiet_log, use_all_cores
from yolo_ema.errors import ConfigError, DataNotFoundError, MachineError, MissingPackageError
from yolo_ema.inference.signal_stack import signal_stack_kept
from yolo_ema.media.sources.image_reader import read_image

FLOAT_PARTS = ("ema", "head")
"""Parts that may be kept in float: EMA's blocks, and the last convolutions of Detect."""

ONNX_RANGES = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
"""Ways to choose an activation's range from calibration, by ONNX Runtime's names."""

_LAYER = re.compile(r"(?:^|[/.])model\.(\d+)(?=[/.])")
_ANSWER = re.compile(r"cv[23]\.\d+/cv[23]\.\d+\.2|cv[23]\.\d+\.2/|cv[23]\.\d+\.2$")
_NORMALISES = frozenset({"InstanceNormalization", "GroupNormalization", "MVN"})


class CalibrationInputs(Sequence[np.ndarray]):
    """Images as the network sees them, read one by one on demand."""

    def __init__(self, images: Sequence[Path], imgsz_hw: tuple[int, int]) -> None:
        self.images, self.imgsz_hw = tuple(images), imgsz_hw

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return CalibrationInputs(self.images[index], self.imgsz_hw)
        framed = LetterBox(self.imgsz_hw, auto=False)(image=read_image(self.images[index]))
        return cv2.dnn.blobFromImage(framed, 1 / 255, swapRB=True)


def calibration_inputs(
    images: Sequence[Path], imgsz_hw: tuple[int, int], most: int
) -> CalibrationInputs:
    """Return the inputs that int8 is calibrated on, letterboxed as at inference.

    Args:
        images: files; their order matters.
        imgsz_hw: height and width of the network's input, in pixels.
        most: maximum number of images; larger sets are sampled evenly.

    Returns:
        A sequence of (1, 3, H, W) float32, RGB in 0…1.

    Raises:
        DataNotFoundError: there are no images.
        ConfigError: `most` is below 1.
    """
    if most < 1:
        raise ConfigError(f"int8 is calibrated on {most} images; expected 1 or more")
    if not images:
        raise DataNotFoundError(
            "int8 needs images to calibrate on, and none are named; name some with --calibrate or "
            "--data"
        )
    count = min(most, len(images))
    places = [round(index * (len(images) - 1) / max(count - 1, 1)) for index in range(count)]
    return CalibrationInputs([images[index] for index in places], imgsz_hw)


def quantize_int8(
    float_artifact: Path,
    format_name: str,
    inputs: Iterable[np.ndarray],
    *,
    out: Path,
    keep_float: Sequence[str] = FLOAT_PARTS,
    ranges: str = "percentile",
) -> Path:
    """Write the int8 twin of an exported float file; the same inputs in the same order give the
    same file.

    Args:
        float_artifact: an .onnx file, or OpenVINO's folder or .xml.
        format_name: "onnx" or "openvino".
        inputs: what to calibrate on, (1, 3, H, W) float32, RGB in 0…1.
        out: the file, or for OpenVINO the folder, to write.
        keep_float: of `FLOAT_PARTS`, what stays in float.
        ranges: of `ONNX_RANGES`, for ONNX only; OpenVINO takes the mean of the images' smallest and
            largest values.

    Returns:
        `out`.

    Raises:
        ConfigError: another format, an unknown part, or an unknown way to choose ranges.
        DataNotFoundError: there are no inputs.
        MissingPackageError: a package that it needs is not installed.
        MachineError: the file cannot be quantized.
    """
    unknown = [part for part in keep_float if part not in FLOAT_PARTS]
    if format_name not in {"onnx", "openvino"} or unknown:
        problem = (
            f"{unknown[0]!r} can't be kept in float; expected {' or '.join(FLOAT_PARTS)}"
            if unknown
            else f"not {format_name}"
        )
        raise ConfigError(f"int8 is made here for onnx and openvino: {problem}")
    if ranges not in ONNX_RANGES:
        raise ConfigError(f"ranges are chosen by {', '.join(ONNX_RANGES)}; not by {ranges!r}")
    samples = inputs if isinstance(inputs, Sequence) else list(inputs)
    if not samples:
        raise DataNotFoundError(
            "int8 needs images to calibrate on, and none are named; name some with --calibrate or "
            "--data"
        )
    try:
        if format_name == "onnx":
            _quantize_onnx(float_artifact, samples, out, tuple(keep_float), ranges)
        else:
            _quantize_openvino(float_artifact, samples, out, tuple(keep_float))
    finally:
        use_all_cores()
    return out


def float_nodes(nodes: Iterable[tuple[str, str]], keep_float: Sequence[str]) -> list[str]:
    """Return the names of the operations to leave in float.

    A layer that normalises is EMA: no other block of these networks does once batch normalisation
    is folded. The last is Detect.

    Args:
        nodes: (name, kind) of each operation, with the layer's number in the name as exporters
            write it.
        keep_float: of `FLOAT_PARTS`.
    """
    entries = [(name, kind, _layer(name)) for name, kind in nodes]
    ema = {layer for _, kind, layer in entries if kind in _NORMALISES and layer is not None}
    last = max((layer for _, _, layer in entries if layer is not None), default=None)
    kept = []
    for name, _, layer in entries:
        decodes = layer == last and not re.search(r"cv[23]", name)
        answers = layer == last and _ANSWER.search(name)
        if (
            layer is None
            or decodes
            or ("head" in keep_float and answers)
            or ("ema" in keep_float and layer in ema)
        ):
            kept.append(name)
    return kept


def _layer(name: str) -> int | None:
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


class _Reader:
    """The inputs as ONNX Runtime's calibration reads them, a range at a time."""

    def __init__(self, inputs: Sequence[np.ndarray], name: str) -> None:
        self._inputs, self._name = inputs, name
        self._told = tqdm(total=len(inputs), desc="calibration", unit="image", disable=None)
        self.set_range(0, len(inputs))

    def __len__(self) -> int:
        return len(self._inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Start with the inputs of this range."""
        self._rest = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input, by name; None after the last."""
        index = next(self._rest, None)
        if index is None:
            return None
        self._told.update()
        return {self._name: self._inputs[index]}


def _quantize_onnx(
    source: Path, inputs: Sequence[np.ndarray], out: Path, keep_float: tuple[str, ...], ranges: str
) -> None:
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingPackageError(
            "int8 for onnx needs the packages onnx and onnxruntime: pip install 'yolo-ema[onnx]'"
        ) from error
    model = onnx.load(source)
    excluded = float_nodes([(node.name, node.op_type) for node in model.graph.node], keep_float)
    with (
        quiet_log("", logging.ERROR),
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory(prefix="int8-", dir=out.parent) as folder,
        mock.patch.object(tempfile, "tempdir", folder),  # for ONNX Runtime's own
    ):
        path = Path(folder) / out.name
        quantization.quantize_static(
            model,
            path,
            _Reader(inputs, model.graph.input[0].name),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=excluded,
            calibrate_method=getattr(quantization.CalibrationMethod, ONNX_RANGES[ranges]),
            # One image at a time: a histogram keeps every map of a range.
            extra_options={"CalibStridedMinMax": 1},
        )
        finished = onnx.load(path)
    del finished.metadata_props[:]
    finished.metadata_props.extend(model.metadata_props)
    onnx.save(finished, out)
    make_valid(out)


def _quantize_openvino(
    source: Path, inputs: Sequence[np.ndarray], out: Path, keep_float: tuple[str, ...]
) -> None:
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise MissingPackageError(
            "int8 for openvino needs the packages openvino and nncf: pip install 'yolo-ema[int8]'"
        ) from error
    xml = source if source.is_file() else next(iter(sorted(source.glob("*.xml"))), None)
    if xml is None:
        raise MachineError(f"{source} holds no .xml file of OpenVINO")
    model = openvino.Core().read_model(xml)
    operations = [(op.get_friendly_name(), op.get_type_name()) for op in model.get_ordered_ops()]
    kinds = dict(operations)
    ignored = [
        name
        for name in float_nodes(operations, keep_float)
        if kinds[name] not in {"Constant", "Parameter", "Result"}
    ]
    quiet = quiet_log("nncf", logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr), quiet, signal_stack_kept():
        quantized = nncf.quantize(
            model,
            nncf.Dataset(range(len(inputs)), inputs.__getitem__),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )
    out.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantized, out / xml.name, compress_to_fp16=False)
