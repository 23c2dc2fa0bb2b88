"""Whether what a file says of itself fits its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.io.atomic_files import sha256_of

__all__ = ["Identity", "check_identity"]

_PREPROCESSING = {"channel_order": "RGB", "letterbox_value": 114, "layout": "NCHW"}
_PIXEL_SCALE = 1 / 255


@dataclass(frozen=True)
class Identity:
    """What the comparison of words found.

    Attributes:
        faults: what contradicts the weights, a sentence each.
        notes: what the file does not say.
    """

    faults: tuple[str, ...]
    notes: tuple[str, ...]


def check_identity(facts: ArtifactMetadata, loaded: LoadedModel, weights: Path) -> Identity:
    """Compare what a file says of itself with its weights.

    Args:
        facts: what the file says.
        loaded: the weights.
        weights: their file.
    """
    faults = _names(facts.names, loaded.names)
    notes = []
    if facts.stride is not None and facts.stride != loaded.stride:
        faults.append(
            f"the file says that its stride is {facts.stride}, and the weights' is {loaded.stride}"
        )
    if facts.imgsz_hw is not None and any(side % loaded.stride for side in facts.imgsz_hw):
        height, width = facts.imgsz_hw
        faults.append(
            f"the file's input is {height}x{width}; sides must be multiples of the weights' "
            f"stride, {loaded.stride}"
        )
    if facts.weights_sha256 is None:
        notes.append(
            "the file does not say from which weights it was made (weights_sha256); only its boxes "
            "can tell"
        )
    elif facts.weights_sha256 != (digest := sha256_of(weights)):
        faults.append(
            f"the file was made from other weights: it names SHA-256 {facts.weights_sha256[:12]}…, "
            f"and {weights.name} has "
            f"{digest[:12]}…"
        )
    if facts.imgsz_hw is None:
        notes.append("the file does not name its input size (imgsz)")
    if (facts.nms or facts.nms_free) and facts.max_det is None:
        notes.append("the file chooses its boxes and does not say how many at most (max_det)")
    for name, expected in _PREPROCESSING.items():
        found = getattr(facts, name)
        if found is not None and found != expected:
            faults.append(
                f"the file asks for {name} {found!r}; weights and runtimes here take {expected!r}"
            )
    if facts.pixel_scale is not None and abs(facts.pixel_scale - _PIXEL_SCALE) > 1e-6:
        faults.append(
            f"the file asks for pixels times {facts.pixel_scale:g}; weights and runtimes here take "
            f"them times 1/255"
        )
    return Identity(tuple(faults), tuple(notes))


def _names(found: dict[int, str], expected: dict[int, str]) -> list[str]:
    if not found:
        return ["the file does not name its classes"]
    if found == expected:
        return []
    if len(found) != len(expected):
        return [f"the file names {len(found)} classes, and the weights have {len(expected)}"]
    wrong = [number for number in sorted(expected) if found.get(number) != expected[number]]
    shown = ", ".join(
        f"{number} is {found.get(number)!r} instead of {expected[number]!r}" for number in wrong[:4]
    )
    more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
    same = sorted(found.values()) == sorted(expected.values())
    return [f"class names are {'swapped' if same else 'others'} in the file: {shown}{more}"]
