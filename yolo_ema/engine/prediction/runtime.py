"""From a batch of frames to boxes: the one interface to a ``.pt`` and to every exported format."""

from __future__ import annotations

import importlib.util
import math
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401 - Ultralytics' NMS runs on torchvision's kernel where this is imported
from ultralytics.data.augment import LetterBox
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.modules.head import Detect
from ultralytics.utils import nms, ops

from yolo_ema.engine.prediction.torch_backend import TorchBackend
from yolo_ema.engine.setup.environment import quiet_ultralytics, use_all_cores
from yolo_ema.engine.setup.malloc_tuning import keep_freed_memory
from yolo_ema.engine.setup.no_network_no_install import confined
from yolo_ema.engine.weights.loading import LoadedModel, load_model
from yolo_ema.errors import (
    ConfigError,
    DamagedWeightsError,
    MachineError,
    MissingPackageError,
    UnsafeWeightsError,
    WeightsError,
)
from yolo_ema.inference.exported_backends import DirectBackend, compute_openvino_in, direct_backend
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.object_sizes import recorded_sizes
from yolo_ema.inference.worker_pool import SideBySide
from yolo_ema.io.resources import missing_weights

__all__ = ["Runtime", "check_images", "format_of", "input_size", "select_device"]

_PACKAGES = {  # format: what must be importable, and what brings it
    "onnx": ("onnxruntime", "yolo-ema[onnx]"),
    "openvino": ("openvino", "yolo-ema[openvino]"),
    "ncnn": ("ncnn", "yolo-ema[ncnn]"),
    "engine": ("tensorrt", "tensorrt"),
    "coreml": ("coremltools", "coremltools"),
    "saved_model": ("tensorflow", "tensorflow"),
    "pb": ("tensorflow", "tensorflow"),
    "litert": ("ai_edge_litert", "ai-edge-litert"),
    "mnn": ("MNN", "MNN"),
    "paddle": ("paddle", "paddlepaddle"),
    "executorch": ("executorch", "executorch"),
}
_PROGRAMS = frozenset(
    {"torchscript", "saved_model", "pb"}
)  # formats whose operations reach beyond arithmetic: they write files
_CHOSEN_COLUMNS = (
    6  # x1, y1, x2, y2, score, class id: Ultralytics knows boxes that need no NMS by this, too
)
_PRECISIONS = ("auto", "f32", "bf16")
_LARGEST_SIDE_BY_SIDE = (
    1280 * 1280
)  # pixels of the input; a larger one keeps every thread busy, and several at once take memory
_NMS_OFFSET_PX = (
    7680  # Ultralytics' distance between classes in NMS; raised where a frame is larger
)


