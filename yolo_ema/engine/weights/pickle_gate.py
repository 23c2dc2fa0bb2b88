"""What a pickle inside a weights file may name, build and call: checked on its opcodes, before
anything is unpickled.

A pickle is a small program: it names globals, builds objects from classes and calls functions.
    Weights need few of them: classes     layers and models of torch, Ultralytics and this project,
    and Ultralytics' losses. Built empty and filled with
                data; never called, since a constructor may parse a configuration, read a file or
                fetch one.
    functions   those that rebuild tensors and plain containers, and stand-ins for three that are
    safe only for some arguments. constants   tensor and storage types.
Anything else refuses the file. torch's own weights-only unpickler then reads what passed, with
these names alone allowed: it lets a class be called and an object's own ``__setstate__`` be
replaced, which is why the opcodes are followed here first.
"""

from __future__ import annotations

import _compat_pickle
import functools
import importlib
import io
import pathlib
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from ultralytics.utils import IterableSimpleNamespace

__all__ = ["RefusedPickle", "allowed_objects", "check_pickles"]

_LAYER_ROOMS = ("torch.nn.modules", "ultralytics.nn.modules", "ultralytics.nn.tasks", "yolo_ema.nn")
_DATA_CLASS_ROOMS = ("ultralytics.utils.loss", "ultralytics.utils.tal")
_RENAMED = {  # names that older files use
    "ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear.Identity",
    "ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks.DetectionModel",
    "ultralytics.utils.loss.v10DetectLoss": "ultralytics.utils.loss.E2EDetectLoss",
}


class RefusedPickle(Exception):  # noqa: N818 - it is a verdict, which `loading` turns into the error that the user sees
    """The pickle names or does what weights never need.

    Attributes:
        names: the offending globals, ``module.name``; empty where the structure is at fault.
        reason: what it does, as a clause.
    """

    def __init__(self, reason: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason, self.names = reason, names


class _NumpyKind:
    """Stands in for ``numpy.dtype`` while a scalar is read: holds its code and byte order, and runs
    none of NumPy's code.
    """

    def __init__(self, code: str, *_flags: bool) -> None:
        self.code = code
        self.order: Literal["<", ">", "="] = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in {"<", ">"} else "="


def _numpy_scalar(kind: _NumpyKind, raw: bytes) -> bool | int | float:
    """Stand in for NumPy's scalar rebuilder: real numbers and truth values only, as Python's
    own.
    """
    dtype = np.dtype(kind.code).newbyteorder(kind.order)
    if dtype.kind not in "biuf":
        raise RefusedPickle(
            f"it makes a numpy scalar of kind {kind.code!r}, which is no number", ("numpy.dtype",)
        )
    return np.frombuffer(raw, dtype, count=1)[0].item()


def _layer_method(owner: Any, name: str) -> Any:
    """Stand in for ``getattr``: the ``forward…`` method of a layer or of its class, which is all
    that weights ask for.
    """
    kind = owner if isinstance(owner, type) else type(owner)
    if not (issubclass(kind, nn.Module) and isinstance(name, str) and name.startswith("forward")):
        reason = (
            f"it takes the attribute {name!r} of {kind.__name__}, where weights take only a "
            f"layer's forward method"
        )
        raise RefusedPickle(reason, ("builtins.getattr",))
    method = getattr(kind, name)
    return method if isinstance(owner, type) else method.__get__(owner)


def _path(*parts: str) -> pathlib.Path:
    return pathlib.Path(*parts)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "builtins.getattr": _layer_method,
    "torch.Size": torch.Size,
    "torch.device": torch.device,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,  # noqa: SLF001 - the names stand in every torch file
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,  # noqa: SLF001
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,  # noqa: SLF001
    "numpy.dtype": _NumpyKind,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "ultralytics.utils.IterableSimpleNamespace": IterableSimpleNamespace,
    "ultralytics.yolo.utils.IterableSimpleNamespace": IterableSimpleNamespace,
    **{
        f"{module}.{kind}": _path
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "WindowsPath")
    },
}


_ENCODE = "_codecs.encode"  # how protocol 2 writes bytes; torch allows it by itself
_CALLABLE = _FUNCTIONS.keys() | {_ENCODE}


def allowed_objects(names: set[str]) -> dict[str, Any]:
    """Return what each allowed name stands for: the allow-list to give to torch.

    Args:
        names: globals as ``module.name``.

    Raises:
        RefusedPickle: some name is not allowed; all of these are named.
    """
    found = {
        name: _FUNCTIONS.get(name) or _class_named(name)
        for name in names
        if not _is_torch_constant(name) and name != _ENCODE
    }
    if refused := tuple(sorted(name for name, value in found.items() if value is None)):
        raise RefusedPickle("it names what weights never need", refused)
    return found


def _is_torch_constant(name: str) -> bool:
    """Say whether the name is a tensor type or a storage type."""
    module, _, attribute = name.rpartition(".")
    if module == "torch.storage":
        return attribute in {"TypedStorage", "UntypedStorage"}
    return module == "torch" and (
        attribute.endswith("Storage") or isinstance(getattr(torch, attribute, None), torch.dtype)
    )


