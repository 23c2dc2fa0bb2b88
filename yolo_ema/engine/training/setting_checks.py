"""Ultralytics' training settings checked against the dataset and the model, before anything starts.

Ultralytics checks the types of most settings. What it lets through and then trips over, or takes
without any effect, is found here; settings out of a checkpoint are checked like a user's.
"""

from __future__ import annotations

import contextlib
import math
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from ultralytics.cfg import check_cfg
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER

from yolo_ema.engine.data.data_yaml import SPLITS, path_exists
from yolo_ema.engine.setup.ultralytics_settings import OPTIMIZERS
from yolo_ema.errors import ConfigError, DataError, DeviceMemoryError, YoloEmaError, first_line

_WORDS = {
    "cache": ("ram", "disk"),
    "compile": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    "copy_paste_mode": ("flip", "mixup"),
    "optimizer": OPTIMIZERS,
    "split": SPLITS,
}

NO_EFFECT = {
    **dict.fromkeys(
        ("mask_ratio", "overlap_mask", "pose", "kobj", "rle", "angle", "dlog", "dgrad", "dlam"),
        "other tasks than detection",
    ),
    **dict.fromkeys(("dropout", "auto_augment", "erasing"), "classification"),
    **dict.fromkeys(("optimize", "dynamic", "simplify", "opset", "workspace", "dnn"), "exports"),
    **dict.fromkeys(
        ("show", "save_crop", "show_labels", "show_conf", "show_boxes", "line_width"), "prediction"
    ),
    "dis": "distillation",
}
"""Settings that Ultralytics takes and a detection training does not read, and what they concern."""

_MEMORY = (
    "out of memory",  # CUDA, MPS
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",  # on Windows
)
"""What torch says where memory runs out."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check typed settings by themselves; others than Ultralytics' are ignored.

    Raises:
        ConfigError: values are of the wrong type, out of range, or not supported in training;
            everything wrong is named at once.
    """
    problems = [*_type_problems(settings), *_value_problems(settings)]
    if problems:
        raise ConfigError("; ".join(problems))


def _type_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Ultralytics' own check says, by setting, and numbers that are not finite."""
    for key, value in settings.items():
        if key not in DEFAULT_CFG_DICT:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{key} is {value}; expected a finite number"
            continue
        try:
            check_cfg({key: value})
        except (TypeError, ValueError) as error:
            yield " ".join(str(error).split())[:500]


def _value_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    if teacher := settings.get("distill_model"):
        yield (
            f"distill_model is {reprlib.repr(teacher)}: distillation is not supported here; leave "
            f"the setting out"
        )
    if (quantize := settings.get("quantize")) not in {None, 16, 32}:
        yield (
            f"quantize is {reprlib.repr(quantize)}: quantization-aware training is not supported "
            f"here; train without it, then export with --quantize int8"
        )
    for key, words in _WORDS.items():
        value = settings.get(key, words[0])
        is_switch = key in {"cache", "compile"} and isinstance(value, bool | None)
        if not is_switch and str(value).lower() not in map(str.lower, words):
            expected = ", ".join(["true, false", *words] if key in {"cache", "compile"} else words)
            yield f"{key} is {reprlib.repr(value)}; expected one of {expected}"
    hours = settings.get("time")
    if isinstance(hours, int | float) and hours <= 0:
        yield f"time is {hours}; expected hours above 0"
    for key in ("close_mosaic", "warmup_epochs"):
        if isinstance(value := settings.get(key), int | float) and value < 0:
            yield f"{key} is {value}; expected 0 or more"
    if not _is_whole_or_list(settings.get("freeze"), int | str):
        yield (
            f"freeze is {reprlib.repr(settings['freeze'])}; expected how many of the first layers, "
            f"or a list of layers, as in 10 or [0, '23.cv2']"
        )
    if not _is_whole_or_list(settings.get("classes"), int):
        yield (
            f"classes is {reprlib.repr(settings['classes'])}; expected class numbers, as in 0 or "
            f"[0, 2]"
        )


def _is_whole_or_list(value: Any, item_types: Any) -> bool:
    if value is None:
        return True
    items = value if isinstance(value, list | tuple) else [value]
    if not isinstance(value, list | tuple):
        item_types = int
    return bool(items) and all(
        isinstance(item, item_types)
        and not isinstance(item, bool)
        and not (isinstance(item, int) and item < 0)
        for item in items
    )


