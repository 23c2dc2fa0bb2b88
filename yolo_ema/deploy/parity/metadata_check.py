"""Whether what a file says of itself fits its weights, and whether the file is valid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_ema.engine.export.onnx_file import onnx_problems
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.inference.file_metadata import ArtifactMetadata

_PREPROCESSING = {"channel_order": "RGB", "letterbox_value": 114, "layout": "NCHW"}
_PIXEL_SCALE = 1 / 255


@dataclass(frozen=True)
class MetadataCheck:
    """What in a file's metadata contradicts the weights, and what the file does not say, a sentence
    each.
    """

    faults: tuple[str, ...]
    notes: tuple[str, ...]


def check_metadata(metadata: ArtifactMetadata, loaded: LoadedModel) -> MetadataCheck:
    """Compare what a file says of itself with its weights."""
    faults, notes = _name_faults(metadata.names, loaded.names), []
    if metadata.stride is not None and metadata.stride != loaded.stride:
        faults.append(
            f"the file gives its stride as {metadata.stride}, but the weights have {loaded.stride}"
        )
    if metadata.imgsz_hw is None:
        notes.append("the file does not state its input size (imgsz)")
    elif any(side % loaded.stride for side in metadata.imgsz_hw):
        height, width = metadata.imgsz_hw
        faults.append(
            f"the file's input is {height}x{width}; sides must be multiples of the weights' "
            f"stride, {loaded.stride}"
        )
    if metadata.weights_sha256 is None:
        notes.append(
            "the file does not say which weights it was made from (weights_sha256); only its boxes "
            "can tell"
        )
    elif metadata.weights_sha256 != loaded.sha256:
        faults.append(
            f"the file was made from other weights: it names SHA-256 "
            f"{metadata.weights_sha256[:12]}…, but these have {loaded.sha256[:12]}… (if figures of "
            f"plans were written into them since, export again)"
        )
    if (metadata.nms or metadata.nms_free) and metadata.max_det is None:
        notes.append("the file has NMS built in and does not say how many boxes it keeps (max_det)")
    for name, expected in _PREPROCESSING.items():
        stated = getattr(metadata, name)
        if stated is not None and stated != expected:
            faults.append(
                f"the file asks for {name} {stated!r}, but runtimes here give {expected!r}"
            )
    if metadata.pixel_scale is not None and abs(metadata.pixel_scale - _PIXEL_SCALE) > 1e-6:
        faults.append(
            f"the file asks for pixels times {metadata.pixel_scale:g}, but runtimes here give them "
            f"times 1/255"
        )
    return MetadataCheck(tuple(faults), tuple(notes))


def validity_faults(artifact: Path, format_name: str) -> list[str]:
    """Return what makes a file invalid by the rules of its format; only ONNX has a checker."""
    problems = onnx_problems(artifact) if format_name == "onnx" else []
    return [f"the ONNX file is not valid: {problem}" for problem in problems]


def _name_faults(names: dict[int, str], expected: dict[int, str]) -> list[str]:
    if not names:
        return ["the file does not name its classes"]
    if names == expected:
        return []
    if len(names) != len(expected):
        return [f"the file names {len(names)} classes, but the weights have {len(expected)}"]
    wrong = [number for number in sorted(expected) if names.get(number) != expected[number]]
    shown = ", ".join(
        f"{number} is {names.get(number)!r} instead of {expected[number]!r}" for number in wrong[:4]
    )
    more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
    same = sorted(names.values()) == sorted(expected.values())
    return [f"class names are {'swapped' if same else 'different'} in the file: {shown}{more}"]
