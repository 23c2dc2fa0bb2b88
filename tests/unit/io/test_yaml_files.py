"""YAML from others: what is right is read as PyYAML reads it, and no file can take the memory."""

from __future__ import annotations

import time

import pytest
import yaml

from yolo_ema.io.yaml_files import YamlFileError, read_yaml

LISTS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1\nb: [1, two, {c: 0.5}]\n",
        "base: &base {x: 1, y: 2}\nother: {<<: *base, y: 3}\nboth: {<<: [*base, {z: 4}], x: 0}\n",
        "'1': text\n1: number\n",
        "[" * 90 + "1" + "]" * 90,
    ],
)
def test_valid_yaml_is_read_as_by_pyyaml(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert read_yaml(path) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LISTS, "comes to more than 1,000,000 characters through its aliases"),
        (MERGES, "comes to more than 1,000,000 characters through its aliases"),
        ("a: " + "x" * 1_000_000, "holds more than 1,000,000 bytes"),
        ("[" * 3000, "is nested too deeply"),
        ("- &a [1, *a]", "line 1: an alias refers to what contains it"),
        ("x: 1\ny: {a: 1, b: 2,\n  a: 3}", "line 3: 'a' is given twice"),
        ("a: [", "is not valid YAML"),
        ("day: 2026-99-99", "is not valid YAML: month must be in 1..12"),
        ("? [a]\n: b", "is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
    ],
)
def test_mistakes_are_named_at_once(tmp_path, content, said):
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.monotonic()
    with pytest.raises(YamlFileError) as caught:
        read_yaml(path)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert time.monotonic() - began < 10
