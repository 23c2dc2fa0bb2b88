"""Weights fit to be given to others: a run's averaged model in half precision, without optimizer or
this machine's paths.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import torch
from torch import nn
from ultralytics.utils import DEFAULT_CFG_DICT

from yolo_ema.engine.weights.averaging import average_into
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.errors import DamagedWeightsError
from yolo_ema.io.atomic_files import write_bytes

_KEPT = (
    "date",
    "version",
    "docs",
    "train_metrics",
    "object_source_median_px",
    "object_input_tenth_px",
    "plan_figures",
)


def release_weights(
    checkpoint: Path,
    out: Path,
    *,
    licence: str,
    facts: Mapping[str, float] | None = None,
    average_with: tuple[Path, float] | None = None,
) -> None:
    """Write a checkpoint of a run, finished or not, as a file for detection, export and further
    training.

    Args:
        checkpoint: the run's ``last.pt`` or ``best.pt``.
        out: the file to write; of the paths in the training settings only the last part stays.
        licence: the terms, which the file carries as ``license``.
        facts: entries for what the run recorded none of, as those of
            `object_sizes.measured_sizes`.
        average_with: a file to average the weights with, and its share, 0 to 1; see `average_into`.

    Raises:
        ConfigError: ``share`` is out of range.
        WeightsError: the checkpoint or the other file is missing, damaged, carries code, or they
            are not of one model.
        DamagedWeightsError: it holds no model.
        DiskFullError: there is no room; what was there before is intact.
    """
    content = load_checkpoint(checkpoint)
    model = content.get("ema") or content.get("model")
    if not isinstance(model, nn.Module):
        raise DamagedWeightsError(f"{checkpoint} holds no model")
    train_args = without_folders(content.get("train_args") or {})
    if average_with is not None:
        average_into(model.float(), *average_with)
        content.pop("plan_figures", None)  # which were of the run's weights alone
    model = model.half().eval()
    model.args = {key: value for key, value in train_args.items() if key in DEFAULT_CFG_DICT}
    model.criterion = None
    model.pt_path = out.name
    if isinstance(getattr(model, "yaml", None), dict) and "yaml_file" in model.yaml:
        model.yaml["yaml_file"] = PurePath(model.yaml["yaml_file"]).name
    for parameter in model.parameters():
        parameter.requires_grad = False
    released = {
        **(facts or {}),
        **{key: content[key] for key in _KEPT if content.get(key) is not None},
        "license": licence,
        "epoch": -1,
        "model": model,
        "ema": None,
        "optimizer": None,
        "updates": None,
        "best_fitness": None,
        "train_args": train_args,
    }
    # torch puts a file's name into the file: without one the same weights are the same bytes.
    written = io.BytesIO()
    torch.save(released, written)
    write_bytes(out, written.getvalue())


def without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with paths cut to their last part: where data lay is nobody's business."""

    def bare(value: Any) -> Any:
        if isinstance(value, Mapping):
            return without_folders(value)
        if isinstance(value, list | tuple):
            return [bare(part) for part in value]
        if not isinstance(value, PurePath | str) or not re.search(r"[/\\]", str(value)):
            return value
        return PureWindowsPath(value).name  # by the separators of every system

    return {key: bare(value) for key, value in values.items()}
