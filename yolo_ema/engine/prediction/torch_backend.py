"""A ``.pt`` on an x86 processor: the same arithmetic as Ultralytics' forward pass, less of it.

What differs from the forward pass of `AutoBackend`, and why the boxes are the same but for
rounding:
    * the image goes in as its bytes lie; the change from BGR to RGB and from 0…255 to 0…1 is in the
      first convolution's weights;
    * a convolution and its activation are one call, with the weights in oneDNN's own order
      (`packed_convolution`);
    * the head's class scores are computed everywhere, its boxes only where a score is high enough
      (`_SparseHead`): the convolutions of the box branch see only the pixels around these places
      where they are few.

Each image goes through by itself: batches gain nothing here, and so an image's boxes never depend
on its neighbours in the batch.

Legend: C channels, H height, W width, K classes, M candidates, P places around each.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Detect
from ultralytics.utils.tal import dist2bbox

from yolo_ema.engine.prediction.packed_convolution import Layer, packed
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.inference.predictor import PredictorSettings
from yolo_ema.tiling.plan import ObjectSizes
from yolo_ema.tiling.plan_figures import PlanFigures

_LOGIT_MARGIN = 1e-3  # candidates score a little less than the threshold; NMS draws the line
_FEW = 0.5  # share of the whole map's cost below which the box branch sees single places


class TorchBackend:
    """Runs a fused Ultralytics detector on the CPU; a `Backend`.

    Args:
        model: in eval mode, fused, float32, on the CPU; its convolutions are packed in place.
        loaded: what it was made of.
        object_sizes: how large the objects were that it was trained on, where recorded.
        plan_figures: what plans gained and cost with it, where recorded.
    """

    dynamic = batched = True
    one_pass = has_builtin_nms = False
    metadata = None
    stored = computed = "fp32"

    def __init__(
        self, model: Any, loaded: LoadedModel, object_sizes: ObjectSizes | None = None
    ) -> None:
        layers = list(model.model)
        self._first = _byte_convolution(layers[0])
        pack_convolutions(model)
        self._layers, self._kept = layers[1:-1], set(model.save)
        self._head = _SparseHead(layers[-1])
        self.names = dict(loaded.names)
        self.imgsz_hw: tuple[int, int] | None = (loaded.imgsz, loaded.imgsz)
        self.stride = max(int(model.stride.max()), 32)
        self.object_sizes = object_sizes
        self.plan_figures = PlanFigures.of_entries(loaded.metadata)

    @property
    def threads(self) -> int:
        """Threads that torch computes with."""
        return torch.get_num_threads()

    @staticmethod
    def fits(model: Any, device: torch.device) -> bool:
        """Say whether a model can go this way: a detector as Ultralytics builds it, whose boxes
        need NMS, on an x86 processor.
        """
        first, head = model.model[0], model.model[-1]
        return (
            device.type == "cpu"
            and platform.machine() in {"x86_64", "AMD64"}
            and type(head) is Detect
            and not head.end2end
            and not head.training
            and type(first) is Conv
            and first.conv.in_channels == 3
            and not hasattr(first, "bn")
            and first.f == -1
        )

    def shared_by(self, workers: int, threads_each: int) -> TorchBackend:
        """Return what several workers may call at once: itself, since it keeps nothing of a
        call.
        """
        return self

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[Tensor]:
        """Return each image (H, W, 3) uint8 as (1, 3, H, W) float32 in 0…255, its pixels' channels
        side by side.
        """
        own = [np.require(image, requirements=["C", "W"]) for image in images_bgr]  # as torch takes
        return [torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in own]

    def __call__(
        self,
        inputs: Sequence[Tensor],
        settings: PredictorSettings,
        max_det: int,
    ) -> list[np.ndarray]:
        """Return the candidates (M, 4 + K) of each image: center x and y, width, height in pixels,
        class scores. What scores clearly less than ``conf`` is left out.
        """
        with torch.inference_mode():
            return [self._candidates(image, settings.conf).numpy() for image in inputs]

    def _candidates(self, image: Tensor, lowest_score: float) -> Tensor:
        x = self._first(image)
        outputs: list[Tensor | None] = [x if 0 in self._kept else None]
        for layer in self._layers:
            x = layer(_inputs(layer, x, outputs))
            outputs.append(x if layer.i in self._kept else None)
        return self._head(_inputs(self._head, x, outputs), lowest_score)


def _inputs(layer: Any, x: Tensor, outputs: Sequence[Tensor | None]) -> Any:
    """Return what a layer takes, by its `f` as Ultralytics' model YAML gives it."""
    if layer.f == -1:
        return x
    if isinstance(layer.f, int):
        return outputs[layer.f]
    return [x if index == -1 else outputs[index] for index in layer.f]


def _byte_convolution(first: Conv) -> Layer:
    """Return the first layer for BGR bytes: its weights take RGB in 0…1."""
    convolution = nn.Conv2d(1, 1, 1)
    convolution.__dict__.update(first.conv.__dict__)
    convolution._parameters = dict(first.conv._parameters)  # noqa: SLF001 - a shallow copy, whose weight is replaced below
    weight = (first.conv.weight.detach().flip(1) / 255).contiguous(
        memory_format=torch.channels_last
    )
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    return packed(convolution, first.act)


