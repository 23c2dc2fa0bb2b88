"""Weights files, loaded without running code that they carry.

A file's pickle is read into records without being run (`pickle_reader`), its tensors are held
against the bytes that are there (`torch_archive`), and its model is rebuilt from its description
and those tensors (`model_rebuild`). None of this rests on what Ultralytics or torch allow, on
environment variables, or on who was imported first. Nothing is downloaded or installed.
``trust=True`` is the one way around: torch then unpickles the file, code included.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import pickle
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT

from yolo_ema.engine.models.blocks import HEADS
from yolo_ema.engine.weights.layer_settings import UncheckedModel
from yolo_ema.engine.weights.model_rebuild import (
    IMAGE_CHANNELS,
    OtherModel,
    rebuild_model,
    task_of_head,
)
from yolo_ema.engine.weights.pickle_reader import read_pickle
from yolo_ema.engine.weights.pickle_records import RefusedPickle, SavedObject
from yolo_ema.engine.weights.plain_values import NotPlain, plain_value
from yolo_ema.engine.weights.torch_archive import ArchiveFault, TorchArchive
from yolo_ema.errors import (
    DamagedWeightsError,
    ModelError,
    UnsafeWeightsError,
    WeightsError,
    first_line,
)
from yolo_ema.io.file_signature import kind_of
from yolo_ema.io.resources import missing_weights

_torch_load = torch.load
_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's format before its zip archive
_MODELS = ("model", "ema")
_USUAL_SIDE_PX = 640
_LARGEST_SIDE_PX = 1 << 14


@dataclass(frozen=True)
class LoadedModel:
    """A model out of a weights file.

    Attributes:
        model: float32, in eval mode, on the CPU.
        names: class names by class id.
        stride: the model's largest stride in pixels; input sides are multiples of it.
        imgsz: the longer input side in pixels that it was trained with, 640 where the file does not
            say.
        metadata: what else the file says in plain values: version, date, epoch, task, train_args, …
        sha256: of the bytes that were loaded, in hexadecimal.
    """

    model: nn.Module
    names: dict[int, str]
    stride: int
    imgsz: int
    metadata: dict[str, Any]
    sha256: str = ""


def load_checkpoint(path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Load a checkpoint as the dictionary that it holds, tensors on the CPU.

    Args:
        path: a ``.pt`` of Ultralytics or of this project.
        trust: unpickle whatever it holds, code included.

    Raises:
        WeightsNotFoundError: there is no such file.
        UnsafeWeightsError: it holds more than a known model, tensors and plain values.
        DamagedWeightsError: it is empty, truncated, or a file of another kind.
        WeightsError: its model is for another task than detection.
    """
    path = Path(path)
    return _checkpoint(_read(path), path, trust=trust)


def load_model(path: str | Path, *, trust: bool = False) -> LoadedModel:
    """Load the model of a checkpoint: the moving average where it has one, else the model.

    Args:
        path: a ``.pt`` of Ultralytics or of this project.
        trust: unpickle whatever it holds, code included.

    Raises:
        WeightsNotFoundError: there is no such file.
        UnsafeWeightsError: it holds more than a known model, tensors and plain values.
        DamagedWeightsError: it is empty, truncated, a file of another kind, or holds no model.
        WeightsError: its model is for another task than detection.
    """
    path = Path(path)
    content = _read(path)
    checkpoint = _checkpoint(content, path, trust=trust)
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, nn.Module):
        holds = ", ".join(sorted(str(key)[:50] for key in checkpoint)[:8]) or "nothing"
        raise DamagedWeightsError(
            f"{path} holds no model, only: {holds}; a state dict alone does not say which model it "
            f"fits"
        )
    if trust:
        _check_trusted(model, path)
    model = model.float().eval()
    train_args = checkpoint.get("train_args")
    train_args = {
        key: value
        for key, value in (train_args if isinstance(train_args, dict) else {}).items()
        if key in DEFAULT_CFG_DICT
    }
    model.args = {**DEFAULT_CFG_DICT, **train_args}
    model.pt_path = str(path)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
    metadata: dict[str, Any] = {
        key: value
        for key, value in checkpoint.items()
        if isinstance(value, str | int | float | bool | None)
    }
    metadata |= {"task": "detect", "train_args": train_args}
    return LoadedModel(
        model,
        dict(model.names),
        int(max(model.stride)),
        _imgsz(train_args, int(max(model.stride))),
        metadata,
        hashlib.sha256(content).hexdigest(),
    )


