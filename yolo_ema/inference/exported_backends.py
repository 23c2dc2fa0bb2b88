"""OpenVINO, ONNX Runtime and ncnn on the CPU without the copies in between: the files that
`AutoBackend` reads, the same numbers.

What differs from `AutoBackend`: the image's bytes go in as they lie (OpenVINO turns them to RGB in
0…1 by itself; for the others it is one pass), every core that this process may use counts, and
threads that wait do not spin.

Each image goes through by itself, as in `torch_backend`, unless they are joined on purpose.
"""

from __future__ import annotations

import platform
import threading
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.backends.base import BaseBackend

from yolo_ema.engine.setup.environment import use_all_cores

__all__ = [
    "DirectBackend",
    "NcnnBackend",
    "OnnxBackend",
    "OpenVinoBackend",
    "compute_openvino_in",
    "direct_backend",
]

_MOST_SHAPES = 16
"""Of a file that is compiled for each shape, so many are kept; a compilation takes about a
second.
"""


def direct_backend(
    format_name: str, weights: Path, device: torch.device, precision: str
) -> DirectBackend | None:
    """Return the direct way to a file, or None where `AutoBackend` has to read it: another format
    or device, or a foreign file.
    """
    kinds: dict[str, tuple[type[DirectBackend], str]] = {
        "openvino": (OpenVinoBackend, ".xml"),
        "onnx": (OnnxBackend, ".onnx"),
        "ncnn": (NcnnBackend, ".param"),
    }
    if device.type != "cpu" or format_name not in kinds:
        return None
    kind, ending = kinds[format_name]
    if not weights.is_file():
        weights = next(weights.glob(f"*{ending}"), weights / f"*{ending}")
        if not weights.is_file():
            raise FileNotFoundError(f"there is no {ending} file in it")
    metadata = BaseBackend.read_metadata(weights)
    if (
        "names" not in metadata
        or int(metadata.get("batch", 1)) != 1
        or int(metadata.get("channels", 3)) != 3
    ):
        return None
    found = kind(weights, device, precision)
    return found if found.loaded else None


class DirectBackend(BaseBackend):
    """An exported file with what it says of itself, read as Ultralytics reads it.

    Attributes:
        loaded: whether this way fits the file.
        joined: images go through in one forward pass.
    """

    joined = False

    def __init__(
        self,
        weights: Path,
        device: torch.device,
        precision: str,
        *,
        workers: int = 1,
        threads_each: int = 0,
    ) -> None:
        self.loaded, self._precision = True, precision
        self._weights, self._workers, self._threads_each = (
            weights,
            workers,
            threads_each or use_all_cores(),
        )
        super().__init__(weights, device)

    def shared_by(self, workers: int, threads_each: int) -> DirectBackend:
        """Return the same file for several workers at once, each with so many threads."""
        return type(self)(
            self._weights, self.device, self._precision, workers=workers, threads_each=threads_each
        )

    @property
    def threads(self) -> int:
        """How many threads it computes with, over all workers."""
        return self._workers * self._threads_each

    @property
    def computed_in(self) -> str | None:
        """The precision it computes in by its own word, as f32, bf16 or f16; None where it does not
        say.
        """
        return None

    @abstractmethod
    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return what `forward` takes, for each image."""

    def __call__(self, images: Sequence[np.ndarray], lowest_score: float) -> list[Tensor]:
        """Return the network's answer (1, 4 + K, N) or (1, N, 6) to each image; where they are
        joined, one for all of them.
        """
        if self.joined:
            return [torch.from_numpy(self.forward(np.concatenate(images)))]
        return [torch.from_numpy(self.forward(image)) for image in images]


class OpenVinoBackend(DirectBackend):
    """An OpenVINO file; each thread that calls has a request of its own.

    An int8 file of open shape is compiled for each shape that comes on processors with AMX, where
    OpenVINO's plugin may crash on an open one (its issue 37577); Ultralytics does likewise.
    """

    def load_model(self, weight: Any) -> None:
        """Read and compile the file."""
        import openvino
        from openvino.preprocess import ColorFormat, PrePostProcessor

        self.apply_metadata(self.read_metadata(weight))
        core = openvino.Core()
        model = core.read_model(model=str(weight), weights=Path(weight).with_suffix(".bin"))
        open_shape = model.input().get_partial_shape().is_dynamic
        # With an open shape and NMS inside, OpenVINO 2026.4 gives other boxes where it turns the
        # colours itself.
        turns_wrong = open_shape and self.metadata.get("args", {}).get("nms")
        if (
            core.available_devices != ["CPU"]
            or platform.machine() not in {"x86_64", "AMD64"}
            or turns_wrong
        ):
            self.loaded = False
            return
        steps = PrePostProcessor(model)
        tensor = steps.input().tensor()
        tensor.set_element_type(openvino.Type.u8).set_layout(
            openvino.Layout("NHWC")
        ).set_color_format(ColorFormat.BGR)
        steps.input().preprocess().convert_element_type(openvino.Type.f32).convert_color(
            ColorFormat.RGB
        ).scale(255.0)
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        config: dict[str, Any] = {"INFERENCE_NUM_THREADS": self._workers * self._threads_each}
        config |= (
            {"PERFORMANCE_HINT": "LATENCY"}
            if self._workers == 1
            else {"NUM_STREAMS": self._workers}
        )
        if self._precision != "auto":
            config["INFERENCE_PRECISION_HINT"] = self._precision
        self._model, self._compile = (
            steps.build(),
            partial(core.compile_model, device_name="CPU", config=config),
        )
        self._by_shape = open_shape and _amx_would_crash(model)
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._compiling, self._requests = threading.Lock(), threading.local()
        own_hw = self.metadata.get("imgsz") or (640, 640)
        self._some_compiled = self._compiled_for((1, *own_hw, 3) if self._by_shape else ())

    @property
    def computed_in(self) -> str:
        """The precision that OpenVINO has chosen or was given."""
        return str(self._some_compiled.get_property("INFERENCE_PRECISION_HINT").to_string())

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each image as (1, H, W, 3) uint8."""
        return [np.ascontiguousarray(image)[None] for image in images_bgr]

    def forward(self, im: np.ndarray) -> np.ndarray:
        """Return the answer to one prepared image; a copy, since OpenVINO writes the next into the
        same memory.
        """
        own = self._requests.__dict__
        compiled = self._compiled_for(im.shape if self._by_shape else ())
        if own.get("of") is not compiled:
            own["of"], own["request"] = compiled, compiled.create_infer_request()
        return np.array(own["request"].infer({0: im}, share_inputs=True, share_outputs=True)[0])

    def _compiled_for(self, shape: tuple[int, ...]) -> Any:
        """Return the network compiled for an input (N, H, W, 3); of an empty shape, for all that
        the file takes.
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


class OnnxBackend(DirectBackend):
    """An ONNX file in ONNX Runtime."""

    def load_model(self, weight: Any) -> None:
        """Read the file."""
        import onnxruntime

        self.apply_metadata(self.read_metadata(weight))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads_each
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # it warns of what it puts right by itself
        self._session = onnxruntime.InferenceSession(
            str(weight), options, providers=["CPUExecutionProvider"]
        )
        (images, *others), answer = self._session.get_inputs(), self._session.get_outputs()[0]
        self.loaded = not others and images.type == "tensor(float)"
        self._names = [answer.name], images.name
        self.dynamic = isinstance(answer.shape[0], str)

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each image as (1, 3, H, W) float32, RGB in 0…1."""
        return [cv2.dnn.blobFromImage(image, 1 / 255, swapRB=True) for image in images_bgr]

    def forward(self, im: np.ndarray) -> np.ndarray:
        """Return the answer to one prepared image."""
        outputs, name = self._names
        return self._session.run(outputs, {name: im})[0]