def check_data_settings(settings: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Check what settings and dataset must have in common.

    Raises:
        ConfigError: a class or split is chosen that the dataset does not have.
        DataError: its images do not have three channels.
    """
    file = data.get("yaml_file", "the data YAML")
    if data.get("channels", 3) != 3:
        raise DataError(
            f"{file}: its images have {data['channels']} channels; models of 3 are trained, "
            f"validated, exported and run here"
        )
    chosen = settings.get("classes")
    if chosen is not None:
        numbers = chosen if isinstance(chosen, list | tuple) else [chosen]
        if beyond := [number for number in numbers if number >= len(data["names"])]:
            raise ConfigError(
                f"classes names {', '.join(map(str, beyond))}; {file} has 0 to "
                f"{len(data['names']) - 1}: {', '.join(list(data['names'].values())[:20])}"
            )
    split = settings.get("split", "val")
    entries = data.get(split, ())
    if not entries or not all(map(path_exists, entries)):
        missing = f"its {', '.join(entries)} does not exist" if entries else "it has no such split"
        raise ConfigError(f"split is {split!r}, but {file}: {missing}")


def check_batch(batch: float, processes: int) -> None:
    """Check that several processes can share a batch, the images of a step over all of them.

    Raises:
        ConfigError: the batch would be found by trial, or is not a multiple of their number.
    """
    if batch < 1:
        raise ConfigError(
            f"--batch is {batch:g}, which finds the batch by trial on one GPU only; {processes} "
            f"processes need a number that they can share, as in --batch {8 * processes}"
        )
    if rest := batch % processes:
        near = [f"{batch - rest:g}"] * (batch > rest) + [f"{batch - rest + processes:g}"]
        raise ConfigError(
            f"--batch is {batch:g}: it counts the images of all {processes} processes (one per "
            f"GPU) together, and they can't share that evenly; take {' or '.join(near)}"
        )


def check_freeze(freeze: Any, model: nn.Module) -> None:
    """Check that the layers to freeze exist, and that others are left to train.

    Raises:
        ConfigError: a layer does not exist, or nothing is left to train.
    """
    if freeze is None:
        return
    prefixes = [
        f"model.{layer}." for layer in (range(freeze) if isinstance(freeze, int) else freeze)
    ]
    names = [name for name, _ in model.named_parameters()]
    layers = len(model.model)
    unknown = (
        []
        if isinstance(freeze, int)
        else [
            prefix[6:-1]
            for prefix in prefixes
            if not any(prefix in f"{name}." for name, _ in model.named_modules())
        ]
    )
    if unknown:
        raise ConfigError(
            f"freeze names {', '.join(unknown)}; the model has layers 0 to {layers - 1} and parts "
            f"of them such as {layers - 1}.cv2"
        )
    if all(any(part in name for part in [*prefixes, ".dfl"]) for name in names):
        raise ConfigError(
            f"freeze={reprlib.repr(freeze)} leaves nothing to train: the model has {layers} layers"
        )


def check_same_classes(names: Mapping[int, str], data: Mapping[str, Any]) -> None:
    """Check that a run is resumed on the classes that it began with.

    Raises:
        ConfigError: they are others, or in another order.
    """
    before, now = (list(classes.values()) for classes in (dict(names), data["names"]))
    if before != now:
        raise ConfigError(
            f"the run to resume has the classes {reprlib.repr(before)}, and "
            f"{data.get('yaml_file')} has {reprlib.repr(now)}; to train on other classes, start a "
            f"new run with --model and the checkpoint"
        )


@contextlib.contextmanager
def clear_ultralytics_errors() -> Iterator[None]:
    """Turn what Ultralytics' trainer says of settings that do not fit into errors of this project.

    Raises:
        ConfigError: the last batch has one image and one cell, or the loss is no longer a number.
        DeviceMemoryError: the GPU or the machine has too little memory.
    """
    try:
        yield
    except YoloEmaError:
        raise
    except MemoryError as error:
        raise _too_little_memory(error) from error
    except ValueError as error:
        if "final batch=1" not in str(error):
            raise
        raise ConfigError(str(error)) from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or any(map(str(error).__contains__, _MEMORY)):
            raise _too_little_memory(error) from error
        if "NaN" not in str(error):
            raise
        raise ConfigError(
            f"training diverged: {error}; a lower learning rate may help, as in optimizer=AdamW "
            f"lr0=0.001"
        ) from error


def _too_little_memory(error: BaseException) -> DeviceMemoryError:
    return DeviceMemoryError(
        f"the memory does not suffice for this training ({first_line(error)}): a smaller --batch "
        f"takes less of it, and so does a smaller --imgsz in a new run"
    )


def warn_of_no_effect(settings: Mapping[str, Any]) -> None:
    """Warn of settings that a user gave and a detection training does not read."""
    for key in sorted(set(settings) & set(NO_EFFECT)):
        LOGGER.warning(f"{key} concerns {NO_EFFECT[key]}; it has no effect on this training")
