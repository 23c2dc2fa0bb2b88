"""What a weights file's pickle may name and call, and what stands for it while it is read.

Layers' classes, tensors and the few functions that torch writes into a file are known by name
alone; a record or a plain value takes the place of what each would make. `model_rebuild` makes a
model of the records, `torch_archive` tensors of the notes.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

_LARGEST_KEY = 1 << 31  # larger ones can be chosen so that a dictionary takes hours

CLASS_MODULES = (
    "timm.layers.",
    "torch.nn.modules.",
    "ultralytics.nn.modules.",
    "ultralytics.nn.tasks.",
    "ultralytics.utils.loss.",
    "ultralytics.utils.tal.",
    "ultralytics.yolo.utils.loss.",
    "ultralytics.yolo.utils.tal.",
    "yolo_ema.nn.",
)
_NAMESPACES = (
    "ultralytics.utils.IterableSimpleNamespace",
    "ultralytics.yolo.utils.IterableSimpleNamespace",
)
STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
_NUMPY_NUMBERS = frozenset(["b1", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
_DTYPES = frozenset(f"torch.{dtype}" for dtype in STORAGES.values())


class RefusedPickle(Exception):  # noqa: N818 - `loading` turns it into the error that the user sees
    """The pickle names or does what weights never need.

    Attributes:
        names: the offending globals, ``module.name``; empty where the structure is at fault.
        reason: what it does, as a clause.
    """

    def __init__(self, reason: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason, self.names = reason, names


@dataclass(frozen=True)
class GlobalName:
    """What a file calls a global of some module; it is not looked up."""

    name: str


@dataclass(eq=False)
class SavedObject:
    """An object that the file would build: its class by name, and its attributes.

    Attributes:
        kind: ``module.Class``.
        state: its attributes; None before the file has filled it.
    """

    kind: str
    state: dict[Any, Any] | None = None


@dataclass(frozen=True, eq=False)
class BoundMethod:
    """What a file wants by ``getattr``: the method ``name`` of an object or a class."""

    owner: SavedObject | GlobalName
    name: str


@dataclass(frozen=True)
class SavedStorage:
    """A block of numbers in the file: ``count`` of them under the name ``key``."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True, eq=False)
class SavedTensor:
    """A tensor as a view on a block of numbers; nothing of it has been checked yet."""

    storage: SavedStorage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool = False


def checked_key(key: Any) -> Any:
    """Return a dictionary's key, sure to be quick to look up. Raises `RefusedPickle`."""
    if isinstance(key, str) or key is None or (isinstance(key, int) and abs(key) < _LARGEST_KEY):
        return key
    raise RefusedPickle(f"a dictionary has a {type(key).__name__} as its key")


def is_count(value: Any) -> bool:
    """Say whether a value is a whole number from 0 that fits into 62 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


class NumpyKind:
    """Stands in for ``numpy.dtype``: holds code and byte order, and runs none of NumPy's code."""

    def __init__(self, code: str, *_flags: bool) -> None:
        if not isinstance(code, str) or code not in _NUMPY_NUMBERS:
            raise RefusedPickle(
                f"it makes a NumPy value of the kind {str(code)[:20]!r}, not a number",
                ("numpy.dtype",),
            )
        self.code = code
        self.order: Literal["<", ">", "="] = "="

    def set_order(self, state: Any) -> None:
        """Take the byte order out of what the file fills the dtype with."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.order = state[1]


def _numpy_scalar(kind: NumpyKind, raw: bytes) -> bool | int | float:
    if not isinstance(kind, NumpyKind) or not isinstance(raw, bytes):
        raise TypeError
    dtype = np.dtype(kind.code).newbyteorder(kind.order)
    return np.frombuffer(raw, dtype, count=1)[0].item()


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> SavedTensor:
    """Stand in for torch's rebuilding of a tensor; ``more`` is requires_grad, hooks, metadata."""
    requires_grad = more[0] if more else False
    if len(more) > 1 and more[1]:
        raise RefusedPickle("a tensor carries hooks")
    whole = (
        isinstance(storage, SavedStorage)
        and isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride) <= 8
        and all(is_count(number) for number in (offset, *size, *stride))
    )
    if not whole:
        raise ValueError
    return SavedTensor(storage, offset, size, stride, bool(requires_grad))


def _parameter(tensor: SavedTensor, requires_grad: bool, hooks: Any) -> SavedTensor:
    if hooks:
        raise RefusedPickle("a tensor carries hooks")
    if not isinstance(tensor, SavedTensor):
        raise TypeError
    return replace(tensor, requires_grad=bool(requires_grad))


def _method(owner: Any, name: str) -> BoundMethod:
    if not isinstance(owner, SavedObject | GlobalName) or not (
        isinstance(name, str) and name.startswith("forward")
    ):
        owner_name = owner.name if isinstance(owner, GlobalName) else type(owner).__name__
        raise RefusedPickle(
            f"it takes the attribute {str(name)[:50]!r} of {owner_name}, where weights take only a "
            f"layer's forward method",
            ("builtins.getattr",),
        )
    return BoundMethod(owner, name)


def _listed(values: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError
    return values


def _encoded(text: str, encoding: str) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError
    return text.encode("latin1")


def _path(*parts: str) -> pathlib.Path:
    if not all(isinstance(part, str) for part in parts):
        raise TypeError
    return pathlib.Path(*parts)


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda pairs=(): {checked_key(k): v for k, v in _listed(pairs)},
    "builtins.set": lambda values=(): set(map(checked_key, _listed(values))),
    "builtins.getattr": _method,
    "_codecs.encode": _encoded,  # how protocol 2 writes bytes
    "torch.Size": lambda sizes: tuple(_listed(sizes)),
    "torch.device": lambda *words: ":".join(str(word)[:20] for word in words),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "numpy.dtype": NumpyKind,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    **{name: (lambda name=name: SavedObject(name)) for name in _NAMESPACES},
    **{
        f"{module}.{kind}": _path
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "WindowsPath")
    },
}
KNOWN_GLOBALS = CALLS.keys() | STORAGES.keys() | _DTYPES
