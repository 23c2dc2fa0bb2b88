from __future__ import annotations

import copy
import logging

import pytest
from tiny_dataset import draw_dataset

from yolo_ema.engine.data.split_files import data_fingerprint
from yolo_ema.engine.training import agreement
from yolo_ema.engine.training.agreement import (
    check_same_start,
    compare_data,
    own_device,
    own_facts,
)
from yolo_ema.engine.training.launch import Launch
from yolo_ema.errors import ConfigError, DataError, MachineError
from yolo_ema.options.train import TrainOptions

_PLACE = Launch(rank=1, local_rank=1, world_size=4, local_world_size=2)


@pytest.fixture
def gpus(monkeypatch):
    return lambda count: monkeypatch.setattr(agreement.torch.cuda, "device_count", lambda: count)


@pytest.fixture
def facts():
    said = own_facts(TrainOptions(data="a.yaml", device="cpu"), _PLACE) | {"host": "alpha"}
    return [copy.deepcopy(said), copy.deepcopy(said), copy.deepcopy(said) | {"host": "beta"}]


def test_processes_that_agree_may_start(facts):
    check_same_start(facts)
    other = own_facts(TrainOptions(data="a.yaml", device="cpu", workers=3), _PLACE)
    check_same_start([*facts, other])  # each node may have its own


@pytest.mark.parametrize("name", ["yolo-ema", "ultralytics", "torch", "commit"])
def test_another_version_is_named_with_its_node(facts, name):
    here = facts[0]["versions"][name]
    facts[2]["versions"][name] = "0.0.1"
    with pytest.raises(MachineError) as caught:
        check_same_start(facts)
    assert f"versions of {name}: {here} in process 0 (alpha), 0.0.1 in process 2 (beta)" in str(
        caught.value
    )


def test_another_version_of_a_less_important_package_is_logged(facts, caplog):
    facts[2]["versions"]["python"] = "3.99"
    with caplog.at_level(logging.WARNING, logger="ultralytics"):
        check_same_start(facts)
    assert "3.99 in process 2 (beta)" in caplog.text


def test_another_option_is_named(facts):
    facts[1]["options"]["epochs"] = "7"
    with pytest.raises(ConfigError, match=r"--epochs is None in process 0 .*, 7 in process 1"):
        check_same_start(facts)


def test_cpu_and_gpu_do_not_mix(facts):
    facts[0]["device"] = "1"
    with pytest.raises(MachineError, match=r"GPU in process 0 .*, cpu in process 1"):
        check_same_start(facts)


def test_each_process_has_the_gpu_of_its_number_on_its_node(gpus):
    gpus(4)
    assert own_device("auto", _PLACE) == "1"
    assert own_device("2,3", _PLACE) == "3"
    assert own_device("cpu", _PLACE) == "cpu"
    with pytest.raises(ConfigError, match=r"names 3 GPUs .* 2 processes .*--nproc-per-node 3"):
        own_device("0,1,2", _PLACE)
    gpus(1)
    with pytest.raises(MachineError, match="1 GPUs and 2 processes"):
        own_device("auto", _PLACE)
    gpus(0)
    assert own_device("auto", _PLACE) == "cpu"


def test_data_that_differs_is_named_with_its_node(tmp_path):
    first = data_fingerprint(draw_dataset(tmp_path / "a"))
    yaml = draw_dataset(tmp_path / "b")
    compare_data("a.yaml", [("alpha", first), ("alpha", None), ("beta", data_fingerprint(yaml))])
    regions = tmp_path / "b" / "ignored" / "train" / "003.txt"
    regions.write_text("0.5 0.5 0.9 0.9\n")
    with pytest.raises(DataError, match=r"a.yaml is not the same on every node: train 12 images"):
        compare_data("a.yaml", [("alpha", first), ("beta", data_fingerprint(yaml))])
    regions.unlink()
    (tmp_path / "b" / "images" / "train" / "003.jpg").unlink()
    with pytest.raises(DataError, match=r"train 12 images .* on alpha, train 11 images .* on beta"):
        compare_data("a.yaml", [("alpha", first), ("beta", data_fingerprint(yaml))])
    lacking = {"error": "there is no file a.yaml"}
    with pytest.raises(DataError, match=r"beta cannot read .*there is no file"):
        compare_data("a.yaml", [("alpha", first), ("beta", lacking)])
