"""What a runtime computes in, and with how many threads: asked of the runtime, since it may do other than what was set."""

from __future__ import annotations

import ast
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from yolo_ema.engine.direct_backends import NcnnBackend, OnnxBackend, OpenVinoBackend
from yolo_ema.engine.runtime import Runtime

__all__ = ["RuntimeFacts", "runtime_facts"]

_QUANTIZED = {"16": "fp16", "fp16": "fp16", "half": "fp16", "8": "int8", "int8": "int8"}
_OPENVINO_TYPES = {"float32": "fp32", "f32": "fp32", "float16": "fp16", "f16": "fp16", "bfloat16": "bf16", "bf16": "bf16"}


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
        return RuntimeFacts(stored, stored, torch.get_num_threads() if runtime.device.type == "cpu" else None)
    stored = _stored(backend.metadata)
    if isinstance(backend, OpenVinoBackend):
        compiled = backend._request.get_compiled_model()  # noqa: SLF001 - as above
        word = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        computed = _OPENVINO_TYPES.get(word, word)
        # int8 layers stay int8; the hint is about those in float.
        computed = stored if stored == "int8" and computed == "fp32" else computed
        return RuntimeFacts(stored, computed, int(compiled.get_property("INFERENCE_NUM_THREADS")))
    if isinstance(backend, OnnxBackend):
        return RuntimeFacts(stored, stored, int(backend._session.get_session_options().intra_op_num_threads))  # noqa: SLF001 - as above
    if isinstance(backend, NcnnBackend):
        options = backend._net.opt  # noqa: SLF001 - as above
        halves = options.use_fp16_storage and platform.machine().lower() in {
            "aarch64",
            "arm64",
        }  # by itself, where the processor can
        return RuntimeFacts(stored, "fp16" if halves and stored == "fp32" else stored, int(options.num_threads))
    is_torch = runtime.format == "torchscript" and runtime.device.type == "cpu"
    return RuntimeFacts(stored, stored, torch.get_num_threads() if is_torch else None)


def _stored(metadata: Mapping[str, Any]) -> str:
    """Return the precision that an exported file's metadata names; those that name none are in float32."""
    arguments = metadata.get("args", {})
    arguments = ast.literal_eval(arguments) if isinstance(arguments, str) else arguments
    word = metadata.get("precision") or dict(arguments).get("quantize")
    return _QUANTIZED.get(str(word).lower(), "fp32")
