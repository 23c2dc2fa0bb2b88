"""Models by bare name and by path."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_ema.engine.models.definition import (
    find_definition,
    model_names,
    paper_models,
    scaled_names,
    shipped_models,
)
from yolo_ema.errors import ModelError

FAMILIES = (
    "yolov5-ema",
    "yolov5-ema-p2",
    "yolov8-ema",
    "yolov8-ema-p2",
    "yolo11-ema",
    "yolo11-ema-p2",
    "yolo26-ema",
    "yolo26-ema-p2",
)


def test_eight_models_are_shipped():
    assert tuple(shipped_models()) == FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_scale_has_a_name(family):
    names = scaled_names(family, shipped_models()[family])
    assert [name.replace(family[family.index("-") :], "")[-1] for name in names] == list("nsmlx")
    for name, scale in zip(names, "nsmlx", strict=True):
        found = find_definition(name)
        assert (found.path, found.scale, found.stem, found.assumed) == (
            shipped_models()[family],
            scale,
            name,
            False,
        )


def test_a_bare_name_may_end_in_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_definition("yolo11s-ema.yaml") == find_definition("yolo11s-ema")


def test_without_a_letter_the_first_scale_is_taken():
    found = find_definition("yolo26-ema-p2")
    assert (found.scale, found.stem, found.assumed) == ("n", "yolo26n-ema-p2", True)


def test_plain_counterparts_are_known_but_no_other_models_of_ultralytics():
    assert find_definition("yolo11m").path.name == "yolo11.yaml"
    assert find_definition("yolov8x-p2").path.name == "yolov8-p2.yaml"
    assert {"yolo26s", "yolov5l", "yolo26-p2"} <= set(model_names())
    with pytest.raises(ModelError, match="no model is named 'yolo11n-seg'"):
        find_definition("yolo11n-seg")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("yolo11s-emma", "yolo11s-ema"),
        ("yolov11s-ema", "yolo11s-ema"),
        ("YOLO26M-EMA-P2", "yolo26m-ema-p2"),
        ("yolov8n_ema", "yolov8n-ema"),
    ],
)
def test_a_mistyped_name_suggests_the_closest(typed, meant):
    with pytest.raises(ModelError, match=f"did you mean '{meant}'"):
        find_definition(typed)


def test_a_name_unlike_any_other_lists_them_all():
    with pytest.raises(ModelError, match=r"known are yolov5-ema, .*yolo26-ema-p2"):
        find_definition("q")


def test_a_weights_file_is_not_a_model_name():
    with pytest.raises(ModelError, match="is a weights file"):
        find_definition("yolo11n.pt")


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_path_finds_the_file_without_the_letter(tmp_path, suffix):
    own = tmp_path / "run2m" / f"yolo11-wide{suffix}"
    own.parent.mkdir()
    own.write_text("scales: {n: [1, 1, 9], m: [1, 1, 9]}\n")
    found = find_definition(tmp_path / "run2m" / f"yolo11m-wide{suffix}")
    assert (found.path, found.scale, found.stem) == (own, "m", "yolo11m-wide")
    with pytest.raises(ModelError, match="has no scale 'x'; it has n, m"):
        find_definition(own.with_name(f"yolo11x-wide{suffix}"))


def test_a_path_with_the_literal_letter_wins(tmp_path):
    for name in ("yolo11-wide.yaml", "yolo11m-wide.yaml"):
        (tmp_path / name).write_text("scales: {m: [1, 1, 9]}\n")
    assert find_definition(tmp_path / "yolo11m-wide.yaml").path == tmp_path / "yolo11m-wide.yaml"


def test_a_file_in_the_working_folder_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("yolo11-ema.yaml").write_text("scales: {s: [1, 1, 9]}\n")
    assert find_definition("yolo11s-ema.yaml").path == tmp_path / "yolo11-ema.yaml"
    assert find_definition("yolo11s-ema").path == shipped_models()["yolo11-ema"]


def test_files_without_scales_or_number(tmp_path):
    (tmp_path / "net.yaml").write_text("nc: 1\n")
    (tmp_path / "two.yaml").write_text("scales: {s: [1, 1, 9], n: [1, 1, 9]}\n")
    assert (
        find_definition(tmp_path / "net.yaml").scale,
        find_definition(tmp_path / "net.yaml").assumed,
    ) == ("", False)
    assert (
        find_definition(tmp_path / "two.yaml").scale,
        find_definition(tmp_path / "two.yaml").stem,
    ) == ("s", "two")


def test_a_missing_path_names_the_closest_file(tmp_path):
    (tmp_path / "yolo11-wide.yaml").write_text("nc: 1\n")
    with pytest.raises(
        ModelError, match=r"no model YAML at .*yolo11n-wode.yaml; did you mean 'yolo11-wide.yaml'"
    ):
        find_definition(tmp_path / "yolo11n-wode.yaml")
    with pytest.raises(ModelError, match=r"the path of a model YAML ends in .yaml"):
        find_definition("models/yolo11s-ema")


def test_a_file_that_is_not_yaml(tmp_path):
    for content in (b"a: [1, 2", b"\xff\xfe\x00"):
        (tmp_path / "net.yaml").write_bytes(content)
        with pytest.raises(ModelError, match=r"net.yaml is not valid YAML"):
            find_definition(tmp_path / "net.yaml")


@pytest.mark.parametrize(
    ("name", "family", "scale", "block"),
    [
        ("yolo11n-cbam", "yolo11-ema", "n", "CBAM, [c2, 16]"),
        ("yolo26s-eca-p2", "yolo26-ema-p2", "s", "ECA, [c2]"),
        ("yolov8m-none", "yolov8-ema", "m", "nn.Identity, []"),
        ("yolov5x-ema-no-cross-p2", "yolov5-ema-p2", "x", "EMAWithoutCrossSpatial, [c2, 8]"),
        ("yolo11s-ema-g32", "yolo11-ema", "s", "EMA, [c2, 32]"),
    ],
)
def test_a_rivals_name_means_its_block_in_place_of_ema(name, family, scale, block):
    found = find_definition(name)
    assert (found.path, found.scale) == (shipped_models()[family], scale)
    original = found.path.read_text()
    assert found.text().count(block) == original.count("EMA, [c2, 8]") > 0
    assert "EMA, [c2, 8]" not in found.text()
    assert len(found.text().splitlines()) == 1 + len(original.splitlines())


@pytest.mark.parametrize("stem", paper_models())
def test_the_papers_models_are_known_by_name(stem):
    assert find_definition(stem.replace("yolov5", "yolov5x")).path == paper_models()[stem]
    assert find_definition(stem.replace("-ema", "-cbam")).attention is not None
