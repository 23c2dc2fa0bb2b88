"""What an exported file says of itself: its entries, read without running it and bounded before
anything is built from them.

Ultralytics' exporter writes class names, input size, stride and the like into ONNX's
``metadata_props`` or a ``metadata.yaml`` beside the model; this project's export adds entries of
its own. Files of others may hold anything there.
"""

from __future__ import annotations

import ast
import mmap
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_ema.errors import DamagedWeightsError, WeightsError
from yolo_ema.inference.object_sizes import recorded_sizes
from yolo_ema.io.yaml_files import YamlFileError, read_yaml
from yolo_ema.tiling.plan import ObjectSizes
from yolo_ema.tiling.plan_figures import PlanFigures

_MOST_CHARACTERS = 1 << 19
"""Longest text that is evaluated: the names of some 20,000 classes."""

_LARGEST_SIDE = 1 << 14
_QUANTIZED = {"16": "fp16", "fp16": "fp16", "half": "fp16", "8": "int8", "int8": "int8"}
_SHOWN = 60
_METADATA_PROPS = 14  # of onnx.proto's ModelProto: repeated messages of a key (1) and a value (2)


@dataclass(frozen=True, kw_only=True)
class ArtifactMetadata:
    """What an exported file says of itself; None where it says nothing, as a file of somebody
    else's may.

    Attributes:
        names: class names by class id.
        imgsz_hw: height and width of the input in pixels; of a dynamic file those that it was made
            with.
        stride: input sides are multiples of it, pixels.
        batch: images per forward pass; of a dynamic file with NMS inside the maximum.
        channels: of the input.
        task: what the network was trained for, such as ``detect``.
        dynamic: it takes any batch, height and width.
        nms: NMS is inside.
        nms_free: the head that needs no NMS is inside.
        max_det: maximum boxes per image, where it has NMS built in.
        conf: lowest score that it gives, where NMS is inside.
        iou: overlap above which it drops the weaker of two boxes, where NMS is inside.
        precision: fp32, fp16 or int8.
        quantize: fp16 or int8, where Ultralytics' export was asked for it.
        channel_order: of the input, RGB.
        pixel_scale: what bytes are multiplied with.
        letterbox_value: of the pixels around an image that has another shape than the input.
        layout: of the input, NCHW.
        blocks: the version of each block of ours in it.
        weights_sha256: of the .pt that it was made from, in hexadecimal.
        object_sizes: how large the objects were that it was trained on.
        plan_figures: what plans gained and cost with it, where it was measured.
        producer: what made it, with version.
        license: the terms it comes under.
    """

    names: dict[int, str] = field(default_factory=dict)
    imgsz_hw: tuple[int, int] | None = None
    stride: int | None = None
    batch: int = 1
    channels: int = 3
    task: str | None = None
    dynamic: bool = False
    nms: bool = False
    nms_free: bool = False
    max_det: int | None = None
    conf: float | None = None
    iou: float | None = None
    precision: str | None = None
    quantize: str | None = None
    channel_order: str | None = None
    pixel_scale: float | None = None
    letterbox_value: int | None = None
    layout: str | None = None
    blocks: dict[str, int] = field(default_factory=dict)
    weights_sha256: str | None = None
    object_sizes: ObjectSizes | None = None
    plan_figures: PlanFigures | None = None
    producer: str | None = None
    license: str | None = None

    @property
    def stored_precision(self) -> str:
        """Precision of the weights in the file: ``fp32``, ``fp16`` or ``int8``."""
        return _QUANTIZED.get(str(self.precision or self.quantize), "fp32")

    @classmethod
    def from_entries(cls, entries: Mapping[str, Any]) -> ArtifactMetadata:
        """Make sense of a file's entries, be they values or, as ONNX has them, their text; what
        makes no sense counts as not said.
        """
        values = {key: _value(entry) for key, entry in entries.items()}
        settings = values["args"] if isinstance(values.get("args"), dict) else {}
        names = values.get("names")
        nms = bool(settings.get("nms"))
        return cls(
            names=_names(names) if _are_names(names) else {},
            imgsz_hw=_size(values.get("imgsz")),
            stride=_of(int, values.get("stride")),
            batch=_of(int, values.get("batch")) or 1,
            channels=_of(int, values.get("channels")) or 3,
            task=_of(str, values.get("task")),
            dynamic=bool(settings.get("dynamic")),
            nms=nms,
            nms_free=bool(values.get("end2end")) and not nms,
            max_det=_of(int, values.get("max_det")),
            conf=_of(float, values.get("conf")),
            iou=_of(float, values.get("iou")),
            precision=_of(str, values.get("precision")),
            quantize=_QUANTIZED.get(str(settings.get("quantize")).lower()),
            channel_order=_of(str, values.get("channel_order")),
            pixel_scale=_of(float, values.get("pixel_scale")),
            letterbox_value=_of(int, values.get("letterbox_value")),
            layout=_of(str, values.get("layout")),
            blocks=values["blocks"] if isinstance(values.get("blocks"), dict) else {},
            weights_sha256=_of(str, entries.get("weights_sha256")),
            object_sizes=recorded_sizes(values),
            plan_figures=PlanFigures.of_entries(values),
            producer=_of(str, entries.get("producer")),
            license=_of(str, entries.get("license")),
        )