@functools.cache
def _class_named(name: str) -> type | None:
    """Return the layer, model or loss class of that name, or None where it is no such thing."""
    name = _RENAMED.get(name, name)
    module, _, attribute = name.rpartition(".")
    module = module.replace("ultralytics.yolo.utils.", "ultralytics.utils.")
    is_layer = any(module == room or module.startswith(room + ".") for room in _LAYER_ROOMS)
    if not (is_layer or module in _DATA_CLASS_ROOMS) or not all(
        part.isidentifier() for part in module.split(".")
    ):
        return None
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError:
        return None
    if not isinstance(found, type) or (is_layer and not issubclass(found, nn.Module)):
        return None
    # A class that a room merely imported is named by another path in honest files.
    return found if found.__module__.startswith(module.partition(".")[0] + ".") else None


def check_pickles(stream: io.BytesIO, count: int) -> dict[str, Any]:
    """Follow the opcodes of ``count`` pickles in a row and return the allowed globals that they
    name.

    Args:
        stream: positioned at the first pickle; left behind the last.
        count: 1 for the ``data.pkl`` of a torch archive, 5 for torch's format before the archive.

    Raises:
        RefusedPickle: they name or do something that weights never need.
        ValueError: they are no whole pickles.
    """
    programs = [
        [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(stream)]
        for _ in range(count)
    ]
    allowed = allowed_objects({name for program in programs for name in _globals_in(program)})
    if odd := sorted({name for program in programs for name, _ in program} - _OPCODES):
        raise RefusedPickle(f"it uses the pickle operation {odd[0]}, which torch never writes")
    try:
        for program in programs:
            _follow(program)
    except (IndexError, KeyError) as error:
        raise ValueError("the pickle takes more from its stack than it put there") from error
    return allowed


def _globals_in(program: list[tuple[str, Any]]) -> Iterator[str]:
    """Yield the globals that a program names; those of operations that torch never writes too, so
    that the refusal names them.
    """
    texts = ["?", "?"]
    for operation, argument in program:
        if operation in {"GLOBAL", "INST"}:
            yield _global_name(argument)
        elif operation == "STACK_GLOBAL":
            yield _global_name(" ".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)


def _global_name(argument: Any) -> str:
    """Return ``module.name`` for what the GLOBAL operation names, Python 2's names turned into
    today's.
    """
    module, _, name = str(argument).partition(" ")
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[module, name]
    else:
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    return f"{module}.{name}"


@dataclass(eq=False)
class _Item:
    """What is known of a value on the pickle's stack."""

    kind: str = "data"  # data, mark, empty tuple, global or object
    name: str = ""
    filled: bool = False


_PUSHES = frozenset(
    {
        "BINFLOAT",
        "BININT",
        "BININT1",
        "BININT2",
        "BINUNICODE",
        "EMPTY_DICT",
        "EMPTY_LIST",
        "EMPTY_SET",
    }
)
_PUSHES |= {"EMPTY_TUPLE", "LONG1", "NEWFALSE", "NEWTRUE", "NONE", "SHORT_BINSTRING"}
_DROPS = {"APPEND": 1, "SETITEM": 2}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "BINPERSID": 1}
_OPCODES = (
    _PUSHES
    | _DROPS.keys()
    | _TUPLES.keys()
    | {"PROTO", "STOP", "MARK", "GLOBAL", "TUPLE", "APPENDS", "SETITEMS"}
)
_OPCODES |= {"REDUCE", "NEWOBJ", "BUILD", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT"}


def _follow(program: list[tuple[str, Any]]) -> None:
    """Run one pickle on descriptions instead of values, and refuse what weights never do."""
    stack: list[_Item] = []
    memo: dict[int, _Item] = {}
    for operation, argument in program:
        if operation in _PUSHES:
            stack.append(_Item("empty tuple" if operation == "EMPTY_TUPLE" else "data"))
        elif operation == "GLOBAL":
            stack.append(_Item("global", _global_name(argument)))
        elif operation == "MARK":
            stack.append(_Item("mark"))
        elif operation in {"BINPUT", "LONG_BINPUT"}:
            memo[argument] = stack[-1]
        elif operation in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[argument])
        elif operation in {"REDUCE", "NEWOBJ", "BUILD"}:
            _make(operation, stack)
        else:
            _gather(operation, stack)


def _gather(operation: str, stack: list[_Item]) -> None:
    """Take values off the stack into a container: a new tuple, or the list or dictionary below
    them.
    """
    if operation in {"TUPLE", "APPENDS", "SETITEMS"}:
        while stack.pop().kind != "mark":
            pass
    else:
        for _ in range(_DROPS.get(operation, 0) or _TUPLES.get(operation, 0)):
            stack.pop()
    if operation == "TUPLE" or operation in _TUPLES:
        stack.append(_Item())


def _make(operation: str, stack: list[_Item]) -> None:
    """Take an operation that calls, builds or fills something."""
    argument, subject = stack.pop(), stack[-1]
    called = subject.name or "a computed value"
    if operation == "BUILD":
        # A second filling would go through a __setstate__ that the first one planted.
        if subject.kind != "object" or subject.filled:
            raise RefusedPickle("it fills an object that it has not just built")
        subject.filled = True
        return
    if operation == "REDUCE":
        if subject.name not in _CALLABLE:
            raise RefusedPickle(f"it calls {called}", (subject.name,) if subject.name else ())
    elif (
        subject.kind != "global"
        or argument.kind != "empty tuple"
        or _class_named(subject.name) is None
    ):
        raise RefusedPickle(
            f"it builds an object of {called}", (subject.name,) if subject.name else ()
        )
    stack[-1] = _Item("object")
