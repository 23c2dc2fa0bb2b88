"""Classifiers by name, with an attention block where the paper has it.

timm's networks are taken as they are. Its residual blocks have a place for attention (``se``):
ResNets behind the last norm, before the residual sum, on all planes; MobileNetV2 behind the
depthwise convolution's norm, before the projection. The network is drawn first and its attention
afterwards, so that with one seed all that two models share starts with the same numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolo_ema.errors import ConfigError, MissingPackageError, ModelError, did_you_mean
from yolo_ema.nn.attention.catalog import attention

_NARROWEST_WITH_ATTENTION = 145
"""Expanded planes of MobileNetV2 from which a block has attention: those above 144, 13 of them."""

MODELS = ("resnet8-tiny", "resnet18-cifar", "resnet50-cifar", "resnet101-cifar", "mobilenetv2")
"""``-cifar``: the first convolution is 3×3 with stride 1, and no pooling follows it. ``-tiny``: it
has stride 2, and three stages of one block have 16, 32 and 64 planes, so that a processor's core
trains it on CIFAR in minutes.
"""

_TIMM_NAMES = {"mobilenetv2": "mobilenetv2_100"}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a classifier is made of, in plain values that a checkpoint holds.

    Attributes:
        model: one of `MODELS`.
        attention: a name of `yolo_ema.nn.attention.catalog`.
        attention_arguments: stand in for the catalogue's where there are any.
        classes: names by class id.
        drop: probability of dropout before the last layer.
        drop_path: probability of leaving out a residual branch, in the last block.
    """

    model: str
    attention: str
    attention_arguments: tuple[int, ...]
    classes: tuple[str, ...]
    drop: float = 0.0
    drop_path: float = 0.0


def build_classifier(architecture: Architecture, *, seed: int) -> nn.Module:
    """Return a new classifier: (B, 3, H, W) in, scores (B, K) out.

    Two models that differ in their attention alone have equal values in all that they share for
    one ``seed``. torch's own random numbers are left as they were.

    Raises:
        ModelError: no model or attention block has this name.
        ConfigError: the attention block does not fit the channels of a layer.
        MissingPackageError: timm is not installed.
    """
    name = architecture.model
    if name not in MODELS:
        hint = did_you_mean(name, MODELS) or f"; there are {', '.join(MODELS)}"
        raise ModelError(f"no classifier is named {name!r}{hint}")
    attention(architecture.attention)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(architecture)
        if architecture.attention != "none":
            for place, block, channels in _places(network):
                block.se = _new_block(architecture, place, channels)
    return network


def _network(architecture: Architecture) -> nn.Module:
    base, _, form = architecture.model.partition("-")
    settings = {
        "num_classes": len(architecture.classes),
        "drop_rate": architecture.drop,
        "drop_path_rate": architecture.drop_path,
    }
    if not form:
        made: nn.Module = timm_module("timm").create_model(_TIMM_NAMES[base], **settings)
        return made
    network: Any
    if form == "tiny":
        resnet = timm_module("timm.models.resnet")
        planes = (16, 32, 64)
        network = resnet.ResNet(
            resnet.BasicBlock,
            (1, 1, 1),
            channels=planes,
            stem_type="deep",  # what makes timm take another width than 64 behind the stem
            stem_width=planes[0] // 2,
            zero_init_last=False,
            **settings,
        )
        network.layer4 = nn.Identity()
    else:
        network = timm_module("timm").create_model(base, zero_init_last=False, **settings)
    stride = 2 if form == "tiny" else 1
    width = network.bn1.num_features
    network.conv1 = nn.Conv2d(3, width, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network


def _new_block(architecture: Architecture, place: str, channels: int) -> nn.Module:
    chosen, arguments = attention(architecture.attention), architecture.attention_arguments
    try:
        return chosen.build(channels, *arguments)
    except ConfigError as error:
        raise ConfigError(
            f"the attention block {chosen.name} does not fit {architecture.model} at {place}, "
            f"which has {channels} channels: {error}"
        ) from error
    except TypeError as error:
        raise ConfigError(
            f"the attention block {chosen.name} does not take the arguments "
            f"{', '.join(map(str, arguments))}; its own are "
            f"{', '.join(map(str, chosen.arguments)) or 'none'}"
        ) from error


def _places(network: nn.Module) -> Iterator[tuple[str, Any, int]]:
    """Yield name, block and channels of each place for attention."""
    for name, block in network.named_modules():
        if hasattr(block, "conv_pwl"):
            if block.conv_pwl.in_channels >= _NARROWEST_WITH_ATTENTION:
                yield name, block, block.conv_pwl.in_channels
        elif hasattr(block, "conv2") and hasattr(block, "se"):
            norm = block.bn3 if hasattr(block, "bn3") else block.bn2
            yield name, block, norm.num_features


def parameter_count(network: nn.Module) -> int:
    """Return the number of values that training changes."""
    return sum(parameter.numel() for parameter in network.parameters())


def operation_count(architecture: Architecture, imgsz: int) -> int:
    """Return the operations of convolutions and matrix products for one image, a multiplication and
    an addition counting two.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build_classifier(architecture, seed=0).eval()(torch.zeros(1, 3, imgsz, imgsz))
    return int(counter.get_total_flops())


def timm_module(name: str) -> Any:
    """Return timm or a module of it. Raises `MissingPackageError` where it is not installed."""
    import importlib

    with contextlib.suppress(ModuleNotFoundError):
        return importlib.import_module(name)
    raise MissingPackageError(
        'classifiers need timm, which is not installed: pip install "yolo-ema[classify]"'
    )
