"""What turns images into boxes: `Predictor`, the one interface to a ``.pt``, to every exported
format and to detection in tiles, with the settings that may change between two calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from yolo_ema.errors import ConfigError

if TYPE_CHECKING:
    from yolo_ema.inference.file_metadata import ArtifactMetadata
    from yolo_ema.tiling.plan import ObjectSizes, SizeFixedBy
    from yolo_ema.tiling.plan_figures import PlanFigures

__all__ = [
    "PRECISIONS",
    "Predictor",
    "PredictorConfig",
    "PredictorSettings",
    "check_images",
    "input_size",
]

PRECISIONS = ("auto", "f32", "bf16")


@dataclass(kw_only=True)
class PredictorSettings:
    """What may change from call to call. A predictor and those that wrap it share one such object,
    so that a change holds for all of them from the next call on.

    Attributes:
        conf: lowest score to keep, 0…1.
        iou: overlap above which NMS drops the weaker of two boxes, 0…1.
        max_det: maximum boxes per image; those with the highest scores are kept.
        classes: only these class ids; None for all.
        agnostic: let boxes of different classes suppress each other.
        multi_label: a box may carry several classes, as in Ultralytics' validation.
        nms_groups: class ids of which only the strongest box stays, whatever its class, where
            boxes overlap by more than ``group_iou``; none by default.
        group_iou: see ``nms_groups``, 0…1.

    Examples:
        >>> from yolo_ema import TiledPredictor, open_predictor
        >>> network = open_predictor("best.onnx", conf=0.25)
        >>> tiled = TiledPredictor(network)
        >>> network.settings.conf = 0.5  # holds for the tiles, too, from the next call on
        >>> tiled.settings.conf
        0.5
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 1000
    classes: Sequence[int] | None = None
    agnostic: bool = False
    multi_label: bool = False
    nms_groups: Sequence[Sequence[int]] = ()
    group_iou: float = 0.8

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise `ConfigError`, naming everything that is out of range."""
        problems = [
            f"{name} is {value}; expected 0 to 1"
            for name, value in (
                ("conf", self.conf),
                ("iou", self.iou),
                ("group_iou", self.group_iou),
            )
            if not 0 <= value <= 1
        ]
        if self.max_det < 1:
            problems.append(f"max_det is {self.max_det}; expected 1 or more")
        if problems:
            raise ConfigError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """How weights are opened: what holds for as long as they stay open, and the settings to begin
    with.

    Attributes:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``mps``, ``cuda``, ``cuda:1``, ``1``.
        imgsz: input size in pixels, one number or (height, width), rounded up to multiples of the
            stride; None takes the weights' own. A file exported with a fixed size takes no other.
        half: half precision, on a GPU.
        rectangular: shrink the input to the images' shape where the format allows it.
        nms_free: take the head that needs no NMS, where a ``.pt`` has one; by default the other
            one is taken, as in Ultralytics.
        precision: of an OpenVINO or ncnn file on the CPU: ``f32``, ``bf16``, or ``auto``: OpenVINO
            takes bf16 where an x86 processor has AMX, otherwise f32; ncnn chooses by itself.
        batched: run the images of a call through an exported file in one forward pass where it
            takes several; otherwise a CPU runs them one by one, since batches gain nothing there.
        input_transform: for finding a file's fault: applied to the network's input, (B, 3, H, W)
            float RGB in 0…1, before it goes in.
        trust: load the weights although they carry code.
        conf, iou, max_det, classes, agnostic, multi_label: see `PredictorSettings`.

    Examples:
        >>> from yolo_ema import PredictorConfig, open_predictor
        >>> open_predictor("best.onnx", PredictorConfig(imgsz=320, conf=0.4)).imgsz_hw
        (320, 320)
    """

    device: str = "auto"
    imgsz: int | tuple[int, int] | None = None
    half: bool = False
    rectangular: bool = True
    nms_free: bool = False
    precision: str = "auto"
    batched: bool = False
    input_transform: Callable[[np.ndarray], np.ndarray] | None = None
    trust: bool = False
    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 1000
    classes: Sequence[int] | None = None
    agnostic: bool = False
    multi_label: bool = False

    def __post_init__(self) -> None:
        self.settings()
        sides = (self.imgsz,) * 2 if isinstance(self.imgsz, int) else tuple(self.imgsz or (1, 1))
        if len(sides) != 2 or not all(
            isinstance(side, int | np.integer) and side >= 1 for side in sides
        ):
            raise ConfigError(
                f"imgsz is {self.imgsz}; expected a number of pixels, or height and width"
            )
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; expected {', '.join(PRECISIONS)}")

    def settings(self) -> PredictorSettings:
        """Return the settings to begin with, as an object of their own."""
        return PredictorSettings(
            conf=self.conf,
            iou=self.iou,
            max_det=self.max_det,
            classes=None if self.classes is None else list(self.classes),
            agnostic=self.agnostic,
            multi_label=self.multi_label,
        )


class Predictor(Protocol):
    """Turns images into boxes. Calls from several threads wait for each other.

    Attributes:
        settings: thresholds and limits, shared with whatever wraps this predictor.
        weights: the file or folder it was opened from.
        format: ``pt``, ``onnx``, ``openvino``, … as Ultralytics names them.
        device: where the network runs: ``cpu``, ``mps`` or ``cuda:0``.
        names: class names by class id.
        stride: input sides are multiples of it, pixels.
        imgsz_hw: height and width of the input in pixels; with ``rectangular`` the frame into
            which the input fits.
        rectangular: the input is as small as the images' shape allows; otherwise it is always
            ``imgsz_hw``.
        input_scale: the input's longer side by that of the weights' own.
        size_fixed_by: why a call should ask for no other input size: ``file``, which takes no
            other, or ``imgsz``, which was asked for; "" where nothing fixes it.
        batched: several images can go through in one forward pass.
        has_builtin_nms: the file or the head selects its boxes by itself: NMS is inside, or it
            needs none.
        metadata: what an exported file says of itself; None for a ``.pt``.
        precision: of the weights, such as ``fp32``; ``fp32 in bf16`` where the runtime says that it
            computes in another.
        object_sizes: how large the objects were that the weights were trained on, where recorded.
        plan_figures: what plans gained and cost with the weights, where recorded.
        max_det: maximum boxes per image: ``settings.max_det``, or fewer where an exported file
            holds fewer. A file that does not say how many it holds shows it with its first answer.
        seconds: what the last call took: ``preprocess``, ``inference``, ``postprocess``.

    Examples:
        >>> import cv2
        >>> from yolo_ema import Predictor, open_predictor
        >>> predictor: Predictor = open_predictor("best.onnx")
        >>> [boxes] = predictor([cv2.imread("junction.jpg")])  # x1, y1, x2, y2, score, class id
        >>> boxes.shape[1]
        6
    """

    settings: PredictorSettings
    weights: Path
    seconds: dict[str, float]
    format: str
    device: str
    names: dict[int, str]
    stride: int
    imgsz_hw: tuple[int, int]
    rectangular: bool
    input_scale: float
    size_fixed_by: SizeFixedBy
    batched: bool
    metadata: ArtifactMetadata | None
    object_sizes: ObjectSizes | None
    plan_figures: PlanFigures | None

    @property
    def has_builtin_nms(self) -> bool: ...  # noqa: D102
    @property
    def max_det(self) -> int: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102

    def at_once(self, image_wh: tuple[int, int], *, imgsz_hw: tuple[int, int] | None = None) -> int:
        """Return how many images of this size should share a call, at this input size or the
        predictor's own: several where workers run them side by side.
        """
        ...

    def __call__(
        self,
        images_bgr: Sequence[np.ndarray],
        *,
        max_det: int | None = None,
        imgsz_hw: tuple[int, int] | None = None,
    ) -> list[np.ndarray]:
        """Detect on images.

        Args:
            images_bgr: arrays (H, W, 3) uint8 in BGR order, of any sizes.
            max_det: maximum boxes per image in this call; None for ``self.max_det``.
            imgsz_hw: height and width of the input in this call, multiples of the stride; None for
                ``self.imgsz_hw``.

        Returns:
            For each image (N, 6) float32, sorted by falling score: x1, y1, x2, y2 in pixels of that
            image, score, class id.

        Raises:
            ConfigError: an image has another shape or type, a setting is out of range, or the
                weights do not take this input size.
        """
        ...

    def candidates(self, image_bgr: np.ndarray) -> np.ndarray | None:
        """Return every box that the network proposes for one image, before NMS.

        Returns:
            (N, 4 + K) float32: center x and y, width, height in pixels of the input, then K class
            scores; in the order of the network's grid. None where the file or the head has NMS
            built in.
        """
        ...

    def proposals(
        self, image_bgr: np.ndarray, *, imgsz_hw: tuple[int, int] | None = None
    ) -> np.ndarray | None:
        """Return what `candidates` returns with the boxes as x1, y1, x2, y2 in pixels of the
        image; at another input size where ``imgsz_hw`` asks for it.
        """
        ...


def check_images(images: Sequence[Any]) -> None:
    """Raise `ConfigError` unless all images are arrays (H, W, 3) uint8."""
    for index, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            actual = f"a {type(image).__name__}"
        elif image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            actual = f"shape {image.shape} and type {image.dtype}"
        else:
            continue
        raise ConfigError(
            f"image {index} of the batch has {actual}; expected an array (H, W, 3) of uint8 in BGR "
            f"order"
        )


def input_size(sides: tuple[int, ...]) -> int | tuple[int, int] | None:
    """Return ``imgsz`` for the numbers of ``--imgsz``: none, one, or height and width."""
    if not sides:
        return None
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