def checked_metadata(entries: Mapping[str, Any], file: Path) -> ArtifactMetadata:
    """Return what a file that is to be run says of itself.

    Raises:
        DamagedWeightsError: an entry that running it depends on makes no sense.
        WeightsError: it is not a detector, or takes other than colour images.
    """
    metadata = ArtifactMetadata.from_entries(entries)
    # first, since a file for another task may state the rest in a way of its own
    if metadata.task not in {None, "detect"}:
        raise WeightsError(f"{file} is a model for {metadata.task!r}; expected a detector")
    for key, (fits, expected) in _NEEDED.items():
        value = _value(entries[key]) if entries.get(key) is not None else None
        if value is not None and not fits(value):
            shown = " ".join(str(entries[key])[:_SHOWN].split())
            raise DamagedWeightsError(
                f"{file} has unusable metadata: {key} is {shown!r}; expected {expected}"
            )
    if metadata.channels != 3:
        raise WeightsError(f"{file} takes images of {metadata.channels} channels; expected 3")
    return metadata


def exported_entries(artifact: Path) -> dict[str, Any] | None:
    """Return the entries of an ONNX file, or of a folder with a ``metadata.yaml``; None for other
    formats.

    Raises:
        DamagedWeightsError: they are not usable.
    """
    if artifact.suffix.lower() == ".onnx":
        return dict(onnx_entries(artifact))
    if artifact.is_dir() and (artifact / "metadata.yaml").is_file():
        return yaml_entries(artifact)
    return None


def onnx_entries(file: Path) -> dict[str, str]:
    """Return the entries of an ONNX file, without loading the network; empty where it is none."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as m:
            pairs = [dict(_fields(m[start:end])) for start, end in _messages(m, _METADATA_PROPS)]
            return {bytes(pair[1]).decode(): bytes(pair.get(2, b"")).decode() for pair in pairs}
    except (OSError, ValueError, LookupError):  # empty, cut off, or other than ONNX
        return {}


def yaml_entries(model: Path) -> dict[str, Any]:
    """Return the entries in the ``metadata.yaml`` in a folder, or beside a file in it; empty where
    there is none.

    Raises:
        DamagedWeightsError: it is not usable.
    """
    path = (model if model.is_dir() else model.parent) / "metadata.yaml"
    if not path.is_file():
        return {}
    try:
        entries = read_yaml(path)
    except YamlFileError as error:
        raise DamagedWeightsError(f"{path} {error}") from error
    if not isinstance(entries, dict):
        raise DamagedWeightsError(
            f"{path} holds a {type(entries).__name__}; expected entries such as names and imgsz"
        )
    return {str(key): value for key, value in entries.items()}


def _fields(message: bytes | mmap.mmap) -> Iterator[tuple[int, bytes]]:
    for number, start, end in _spans(message):
        yield number, message[start:end]


def _messages(message: mmap.mmap, field: int) -> Iterator[tuple[int, int]]:
    for number, start, end in _spans(message):
        if number == field:
            yield start, end


def _spans(message: bytes | mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field with a length in a protobuf message."""
    offset = 0
    while offset < len(message):
        tag, offset = _varint(message, offset)
        length, after = _varint(message, offset)
        if tag & 7 == 2:  # a length, then the content
            if after + length > len(message):
                raise ValueError("a field reaches beyond the end")
            yield tag >> 3, after, after + length
            after += length
        elif tag & 7 != 0:  # a plain number; ONNX has no other kind at these places
            raise ValueError(f"a field of kind {tag & 7}")
        offset = after


def _varint(message: bytes | mmap.mmap, offset: int) -> tuple[int, int]:
    """Return a number in protobuf's variable length, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise ValueError("a number has no end")


def _value(entry: Any) -> Any:
    """Return what a text stands for, or the text itself where it is just that."""
    if not isinstance(entry, str) or len(entry) > _MOST_CHARACTERS:
        return entry
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of a backslash in a class name
            return ast.literal_eval(entry)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return entry


def _of(kind: type, value: Any) -> Any:
    """Return a value as such a kind; None where it is none."""
    if kind is str:
        return value if isinstance(value, str) else None
    try:
        return kind(value) if _is_number(value) else None
    except (ValueError, OverflowError):  # NaN, infinity
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(lowest: int, highest: int) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and lowest <= value <= highest and int(value) == value


def _size(value: Any) -> tuple[int, int] | None:
    """Return height and width; None where the value is something else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    if not all(map(_is_whole(1, _LARGEST_SIDE), value)):
        return None
    return int(value[0]), int(value[1])


def _are_names(value: Any) -> bool:
    """Say whether these are names of the classes 0, 1, … as a list or a mapping."""
    if not isinstance(value, dict | list | tuple) or not value:
        return False
    keys = value if isinstance(value, dict) else range(len(value))
    numbers = {int(key) for key in keys if isinstance(key, int) or _is_numeral(key)}
    return numbers == set(range(len(value)))


def _is_numeral(key: Any) -> bool:
    return isinstance(key, str) and len(key) < 10 and key.isascii() and key.isdecimal()


def _names(value: Any) -> dict[int, str]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {int(number): str(name) for number, name in pairs}


_NEEDED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "names": (_are_names, "a name for each class from 0 on"),
    "imgsz": (
        lambda value: _size(value) is not None,
        f"height and width in pixels, 1 to {_LARGEST_SIDE}",
    ),
    "stride": (_is_whole(1, 1024), "a number of pixels, 1 to 1024"),
    "batch": (_is_whole(1, 4096), "a number of images, 1 to 4096"),
    "channels": (_is_whole(1, 1024), "a number of channels"),
    "args": (lambda value: isinstance(value, dict), "the settings of the export by name"),
    "end2end": (lambda value: isinstance(value, bool | int), "True or False"),
    "max_det": (_is_whole(1, 1 << 20), "a number of boxes"),
    "task": (lambda value: isinstance(value, str), "a word such as detect"),
}
"""What running a file depends on: the entry, whether a value makes sense, and what would."""
