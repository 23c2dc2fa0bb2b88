"""Small weights that find many boxes without training: random layers, scaled until their heads
answer.

Run as a script it writes a file: ``python lively_weights.py yolo11n-ema out.pt``.
"""

from __future__ import annotations

import copy
import functools
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from ultralytics.nn import tasks

from yolo_ema.engine.models.registration import build_model, register


def picture(seed: int, wh: tuple[int, int] = (320, 192)) -> np.ndarray:
    """Blobs on a gradient, (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    image = np.linspace(40, 200, wh[0] * wh[1] * 3).reshape(wh[1], wh[0], 3)
    for _ in range(40):
        center = (int(random.integers(wh[0])), int(random.integers(wh[1])))
        color = tuple(int(value) for value in random.integers(0, 255, 3))
        cv2.ellipse(
            image,
            center,
            tuple(int(v) for v in random.integers(3, 20, 2)),
            int(random.integers(180)),
            0,
            360,
            color,
            -1,
        )
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def tiny_model(classes: int = 10, *, nms_free: bool = False, block: str = "EMA") -> nn.Module:
    """Build a detector of seven layers with an attention block: what a test needs that is not about
    accuracy.
    """
    register()
    backbone = [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, block, ["c2"]],
    ]
    head = [
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "Conv", [64, 3, 2]],
        [[3, 4, 5], 1, "Detect", ["nc"]],
    ]
    definition = {
        "nc": classes,
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "backbone": backbone,
        "head": head,
    }
    definition |= {"end2end": True, "reg_max": 1} if nms_free else {}
    return tasks.DetectionModel(definition, ch=3, nc=classes, verbose=False)


def lively_model(name: str, classes: int = 10, seed: int = 0, *, block: str = "EMA") -> nn.Module:
    """Build a model whose scores spread over 0…1 on such pictures: a shipped one, ``tiny``, or
    ``tiny-nms-free``; the tiny ones with any attention block.
    """
    model = copy.deepcopy(_built(name, classes, seed, block))
    torch.manual_seed(seed)  # what a test draws afterwards is the same, whoever built it first
    return model


@functools.cache
def _built(name: str, classes: int, seed: int, block: str) -> nn.Module:
    torch.manual_seed(seed)
    model = (
        tiny_model(classes, nms_free=name != "tiny", block=block)
        if name.startswith("tiny")
        else build_model(name, classes)
    )
    model.names = {index: f"class {index}" for index in range(classes)}
    model.args = {}
    batch = (
        torch.from_numpy(np.stack([picture(one) for one in range(4)])).permute(0, 3, 1, 2).float()
        / 255
    )
    norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
    momenta = [one.momentum for one in norms]
    head = model.model[-1]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        model.train()(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        hooks = []
        for part, mean, std in (
            ("cv2", 0.5, 1.0),
            ("cv3", -4.0, 1.5),
            ("one2one_cv2", 0.5, 1.0),
            ("one2one_cv3", -4.0, 1.5),
        ):
            for level in getattr(head, part, None) or []:
                hooks.append(level[-1].register_forward_hook(_scaled_to(mean, std)))
        model.eval()(batch)
        for hook in hooks:
            hook.remove()
    return model.eval()


def _scaled_to(mean: float, std: float):
    def hook(layer: nn.Conv2d, _inputs: object, output: torch.Tensor) -> None:
        factor = std / output.std(dim=(0, 2, 3)).clamp(min=1e-3)
        shift = output.mean(dim=(0, 2, 3)) - layer.bias
        layer.weight.mul_(factor.view(-1, 1, 1, 1))
        layer.bias.copy_(mean - shift * factor)

    return hook


def save(model: nn.Module, path: Path, *, half: bool = True, **more: object) -> Path:
    """Write a checkpoint as Ultralytics' best.pt is."""
    content = {
        "model": model.half() if half else model,
        "ema": None,
        "epoch": -1,
        "train_args": {"imgsz": 320},
        "version": "0",
    }
    torch.save(content | more, path)
    return path


if __name__ == "__main__":
    save(lively_model(sys.argv[1]), Path(sys.argv[2]))
