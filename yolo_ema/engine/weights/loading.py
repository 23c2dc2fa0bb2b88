"""Weights files, loaded without running code that they carry.

A file goes through `pickle_gate` first, then through torch's weights-only unpickler with the names
that the file needs and the gate allows, and the model that comes out through `_check_inert`.
Nothing is downloaded or installed. ``trust=True`` skips all.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import math
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT

from yolo_ema.engine.weights.pickle_gate import RefusedPickle, check_pickles
from yolo_ema.errors import DamagedWeightsError, UnsafeWeightsError, WeightsError
from yolo_ema.io.file_signature import kind_of
from yolo_ema.io.resources import missing_weights

__all__ = ["LoadedModel", "guarded_torch_load", "load_checkpoint", "load_model"]

_torch_load = torch.load
_allow_list_lock = threading.RLock()  # torch's allow-list is one for the whole process
# magic number, protocol, machine, object, storage keys: torch's format before its zip archive
_PICKLES_BEFORE_ZIP = 5

_OLD_FORMAT = "it is in the format of torch before 1.6, in which a model cannot be checked"


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
        UnsafeWeightsError: loading it would run code that it carries.
        DamagedWeightsError: it is empty, truncated, or a file of another kind.
    """
    path = Path(path)
    return _checkpoint(_read(path), path, trust=trust)


def _checkpoint(file_bytes: bytes, path: Path, *, trust: bool) -> dict[str, Any]:
    content = _load(file_bytes, path, map_location="cpu", trust=trust)
    if isinstance(content, nn.Module):  # torch.save(model) instead of the model's own save
        content = {"model": content}
    if not isinstance(content, dict):
        raise DamagedWeightsError(
            f"{path} is a torch file that holds a {type(content).__name__}; expected a checkpoint "
            f"with a model"
        )
    if not trust:
        for key in ("model", "ema"):
            if isinstance(content.get(key), nn.Module):
                try:
                    _check_inert(content[key], path)
                except (AttributeError, TypeError, KeyError) as error:
                    raise DamagedWeightsError(
                        f"{path} is damaged: its model is not put together as a model is ({error})"
                    ) from error
    return content


def load_model(path: str | Path, *, trust: bool = False) -> LoadedModel:
    """Load the model of a checkpoint: the moving average where it has one, else the model.

    Args:
        path: a ``.pt`` of Ultralytics or of this project.
        trust: unpickle whatever it holds, code included.

    Raises:
        WeightsNotFoundError: there is no such file.
        UnsafeWeightsError: loading it would run code that it carries.
        DamagedWeightsError: it is empty, truncated, a file of another kind, or holds no model.
    """
    path = Path(path)
    file_bytes = _read(path)
    checkpoint = _checkpoint(file_bytes, path, trust=trust)
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, nn.Module):
        holds = ", ".join(sorted(map(str, checkpoint))[:8]) or "nothing"
        raise DamagedWeightsError(
            f"{path} holds no model, only: {holds}; a state dict alone does not say which model it "
            f"fits"
        )
    model = model.float().eval()
    train_args = checkpoint.get("train_args")
    train_args = {
        key: value
        for key, value in (train_args if isinstance(train_args, dict) else {}).items()
        if key in DEFAULT_CFG_DICT
    }
    model.args = {**DEFAULT_CFG_DICT, **train_args}
    model.pt_path = str(path)
    model.task = getattr(model, "task", None) or tasks.guess_model_task(model)
    if getattr(model, "criterion", None) is not None:
        model.criterion = None  # belongs to the run that saved it
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
        elif isinstance(module, nn.Upsample) and not hasattr(module, "recompute_scale_factor"):
            module.recompute_scale_factor = None  # saved by a torch before 1.11
    metadata: dict[str, Any] = {
        key: value
        for key, value in checkpoint.items()
        if isinstance(value, str | int | float | bool | None)
    }
    metadata |= {"task": model.task, "train_args": train_args}
    return LoadedModel(
        model,
        _names(model, path),
        _stride(model, path),
        _imgsz(train_args),
        metadata,
        hashlib.sha256(file_bytes).hexdigest(),
    )


