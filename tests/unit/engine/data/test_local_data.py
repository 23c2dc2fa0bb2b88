"""Only ``train`` and ``data prepare`` download: what the other verbs say where data is missing."""

from __future__ import annotations

import pytest

from yolo_ema.engine.data import dataset_lookup
from yolo_ema.engine.data.dataset_lookup import local_data
from yolo_ema.errors import DataNotFoundError, OfflineError
from yolo_ema.options.data import InspectOptions
from yolo_ema.options.val import ValOptions
from yolo_ema.report.inspect.inspection import inspect

YAML = "path: data\ntrain: images/train\nval: images/val\nnames: [boat]\ndownload: {}\n"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("look", [local_data, lambda data: inspect(InspectOptions(data=data))])
def test_visdrone_that_is_missing_names_the_command_that_fetches_it(look, tmp_path):
    with pytest.raises(
        OfflineError, match=r"images of visdrone are missing.* yolo-ema data prepare visdrone"
    ):
        look("visdrone")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("download", ["https://192.0.2.1/boats.zip", "open('ran', 'w')"])
def test_neither_archive_nor_script_of_a_data_yaml_is_fetched_or_run(download, tmp_path):
    (tmp_path / "boats.yaml").write_text(YAML.format(download))
    with pytest.raises(
        OfflineError, match=r"images of boats\.yaml are missing.*yolo-ema train --data boats\.yaml"
    ):
        local_data("boats.yaml")
    assert [file.name for file in tmp_path.iterdir()] == ["boats.yaml"]


def test_a_dataset_of_ultralytics_is_not_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr(dataset_lookup, "_missing", lambda _: [tmp_path / "images"])
    with pytest.raises(OfflineError, match="yolo-ema train --data coco8"):
        local_data("coco8")


def test_local_data_and_unknown_words(tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data/images" / split).mkdir(parents=True)
    (tmp_path / "boats.yaml").write_text(YAML.format("https://192.0.2.1/boats.zip"))
    assert local_data("boats.yaml").name == "boats.yaml"
    with pytest.raises(DataNotFoundError):
        local_data("./nowhere")


def test_verbs_that_never_fetch_have_no_offline_option():
    for options in (ValOptions(weights="w.pt"), InspectOptions(data="visdrone")):
        assert not hasattr(options, "offline")
