"""What a file's layer may have otherwise than the layer that its model description makes.

Numbers that follow from the widths of weights, and the constants of batch norms and activations.
What decides how a layer reads, or how much memory it takes, must be as the description says; what
is anything but a plain value refuses the file.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from ultralytics.nn.modules.head import Detect

from yolo_ema.engine.weights.pickle_records import BoundMethod, SavedObject
from yolo_ema.engine.weights.plain_values import NotPlain, is_number, plain_value

RESIZABLE = (
    nn.BatchNorm2d,
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.Linear,
    nn.PReLU,
)
"""Layers whose tensors may have other sizes than their description makes."""

_FORWARDS = ("forward", "forward_fuse", "forward_split")
_FREE = frozenset(
    [
        *("eps", "momentum", "p", "negative_slope"),
        *("in_channels", "out_channels", "groups", "num_features", "num_groups", "num_channels"),
        *("in_features", "out_features", "normalized_shape", "num_parameters"),
    ]
)
"""Attributes of torch's own layers that a file may set."""

_DERIVED = frozenset(["training", "np", "type", "inplace", "recompute_scale_factor"])
_DERIVED_IN_HEAD = frozenset(
    [
        *("anchors", "strides", "stride", "shape", "dynamic", "export", "format", "xyxy", "legacy"),
        *("max_det", "agnostic_nms"),
    ]
)
"""Attributes that the made layer has its own values for."""

_LARGEST_WHOLE = 1 << 17


class UncheckedModel(Exception):  # noqa: N818 - `loading` turns it into the error that the user sees
    """The file's model is not what its description makes; the message is a clause."""


def check_attribute(
    module: nn.Module, saved: SavedObject, key: Any, value: Any, place: str
) -> bool:
    """Hold one attribute of the file's layer against the made one's, and take it over where it
    may differ.

    Returns:
        Whether it differs: the layer then needs a trial.
    """
    if key in ("_parameters", "_buffers", "_modules"):
        return False
    if not isinstance(key, str):
        raise UncheckedModel(f"{place} has an attribute without a name")
    if "_hooks" in key and value:
        raise UncheckedModel(f"{place}: a layer carries hooks ({key[:50]})")
    if isinstance(value, BoundMethod):
        if key == "forward" and value.owner is saved and value.name in _FORWARDS:
            return False
        raise UncheckedModel(
            f"{place}: a layer's attribute {key[:50]!r} is replaced by {value.name[:50]!r}"
        )
    try:
        value = plain_value(value)
    except NotPlain as error:
        raise UncheckedModel(f"{place}: a layer's attribute {key[:50]!r}: {error}") from error
    expected = vars(module).get(key)
    derived = _DERIVED | _DERIVED_IN_HEAD if isinstance(module, Detect) else _DERIVED
    if key.startswith("_") or key in derived or key not in vars(module) or _same(expected, value):
        return False
    is_torch = type(module).__module__.startswith("torch.nn.")
    may_differ = (
        key in _FREE if is_torch else key not in ("i", "f") and not isinstance(module, Detect)
    )
    if not may_differ or not _fits(expected, value):
        raise UncheckedModel(
            f"{place}.{key[:50]} is {str(value)[:50]!r} where its description makes {expected!r}"
        )
    setattr(module, key, tuple(value) if isinstance(value, list) else value)
    return True


def _same(expected: Any, value: Any) -> bool:
    if isinstance(expected, list | tuple) and isinstance(value, list | tuple):
        return len(expected) == len(value) and all(map(_same, expected, value))
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    return isinstance(value, str | int | float | None) and bool(expected == value)


def _fits(expected: Any, value: Any) -> bool:
    """Say whether a value is of the made one's type and within bounds."""
    if isinstance(expected, bool):
        return isinstance(value, bool)
    if isinstance(expected, int):
        return is_number(value) and isinstance(value, int) and 0 <= value <= _LARGEST_WHOLE
    if isinstance(expected, float):
        return is_number(value) and abs(value) <= _LARGEST_WHOLE
    return (
        isinstance(expected, list | tuple)
        and isinstance(value, list | tuple)
        and len(expected) == len(value)
        and all(_fits(item, other) for item, other in zip(expected, value, strict=True))
    )


def check_sizes(module: Any, place: str) -> None:
    """Refuse a layer whose tensors are not of the sizes that its settings say."""
    groups = max(getattr(module, "groups", 1), 1)
    weight: tuple[int, ...]
    if isinstance(module, nn.ConvTranspose2d):
        weight, channels = (module.in_channels, module.out_channels // groups), module.out_channels
    elif isinstance(module, nn.Conv2d):
        weight, channels = (module.out_channels, module.in_channels // groups), module.out_channels
    elif isinstance(module, nn.Linear):
        weight, channels = (module.out_features, module.in_features), module.out_features
    elif isinstance(module, nn.LayerNorm):
        weight, channels = tuple(module.normalized_shape), module.normalized_shape[0]
    else:
        names = ("num_features", "num_channels", "num_parameters")
        channels = next(getattr(module, name) for name in names if hasattr(module, name))
        weight = (channels,)
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):  # noqa: SLF001
        expected = weight if name == "weight" else (channels,)
        if tensor is not None and tensor.dim() and tensor.shape[: len(expected)] != expected:
            raise UncheckedModel(
                f"{place}.{name} is {tuple(tensor.shape)}; its settings say {expected}"
            )