class NcnnBackend(DirectBackend):
    """An ncnn folder. Its maps have no axis for several images."""

    def load_model(self, weight: Any) -> None:
        """Read the file. Raises `ValueError` where ncnn cannot."""
        import ncnn

        self.apply_metadata(self.read_metadata(weight))
        self._ncnn, self._net = ncnn, ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = self._threads_each
        self._net.opt.openmp_blocktime = 0
        if self._precision != "auto":
            for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic"):
                setattr(self._net.opt, f"use_{name}", False)
            self._net.opt.use_bf16_storage = self._precision == "bf16"
        if self._net.load_param(str(weight)) or self._net.load_model(
            str(Path(weight).with_suffix(".bin"))
        ):
            raise ValueError("ncnn cannot read it")
        self._names = self._net.input_names()[0], self._net.output_names()[0]

    @property
    def computed_in(self) -> str:
        """What ncnn is allowed; on ARM it then takes fp16 where the processor can."""
        options = self._net.opt
        halves = options.use_fp16_storage and platform.machine().lower() in {"aarch64", "arm64"}
        return "f16" if halves else "bf16" if options.use_bf16_storage else "f32"

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each image as (3, H, W) float32, RGB in 0…1."""
        return [cv2.dnn.blobFromImage(image, 1 / 255, swapRB=True)[0] for image in images_bgr]

    def forward(self, im: np.ndarray) -> np.ndarray:
        """Return the answer to one prepared image."""
        inputs, output = self._names
        with self._net.create_extractor() as extractor:
            extractor.input(inputs, self._ncnn.Mat(im))
            code, found = extractor.extract(output)
            if code:
                raise RuntimeError(f"ncnn ends with code {code}")
            return np.array(found)[None]


def compute_openvino_in(precision: str, backend: AutoBackend, weights: Path) -> None:
    """Have Ultralytics' OpenVINO backend compute in a precision on the CPU, as ``f32``; it leaves
    the choice to OpenVINO.
    """
    own: Any = backend.backend
    compile_model, device = own.compile_model.func, own.compile_model.keywords["device_name"]
    if precision == "auto" or device not in {"CPU", "AUTO"}:
        return
    config = own.compile_model.keywords["config"] | {"INFERENCE_PRECISION_HINT": precision}
    own.compile_model = partial(compile_model, device_name=device, config=config)
    file = weights if weights.is_file() else next(weights.glob("*.xml"))
    own.ov_compiled_model = own.compile_model(compile_model.__self__.read_model(str(file)))


def _amx_would_crash(model: Any) -> bool:
    """Say whether OpenVINO's plugin may crash on an open shape: int8 on a processor with AMX, as
    Ultralytics' backend knows.
    """
    cpuinfo = Path("/proc/cpuinfo")
    return (
        any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())
        and cpuinfo.exists()
        and "amx_int8" in cpuinfo.read_text(encoding="utf-8", errors="replace")
    )
