from __future__ import annotations

import logging

import pytest

from yolo_ema.engine.training.launch import (
    Launch,
    check_variables,
    launch_of,
    require_one_process,
)
from yolo_ema.errors import ConfigError

_TORCHRUN = {
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node-0",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "drones",
    "TORCHELASTIC_RESTART_COUNT": "2",
}


def test_torchruns_variables_give_a_rank():
    assert launch_of(_TORCHRUN) == Launch(5, 1, 8, 4, "drones", 2)
    assert not launch_of(_TORCHRUN).is_first
    assert launch_of({**_TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}).is_first


def test_with_an_existing_group_there_is_no_rendezvous():
    of_ray = {name: _TORCHRUN[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    assert launch_of(of_ray, has_group=True) == Launch(5, 1, 8)
    with pytest.raises(ConfigError, match="MASTER_ADDR and MASTER_PORT are not set"):
        launch_of(of_ray)


@pytest.mark.parametrize(
    ("environment", "warns"),
    [
        ({}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, False),  # torchrun of one process
        ({"RANK": "3"}, True),
        ({"RANK": "3", "WORLD_SIZE": "1"}, True),
        ({"LOCAL_RANK": "2"}, True),
        ({"WORLD_SIZE": "16", "MASTER_ADDR": "node-0"}, True),
    ],
)
def test_leftover_variables_in_a_shell_mean_one_process(environment, warns, caplog):
    with caplog.at_level(logging.WARNING):
        assert launch_of(environment) is None
    assert bool(caplog.records) == warns
    for name in environment:
        assert not warns or name.startswith("MASTER") or f"{name}=" in caplog.text


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_an_incomplete_launch_is_an_error_that_says_what_is_missing(missing):
    half = {name: value for name, value in _TORCHRUN.items() if name != missing}
    with pytest.raises(ConfigError, match=rf"{missing} is not set.*torchrun.*env -u RANK"):
        launch_of(half)


@pytest.mark.parametrize(("name", "value"), [("RANK", "8"), ("LOCAL_RANK", "4")])
def test_ranks_beyond_the_world_size_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"{name}={value}.*contradict"):
        launch_of({**_TORCHRUN, name: value})


@pytest.mark.parametrize("value", ["", "two", "-1", "1.0", "²"])
def test_values_that_are_not_numbers_are_refused(value):
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is .*expected a number"):
        check_variables({"WORLD_SIZE": value})


@pytest.mark.parametrize(
    "environment",
    [_TORCHRUN, {"WORLD_SIZE": "2", "RANK": "0"}, {"WORLD_SIZE": "2", "LOCAL_RANK": "1"}],
)
def test_single_process_verbs_are_refused_among_several_processes(environment):
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=\d.*yolo-ema demo runs in one.*env -u RANK"):
        require_one_process("demo", environment)


@pytest.mark.parametrize(
    "environment", [{}, {"RANK": "3"}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "16"}]
)
def test_one_process_is_one_even_with_leftover_variables(environment):
    require_one_process("demo", environment)
