"""What an export writes into a file beside Ultralytics' entries, and what any exported file says of
itself.

Ours go under names of their own, so that Ultralytics' loaders and the plain ones of each format
read the file as before. OpenVINO files carry them in the model's ``rt_info``, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import yaml
from ultralytics.nn.backends.base import BaseBackend

from yolo_ema._version import __version__
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.errors import DamagedWeightsError, first_line
from yolo_ema.inference.file_metadata import exported_entries
from yolo_ema.inference.letterbox import LETTERBOX_VALUE
from yolo_ema.inference.object_sizes import entries_of, recorded_sizes
from yolo_ema.io.atomic_files import atomic_path, write_text
from yolo_ema.nn import BLOCKS
from yolo_ema.tiling.plan_figures import PlanFigures

__all__ = ["own_entries", "read_entries", "write"]

_BLOCK_VERSIONS = dict.fromkeys(BLOCKS, 1)
"""A number for each of our blocks that rises when its result for the same weights changes."""


def own_entries(
    loaded: LoadedModel,
    *,
    imgsz_hw: Sequence[int],
    precision: str,
    max_det: int,
    weights_sha256: str,
) -> dict[str, Any]:
    """Return the entries that Ultralytics' exporter does not make by itself, of a file whose own
    input has this height and width.
    """
    licence = loaded.metadata.get("license")
    modules = list(loaded.model.modules())
    sizes, figures = recorded_sizes(loaded.metadata), _figures_at(loaded, imgsz_hw)
    return {
        "max_det": max_det,
        "precision": precision,
        "channel_order": "RGB",
        "pixel_scale": 1 / 255,
        "letterbox_value": LETTERBOX_VALUE,
        "layout": "NCHW",
        "blocks": {
            name: version
            for name, version in _BLOCK_VERSIONS.items()
            if any(isinstance(module, BLOCKS[name]) for module in modules)
        },
        "weights_sha256": weights_sha256,
        "producer": f"yolo-ema {__version__}",
        **({"license": licence} if isinstance(licence, str) else {}),
        **(entries_of(sizes) if sizes else {}),
        **(figures.as_entries() if figures else {}),
    }


def _figures_at(loaded: LoadedModel, imgsz_hw: Sequence[int]) -> PlanFigures | None:
    """Return the figures of plans that weights carry, for a file with this input; None where they
    carry none, or the input has another shape than those that were measured.
    """
    figures = PlanFigures.of_entries(loaded.metadata)
    height, width = imgsz_hw
    return figures.for_input(height / loaded.imgsz) if figures and height == width else None


def read_entries(artifact: Path) -> dict[str, Any]:
    """Return a file's entries as they stand in it.

    Raises:
        DamagedWeightsError: they cannot be read.
    """
    if (entries := exported_entries(artifact)) is not None:
        return entries
    try:
        return dict(BaseBackend.read_metadata(artifact))
    except Exception as error:  # each format has errors of its own for a file that is cut short
        raise DamagedWeightsError(f"{artifact} is damaged: {first_line(error)}") from error


def write(artifact: Path, format_name: str, entries: Mapping[str, Any]) -> None:
    """Give an ONNX or OpenVINO file these entries beside those that it has; of the same names they
    take their place.

    Raises:
        DiskFullError: there is no room; the file is as it was.
    """
    {"onnx": _write_onnx, "openvino": _write_openvino}[format_name](artifact, entries)


def _write_onnx(artifact: Path, entries: Mapping[str, Any]) -> None:
    import onnx

    model = onnx.load(str(artifact))
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, kept | {key: str(value) for key, value in entries.items()})
    with atomic_path(artifact) as temp:
        onnx.save(model, str(temp))


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
    element = ET.SubElement(info, "yolo_ema")
    for key, value in entries.items():
        ET.SubElement(element, key, {"value": str(value)})
    with atomic_path(description) as temp:
        tree.write(temp, encoding="utf-8", xml_declaration=True)
