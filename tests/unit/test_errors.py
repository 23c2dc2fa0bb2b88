from __future__ import annotations

import inspect

import pytest

from yolo_ema import errors


def _all_errors() -> list[type[errors.YoloEmaError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.YoloEmaError)
    ]


def test_each_of_our_errors_is_also_the_matching_builtin():
    for kind in _all_errors():
        if kind is not errors.YoloEmaError:
            assert issubclass(kind, ValueError | OSError | RuntimeError), kind


def test_every_error_is_named_in_the_tree_at_the_top_with_its_exit_code():
    for kind in _all_errors():
        line = next(
            (line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in f"{line} "),
            None,
        )
        assert line is not None, f"{kind.__name__} is missing in the tree"
        if "exit" in line:
            assert f"exit {kind.exit_code} " in line, line


@pytest.mark.parametrize(
    ("name", "hint"),
    [("bicyle", "; did you mean 'bicycle'?"), ("zzz", ""), ("lr", "; did you mean 'lr0'?")],
)
def test_did_you_mean(name, hint):
    assert errors.did_you_mean(name, ["car", "bicycle", "lr0", "lrf"]) == hint
