"""What the documentation tells users to type is understood: every command line and Python block."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import yolo_ema
from yolo_ema.cli import FAMILIES, VERBS
from yolo_ema.io.resources import weights_dir
from yolo_ema.options.parser import (
    add_arguments,
    build_parser,
    options_from_namespace,
    resolve,
)

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*REPOSITORY.glob("*.md")]
    + [
        page
        for folder in ("docs", "examples", "experiments", "weights")
        for page in (REPOSITORY / folder).rglob("*.md")
    ]
)
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_INLINE = re.compile(r"`((?:yolo-ema|python|pytest|make|pip|torchrun) [^`]+)`")
_PROGRAMS = {"python", "pytest", "make", "pip"}


def _blocks(page: Path, *languages: str) -> Iterator[tuple[int, str]]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found["language"] in languages:
            yield text.count("\n", 0, found.start()) + 2, found["body"]


def _lines(page: Path) -> Iterator[tuple[int, list[str], bool]]:
    """Yield line, words and whether it stands in a sentence, of each command line of a page."""
    lines = [
        (line + number, command, False)
        for line, body in _blocks(page, "sh", "bash", "console", "yaml", "")
        for number, command in enumerate(body.replace("\\\n", " ").splitlines())
    ]
    text = page.read_text(encoding="utf-8")
    lines += [
        (text.count("\n", 0, found.start()) + 1, " ".join(found[1].split()), True)
        for found in _INLINE.finditer(text)
    ]
    for line, command, in_sentence in lines:
        try:
            plain = re.sub(r"\$\w+", "1", command.strip().removeprefix("$ "))  # a shell's variables
            words = shlex.split(plain, comments=True)
        except ValueError:
            continue  # a drawing
        while words and "=" in words[0]:  # environment variables
            words = words[1:]
        if words:
            yield line, words[: _end(words)], in_sentence


def _commands(page: Path) -> Iterator[tuple[int, list[str], bool]]:
    """Yield line, words after ``yolo-ema`` and whether it stands in a sentence, of each command."""
    for line, words, in_sentence in _lines(page):
        if "torchrun" in words and "yolo_ema" in words:
            words = ["yolo-ema", *words[words.index("yolo_ema") + 1 :]]
        words = words[words[0] == "srun" :]
        if words and Path(words[0]).name == "yolo-ema":
            yield line, words[1:], in_sentence


def _end(words: list[str]) -> int:
    return next(
        (i for i, word in enumerate(words) if word in {"|", ">", "&&", "&", ";"}), len(words)
    )


COMMANDS = [
    pytest.param(words, in_sentence, id=f"{page.relative_to(REPOSITORY)}:{line}")
    for page in PAGES
    for line, words, in_sentence in _commands(page)
]
OTHERS = [
    pytest.param([Path(words[0]).name, *words[1:]], id=f"{page.relative_to(REPOSITORY)}:{line}")
    for page in PAGES
    for line, words, _ in _lines(page)
    if Path(words[0]).name in _PROGRAMS
]
BLOCKS = [
    pytest.param(body, id=f"{page.relative_to(REPOSITORY)}:{line}")
    for page in PAGES
    for line, body in _blocks(page, "python")
]


def test_there_are_commands_and_blocks():
    assert len(COMMANDS) > 100
    assert len(OTHERS) > 50
    assert len(BLOCKS) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_stands_in_a_fence(page):
    """Where the tests below find it."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    assert not re.findall(r"^(?: {4}|\t)(?:yolo-ema|python|pip) .*", text, re.MULTILINE)


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


@pytest.mark.parametrize("words", OTHERS)
def test_a_command_of_another_program_names_what_there_is(words):
    """Our scripts with their options, test files, targets of the Makefile and extras."""
    program, *words = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= {*targets}
    elif program == "pip":
        text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
        extras = re.findall(
            r"^([\w-]+) = \[", text.partition("optional-dependencies]")[2], re.MULTILINE
        )
        asked = [found for word in words for found in re.findall(r"(?:\.|yolo-ema)\[(.+)\]", word)]
        assert {extra for one in asked for extra in one.split(",")} <= {*extras}
        files = [word for word in words if word.endswith(".txt")]
        assert all((REPOSITORY / file).is_file() for file in files)
    else:
        files = [word for word in words if word.endswith(".py")]
        assert all((REPOSITORY / file).is_file() for file in files)
        if program == "python" and files:
            source = (REPOSITORY / files[0]).read_text(encoding="utf-8")
            flags = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert not [flag for flag in flags if f'"{flag}"' not in source]


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


@pytest.mark.slow
def test_the_python_of_the_page_on_tiles_prints_a_sentence(tmp_path, monkeypatch, capsys):
    shutil.copy(weights_dir() / "yolo11n-ema-visdrone.pt", tmp_path / "best.pt")
    monkeypatch.chdir(tmp_path)
    for _, body in _blocks(REPOSITORY / "docs/tiling.md", "python"):
        exec(compile(body, "docs/tiling.md", "exec"), {})
        assert "1920x1080 pixels would be shrunk 3.0 times" in capsys.readouterr().out
