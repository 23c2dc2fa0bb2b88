"""Which device a word names: one grammar for every verb."""

from __future__ import annotations

import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.io.devices import parse_device


@pytest.mark.parametrize(
    ("word", "request_"),
    [
        ("auto", ("auto", ())),
        ("", ("auto", ())),
        (" CPU ", ("cpu", ())),
        ("mps", ("mps", ())),
        ("cuda", ("cuda", (0,))),
        ("cuda:1", ("cuda", (1,))),
        ("1", ("cuda", (1,))),
        (0, ("cuda", (0,))),
    ],
)
def test_one_device(word, request_):
    assert parse_device(word) == parse_device(word, several=True) == request_


@pytest.mark.parametrize("word", ["0,1", "0, 1", "cuda:0,1", "cuda:0,cuda:1", "0,1,1"])
def test_several_devices_where_they_make_sense(word):
    assert parse_device(word, several=True) == ("cuda", (0, 1))
    with pytest.raises(ConfigError, match="names several GPUs"):
        parse_device(word)


@pytest.mark.parametrize("word", ["gpu", "tpu", "-1", "cuda:", "cuda:x", "0,", "١", "cpu,0", "1.5"])
def test_other_words_name_no_device(word):
    with pytest.raises(ConfigError, match=r"--device is .*expected auto, cpu, mps, cuda"):
        parse_device(word, several=True)