def pack_convolutions(model: nn.Module) -> None:
    """Make each convolution of a fused model, with its activation, one call."""
    for module in list(model.modules()):
        if type(module) is Conv or (
            isinstance(module, Conv) and type(module).forward is Conv.forward
        ):
            if not hasattr(module, "bn"):
                module.forward = packed(module.conv, module.act)
        elif isinstance(module, Detect):
            for branch in (*module.cv2, *module.cv3):
                if isinstance(branch[-1], nn.Conv2d):
                    branch[-1].forward = packed(branch[-1], nn.Identity())


class _SparseHead:
    """Ultralytics' `Detect`, with boxes only where a class scores high enough."""

    def __init__(self, head: Detect) -> None:
        self.f: list[int] = head.f
        self._classes, self._boxes = list(head.cv3), list(head.cv2)
        self._strides = [float(stride) for stride in head.stride]
        self._bins = torch.arange(head.reg_max, dtype=torch.float32)
        self._around = [_Surroundings.of(branch) for branch in head.cv2]

    def __call__(self, maps: Sequence[Tensor], lowest_score: float) -> Tensor:
        """Return candidates (M, 4 + K) of maps (1, C, H, W)."""
        return torch.cat(
            [self._level(level, features, lowest_score) for level, features in enumerate(maps)]
        )

    def _level(self, level: int, features: Tensor, lowest_score: float) -> Tensor:
        """Return one level's candidates (M, 4 + K), in the order of the grid."""
        logits = _by_place(self._classes[level](features))  # (H·W, K)
        places = (logits.amax(1) > _logit(lowest_score) - _LOGIT_MARGIN).nonzero()[:, 0]
        width = features.shape[3]
        rows, columns = places // width, places % width
        sides = self._sides(level, features, places, rows, columns).view(
            len(places), 4, len(self._bins)
        )
        distances = sides.softmax(2) @ self._bins if len(self._bins) > 1 else sides[:, :, 0]
        centers = torch.stack([columns, rows], 1) + 0.5
        boxes = dist2bbox(distances, centers, xywh=True, dim=1) * self._strides[level]
        return torch.cat([boxes, logits[places].sigmoid()], 1)

    def _sides(
        self, level: int, features: Tensor, places: Tensor, rows: Tensor, columns: Tensor
    ) -> Tensor:
        """Return what the box branch says at the places: (M, 4 · bins)."""
        around = self._around[level]
        if (
            around is not None
            and len(places) * around.work < _FEW * features.shape[2] * features.shape[3]
        ):
            return around(features, rows, columns)
        return _by_place(self._boxes[level](features))[places]


class _Surroundings:
    """A chain of convolutions at single places of a map: of each place, only the pixels around it
    that matter go through.
    """

    def __init__(self, chain: list[tuple[nn.Conv2d, nn.Module]]) -> None:
        # Packed: the arithmetic of other convolutions varies with the number of threads where there
        # are few places.
        self._layers = [
            packed(convolution, activation, padded=False) for convolution, activation in chain
        ]
        self._reach = sum(convolution.kernel_size[0] // 2 for convolution, _ in chain)
        sides, side = [], 2 * self._reach + 1
        for convolution, _ in chain:
            side -= convolution.kernel_size[0] - 1
            sides.append(side)
        work = [
            convolution.weight[0].numel() * convolution.out_channels for convolution, _ in chain
        ]
        self.work = sum(cost * side * side for cost, side in zip(work, sides, strict=True)) / sum(
            work
        )

    @classmethod
    def of(cls, branch: nn.Sequential) -> _Surroundings | None:
        """Return the branch as such a chain, or None where it is built in another way."""
        chain = [
            (part.conv, part.act) if isinstance(part, Conv) else (part, nn.Identity())
            for part in branch
            if isinstance(part, Conv | nn.Conv2d)
        ]
        whole = len(chain) == len(branch) and all(
            convolution.kernel_size[0]
            == convolution.kernel_size[1]
            == 2 * convolution.padding[0] + 1
            and convolution.stride == convolution.dilation == (1, 1)
            and convolution.padding[0] == convolution.padding[1]
            and convolution.padding_mode == "zeros"
            for convolution, _ in chain
        )
        return cls(chain) if whole else None

    def __call__(self, features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the chain's answer (M, C') at M places of a map (1, C, H, W)."""
        height, width = features.shape[2:]
        steps = torch.arange(-self._reach, self._reach + 1)
        down, right = rows[:, None] + steps, columns[:, None] + steps  # (M, P)
        down, right = down[:, :, None], right[:, None, :]
        inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)  # (M, P, P)
        index = down.clamp(0, height - 1) * width + right.clamp(0, width - 1)
        # (M, C, P, P), channels side by side
        x = (_by_place(features)[index] * inside[..., None]).permute(0, 3, 1, 2)
        for number, layer in enumerate(self._layers):
            # beyond the map's border the next convolution sees zeros, not what this one would say
            # there
            if number:
                cut = (inside.shape[1] - x.shape[2]) // 2
                x = x * inside[:, None, cut : cut + x.shape[2], cut : cut + x.shape[3]]
            x = layer(x)
        return x.flatten(1)


def _by_place(features: Tensor) -> Tensor:
    """Return (H·W, C) of (1, C, H, W): a view where the channels lie side by side."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def _logit(score: float) -> float:
    """Return the number whose sigmoid is the score, infinite at 0 and 1."""
    if 0 < score < 1:
        return math.log(score / (1 - score))
    return -math.inf if score <= 0 else math.inf
