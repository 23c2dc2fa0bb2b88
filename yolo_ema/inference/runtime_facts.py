"""What a runtime computes in, and with how many threads: asked of the runtime, since it may do
other than what was set.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from yolo_ema.engine.prediction.runtime import Runtime
from yolo_ema.inference.exported_backends import DirectBackend

__all__ = ["RuntimeFacts", "runtime_facts"]

_QUANTIZED = {"16": "fp16", "fp16": "fp16", "half": "fp16", "8": "int8", "int8": "int8"}
_COMPUTED = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


class RuntimeFacts(NamedTuple):
    """What a runtime says of itself.

    Attributes:
        stored: precision of the weights as they lie in the file: ``fp32``, ``fp16`` or ``int8``.
        computed: precision of the computation where the runtime tells; else what is stored.
        threads: threads on the processor; None where the runtime does not tell, or runs elsewhere.
    """

    stored: str
    computed: str
    threads: int | None


def runtime_facts(runtime: Runtime) -> RuntimeFacts:
    """Return what a runtime computes in, and with how many threads."""
    backend: Any = runtime._backend  # noqa: SLF001 - a question of this room's, about what only the backends know
    if runtime.format == "pt":
        stored = "fp16" if backend.fp16 else "fp32"
        return RuntimeFacts(
            stored, stored, torch.get_num_threads() if runtime.device.type == "cpu" else None
        )
    stored = _stored(backend.metadata)
    if isinstance(backend, DirectBackend):
        computed = _COMPUTED.get(backend.computed_in or "", stored)
        # The word is about the layers in float; int8 ones stay what they are.
        return RuntimeFacts(
            stored, stored if (stored, computed) == ("int8", "fp32") else computed, backend.threads
        )
    is_torch = runtime.format == "torchscript" and runtime.device.type == "cpu"
    return RuntimeFacts(stored, stored, torch.get_num_threads() if is_torch else None)


def _stored(metadata: Mapping[str, Any]) -> str:
    """Return the precision that an exported file's metadata names; those that name none are in
    float32.
    """
    arguments = metadata.get("args", {})
    arguments = ast.literal_eval(arguments) if isinstance(arguments, str) else arguments
    word = metadata.get("precision") or dict(arguments).get("quantize")
    return _QUANTIZED.get(str(word).lower(), "fp32")
