"""What an exported file says of itself: written where its format has a place for it, and read back.

Ultralytics' exporter puts its own entries (class names, input size, stride, …) into ONNX's
``metadata_props``, TorchScript's extra file ``config.txt`` or a ``metadata.yaml``; ours go beside
them under names of their own, so that its loaders and the plain ones of each format read the file
as before. OpenVINO files carry them in the model's ``rt_info``, too.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import yaml
from torch import nn
from ultralytics.nn.backends.base import BaseBackend

import yolo_ema
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.inference.object_sizes import entries_of, recorded_sizes
from yolo_ema.io.atomic_files import atomic_path, write_text
from yolo_ema.nn.ema import EfficientMultiScaleAttention
from yolo_ema.tiling.plan import ObjectSizes

__all__ = ["ArtifactMetadata", "own_entries", "read", "read_entries", "write"]

LETTERBOX_VALUE = 114
_BLOCKS: dict[str, tuple[type[nn.Module], int]] = {"EMA": (EfficientMultiScaleAttention, 1)}
"""Blocks of ours by their names in model YAMLs, with a number that rises when a block's result for
the same weights changes.
"""


@dataclass(frozen=True, kw_only=True)
class ArtifactMetadata:
    """What an exported file says of itself; None where it says nothing, as a file of somebody
    else's may.

    Attributes:
        names: class names by class id.
        imgsz_hw: height and width of the input in pixels; of a dynamic file those that it was made
            with.
        stride: input sides are multiples of it, pixels.
        batch: images a forward pass; of a dynamic file with NMS inside the most.
        dynamic: it takes any batch, height and width.
        nms: NMS is inside.
        nms_free: the head that needs no NMS is inside.
        max_det: the most boxes an image, where it chooses them by itself.
        conf: lowest score that it gives, where NMS is inside.
        iou: overlap above which it drops the weaker of two boxes, where NMS is inside.
        precision: fp32, fp16 or int8.
        channel_order: of the input, RGB.
        pixel_scale: what bytes are multiplied with.
        letterbox_value: of the pixels around an image that has another shape than the input.
        layout: of the input, NCHW.
        blocks: the version of each block of ours in it.
        weights_sha256: of the .pt that it was made from, in hexadecimal.
        object_sizes: how large the objects were that it was trained on.
        producer: what made it, with version.
        license: the terms it comes under.
    """

    names: dict[int, str] = field(default_factory=dict)
    imgsz_hw: tuple[int, int] | None = None
    stride: int | None = None
    batch: int = 1
    dynamic: bool = False
    nms: bool = False
    nms_free: bool = False
    max_det: int | None = None
    conf: float | None = None
    iou: float | None = None
    precision: str | None = None
    channel_order: str | None = None
    pixel_scale: float | None = None
    letterbox_value: int | None = None
    layout: str | None = None
    blocks: dict[str, int] = field(default_factory=dict)
    weights_sha256: str | None = None
    object_sizes: ObjectSizes | None = None
    producer: str | None = None
    license: str | None = None

    @classmethod
    def from_entries(cls, entries: Mapping[str, Any]) -> ArtifactMetadata:
        """Make sense of a file's entries, be they values or, as ONNX has them, their text."""
        found = {key: _value(entry) for key, entry in entries.items()}
        settings = found["args"] if isinstance(found.get("args"), dict) else {}
        names = found["names"] if isinstance(found.get("names"), dict) else {}
        size = found.get("imgsz")
        nms = bool(settings.get("nms"))
        return cls(
            names={int(number): str(name) for number, name in names.items()},
            imgsz_hw=(int(size[0]), int(size[1]))
            if isinstance(size, list | tuple) and len(size) == 2
            else None,
            stride=_of(int, found.get("stride")),
            batch=_of(int, found.get("batch")) or 1,
            dynamic=bool(settings.get("dynamic")),
            nms=nms,
            nms_free=bool(found.get("end2end")) and not nms,
            max_det=_of(int, found.get("max_det")),
            conf=_of(float, found.get("conf")),
            iou=_of(float, found.get("iou")),
            precision=_of(str, found.get("precision")),
            channel_order=_of(str, found.get("channel_order")),
            pixel_scale=_of(float, found.get("pixel_scale")),
            letterbox_value=_of(int, found.get("letterbox_value")),
            layout=_of(str, found.get("layout")),
            blocks=found["blocks"] if isinstance(found.get("blocks"), dict) else {},
            weights_sha256=_of(str, entries.get("weights_sha256")),
            object_sizes=recorded_sizes(found),
            producer=_of(str, entries.get("producer")),
            license=_of(str, entries.get("license")),
        )


