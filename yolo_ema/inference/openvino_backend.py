"""OpenVINO folders without the copies in between: an image's bytes go in as they lie, and OpenVINO
turns them to RGB in 0…1 by itself.
"""

from __future__ import annotations

import importlib
import platform
import re
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from yolo_ema.inference.backend import ExportedBackend
from yolo_ema.inference.file_metadata import yaml_entries
from yolo_ema.inference.signal_stack import signal_stack_kept
from yolo_ema.io.machine import processor_flags

_MOST_SHAPES = 16
"""Of a file that is compiled for each shape, so many are kept; a compilation takes about a
second.
"""

_CONVERTER = "openvino.tools.ovc"
_CONSTANT = re.compile(rb' offset="([0-9]{1,15})" size="([0-9]{1,15})"')
_PADDING_BYTES = 64
_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}
_X86 = {"x86_64", "AMD64"}


class OpenVinoBackend(ExportedBackend):
    """An OpenVINO folder; each thread that calls has a request of its own.

    Unless told otherwise it computes in bf16 where the processor has AMX, and in f32 where it does
    not.

    An int8 file of open shape is compiled for each shape that comes on processors with AMX, where
    OpenVINO's plugin may crash on an open one (its issue 37577); Ultralytics does likewise.
    """

    suffix = ".xml"

    @signal_stack_kept()
    def _open(self) -> None:
        openvino = import_openvino()
        entries = yaml_entries(self.file)
        core = openvino.Core()
        _check_constants(self.file)
        model = core.read_model(model=str(self.file), weights=self.file.with_suffix(".bin"))
        shape, output = model.input().get_partial_shape(), model.output(0).get_partial_shape()
        self.dynamic = shape.is_dynamic
        if not self.dynamic:
            self.imgsz_hw = (shape[2].get_length(), shape[3].get_length())
        fixed = output.rank.is_static
        self._describe(
            entries, [side.get_length() if side.is_static else None for side in output] * fixed
        )
        # With an open shape and NMS inside, OpenVINO 2026.4 gives other boxes where it turns the
        # colours itself.
        self._takes_bytes = (
            platform.machine() in _X86
            and self._config.input_transform is None
            and not (self.dynamic and self.metadata.nms)
        )
        self._model = _taking_bytes(model) if self._takes_bytes else model
        # Another device than the CPU is OpenVINO's to choose, unless the CPU is asked for.
        more = self._config.device.strip().lower() == "auto" and core.available_devices != ["CPU"]
        device = "AUTO" if more else "CPU"
        self._compile = partial(
            core.compile_model, device_name=device, config=self._settings(device)
        )
        self._by_shape = self.dynamic and _amx_would_crash(model)
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._compiling, self._requests = threading.Lock(), threading.local()
        own_hw = self.metadata.imgsz_hw or (640, 640)
        one_image = (1, *own_hw, 3) if self._takes_bytes else (1, 3, *own_hw)
        self._some_compiled = self._compiled_for(one_image if self._by_shape else ())

    def _settings(self, device: str) -> dict[str, Any]:
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": self.threads}
        if self._workers == 1:
            settings["PERFORMANCE_HINT"] = "LATENCY"
        else:
            settings["NUM_STREAMS"] = self._workers
        if self._config.precision == "auto":
            return settings | automatic_precision(device)
        return settings | {"INFERENCE_PRECISION_HINT": self._config.precision}

    def _told_precision(self) -> str | None:
        """Return the precision that OpenVINO has chosen or was given."""
        hint = self._some_compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        return _PRECISIONS.get(str(hint))

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each image as (1, H, W, 3) uint8, or (1, 3, H, W) float32 where OpenVINO does not
        take bytes.
        """
        if not self._takes_bytes:
            return super().prepare(images_bgr)
        return [np.ascontiguousarray(image)[None] for image in images_bgr]

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Return the answer to prepared images; a copy, since OpenVINO writes the next into the
        same memory.
        """
        own = self._requests.__dict__
        compiled = self._compiled_for(batch.shape if self._by_shape else ())
        if own.get("of") is not compiled:
            own["of"], own["request"] = compiled, compiled.create_infer_request()
        return np.array(own["request"].infer({0: batch}, share_inputs=True, share_outputs=True)[0])

    @signal_stack_kept()
    def _compiled_for(self, shape: tuple[int, ...]) -> Any:
        """Return the network compiled for an input shape; of an empty one, for all that the file
        takes.
        """
        with self._compiling:
            if shape not in self._compiled:
                if len(self._compiled) == _MOST_SHAPES:
                    del self._compiled[next(iter(self._compiled))]
                model = self._model.clone()
                if shape:
                    model.reshape(list(shape))
                self._compiled[shape] = self._compile(model)
            return self._compiled[shape]


def automatic_precision(device: str) -> dict[str, str]:
    """Return OpenVINO's settings where nobody asks for a precision; empty where it chooses well."""
    if platform.machine().lower() in {"aarch64", "arm64"}:  # as Ultralytics has it there
        return {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_PRECISION_HINT": "f32"}
    if device == "CPU" and (flags := processor_flags()) and "amx_bf16" not in flags:
        # With AVX512-BF16 alone it would choose bf16, which is slower than f32 and less exact.
        return {"INFERENCE_PRECISION_HINT": "f32"}
    return {}


def import_openvino() -> Any:
    """Import OpenVINO without telemetry, and its converter of models only when that is called: its
    import takes half of the whole package's, and running a file needs none of it.
    """
    # With this package it sends word of its use unless the user has forbidden it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if "openvino" in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        openvino = importlib.import_module("openvino")
    finally:
        del sys.modules[_CONVERTER]

    def convert_model(*args: Any, **kwargs: Any) -> Any:
        return importlib.import_module(_CONVERTER).convert_model(*args, **kwargs)

    if not hasattr(openvino, "convert_model"):
        openvino.convert_model = convert_model  # type: ignore[attr-defined]
    return openvino


def _check_constants(file: Path) -> None:
    """Raise `ValueError` where the ``.bin`` goes beyond the network's last constant, and so belongs
    to another one. A shorter one OpenVINO refuses by itself.
    """
    ends = [int(start) + int(size) for start, size in _CONSTANT.findall(file.read_bytes())]
    size = file.with_suffix(".bin").stat().st_size
    if ends and size > max(ends) + _PADDING_BYTES:
        raise ValueError(
            f"its .bin has {size} bytes, its .xml needs {max(ends)}: they are not of one network"
        )


def _taking_bytes(model: Any) -> Any:
    """Return the network with BGR bytes (N, H, W, 3) as input, in place of RGB in 0…1."""
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    steps = PrePostProcessor(model)
    tensor = steps.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_color_format(ColorFormat.BGR)
    steps.input().preprocess().convert_element_type(openvino.Type.f32).convert_color(
        ColorFormat.RGB
    ).scale(255.0)
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _amx_would_crash(model: Any) -> bool:
    """Say whether OpenVINO's plugin may crash on an open shape: int8 on a processor with AMX, as
    Ultralytics' backend knows.
    """
    return "amx_int8" in processor_flags() and any(
        operation.get_type_name() == "FakeQuantize" for operation in model.get_ops()
    )
