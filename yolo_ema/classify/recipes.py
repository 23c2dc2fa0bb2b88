"""How classifiers are trained: the recipes of the paper by name, as plain values.

Where the authors' public material leaves a setting open, the note says what stands in for it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from yolo_ema.options.classify import RECIPE_NAMES, ClassifyTrainOptions

_CIFAR_MEAN, _CIFAR_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training does, in plain values that a checkpoint holds.

    Attributes:
        model: a name of `yolo_ema.classify.models.MODELS`.
        data: a dataset's name or folder.
        imgsz: side of the square input in pixels.
        mean, std: per channel, RGB in 0…1, by which inputs are normalised.
        epochs, batch, lr: images per step, and the learning rate at its highest.
        optimizer: by timm's name: ``momentum`` is SGD, ``sgd`` SGD with Nesterov's momentum.
        weight_decay, decay_norms: and whether it holds for norms and biases, too.
        schedule: ``multistep`` (the rate is multiplied by ``decay_rate`` at ``milestones``, parts
            of all epochs) or ``cosine``.
        warmup_epochs: over which the rate grows at first.
        drop, drop_path: see `yolo_ema.classify.models.Architecture`.
        smoothing: of the labels.
        rand_augment: timm's word for it; empty for random crops and flips alone.
        erasing: probability that a part of an image is replaced by noise.
        crop_share: part of an image's shorter side that validation sees.
        average: decay of the weights' moving average, which is scored then; 0 for none.
    """

    model: str
    data: str
    imgsz: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epochs: int
    batch: int
    lr: float
    optimizer: str
    weight_decay: float
    decay_norms: bool
    schedule: str
    milestones: tuple[float, ...] = ()
    decay_rate: float = 1.0
    warmup_epochs: int = 0
    drop: float = 0.0
    drop_path: float = 0.0
    smoothing: float = 0.0
    rand_augment: str = ""
    erasing: float = 0.0
    crop_share: float = 1.0
    average: float = 0.0

    def as_plain(self) -> dict[str, Any]:
        """Return the fields as JSON and checkpoints hold them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }


_CIFAR100_RESNET50 = Recipe(
    model="resnet50-cifar",
    data="cifar100",
    imgsz=32,
    mean=_CIFAR_MEAN,
    std=_CIFAR_STD,
    epochs=200,
    batch=128,
    lr=0.1,
    optimizer="momentum",
    weight_decay=5e-4,
    decay_norms=True,
    schedule="multistep",
    milestones=(0.3, 0.6, 0.8),  # epochs 60, 120 and 160 of 200
    decay_rate=0.2,
)

RECIPES: dict[str, Recipe] = dict(
    zip(
        RECIPE_NAMES,
        (
            _CIFAR100_RESNET50,
            dataclasses.replace(_CIFAR100_RESNET50, model="resnet101-cifar"),
            dataclasses.replace(_CIFAR100_RESNET50, model="resnet18-cifar", data="cifar10"),
            dataclasses.replace(
                _CIFAR100_RESNET50,
                model="resnet8-tiny",
                data="cifar10",
                epochs=40,
                schedule="cosine",
                milestones=(),
                decay_rate=1.0,
                warmup_epochs=2,
            ),
            # The authors name neither optimizer, smoothing nor erasing's probability: the first two
            # are timm's defaults, the third is the usual one for networks of this size.
            Recipe(
                model="mobilenetv2",
                data="imagenet",
                imgsz=224,
                mean=_IMAGENET_MEAN,
                std=_IMAGENET_STD,
                epochs=400,
                batch=512,
                lr=0.4,
                optimizer="sgd",
                weight_decay=1e-5,
                decay_norms=False,
                schedule="cosine",
                warmup_epochs=5,
                drop=0.2,
                drop_path=0.2,
                smoothing=0.1,
                rand_augment="rand-m9-mstd0.5",
                erasing=0.2,
                crop_share=0.875,
                average=0.9999,
            ),
        ),
        strict=True,
    )
)
"""Recipes by name."""


def recipe_for(options: ClassifyTrainOptions) -> Recipe:
    """Return the recipe that the options name, with what they set otherwise."""
    recipe = RECIPES[options.preset or RECIPE_NAMES[0]]
    names = ("data", "model", "imgsz", "epochs", "batch", "lr")
    given = {name: getattr(options, name) for name in names}
    recipe = dataclasses.replace(
        recipe, **{name: value for name, value in given.items() if value is not None}
    )
    # a short run would otherwise end while the rate still grows
    return dataclasses.replace(recipe, warmup_epochs=min(recipe.warmup_epochs, recipe.epochs // 2))
