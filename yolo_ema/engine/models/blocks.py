"""Which blocks a model YAML may name and with which arguments, checked before Ultralytics sees it.

Ultralytics' `parse_model` evaluates the activation as Python, looks blocks up among everything its
module has imported, and hands them whatever arguments the YAML has: one of its blocks downloads
weights, and numbers decide how much memory is taken. A model YAML is data, whether it is a file of
its own or lies inside a weights file. So blocks are layers of known modules here, arguments are
bounded numbers or one of a few words, and the activation is a torch activation with plain numbers.
"""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from ultralytics.nn import tasks

from yolo_ema.errors import ModelError, did_you_mean
from yolo_ema.nn import BLOCKS
from yolo_ema.nn.attention.catalog import ATTENTIONS

# `yolo_ema.nn` tells Ultralytics' parser its blocks where that is imported first; here both are.
for _name, _block in BLOCKS.items():
    vars(tasks).setdefault(_name, _block)

HEADS = ("Detect", "v10Detect")
"""Heads of a detection model, which stand in its last row."""

MOST_CLASSES = 100_000
_LARGEST_NUMBER = 65_536
_MOST_REPEATS = 100
_MOST_ARGUMENTS = 64

ACTIVATIONS = frozenset(
    [
        "CELU",
        "ELU",
        "GELU",
        "Hardsigmoid",
        "Hardswish",
        "Hardtanh",
        "Identity",
        "LeakyReLU",
        "LogSigmoid",
        "Mish",
        "PReLU",
        "ReLU",
        "ReLU6",
        "SELU",
        "SiLU",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Tanh",
    ]
)
"""Activations of torch.nn that a model may have."""

_TORCH_LAYERS = ACTIVATIONS | frozenset(
    [
        "AdaptiveAvgPool2d",
        "AdaptiveMaxPool2d",
        "AvgPool2d",
        "BatchNorm2d",
        "ChannelShuffle",
        "CircularPad2d",
        "ConstantPad2d",
        "Conv2d",
        "ConvTranspose2d",
        "Dropout",
        "Dropout2d",
        "Flatten",
        "GroupNorm",
        "InstanceNorm2d",
        "LayerNorm",
        "Linear",
        "LocalResponseNorm",
        "MaxPool2d",
        "PixelShuffle",
        "PixelUnshuffle",
        "ReflectionPad2d",
        "ReplicationPad2d",
        "Softmax2d",
        "Unflatten",
        "Upsample",
        "UpsamplingBilinear2d",
        "UpsamplingNearest2d",
        "ZeroPad2d",
    ]
)
_TORCHVISION_LAYERS = frozenset(
    [
        "Conv2dNormActivation",
        "DropBlock2d",
        "FrozenBatchNorm2d",
        "Permute",
        "SqueezeExcitation",
        "StochasticDepth",
    ]
)
_ULTRALYTICS_MODULES = tuple(
    f"ultralytics.nn.modules.{name}" for name in ("activation", "block", "conv", "transformer")
)
_DOWNLOADS = frozenset({"TorchVision"})  # it takes a torchvision model by name, weights included
_WORDS = frozenset(
    [
        "None",
        "True",
        "False",
        "c2",
        "nc",
        "reg_max",
        "end2end",
        "nearest",
        "linear",
        "bilinear",
        "bicubic",
        "area",
        "zeros",
        "reflect",
        "replicate",
        "circular",
    ]
)
_SHAPE = "[from, repeats, block, arguments]"


def checked_row(
    row: Any, index: int, where: str, *, is_last: bool, user_blocks: bool = False
) -> list[Any]:
    """Return a row of a model YAML, sure to make layers of known blocks with bounded arguments.

    ``where`` is file and line, for messages; ``user_blocks`` allows the blocks that the running
    program registered with Ultralytics, too.

    Raises:
        ModelError: it is not such a row; the message begins with ``where``.
    """
    if not (
        isinstance(row, list | tuple)
        and len(row) == 4
        and isinstance(row[1], int)
        and isinstance(row[3], list | tuple)
    ):
        raise ModelError(
            f"{where}: the row is {_shown(row)}; expected {_SHAPE}, as in [-1, 1, EMA, [c2]]"
        )
    sources, repeats, block, arguments = row
    name = str(block)
    _check_sources(sources, index, where)
    if not 0 <= repeats <= _MOST_REPEATS:
        raise ModelError(f"{where}: {repeats} repeats; expected 1 to {_MOST_REPEATS}")
    if is_last and name not in HEADS:
        raise ModelError(
            f"{where}: the last block is {name[:100]!r}; expected 'Detect', since only detection "
            f"models are built here"
        )
    known = [*HEADS] if is_last else known_blocks(name, user_blocks=user_blocks)
    if name in _DOWNLOADS:
        raise ModelError(
            f"{where}: the block {name} downloads weights of its own; it is not allowed"
        )
    if name not in known:
        short = ATTENTIONS.get(name.lower())  # what a model's name says, and a YAML does not
        hint = f"; did you mean {short.block!r}?" if short else did_you_mean(name[:100], known)
        raise ModelError(f"{where}: unknown block {name[:100]!r}{hint}")
    if len(arguments) > _MOST_ARGUMENTS or not all(
        _is_plain(value, depth=2) for value in arguments
    ):
        raise ModelError(
            f"{where}: the arguments of {name} are {_shown(arguments)}; expected numbers up to "
            f"{_LARGEST_NUMBER:,}, true, false, c2, nc or an interpolation mode"
        )
    if name in BLOCKS:
        _check_attention(name, sources, arguments, where)
    return [
        sources if isinstance(sources, int) else list(sources),
        int(repeats),
        name,
        [list(value) if isinstance(value, tuple) else value for value in arguments],
    ]


