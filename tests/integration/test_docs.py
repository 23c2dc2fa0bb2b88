"""What the documentation tells users to type is understood: every command line and Python block."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import yolo_ema
from yolo_ema.cli import FAMILIES, VERBS
from yolo_ema.options.parser import (
    add_arguments,
    build_parser,
    options_from_namespace,
    resolve,
)

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in REPOSITORY.rglob("*.md")
    if page.relative_to(REPOSITORY).parts[0] in {"docs", "examples", "weights", "README.md"}
)
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_INLINE = re.compile(r"`(yolo-ema [^`]+)`")


def _blocks(page: Path, *languages: str) -> Iterator[tuple[int, str]]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found["language"] in languages:
            yield text.count("\n", 0, found.start()) + 2, found["body"]


def _commands(page: Path) -> Iterator[tuple[int, list[str], bool]]:
    """Yield line, words after ``yolo-ema`` and whether it stands in a sentence, of each command."""
    lines = [
        (line + number, command, False)
        for line, body in _blocks(page, "sh", "bash", "console", "")
        for number, command in enumerate(body.replace("\\\n", " ").splitlines())
    ]
    text = page.read_text(encoding="utf-8")
    lines += [
        (text.count("\n", 0, found.start()) + 1, " ".join(found[1].split()), True)
        for found in _INLINE.finditer(text)
    ]
    for line, command, in_sentence in lines:
        words = shlex.split(command.strip().removeprefix("$ "), comments=True)
        while words and "=" in words[0]:  # environment variables
            words = words[1:]
        if "torchrun" in words and "yolo_ema" in words:
            words = ["yolo-ema", *words[words.index("yolo_ema") + 1 :]]
        if words and words[0] == "yolo-ema":
            yield line, words[1 : _end(words)], in_sentence


def _end(words: list[str]) -> int:
    return next(
        (i for i, word in enumerate(words) if word in {"|", ">", "&&", "&", ";"}), len(words)
    )


COMMANDS = [
    pytest.param(words, in_sentence, id=f"{page.relative_to(REPOSITORY)}:{line}")
    for page in PAGES
    for line, words, in_sentence in _commands(page)
]
BLOCKS = [
    pytest.param(body, id=f"{page.relative_to(REPOSITORY)}:{line}")
    for page in PAGES
    for line, body in _blocks(page, "python")
]


def test_there_are_commands_and_blocks():
    assert len(COMMANDS) > 100
    assert len(BLOCKS) > 10


@pytest.mark.parametrize(("words", "in_sentence"), COMMANDS)
def test_a_command_line_is_accepted(words, in_sentence):
    if any("…" in word or word in {"VERB", "[options]"} for word in words):
        pytest.skip("it shows the form, not a command")
    if words[-1] in {"--help", "--version"} or " ".join(words) in {verb.words for verb in VERBS}:
        return  # a verb that is named in a sentence, without its arguments
    if in_sentence:  # there it may be shortened to what the sentence is about
        verb = next(verb for verb in VERBS if " ".join(words).startswith(verb.words))
        parser = argparse.ArgumentParser(allow_abbrev=False)
        add_arguments(parser, resolve(verb.options))
        known = {*parser._option_string_actions, "--json", "--debug"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known
        return
    namespace, unknown = build_parser(VERBS, words, "0", families=FAMILIES).parse_known_args(words)
    settings = hasattr(namespace, "settings")
    assert not [word for word in unknown if not (settings and "=" in word)]
    options_from_namespace(resolve(namespace.verb.options), namespace)


@pytest.mark.parametrize("body", BLOCKS)
def test_a_python_block_compiles_and_imports_what_is_public(body):
    tree = ast.parse(textwrap.dedent(body))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("yolo_ema"):
            assert node.module == "yolo_ema", f"{node.module} is not public"
            assert {name.name for name in node.names} <= set(yolo_ema.__all__)
        if isinstance(node, ast.Import):
            assert not [name.name for name in node.names if name.name.startswith("yolo_ema.")]
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "yolo_ema"
        ):
            assert node.attr in yolo_ema.__all__
