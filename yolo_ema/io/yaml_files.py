"""YAML files that others wrote, bounded before anything is built from them.

An alias of two letters may stand for a whole branch that holds aliases again, so that a file of a
few hundred bytes expands to gigabytes. The file is therefore parsed into nodes, which share their
branches, and its expanded size is added up over these first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1_000_000
"""Largest file, and most characters with every alias written out."""

_MERGE = "tag:yaml.org,2002:merge"  # "<<", which may stand next to keys that it also brings


class YamlFileError(ValueError):
    """A file is not usable YAML; the message is a clause that the caller puts the file before."""


def read_yaml(path: Path) -> Any:
    """Return a YAML file's content as plain values.

    Raises:
        YamlFileError: it is not YAML, gives a key twice, is nested too deeply, or comes to more
            than `MOST_BYTES`.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MOST_BYTES:
        raise YamlFileError(f"holds more than {MOST_BYTES:,} bytes")
    try:
        return _load(path.read_text(encoding="utf-8-sig"))
    except YamlFileError:
        raise
    except RecursionError:
        raise YamlFileError("is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bad UTF-8, or a date of month 99
        reason = " ".join(str(error).replace('in "<unicode string>",', "at").split())
        raise YamlFileError(f"is not valid YAML: {reason}") from error


def _load(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded_size(node, {}) > MOST_BYTES:
            raise YamlFileError(f"comes to more than {MOST_BYTES:,} characters through its aliases")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded_size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Return how many characters a node comes to with every alias written out.

    Keys given twice and nodes that contain themselves are refused.

    ``known`` has the sizes of the nodes seen so far, by id; None while a node is being added up.
    """
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            line = node.start_mark.line + 1
            raise YamlFileError(f"line {line}: an alias refers to what contains it")
        return size
    known[id(node)] = None
    children = node.value
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, _ in node.value:
            name = (key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key))
            if name in keys and key.tag != _MERGE:
                raise YamlFileError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
            keys.add(name)
        children = [child for pair in node.value for child in pair]
    size = known[id(node)] = 1 + sum(_expanded_size(child, known) for child in children)
    return size