def known_blocks(name: str, *, user_blocks: bool = False) -> list[str]:
    """Return the blocks that a row may name, of the library that ``name`` names by its prefix."""
    for prefix, library, layers in (
        ("nn.", "torch.nn", _TORCH_LAYERS),
        ("torchvision.ops.", "torchvision.ops", _TORCHVISION_LAYERS),
    ):
        if name.startswith(prefix):
            module = importlib.import_module(library)  # torchvision takes longer than torch does
            return sorted(prefix + layer for layer in layers if hasattr(module, layer))
    return [
        name
        for name, block in vars(tasks).items()
        if isinstance(block, type)
        and issubclass(block, torch.nn.Module)
        and name not in _DOWNLOADS
        and (_is_ours(block) or (user_blocks and not block.__module__.startswith("ultralytics.")))
    ]


def _is_ours(block: type) -> bool:
    module = block.__module__
    return module in _ULTRALYTICS_MODULES or module.startswith("yolo_ema.nn.")


def has_user_blocks(definition: dict[str, Any]) -> bool:
    """Say whether a checked definition has blocks that the running program registered itself."""
    names = {row[2] for section in ("backbone", "head") for row in definition[section]}
    return any(name not in HEADS and name not in known_blocks(name) for name in names)


def _check_sources(sources: Any, index: int, where: str) -> None:
    listed = sources if isinstance(sources, list | tuple) else [sources]
    if not listed or len(listed) > _MOST_ARGUMENTS:
        raise ModelError(f"{where}: layer {index} reads from {len(listed)} layers")
    for source in listed:
        if not (isinstance(source, int) and -max(index, 1) <= source < index):
            raise ModelError(
                f"{where}: layer {index} reads from {_shown(source)}; expected -1 or the number of "
                f"an earlier layer"
            )


def _check_attention(name: str, sources: Any, arguments: Sequence[Any], where: str) -> None:
    if not arguments:
        raise ModelError(
            f"{where}: {name} has no arguments; expected the channels of the row above, [c2], or "
            f"those and its settings, as in EMA, [c2, 8]"
        )
    if "c2" in arguments and sources != -1:
        raise ModelError(
            f"{where}: {name} reads from {sources!r} with channels c2; c2 is the width of the row "
            f"above, so from must be -1, or the channels a number"
        )


def _is_plain(value: Any, depth: int) -> bool:
    """Say whether an argument is a bounded number, a known word, or a short list of those."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= _LARGEST_NUMBER
    if isinstance(value, str):
        return value in _WORDS or _is_plain(_literal(value), depth=0)
    return (
        isinstance(value, list | tuple)
        and depth > 0
        and len(value) <= _MOST_ARGUMENTS
        and all(_is_plain(item, depth - 1) for item in value)
    )


def _literal(text: str) -> Any:
    """Return the number that Ultralytics will read from a text, or the type ``str`` for none."""
    try:
        return float(text) if len(text) <= 20 else str
    except ValueError:
        return str


def checked_activation(text: Any, where: str) -> str:
    """Return an activation as text that Ultralytics may evaluate: ``torch.nn.LeakyReLU(0.1)``.

    Raises:
        ModelError: it is anything but an activation of torch.nn with plain numbers.
    """
    wrong = ModelError(
        f"{where}: the activation is {_shown(text)}; expected one of torch's, as in nn.SiLU() or "
        f"nn.LeakyReLU(0.1)"
    )
    if not isinstance(text, str) or len(text) > 100:
        raise wrong
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise wrong from None
    if not isinstance(call, ast.Call):
        raise wrong
    name = ast.unparse(call.func).removeprefix("torch.").removeprefix("nn.")
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    try:
        plain = all(_is_plain(ast.literal_eval(value), depth=0) for value in values)
    except (ValueError, TypeError, SyntaxError):
        plain = False
    if name not in ACTIVATIONS or not plain or any(word.arg is None for word in call.keywords):
        raise wrong
    arguments = [ast.unparse(value) for value in call.args]
    arguments += [f"{word.arg}={ast.unparse(word.value)}" for word in call.keywords]
    return f"torch.nn.{name}({', '.join(arguments)})"


def _shown(value: Any, depth: int = 2) -> str:
    """Return a value of a file for a message, cut where it is long."""
    if isinstance(value, list | tuple) and depth:
        items = ", ".join(_shown(item, depth - 1) for item in value[:8])
        return f"[{items[:200]}{', …' if len(value) > 8 or len(items) > 200 else ''}]"
    if isinstance(value, str | int | float | bool | None):
        return repr(value)[:100]
    return f"a {type(value).__name__}"