@contextlib.contextmanager
def guarded_torch_load(*, trust: bool = False) -> Iterator[None]:
    """Hold every `torch.load` of this process, Ultralytics' own included, to the rules of this
    module.

    Ultralytics reads checkpoints in places that its own safe loading does not reach (stripping the
    optimizer after training among them), and asks `torch.load` for everything that a pickle can do.
    The trainer runs inside this block.

    Args:
        trust: change nothing.
    """
    if trust:
        yield
        return

    def load(f: Any, map_location: Any = None, *_: Any, **__: Any) -> Any:
        path = Path(getattr(f, "name", "a stream")) if hasattr(f, "read") else Path(f)
        content = f.read() if hasattr(f, "read") else _read(path)
        return _load(content, path, map_location=map_location, trust=False)

    before = torch.load
    torch.load = load
    try:
        yield
    finally:
        torch.load = before


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise DamagedWeightsError(f"{path} is a folder; expected a .pt file")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise missing_weights(path) from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def _load(content: bytes, path: Path, *, map_location: Any, trust: bool) -> Any:
    """Unpickle a whole file's bytes. Raises as `load_checkpoint` does."""
    if not content:
        raise DamagedWeightsError(f"{path} is empty (0 bytes)")
    if trust:
        return _load_trusted(content, path, map_location)
    is_archive = content.startswith(b"PK\x03\x04")
    if not is_archive and not content.startswith(b"\x80"):
        raise DamagedWeightsError(f"{path} is no weights file: it is {kind_of(content[:1024])}")
    allowed = _allowed_in(content, path) if is_archive else _allowed_in_old_format(content, path)
    with _allow_list_lock:
        known = torch.serialization.get_safe_globals()
        entries = [(value, name) for name, value in allowed.items() if (value, name) not in known]
        with torch.serialization.safe_globals(entries):
            try:
                return _torch_load(
                    io.BytesIO(content), map_location=map_location, weights_only=True
                )
            except RefusedPickle as refused:
                raise _unsafe(path, refused.reason, refused.names) from refused
            except pickle.UnpicklingError as error:
                raise _unsafe(
                    path, "torch's own check refuses it" if is_archive else _OLD_FORMAT, ()
                ) from error
            except MemoryError:
                raise
            # whatever torch makes of damaged bytes, the file is at fault: its names were checked
            except Exception as error:
                raise DamagedWeightsError(f"{path} is damaged: {_first_line(error)}") from error