class Runtime:
    """A detector out of a weights file, whatever its format. Calls from several threads wait for
    each other.

    Args:
        weights: a ``.pt`` or an exported file or folder.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``1``.
        imgsz: input size in pixels, one number or (height, width), raised to multiples of the
            stride; None takes the weights' own. A file exported with a fixed size takes no other.
        half: half precision, on a GPU.
        conf: lowest score that counts, 0…1.
        iou: overlap above which the weaker of two boxes is dropped, 0…1.
        max_det: the most boxes an image, those of the highest scores.
        agnostic: let boxes of different classes drop each other.
        classes: only these class ids.
        multi_label: a box may bear several classes, as in Ultralytics' validation.
        rectangular: shrink the input to the images' shape where the format allows it.
        nms_free: take the head that needs no NMS, where a ``.pt`` has one; by default Ultralytics
            takes the other.
        precision: of an OpenVINO or ncnn file on the CPU: ``f32``, ``bf16``, or ``auto`` for what
            its runtime takes by itself here.
        joined: images of a call go through an exported file in one forward pass where it takes
            several; otherwise a CPU sees them one by one, where batches gain nothing.
        adjust: for finding a file's fault: what is done to the network's input (B, 3, H, W), RGB in
            0…1, before it goes in.
        trust: load the weights although they carry code.

    Attributes:
        names: class names by class id.
        stride: input sides are multiples of it, pixels.
        imgsz_hw: height and width of the input in pixels; the frame into which it fits where it is
            rectangular.
        format: ``pt``, ``onnx``, ``openvino``, … as Ultralytics names them.
        batched: several images go through in one forward pass.
        rectangular: the input is as small as the images' shape allows; otherwise it is always
            ``imgsz_hw``.
        max_det: the most boxes an image; below what was asked for where the exported file holds
            fewer. A file that does not say how many it holds shows it with its first answer.
        wanted_max_det: what was asked for.
        device: where the network runs.
        metadata: what an exported file says of itself; None for a ``.pt``.
        object_sizes: how large the objects were that the weights were trained on, where they say
            so.
        seconds: what the last call took: ``preprocess``, ``inference``, ``postprocess``.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        device: str = "auto",
        imgsz: int | tuple[int, int] | None = None,
        half: bool = False,
        conf: float = 0.25,
        iou: float = 0.7,
        max_det: int = 1000,
        agnostic: bool = False,
        classes: Sequence[int] | None = None,
        multi_label: bool = False,
        rectangular: bool = True,
        nms_free: bool = False,
        precision: str = "auto",
        joined: bool = False,
        adjust: Callable[[torch.Tensor], torch.Tensor] | None = None,
        trust: bool = False,
    ) -> None:
        """Load the weights.

        Raises:
            WeightsNotFoundError: there is no such file.
            UnsafeWeightsError: they carry code, or are of a format that is a program, and ``trust``
                is off.
            DamagedWeightsError: they are truncated, empty or foreign.
            WeightsError: they are no detector.
            MissingPackageError: the format's runtime is not installed.
            MachineError: the device is not there.
            ConfigError: a threshold, a limit, the input size, ``half`` or ``precision`` does not
                fit.
        """
        _check_settings(conf, iou, max_det, imgsz, precision)
        self.weights = Path(weights)
        self.conf, self.iou, self.max_det, self.agnostic, self.multi_label = (
            conf,
            iou,
            max_det,
            agnostic,
            multi_label,
        )
        self.wanted_max_det = max_det
        self.classes = None if classes is None else list(classes)
        self.device = select_device(device)
        if half and self.device.type != "cuda":
            raise ConfigError(f"half precision needs a GPU, and the device is {self.device}")
        self.format = format_of(self.weights)
        loaded = load_model(self.weights, trust=trust) if self.format == "pt" else None
        self._head: Detect | None = None
        self._adjust = adjust
        if loaded:
            self._backend = self._torch_backend(loaded, half=half, nms_free=nms_free)
        else:
            self._backend = self._exported_backend(half=half, precision=precision, trust=trust)
        threads = use_all_cores()
        if self.device.type == "cpu":
            keep_freed_memory()
        self.metadata = None if loaded else ArtifactMetadata.from_entries(self._backend.metadata)
        self.object_sizes = (
            self.metadata.object_sizes
            if self.metadata
            else recorded_sizes(loaded.metadata if loaded else {})
        )
        self._engine = self._fitting_engine()
        self._workers = SideBySide(threads) if threads > 1 and self.device.type == "cpu" else None
        self._shared_engine: TorchBackend | DirectBackend | _AnyBackend | None = (
            None  # made where several images are looked at
        )
        self.names: dict[int, str] = dict(loaded.names if loaded else self._backend.names)
        self.stride = int(self._backend.stride)
        # Ultralytics' backend calls an open file fixed that it compiles for each shape by itself
        # (int8 in OpenVINO, with AMX).
        dynamic = (
            loaded is not None
            or bool(self._backend.dynamic)
            or getattr(self._backend, "read_model", None) is not None
        )
        self.rectangular = rectangular and dynamic
        self.imgsz_hw = self._input_size(
            imgsz,
            loaded.imgsz if loaded else getattr(self._backend, "imgsz", None),
            fixed=not dynamic,
        )
        # NMS inside a file is made for a number of images, even where their size is open.
        nms_inside = self.metadata is not None and self.metadata.nms
        self.batched = (dynamic and not nms_inside) or int(self._backend.batch) > 1
        if isinstance(self._engine, DirectBackend):
            self._engine.joined = joined and self.batched
        kept = self.metadata.max_det if self.metadata and self.chooses else None
        self._most_boxes = min(max_det, kept or max_det)
        self.max_det = self._most_boxes
        self.seconds: dict[str, float] = {}
        self._one_at_a_time = threading.Lock()  # heads and files keep what belongs to one call

    @property
    def chooses(self) -> bool:
        """Whether the file or the head chooses among its boxes by itself: NMS inside, or a head
        that needs none.
        """
        return bool(self._backend.end2end)

    def _torch_backend(self, loaded: LoadedModel, *, half: bool, nms_free: bool) -> AutoBackend:
        head = getattr(loaded.model, "model", [None])[-1]
        if not isinstance(head, Detect) or loaded.model.task != "detect":
            raise WeightsError(
                f"{self.weights} is a model for {loaded.model.task!r} ({type(head).__name__}); "
                f"expected a detector"
            )
        # A head that ends with its own choice of boxes keeps 300 of them unless told; classes are
        # chosen after that.
        head.max_det, head.agnostic_nms = max(self.max_det, 300), self.agnostic
        self._head = head
        with confined(), quiet_ultralytics():
            return AutoBackend(
                loaded.model, device=self.device, fp16=half, verbose=False, end2end=nms_free
            ).eval()

    def _fitting_engine(self) -> TorchBackend | DirectBackend | _AnyBackend:
        """Return what takes letterboxed images to candidates the shortest way."""
        if isinstance(self._backend, DirectBackend):
            return self._backend
        if (
            self._head is not None
            and self._adjust is None
            and TorchBackend.fits(self._backend.model, self.device)
        ):
            with torch.inference_mode():
                return TorchBackend(self._backend.model)
        return _AnyBackend(self._backend, self.device, self._adjust)

    def _exported_backend(
        self, *, half: bool, precision: str, trust: bool
    ) -> AutoBackend | DirectBackend:
        if self.format in _PROGRAMS and not trust:
            raise UnsafeWeightsError(
                f"{self.weights} is refused: a file in the format {self.format} is a program; if "
                f"you made it yourself, or trust "
                "who did as you would trust a program of theirs, load it with --trust"
            )
        package, source = _PACKAGES.get(self.format, ("", ""))
        if package and importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"{self.weights} needs the package {package}; install it with: pip install "
                f"'{source}'"
            )
        try:
            with confined(), quiet_ultralytics(), warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # torch's, of TorchScript's end some day
                # The direct ways take pixels, not the network's input.
                direct = self._adjust is None
                backend = (
                    direct_backend(self.format, self.weights, self.device, precision)
                    if direct
                    else None
                )
                if backend is None:
                    backend = AutoBackend(
                        str(self.weights), device=self.device, fp16=half, verbose=False
                    ).eval()
                    if self.format == "openvino":
                        compute_openvino_in(precision, backend, self.weights)
        except ImportError as error:
            missing = (error.name or "").partition(".")[0]
            line = (
                f"; install it with: pip install '{missing}'"
                if missing
                else f": {_first_line(error)}"
            )
            raise MissingPackageError(
                f"{self.weights} needs the package {missing or 'of its runtime'}{line}"
            ) from error
        except (MemoryError, WeightsError):
            raise
        except (
            Exception
        ) as error:  # each runtime has errors of its own for a file that it cannot read
            raise DamagedWeightsError(
                f"{self.weights} is damaged or no {self.format} model: {_first_line(error)}"
            ) from error
        if backend.task not in {None, "detect"}:
            raise WeightsError(
                f"{self.weights} is a model for {backend.task!r}; expected a detector"
            )
        return backend

    def _input_size(
        self, asked: int | tuple[int, int] | None, own: Any, *, fixed: bool
    ) -> tuple[int, int]:
        """Return height and width in pixels, raised to multiples of the stride."""
        own_hw = _pair(own or 640)
        if asked is None:
            return own_hw
        height, width = (
            max(math.ceil(side / self.stride), 1) * self.stride for side in _pair(asked)
        )
        if fixed and own and (height, width) != own_hw:
            raise ConfigError(
                f"{self.weights} takes only images of {own_hw[0]}x{own_hw[1]} (height x width), "
                f"and {height}x{width} is asked for; "
                "export it again with that size, or with --dynamic"
            )
        return height, width

    def __call__(
        self, images_bgr: Sequence[np.ndarray], *, max_det: int | None = None
    ) -> list[np.ndarray]:
        """Detect on one batch.

        Args:
            images_bgr: arrays (H, W, 3) uint8 in BGR order, of any sizes.
            max_det: the most boxes an image in this call; None for ``self.max_det``.

        Returns:
            For each image (N, 6) float32, sorted by falling score: x1, y1, x2, y2 in pixels of that
            image, score, class id.

        Raises:
            ConfigError: an image has another shape or type.
        """
        check_images(images_bgr)
        if not images_bgr:
            return []
        # Images of one shape share the smallest input; others share the full one, as Ultralytics
        # does it.
        auto = self.rectangular and len({image.shape for image in images_bgr}) == 1
        with self._one_at_a_time:
            if self._head is not None:
                self._head.max_det = max(max_det or self.max_det, 300)
            look = partial(
                self._look,
                letterbox=LetterBox(self.imgsz_hw, auto=auto, stride=self.stride),
                max_det=max_det,
            )
            if len(images_bgr) > 1 and (workers := self._usable_workers()):
                return self._side_by_side(workers, look, images_bgr)
            rows, self.seconds = look(self._engine, images_bgr)
            return rows

    @property
    def at_once(self) -> int:
        """How many images of one call are looked at side by side: 1 where they go one by one, or in
        one forward pass.
        """
        workers = self._usable_workers()
        return workers.workers if workers else 1

    def _usable_workers(self) -> SideBySide | None:
        return (
            None
            if self._engine.joined or math.prod(self.imgsz_hw) > _LARGEST_SIDE_BY_SIDE
            else self._workers
        )

    def _side_by_side(
        self, workers: SideBySide, look: Callable[..., Any], images_bgr: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        if self._shared_engine is None:
            self._shared_engine = self._engine.shared_by(workers.workers, workers.threads_each)
        engine = self._shared_engine
        started = time.perf_counter()
        answers = workers.map(lambda image: look(engine, [image]), images_bgr)
        passed = time.perf_counter() - started
        spent = {stage: sum(seconds[stage] for _, seconds in answers) for stage in answers[0][1]}
        self.seconds = {
            stage: passed * seconds / sum(spent.values()) for stage, seconds in spent.items()
        }
        return [rows for found, _ in answers for rows in found]

    def _look(
        self,
        engine: Any,
        images_bgr: Sequence[np.ndarray],
        *,
        letterbox: LetterBox,
        max_det: int | None,
    ) -> tuple[list[np.ndarray], dict[str, float]]:
        """Return each image's boxes, and the seconds that each stage took. Called by several
        threads at once.
        """
        started = self._now()
        with torch.inference_mode():
            letterboxed = [letterbox(image=image) for image in images_bgr]
            inputs = engine.prepare(letterboxed)
            prepared = self._now()
            raw = engine(inputs, self.conf)
            inferred = self._now()
            found = [
                boxes for batch in raw for boxes in self._chosen(batch, max_det or self.max_det)
            ]
            rows = [
                _boxes_of(boxes, framed.shape[:2], image.shape[:2])
                for boxes, framed, image in zip(found, letterboxed, images_bgr, strict=True)
            ]
        seconds = {
            "preprocess": prepared - started,
            "inference": inferred - prepared,
            "postprocess": self._now() - inferred,
        }
        return rows, seconds

    def _chosen(self, raw: Any, max_det: int) -> list[torch.Tensor]:
        """Return the boxes of a batch that NMS keeps."""
        self._learn_limit(raw)
        return nms.non_max_suppression(
            raw,
            self.conf,
            self.iou,
            self.classes,
            self.agnostic,
            multi_label=self.multi_label,
            max_det=max_det,
            # otherwise the batch's later images come back empty on a slow machine
            max_time_img=math.inf,
            max_wh=max(_NMS_OFFSET_PX, *self.imgsz_hw),
            end2end=self.chooses,
        )

    def candidates(self, image_bgr: np.ndarray) -> np.ndarray | None:
        """Return every box that the network proposes for one image, before NMS.

        Args:
            image_bgr: (H, W, 3) uint8.

        Returns:
            (N, 4 + K) float32: center x and y, width, height in pixels of the input, then K class
            scores; in the order of the network's grid. None where the file or the head chooses
            among them by itself.
        """
        if self.chooses:
            return None
        return self._proposed(image_bgr)[0]

    def proposals(self, image_bgr: np.ndarray) -> np.ndarray | None:
        """Return what `candidates` returns with the boxes as x1, y1, x2, y2 in pixels of the image,
        as a call gives them.
        """
        if self.chooses:
            return None
        rows, input_hw = self._proposed(image_bgr)
        rows[:, :4] = ops.xywh2xyxy(rows[:, :4])
        ops.scale_boxes(input_hw, rows[:, :4], image_bgr.shape[:2])
        return rows

    def _proposed(self, image_bgr: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Return (N, 4 + K) what the network proposes for an image, and the height and width of the
        input that it saw.
        """
        check_images([image_bgr])
        letterboxed = LetterBox(self.imgsz_hw, auto=self.rectangular, stride=self.stride)(
            image=image_bgr
        )
        with self._one_at_a_time, torch.inference_mode():
            raw = _boxes_part(self._engine(self._engine.prepare([letterboxed]), 0.0)[0])
        return np.ascontiguousarray(raw[0].float().cpu().numpy().T), letterboxed.shape[:2]

    def _learn_limit(self, raw: Any) -> None:
        """Lower ``max_det`` to what an exported file can hold: it always gives as many rows, the
        rest of them empty.
        """
        rows = _boxes_part(raw)
        if self.format != "pt" and rows.shape[-1] == _CHOSEN_COLUMNS:
            self.max_det = min(self._most_boxes, int(rows.shape[1]))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _AnyBackend:
    """Ultralytics' `AutoBackend`, called like the shorter ways: any format, any device, one
    batch.
    """

    joined = True

    def __init__(
        self,
        backend: AutoBackend,
        device: torch.device,
        adjust: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self._backend, self._device, self._adjust = backend, device, adjust

    def shared_by(self, workers: int, threads_each: int) -> _AnyBackend:
        """Return itself: it takes several images in one forward pass."""
        return self

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Return one batch (B, 3, H, W), RGB in 0…1 on the device."""
        batch = torch.from_numpy(np.stack(images_bgr)).to(self._device)
        batch = batch.permute(0, 3, 1, 2).contiguous().flip(1)
        batch = (batch.half() if self._backend.fp16 else batch.float()).div_(255)
        return [self._adjust(batch) if self._adjust else batch]

    def __call__(self, batches: Sequence[torch.Tensor], lowest_score: float) -> list[Any]:
        """Return the network's answer to each batch."""
        return [self._backend(batch) for batch in batches]


def format_of(weights: str | Path) -> str:
    """Return the format of a weights file as Ultralytics names it, such as ``pt``, ``onnx`` or
    ``openvino``.

    Raises:
        WeightsNotFoundError: there is no such file.
        DamagedWeightsError: its name tells no known format.
    """
    path = Path(weights)
    if not path.exists():
        raise missing_weights(path)
    if path.suffix == ".pth":
        return "pt"
    found = AutoBackend._model_type(str(path))  # noqa: SLF001 - Ultralytics' own table of names
    if found in {None, "triton"}:
        raise DamagedWeightsError(
            f"{path} has no name of a known format; expected .pt, .onnx, …_openvino_model or "
            f"another export"
        )
    return str(found)


def select_device(device: str) -> torch.device:
    """Return the device that a word names.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``1``.

    Raises:
        MachineError: there is no such GPU.
        ConfigError: the word names no device.
    """
    word = str(device).strip().lower()
    if word == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if word == "cpu" or (word == "mps" and torch.backends.mps.is_available()):
        return torch.device(word)
    number = word.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal():
        raise ConfigError(f"--device is {device!r}; expected auto, cpu, cuda, or a GPU's number")
    count = torch.cuda.device_count()
    if int(number) >= count:
        have = f"this machine has {count} (0 to {count - 1})" if count else "torch sees no GPU here"
        raise MachineError(
            f"--device is {device!r}, and {have}; take --device cpu or auto, or install a torch "
            f"that fits your GPU"
        )
    return torch.device(f"cuda:{number}")


def _check_settings(conf: float, iou: float, max_det: int, imgsz: Any, precision: str) -> None:
    """Hold what a caller sets to its range. Raises `ConfigError` with all that is wrong."""
    problems = [
        f"{name} is {value}; expected 0 to 1"
        for name, value in (("conf", conf), ("iou", iou))
        if not 0 <= value <= 1
    ]
    if max_det < 1:
        problems.append(f"max_det is {max_det}; expected 1 or more")
    sides = (imgsz, imgsz) if imgsz is None or isinstance(imgsz, int) else tuple(imgsz)
    if imgsz is not None and not (
        len(sides) == 2 and all(isinstance(side, int | np.integer) and side >= 1 for side in sides)
    ):
        problems.append(f"imgsz is {imgsz}; expected a number of pixels, or height and width")
    if precision not in _PRECISIONS:
        problems.append(f"precision is {precision!r}; expected {', '.join(_PRECISIONS)}")
    if problems:
        raise ConfigError("; ".join(problems))


def input_size(sides: tuple[int, ...]) -> int | tuple[int, int] | None:
    """Return what `Runtime` takes as ``imgsz`` for the numbers of ``--imgsz``: none, one, or height
    and width.
    """
    if not sides:
        return None
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _boxes_part(raw: Any) -> torch.Tensor:
    """Return the boxes of a backend's answer: formats wrap them differently."""
    return raw[0] if isinstance(raw, list | tuple) else raw


def _pair(size: Any) -> tuple[int, int]:
    """Return (height, width) for one number or a pair."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def check_images(images: Sequence[np.ndarray]) -> None:
    """Hold images to what `Runtime` takes. Raises `ConfigError`."""
    for index, image in enumerate(images):
        found = (
            f"shape {image.shape} and type {image.dtype}"
            if isinstance(image, np.ndarray)
            else f"a {type(image).__name__}"
        )
        if (
            not isinstance(image, np.ndarray)
            or image.ndim != 3
            or image.shape[2] != 3
            or image.dtype != np.uint8
            or 0 in image.shape
        ):
            raise ConfigError(
                f"image {index} of the batch has {found}; expected an array (H, W, 3) of uint8 in "
                f"BGR order"
            )


def _boxes_of(
    boxes: torch.Tensor, input_hw: Sequence[int], image_hw: tuple[int, int]
) -> np.ndarray:
    """Return one image's boxes (N, 6) in its own pixels."""
    boxes = boxes[:, :6].float()
    ops.scale_boxes(tuple(input_hw), boxes[:, :4], image_hw)
    rows = boxes.cpu().numpy().astype(np.float32, copy=False)
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
