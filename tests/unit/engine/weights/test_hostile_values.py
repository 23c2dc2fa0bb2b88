"""Weights files whose settings, texts and compression are meant to do harm where a layer is used, a
message is written or an entry is unpacked. Each is one clear error within bounded memory.
"""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import pytest
import torch
from lively_weights import tiny_model
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from yolo_ema.engine.models import blueprint, growth_limits
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.engine.weights.pickle_records import SavedObject
from yolo_ema.engine.weights.plain_values import NotPlain, plain_names, plain_value
from yolo_ema.errors import DamagedWeightsError, ModelError, UnsafeWeightsError, WeightsError


def saved(path: Path, model: nn.Module, **more: object) -> Path:
    torch.save({"model": model, "train_args": {"imgsz": 320}, **more}, path)
    return path


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """A model whose rows are those of a shipped YAML, which is made without a trial."""
    return build_model("yolo11n-ema", 3).eval()


def _of_kind(model: nn.Module, kind: str) -> nn.Module:
    return next(module for module in model.modules() if type(module).__name__ == kind)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Conv2d", {"in_channels": 24, "groups": 8}),
        ("SPPF", {"n": 20_000}),
        ("Attention", {"num_heads": 0}),
        ("Attention", {"num_heads": 131_072, "key_dim": 1, "head_dim": 1}),
        ("Concat", {"d": 7}),
        ("EfficientMultiScaleAttention", {"groups": 13}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_settings_with_which_a_layer_cannot_run_are_refused(tmp_path, published, kind, settings):
    """Its tensors fit, so nothing but a trial shows it."""
    changed = copy.deepcopy(published)
    vars(_of_kind(changed, kind)).update(settings)
    with pytest.raises(UnsafeWeightsError, match=r"bad\.pt is refused: its model, layer \d+: "):
        load_model(saved(tmp_path / "bad.pt", changed))


def test_a_trial_is_bounded_in_its_operations(monkeypatch):
    monkeypatch.setattr(growth_limits, "_MOST_OPERATIONS", 5)
    with pytest.raises(ModelError, match="more than 5 operations for one image"):
        blueprint.probe(tiny_model(3).model.to("meta"), "it")


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("trust", [False, True])
def test_models_for_other_than_colour_images_are_refused(tmp_path, channels, trust):
    model = DetectionModel("yolo11n.yaml", ch=channels, nc=2, verbose=False)
    weights = saved(tmp_path / "other.pt", model)
    with pytest.raises(WeightsError, match=f"takes images of {channels} channels; expected 3"):
        load_model(weights, trust=trust)


@pytest.mark.parametrize(
    ("stated", "taken"),
    [(320, 320), (33, 64), ([320, 640], 640), (1 << 20, 640), (10**12, 640), ("320", 640)],
)
def test_the_input_size_that_a_file_states_is_one(tmp_path, published, stated, taken):
    weights = saved(tmp_path / "sized.pt", published, train_args={"imgsz": stated})
    assert load_model(weights).imgsz == taken


def test_a_yaml_path_inside_a_file_is_not_read(tmp_path, monkeypatch):
    asked = []
    named_definition = blueprint.named_definition
    monkeypatch.setattr(
        blueprint, "named_definition", lambda name: asked.append(name) or named_definition(name)
    )
    secret = tmp_path / "yolo11n-ema.yaml"
    secret.write_text("password: 1\n")
    model = tiny_model(3)
    model.yaml["yaml_file"] = str(secret)
    load_model(saved(tmp_path / "spy.pt", model))
    assert asked == ["yolo11n-ema"]


# --------------------------------------------------------------------------------- repeated texts


@pytest.mark.parametrize(
    "repeated",
    [
        lambda text: [text] * 100,
        lambda text: {0: [text] * 100},
        lambda text: [{text: 1}] * 100,
        lambda text: [text.encode()] * 100,
    ],
    ids=["texts", "nested", "keys", "bytes"],
)
def test_a_text_that_is_repeated_is_counted_each_time(repeated):
    """A file pays two bytes for each; a message that shows it would take gigabytes."""
    with pytest.raises(NotPlain, match="repeated beyond what weights need"):
        plain_value(repeated("x" * (1 << 20)))
    plain_value(repeated("x" * 1000))


def test_long_names_in_a_file_are_refused_before_they_are_joined(tmp_path):
    model = tiny_model(3)
    model.names = {0: "a", 1: "b", 2: ["x" * (1 << 20)] * 100}
    with pytest.raises(UnsafeWeightsError, match="repeated beyond what weights need"):
        load_model(saved(tmp_path / "names.pt", model))
    with pytest.raises(NotPlain):
        plain_names({0: SavedObject("torch.nn.modules.Module")}, 2)


# ------------------------------------------------------------------------------------ compression


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_expands_without_a_bound_is_refused(tmp_path, method):
    plain = saved(tmp_path / "plain.pt", tiny_model(3))
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", method) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(DamagedWeightsError, match="torch does not compress an archive in that way"):
        load_checkpoint(packed)


def test_an_entry_that_ends_early_is_damage(tmp_path):
    plain = saved(tmp_path / "plain.pt", tiny_model(3))
    with zipfile.ZipFile(plain) as archive:
        entry = next(one for one in archive.infolist() if one.filename.endswith("/data/0"))
    size = entry.file_size.to_bytes(4, "little")
    content = plain.read_bytes()
    start = content.rfind(b"PK\x01\x02", 0, content.rfind(entry.filename.encode()))
    assert content[start + 24 : start + 28] == size
    (tmp_path / "short.pt").write_bytes(
        content[: start + 24] + (entry.file_size + 64).to_bytes(4, "little") + content[start + 28 :]
    )
    with pytest.raises(DamagedWeightsError, match="is damaged"):
        load_checkpoint(tmp_path / "short.pt")
