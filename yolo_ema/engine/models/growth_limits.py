"""Limits within which a model may grow while it is made and tried: a file from elsewhere may ask
for anything.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_modules
from torch.utils._python_dispatch import TorchDispatchMode

from yolo_ema.errors import ModelError

PROBE_PX = 256
_MOST_MODULES = 10_000
_MOST_PARAMETERS = 2_000_000_000
_MOST_VALUES = 1 << 28
"""Maximum values of one tensor while an image of `PROBE_PX` passes: 1 GiB in float32."""

_MOST_OPERATIONS = 50_000


@contextlib.contextmanager
def bounded(where: str) -> Iterator[None]:
    """Stop a model that grows beyond any detector while it is made."""
    thread, modules, parameters = threading.get_ident(), 0, 0

    def count_module(*_: Any) -> None:
        nonlocal modules
        modules += threading.get_ident() == thread
        if modules > _MOST_MODULES:
            raise ModelError(f"{where}: the model has more than {_MOST_MODULES:,} parts")

    def count_parameter(_: nn.Module, __: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters
        if parameter is not None and threading.get_ident() == thread:
            parameters += parameter.numel()
        if parameters > _MOST_PARAMETERS:
            raise ModelError(f"{where}: the model has more than {_MOST_PARAMETERS:,} parameters")

    hooks = (
        torch_modules.register_module_module_registration_hook(count_module),
        torch_modules.register_module_parameter_registration_hook(count_parameter),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class SizeWatch(TorchDispatchMode):
    """Refuses operations whose result would be huge, before any such memory is taken for real, and
    more of them than a model has.
    """

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator and hold its result to the limit."""
        self._count += 1
        if self._count > _MOST_OPERATIONS:
            raise RuntimeError(f"more than {_MOST_OPERATIONS:,} operations for one image")
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.numel() > _MOST_VALUES:
            raise RuntimeError(
                f"a map of {result.numel():,} values of one image of {PROBE_PX}x{PROBE_PX} pixels"
            )
        return result