def _load_trusted(content: bytes, path: Path, map_location: Any) -> Any:
    try:
        return _torch_load(io.BytesIO(content), map_location=map_location, weights_only=False)
    except ModuleNotFoundError as error:
        raise DamagedWeightsError(
            f"{path} needs the Python module {error.name!r}, which is not installed"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedWeightsError(
            f"{path} is damaged or no weights file: {_first_line(error)}"
        ) from error


def _allowed_in(content: bytes, path: Path) -> dict[str, Any]:
    """Check the pickle of a torch archive. Raises as `load_checkpoint` does."""
    no_model = DamagedWeightsError(f"{path} is a zip archive without a torch model in it")
    try:
        archive = torch._C.PyTorchFileReader(io.BytesIO(content))  # noqa: SLF001 - torch's own reader: both read the same pickle
        records = archive.get_all_records()
        program = archive.get_record("data.pkl") if "data.pkl" in records else b""
    except (
        RuntimeError,
        ValueError,
        OSError,
    ) as error:  # the last two from seeking outside the file
        if b"data.pkl" not in content:
            raise no_model from error
        raise DamagedWeightsError(
            f"{path} is truncated or damaged ({len(content)} bytes): {_first_line(error)}"
        ) from error
    if "constants.pkl" in records:
        raise DamagedWeightsError(
            f"{path} is a TorchScript archive, an export (its name should end in .torchscript)"
        )
    if "data.pkl" not in records:
        raise no_model
    return _check(io.BytesIO(program), 1, path)


def _allowed_in_old_format(content: bytes, path: Path) -> dict[str, Any]:
    """Check the pickles of a file without an archive. Raises as `load_checkpoint` does."""
    stream = io.BytesIO(content)
    allowed = _check(stream, 1, path)  # a pickle made without torch ends here, checked
    if not content.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."):
        raise DamagedWeightsError(
            f"{path} is no weights file: it is a pickle that torch did not write"
        )
    return allowed | _check(stream, _PICKLES_BEFORE_ZIP - 1, path)


def _check(stream: io.BytesIO, count: int, path: Path) -> dict[str, Any]:
    try:
        return check_pickles(stream, count)
    except RefusedPickle as refused:
        rooms = {name.partition(".")[0] for name in refused.names}
        if refused.names and rooms <= {"models", "utils"}:
            raise DamagedWeightsError(
                f"{path} belongs to another project: it was saved by a YOLOv5 or YOLOv7 repository "
                f"(it needs {refused.names[0]}), "
                "whose models Ultralytics does not read; take the weights of the same name that "
                "Ultralytics publishes"
            ) from refused
        old_format = count > 1 and not refused.names
        raise _unsafe(
            path, _OLD_FORMAT if old_format else refused.reason, refused.names
        ) from refused
    except ValueError as error:
        raise DamagedWeightsError(
            f"{path} is truncated or damaged: {_first_line(error)}"
        ) from error


def _unsafe(path: Path, reason: str, names: tuple[str, ...]) -> UnsafeWeightsError:
    named = f" ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})" if names else ""
    return UnsafeWeightsError(
        f"{path} is refused: {reason}{named}, so loading it could run code that it carries; "
        "if you made it yourself, or trust who did as you would trust a program of theirs, load it "
        "with --trust"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _check_inert(model: nn.Module, path: Path) -> None:
    """Refuse a model that would run what a file planted: hooks, replaced methods, or text that is
    evaluated when it is rebuilt.
    """
    open_modules: list[Any] = [model]
    seen: set[int] = set()
    while open_modules:
        module = open_modules.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        if not isinstance(module, nn.Module):
            raise _unsafe(path, f"a {type(module).__name__} stands where a layer should", ())
        state = vars(module)
        for key, value in state.items():
            if "_hooks" in key and value:
                raise _unsafe(path, f"a layer carries hooks ({key})", ())
            planted = isinstance(value, type) or (callable(value) and hasattr(value, "__code__"))
            if planted and not getattr(value, "__name__", "").startswith("forward"):
                raise _unsafe(path, f"a layer's attribute {key!r} is replaced by {value!r}", ())
        if any(
            getattr(tensor, "_backward_hooks", None)
            for tensor in state.get("_parameters", {}).values()
        ):
            raise _unsafe(path, "a tensor carries hooks", ())
        open_modules.extend(state.get("_modules", {}).values())
        _check_yaml(state.get("yaml"), path)


def _check_yaml(description: Any, path: Path) -> None:
    """Refuse a model description whose rebuilding by Ultralytics would evaluate or call anything
    but layers.
    """
    if not isinstance(description, dict):
        return
    activation = description.get("activation")
    if activation and not _is_plain_layer(activation):
        raise _unsafe(
            path,
            f"its model description would evaluate {str(activation)[:100]!r} as the activation",
            (),
        )
    for row in [*description.get("backbone", ()), *description.get("head", ())]:
        name = row[2] if isinstance(row, list | tuple) and len(row) > 2 else None
        if isinstance(name, str) and not _names_a_layer(name):
            raise _unsafe(path, f"its model description names {name!r}, which is no layer", ())


def _is_plain_layer(text: Any) -> bool:
    """Say whether the text is like ``nn.SiLU()`` or ``torch.nn.LeakyReLU(0.1)``: a layer of torch
    and literal arguments.
    """
    if not isinstance(text, str):
        return False
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call):
            return False
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(argument)
    except (SyntaxError, ValueError):
        return False
    return _names_a_layer(ast.unparse(call.func).removeprefix("torch."), rooms=("nn.",))


def _names_a_layer(name: str, rooms: tuple[str, ...] = ("nn.", "torchvision.ops.", "")) -> bool:
    """Say whether a name in a model description is a layer, or no name that Ultralytics could
    call.
    """
    owners = {"nn.": nn, "torchvision.ops.": torchvision.ops, "": tasks}
    for room in rooms:
        if name.startswith(room):
            found = getattr(owners[room], name[len(room) :], None)
            # A name that nothing bears cannot be called; building from it fails by itself.
            return (found is None and room == "") or (
                isinstance(found, type) and issubclass(found, nn.Module)
            )
    return False


def _names(model: nn.Module, path: Path) -> dict[int, str]:
    names = getattr(model, "names", None)
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DamagedWeightsError(f"{path} does not name its classes")
    return {int(class_id): str(name) for class_id, name in names.items()}


def _stride(model: nn.Module, path: Path) -> int:
    stride = getattr(model, "stride", None)
    largest = (
        float(torch.as_tensor(stride, dtype=torch.float32).max())
        if stride is not None
        else math.nan
    )
    if not (math.isfinite(largest) and largest >= 1):
        raise DamagedWeightsError(f"{path} has no valid stride ({stride})")
    return int(largest)


def _imgsz(train_args: dict[str, Any]) -> int:
    size = train_args.get("imgsz", 640)
    size = max(size) if isinstance(size, list | tuple) and size else size
    return size if isinstance(size, int) and size >= 32 else 640