def own_entries(
    loaded: LoadedModel, *, precision: str, max_det: int, weights_sha256: str
) -> dict[str, Any]:
    """Return the entries that Ultralytics' exporter does not make by itself.

    Args:
        loaded: the weights.
        precision: fp32, fp16 or int8.
        max_det: the most boxes an image.
        weights_sha256: of the weights file.
    """
    licence = loaded.metadata.get("license")
    modules = list(loaded.model.modules())
    sizes = recorded_sizes(loaded.metadata)
    return {
        "max_det": max_det,
        "precision": precision,
        "channel_order": "RGB",
        "pixel_scale": 1 / 255,
        "letterbox_value": LETTERBOX_VALUE,
        "layout": "NCHW",
        "blocks": {
            name: version
            for name, (kind, version) in _BLOCKS.items()
            if any(isinstance(one, kind) for one in modules)
        },
        "weights_sha256": weights_sha256,
        "producer": f"yolo-ema {yolo_ema.__version__}",
        **({"license": licence} if isinstance(licence, str) else {}),
        **(entries_of(sizes) if sizes else {}),
    }


def read(artifact: Path) -> ArtifactMetadata:
    """Return what a file or folder says of itself, without running it; empty where it says
    nothing.
    """
    return ArtifactMetadata.from_entries(read_entries(artifact))


def read_entries(artifact: Path) -> dict[str, Any]:
    """Return a file's entries as they stand in it."""
    return dict(BaseBackend.read_metadata(artifact))


def write(artifact: Path, format_name: str, entries: Mapping[str, Any]) -> None:
    """Give an ONNX or OpenVINO file these entries beside those that it has; of the same names they
    take their place.

    Args:
        artifact: the file or folder.
        format_name: ``onnx`` or ``openvino``.
        entries: plain values.

    Raises:
        DiskFullError: there is no room; the file is as it was.
    """
    {"onnx": _write_onnx, "openvino": _write_openvino}[format_name](artifact, entries)


def _write_onnx(artifact: Path, entries: Mapping[str, Any]) -> None:
    import onnx

    model = onnx.load(str(artifact))
    kept = {one.key: one.value for one in model.metadata_props}
    onnx.helper.set_model_props(model, kept | {key: str(value) for key, value in entries.items()})
    with atomic_path(artifact) as beside:
        onnx.save(model, str(beside))


def _write_openvino(artifact: Path, entries: Mapping[str, Any]) -> None:
    entries = {**read_entries(artifact), **entries}
    write_text(
        artifact / "metadata.yaml", yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    )
    description = next(artifact.glob("*.xml"))
    tree = ET.parse(description)  # noqa: S314 - a file that this process has just written
    root = tree.getroot()
    info = root.find("rt_info")
    info = ET.SubElement(root, "rt_info") if info is None else info
    for old in info.findall("yolo_ema"):
        info.remove(old)
    own = ET.SubElement(info, "yolo_ema")
    for key, value in entries.items():
        ET.SubElement(own, key, {"value": str(value)})
    with atomic_path(description) as beside:
        tree.write(beside, encoding="utf-8", xml_declaration=True)


def _value(entry: Any) -> Any:
    """Return what a text stands for, or the text itself where it is just that."""
    if not isinstance(entry, str):
        return entry
    try:
        return ast.literal_eval(entry)
    except (ValueError, SyntaxError):
        return entry


def _of(kind: type, value: Any) -> Any:
    """Return a value as such a kind; None where it is none."""
    if kind is str:
        return value if isinstance(value, str) else None
    return kind(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
