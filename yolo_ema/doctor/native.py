"""Questions to packages that come with native code, each in a process of its own: one that crashes
on this processor, or hangs, ends its own row alone.

As a program: ``python -m yolo_ema.doctor.native NAME`` prints the rows as JSON.
"""

from __future__ import annotations

import json
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yolo_ema.doctor.row import Row, private
from yolo_ema.io.child_process import module_command

LIMIT_S = 30.0
_PROGRAM = "yolo_ema.doctor.native"

_VIDEO = (
    ("H.264", ("h264",), ("libx264", "h264_nvenc", "libopenh264")),
    ("HEVC", ("hevc",), ("libx265", "hevc_nvenc")),
    ("AV1", ("libdav1d", "av1"), ("libsvtav1", "libaom-av1", "av1_nvenc")),
    ("Motion JPEG", ("mjpeg",), ("mjpeg",)),
    ("VP9", ("vp9",), ("libvpx-vp9",)),
)
"""Each coding with FFmpeg's names of what decodes and encodes it."""


def _onnxruntime() -> list[Row]:
    import onnxruntime

    value = f"as the file is stored, float32 or float16; {onnxruntime.__version__}"
    providers = list(onnxruntime.get_available_providers())
    return [Row("ONNX Runtime", value), Row("ONNX Runtime's providers", providers)]


def _openvino() -> list[Row]:
    from yolo_ema.inference.openvino_backend import automatic_precision, import_openvino

    core = import_openvino().Core()
    settings = automatic_precision("CPU")
    chosen = settings.get("INFERENCE_PRECISION_HINT") or core.get_property(
        "CPU", "INFERENCE_PRECISION_HINT"
    )
    text = chosen if isinstance(chosen, str) else chosen.to_string()
    can = list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return [
        Row("OpenVINO on the CPU", f"{text} by itself"),
        Row("OpenVINO's devices", list(core.available_devices)),
        Row("OpenVINO can", can),
    ]


def _ncnn() -> list[Row]:
    import ncnn

    halves = platform.machine().lower() in {"aarch64", "arm64"} and ncnn.Net().opt.use_fp16_storage
    return [Row("ncnn", f"{'float16' if halves else 'float32'} by itself")]


def _av() -> list[Row]:
    import av
    from av.codec import codecs_available

    rows = []
    for name, decoders, encoders in _VIDEO:
        reads = [codec for codec in decoders if codec in codecs_available and _is(codec, "r")]
        writes = [codec for codec in encoders if codec in codecs_available and _is(codec, "w")]
        value = (
            f"read by {', '.join(reads) or 'nothing'}, written by {', '.join(writes) or 'nothing'}"
        )
        rows.append(Row(name, value, "" if reads else "this video cannot be read"))
    libraries = [f"{name} {'.'.join(map(str, n))}" for name, n in av.library_versions.items()]
    return [*rows, Row("FFmpeg's libraries", libraries)]


def _is(codec: str, mode: str) -> bool:
    import av

    try:
        av.Codec(codec, mode)
    except Exception:  # PyAV's own class, which has changed its name
        return False
    return True


def _cv2() -> list[Row]:
    import cv2

    return [
        Row("OpenCV's threads", cv2.getNumThreads()),
        Row("OpenCV uses its fast code", cv2.useOptimized()),
    ]


_PROBES: dict[str, tuple[str, Callable[[], list[Row]]]] = {
    "onnxruntime": ("ONNX Runtime", _onnxruntime),
    "openvino": ("OpenVINO", _openvino),
    "ncnn": ("ncnn", _ncnn),
    "av": ("video", _av),
    "cv2": ("OpenCV", _cv2),
}
BACKENDS, CODECS = ("onnxruntime", "openvino", "ncnn"), ("av",)


def asked(packages: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows of each package, all asked at once."""
    with ThreadPoolExecutor(len(packages)) as pool:
        return dict(zip(packages, pool.map(_ask, packages), strict=True))


def _ask(package: str) -> list[Row]:
    title = _PROBES[package][0]
    if _spec(package) is None:
        return [Row(title, problem=f"the package {package} is not installed")]
    try:
        answer = subprocess.run(  # noqa: S603 - this interpreter and this module
            module_command(_PROGRAM, package),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Row(title, problem=f"no answer within {LIMIT_S:g} s")]
    if answer.returncode:
        last = answer.stderr.strip().splitlines()[-1:]
        return [Row(title, problem=private(": ".join([_how_it_ends(answer.returncode), *last])))]
    return [Row(**row) for row in json.loads(answer.stdout.splitlines()[-1])]


def _how_it_ends(code: int) -> str:
    if code < 0:
        return f"ends with signal {-code} ({signal.strsignal(-code)})"
    return f"ends with code {code}"


def _spec(package: str) -> ModuleSpec | None:
    """Return where a package lies; None where it does not, or cannot be imported."""
    try:
        return find_spec(package)
    except (ImportError, ValueError):
        return None


def torch_build() -> list[Row]:
    """Return what torch is built for, read from its own file without importing it."""
    spec = _spec("torch")
    if spec is None or spec.origin is None:
        return [Row("torch", problem="not installed: .pt weights, training and --gpu need it")]
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    cuda = re.search(r"^cuda[^=\n]*=\s*'([^']+)'", text, re.MULTILINE)
    kind = f"built for CUDA {cuda[1]}" if cuda else "built for CPUs"
    return [Row("torch", f"{kind}; float32, half precision with --half on a GPU")]


def main(words: Sequence[str]) -> int:
    """Answer one question on standard output."""
    rows: list[dict[str, Any]] = [row.as_json() for row in _PROBES[words[0]][1]()]
    sys.stdout.write(json.dumps(rows) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
