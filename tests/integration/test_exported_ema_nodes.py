"""How many nodes EMA has in exported files: fewer than its direct form, none that pools adaptively
or turns maps around.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from yolo_ema.nn import EfficientMultiScaleAttention

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
from exported_ema import export, networks, nodes_of

MOST = {"onnx": 26, "openvino": 34}
UNWANTED = {
    "Transpose",
    "GlobalAveragePool",
    "AdaptiveAvgPool",
    "Loop",
    "If",
    "Shape",
    "ShapeOf",
    "Expand",
    "Broadcast",
    "Tile",
    "Pad",
}


@pytest.fixture(scope="module")
def models():
    return networks("yolo11n-ema")


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_ema_has_fewer_nodes_than_its_direct_form_and_none_unwanted(format_name, models, tmp_path):
    pytest.importorskip("onnx" if format_name == "onnx" else "openvino")
    blocks = sum(isinstance(layer, EfficientMultiScaleAttention) for layer in models["ours"].model)
    counts: dict[str, Counter[str]] = {}
    for name, model in models.items():
        (tmp_path / name).mkdir()
        counts[name] = nodes_of(export(model, format_name, 64, tmp_path / name))
    added = {name: counts[name].copy() for name in ("direct", "ours")}
    for counter in added.values():
        counter.subtract(counts["without"])
    assert blocks == 5
    assert added["ours"].total() <= MOST[format_name] * blocks
    assert added["ours"].total() < 0.8 * added["direct"].total()
    assert not [kind for kind in UNWANTED if added["ours"][kind] > 0]