@contextlib.contextmanager
def guarded_torch_load(trusted: Collection[Path] = ()) -> Iterator[None]:
    """Hold every `torch.load` of this process, Ultralytics' own included, to the rules of this
    module.

    Ultralytics reads checkpoints in places that its own safe loading does not reach (stripping the
    optimizer after training among them), and asks `torch.load` for everything that a pickle can do.
    The trainer runs inside this block.

    Args:
        trusted: files that may hold code, as the user has said; no others.
    """
    resolved = {path.resolve() for path in trusted}

    def load(f: Any, *_: Any, **__: Any) -> Any:
        if hasattr(f, "read"):
            return _load(f.read(), Path(str(getattr(f, "name", "a stream"))))
        path = Path(f)
        read = _load_trusted if path.resolve() in resolved else _load
        return read(_read(path), path)

    with mock.patch.object(torch, "load", load):
        yield


def _read(path: Path) -> bytes:
    """Return a whole file, whose beginning says that it may be one of torch's."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(path.stat().st_mode):
                raise DamagedWeightsError(f"{path} is not a regular file; expected a .pt file")
            head = file.read(1024)
            if not head:
                raise DamagedWeightsError(f"{path} is empty (0 bytes)")
            if not head.startswith((b"PK\x03\x04", b"\x80")):
                raise DamagedWeightsError(f"{path} is not a weights file: it is {kind_of(head)}")
            return head + file.read()
    except FileNotFoundError as error:
        raise missing_weights(path) from error
    except IsADirectoryError as error:
        raise DamagedWeightsError(f"{path} is a folder; expected a .pt file") from error
    except MemoryError as error:
        raise WeightsError(f"{path} does not fit into memory") from error
    except WeightsError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{str(path)!r} cannot be read: {reason}") from error


def _checkpoint(content: bytes, path: Path, *, trust: bool) -> dict[str, Any]:
    checkpoint = _load_trusted(content, path) if trust else _load(content, path)
    if isinstance(checkpoint, nn.Module):  # torch.save(model) instead of the model's own save
        checkpoint = {"model": checkpoint}
    if not isinstance(checkpoint, dict):
        raise DamagedWeightsError(
            f"{path} is a torch file that holds a {type(checkpoint).__name__}; expected a "
            f"checkpoint with a model"
        )
    has_model = any(isinstance(checkpoint.get(key), nn.Module) for key in _MODELS)
    if checkpoint.get("task") == "classify" and not has_model:
        raise WeightsError(
            f"{path} is a classifier; expected a detector: resume, score and export it by yolo-ema "
            f"classify train --resume, classify val and classify export"
        )
    return checkpoint


def _load(content: bytes, path: Path) -> Any:
    """Return what a torch file holds: plain values, tensors, and detection models rebuilt."""
    if not content.startswith(b"PK\x03\x04"):
        if content.startswith(_MAGIC):
            raise _unsafe(
                path, "it is in the format of torch before 1.6, in which a model cannot be checked"
            )
        raise DamagedWeightsError(
            f"{path} is not a weights file: it is a pickle that torch did not write"
        )
    try:
        archive = TorchArchive(content)
        saved = read_pickle(archive.pickle)
        if isinstance(saved, SavedObject):
            return rebuild_model(saved, archive.tensor)
        models = {
            key: rebuild_model(saved[key], archive.tensor)
            for key in _MODELS
            if isinstance(saved, dict) and isinstance(saved.get(key), SavedObject)
        }
        if not models:
            return plain_value(saved, archive.tensor)
        others = {key: value for key, value in saved.items() if key not in models}
        return plain_value(others, archive.tensor) | models
    except ArchiveFault as fault:
        raise DamagedWeightsError(f"{path} {fault}") from fault
    except RefusedPickle as refused:
        raise _refusal(path, refused) from refused
    except OtherModel as other:
        raise WeightsError(f"{path} {other}") from other
    except (UncheckedModel, NotPlain, ModelError) as refused:
        raise _unsafe(path, str(refused)) from refused
    except MemoryError as error:
        raise WeightsError(f"{path} does not fit into memory") from error
    except ValueError as error:
        raise DamagedWeightsError(f"{path} is damaged: {first_line(error)}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise DamagedWeightsError(
            f"{path} is damaged: its model cannot be put together ({first_line(error)})"
        ) from error


def _refusal(path: Path, refused: RefusedPickle) -> WeightsError:
    packages = {name.partition(".")[0] for name in refused.names}
    if refused.names and packages <= {"models", "utils"}:
        return DamagedWeightsError(
            f"{path} belongs to another project: it was saved by a YOLOv5 or YOLOv7 repository (it "
            f"needs {refused.names[0]}), whose models Ultralytics does not read; take the weights "
            f"of the same name that Ultralytics publishes"
        )
    more = ", …" if len(refused.names) > 5 else ""
    named = (
        f" ({', '.join(name[:100] for name in refused.names[:5])}{more})" if refused.names else ""
    )
    return _unsafe(path, f"{refused.reason}{named}, so loading it could run code that it carries")


def _unsafe(path: Path, reason: str) -> UnsafeWeightsError:
    return UnsafeWeightsError(
        f"{path} is refused: {reason}; if you made it yourself, or trust its author as you would "
        f"trust a program of theirs, load it with --trust"
    )


def _load_trusted(content: bytes, path: Path) -> Any:
    try:
        return _torch_load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise DamagedWeightsError(
            f"{path} needs the Python module {error.name!r}, which is not installed"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedWeightsError(
            f"{path} is damaged or not a weights file: {first_line(error)}"
        ) from error


def _check_trusted(model: Any, path: Path) -> None:
    """Give a trusted model what `rebuild_model` gives; refuse one that is not a detector."""
    head = getattr(model, "model", [None])[-1]
    kinds = [base.__name__ for base in type(head).__mro__]
    model.task = getattr(model, "task", None) or tasks.guess_model_task(model)
    if model.task == "detect":
        model.task = next(filter(None, map(task_of_head, kinds)), "detect")
    if model.task != "detect" or not set(kinds) & set(HEADS):
        raise WeightsError(
            f"{path} is a model for {model.task!r} ({kinds[0]}); expected a detector"
        )
    channels = (getattr(model, "yaml", None) or {}).get("channels", IMAGE_CHANNELS)
    if channels != IMAGE_CHANNELS:
        raise WeightsError(f"{path} takes images of {channels} channels; expected {IMAGE_CHANNELS}")
    names = getattr(model, "names", None)
    names = dict(enumerate(names)) if isinstance(names, list | tuple) else names
    if not isinstance(names, dict) or not names:
        raise DamagedWeightsError(f"{path} does not name its classes")
    model.names = {int(class_id): str(name) for class_id, name in names.items()}
    largest = float(torch.as_tensor(getattr(model, "stride", math.nan)).float().max())
    if not (math.isfinite(largest) and largest >= 1):
        raise DamagedWeightsError(f"{path} has no valid stride ({largest})")
    if getattr(model, "criterion", None) is not None:
        model.criterion = None  # belongs to the run that saved it
    for module in model.modules():
        if isinstance(module, nn.Upsample) and not hasattr(module, "recompute_scale_factor"):
            module.recompute_scale_factor = None  # saved by a torch before 1.11


def _imgsz(train_args: dict[str, Any], stride: int) -> int:
    """Return the input side that a file states, rounded up to a multiple of the stride; the usual
    one where it states none that can be used.
    """
    size = train_args.get("imgsz")
    sides = size if isinstance(size, list | tuple) and size else [size]
    if not all(isinstance(side, int) and 32 <= side <= _LARGEST_SIDE_PX for side in sides):
        return _USUAL_SIDE_PX
    return -(-max(sides) // stride) * stride
