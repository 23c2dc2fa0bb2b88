"""`TorchPredictor`: a ``.pt``, and the exported formats that Ultralytics alone runs; and
`open_predictor` for weights of any format.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.modules.head import Detect

from yolo_ema.engine.prediction.torch_backend import TorchBackend
from yolo_ema.engine.setup.devices import select_device
from yolo_ema.engine.setup.environment import quiet_log, use_all_cores
from yolo_ema.engine.setup.no_network_no_install import no_network_no_install
from yolo_ema.engine.weights.loading import LoadedModel, load_model
from yolo_ema.errors import (
    ConfigError,
    DamagedWeightsError,
    DeviceMemoryError,
    MissingPackageError,
    UnsafeWeightsError,
    WeightsError,
    first_line,
)
from yolo_ema.inference.backend import Backend
from yolo_ema.inference.backend_predictor import BackendPredictor
from yolo_ema.inference.exported import EXPORTED_FORMATS, ExportedPredictor, runs_exported
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.formats import check_package, format_of
from yolo_ema.inference.object_sizes import recorded_sizes
from yolo_ema.inference.predictor import PredictorConfig, PredictorSettings
from yolo_ema.inference.worker_pool import WorkerPool
from yolo_ema.io.malloc_tuning import keep_freed_memory
from yolo_ema.tiling.plan_figures import PlanFigures

_PROGRAMS = frozenset({"torchscript", "saved_model", "pb"})
"""Formats whose operations reach beyond arithmetic: they write files."""

_LEAST_KEPT = 300  # boxes that a head with NMS built in keeps unless told otherwise


def open_predictor(
    weights: str | Path, config: PredictorConfig | None = None, **fields: Any
) -> BackendPredictor:
    """Open weights of any format.

    ``fields`` take the place of those in ``config``.

    Raises:
        WeightsNotFoundError: there is no such file.
        UnsafeWeightsError: they carry code, or are of a format that is a program, and ``trust``
            is off.
        DamagedWeightsError: they are truncated, empty or foreign.
        WeightsError: they are not a detector.
        MissingPackageError: the format's runtime is not installed.
        MachineError: the device is not there.
        ConfigError: a setting, the device's word, the input size or ``half`` does not fit.
    """
    path, config = Path(weights), replace(config or PredictorConfig(), **fields)
    if runs_exported(path, config):
        return ExportedPredictor(path, config)
    device = select_device(config.device)
    # Of Ultralytics' runtimes for these formats only that of ONNX knows a GPU.
    exported = format_of(path) in EXPORTED_FORMATS
    if exported and (device.type == "cpu" or format_of(path) != "onnx"):
        return ExportedPredictor(path, replace(config, device="cpu"))
    return TorchPredictor(path, config, device)


class TorchPredictor(BackendPredictor):
    """A `Predictor` on a ``.pt``, or on an exported file through Ultralytics' `AutoBackend`.

    Args:
        weights: a ``.pt`` or an exported file or folder.
        config: how it is opened.
        device: where it runs; None for what ``config`` says.
        loaded: the model of a ``.pt`` that is loaded already; its layers are fused in place.
    """

    def __init__(
        self,
        weights: Path,
        config: PredictorConfig,
        device: torch.device | None = None,
        *,
        loaded: LoadedModel | None = None,
    ) -> None:
        """Load the weights. Raises as `open_predictor` does."""
        device = device or select_device(config.device)
        if config.half and device.type != "cuda":
            raise ConfigError(f"half precision needs a GPU, and the device is {device}")
        format_name = format_of(weights)
        backend: Backend
        if format_name == "pt":
            loaded = loaded or load_model(weights, trust=config.trust)
            backend = _model_backend(loaded, weights, config, device)
        else:
            backend = _file_backend(weights, format_name, config, device)
        threads = use_all_cores()
        workers = None
        if device.type == "cpu":
            keep_freed_memory()
            if threads > 1:
                # A worker that starts sets torch's number of threads for threads yet to come, too.
                workers = WorkerPool(
                    threads, on_start=torch.set_num_threads, after_map=use_all_cores
                )
        super().__init__(weights, format_name, str(device), backend, config, workers=workers)


def _model_backend(
    loaded: LoadedModel, weights: Path, config: PredictorConfig, device: torch.device
) -> TorchBackend | AutoBackendAdapter:
    head = getattr(loaded.model, "model", [None])[-1]
    if not isinstance(head, Detect) or loaded.model.task != "detect":
        raise WeightsError(
            f"{weights} is a model for {loaded.model.task!r} ({type(head).__name__}); expected a "
            f"detector"
        )
    with no_network_no_install(), quiet_log():
        backend = AutoBackend(
            loaded.model, device=device, fp16=config.half, verbose=False, end2end=config.nms_free
        ).eval()
    sizes = recorded_sizes(loaded.metadata)
    if config.input_transform is None and TorchBackend.fits(backend.model, device):
        with torch.inference_mode():
            return TorchBackend(backend.model, loaded, sizes)
    adapter = AutoBackendAdapter(backend, device, config)
    adapter.names, adapter.object_sizes, adapter.metadata = dict(loaded.names), sizes, None
    adapter.plan_figures = PlanFigures.of_entries(loaded.metadata)
    adapter.imgsz_hw, adapter.dynamic, adapter.batched = (loaded.imgsz,) * 2, True, True
    adapter.head = head
    return adapter


def _file_backend(
    weights: Path, format_name: str, config: PredictorConfig, device: torch.device
) -> AutoBackendAdapter:
    if format_name in _PROGRAMS and not config.trust:
        raise UnsafeWeightsError(
            f"{weights} is refused: a file in the format {format_name} is a program; if you made "
            f"it yourself, or trust its author as you would trust a program of theirs, load it "
            f"with --trust"
        )
    check_package(weights, format_name)
    try:
        with no_network_no_install(), quiet_log(), warnings.catch_warnings():
            # torch's, of TorchScript's end some day
            warnings.simplefilter("ignore", FutureWarning)
            backend = AutoBackend(
                str(weights), device=device, fp16=config.half, verbose=False
            ).eval()
        task = backend.task
        adapter = AutoBackendAdapter(backend, device, config)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        line = (
            f"; install it with: pip install '{missing}'" if missing else f": {first_line(error)}"
        )
        raise MissingPackageError(
            f"{weights} needs the package {missing or 'of its runtime'}{line}"
        ) from error
    except (MemoryError, WeightsError):
        raise
    except Exception as error:  # each runtime has errors of its own for a file that it cannot read
        raise DamagedWeightsError(
            f"{weights} is damaged or not a {format_name} model: {first_line(error)}"
        ) from error
    if task not in {None, "detect"}:
        raise WeightsError(f"{weights} is a model for {task!r}; expected a detector")
    return adapter


class AutoBackendAdapter:
    """Ultralytics' `AutoBackend` as a `Backend`: any format, any device, one batch.

    Args:
        backend: with an exported file, or with a model.
        device: where the images have to be.
        config: how it was opened.

    Attributes:
        head: of a model the part that may have NMS built in; it keeps the settings of a call.
    """

    def __init__(self, backend: AutoBackend, device: torch.device, config: PredictorConfig) -> None:
        self._backend, self._device, self._config = backend, device, config
        self.one_pass = True
        self.head: Any = None
        self.names = dict(backend.names)
        self.stride = int(backend.stride)
        self.has_builtin_nms = bool(backend.end2end)
        self.metadata: ArtifactMetadata | None = ArtifactMetadata.from_entries(backend.metadata)
        self.object_sizes = self.metadata.object_sizes
        self.plan_figures = self.metadata.plan_figures
        self.imgsz_hw = _pair(getattr(backend, "imgsz", None))
        self.dynamic = bool(backend.dynamic)
        # NMS inside a file is made for a number of images, even where their size is open.
        self.batched = (self.dynamic and not self.metadata.nms) or int(backend.batch) > 1

    @property
    def stored(self) -> str:
        """Precision of the weights."""
        if self.metadata is None:
            return "fp16" if self._backend.fp16 else "fp32"
        return self.metadata.stored_precision

    computed = stored

    @property
    def threads(self) -> int | None:
        """Threads where torch computes; other runtimes don't tell."""
        is_torch = self.metadata is None or self._backend.format == "torchscript"
        return torch.get_num_threads() if is_torch and self._device.type == "cpu" else None

    def shared_by(self, workers: int, threads_each: int) -> AutoBackendAdapter:
        """Return itself: it takes several images in one forward pass."""
        return self

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Return one batch (B, 3, H, W), RGB in 0…1 on the device."""
        batch = torch.from_numpy(np.stack(images_bgr)).to(self._device)
        batch = batch.permute(0, 3, 1, 2).contiguous().flip(1)
        batch = (batch.half() if self._backend.fp16 else batch.float()).div_(255)
        if transform := self._config.input_transform:
            changed = np.ascontiguousarray(transform(batch.cpu().numpy()))
            batch = torch.from_numpy(changed).to(self._device)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # so that each stage's time is its own
        return [batch]

    def __call__(
        self, inputs: Sequence[torch.Tensor], settings: PredictorSettings, max_det: int
    ) -> list[np.ndarray]:
        """Run the network, see `Backend`.

        Raises:
            DeviceMemoryError: the batch is too large for the GPU.
        """
        if self.head is not None:
            # It keeps 300 boxes unless told; classes are chosen after that.
            self.head.max_det = max(max_det, _LEAST_KEPT)
            self.head.agnostic_nms = settings.agnostic
        try:
            with torch.inference_mode():
                return [
                    rows for batch in inputs for rows in self._rows(self._backend(batch), settings)
                ]
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise DeviceMemoryError(
                f"{self._device} has too little memory for {len(inputs[0])} images of "
                f"{inputs[0].shape[2]}x{inputs[0].shape[3]}; take a smaller --imgsz or --batch"
            ) from error

    def _rows(self, answer: Any, settings: PredictorSettings) -> list[np.ndarray]:
        # formats wrap their boxes differently
        boxes = (answer[0] if isinstance(answer, list | tuple) else answer).float()
        if self.has_builtin_nms or boxes.shape[-1] == 6:
            self.has_builtin_nms = True
            return list(boxes.cpu().numpy())
        if boxes.is_cuda and settings.conf > 0:  # few are worth the way to the processor
            kept = boxes[:, 4:].amax(1) > settings.conf
            return [rows[:, mask].cpu().numpy().T for rows, mask in zip(boxes, kept, strict=True)]
        return [rows.T for rows in boxes.cpu().numpy()]


def _pair(size: Any) -> tuple[int, int] | None:
    """Return (height, width) for what a file says: one number, a pair, or nothing."""
    if not size:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
