"""What is wrong in a model YAML, with file and line, before Ultralytics answers with a bare
KeyError.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
import yaml
from ultralytics.nn import tasks

from yolo_ema.errors import ModelError, did_you_mean

__all__ = ["check_blocks"]

_SHAPE = "[from, repeats, block, arguments]"


def check_blocks(path: Path) -> None:
    """Check that every row of a model YAML is well-formed, names a known block and reads earlier
    layers.

    The block must be registered before (`yolo_ema.register`).

    Raises:
        ModelError: naming file and line, and the closest block where one is misspelt.
    """
    rows = list(_rows(path))
    for index, (row, where) in enumerate(rows):
        _check_shape(row, where)
        _check_block(str(row[2]), where)
        _check_sources(row, index, where)
    last, where = rows[-1]
    if last[2] != "Detect":
        raise ModelError(
            f"{where}: the last block is {last[2]!r}; expected 'Detect', since only detection "
            f"models are built here"
        )


def _rows(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield each row of backbone and head with ``file, line n``."""
    loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
    try:
        root = loader.get_single_node()
        sections = (
            {key.value: value for key, value in root.value}
            if isinstance(root, yaml.MappingNode)
            else {}
        )
        for name in ("backbone", "head"):
            section = sections.get(name)
            if not isinstance(section, yaml.SequenceNode) or not section.value:
                raise ModelError(
                    f"{path}: no rows under '{name}'; a model YAML has 'backbone' and 'head' with "
                    f"rows {_SHAPE}"
                )
            for node in section.value:
                yield (
                    loader.construct_object(node, deep=True),
                    f"{path}, line {node.start_mark.line + 1}",
                )
    except yaml.YAMLError as error:
        raise ModelError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _check_shape(row: Any, where: str) -> None:
    if not (
        isinstance(row, list)
        and len(row) == 4
        and isinstance(row[1], int)
        and isinstance(row[3], list)
    ):
        raise ModelError(
            f"{where}: the row is {row!r}; expected {_SHAPE}, as in [-1, 1, EMA, [c2]]"
        )


def _check_block(name: str, where: str) -> None:
    for prefix, module in (("nn.", torch.nn), ("torchvision.ops.", torchvision.ops)):
        if name.startswith(prefix):
            known = [prefix + one for one in dir(module) if one[0].isupper()]
            break
    else:
        known = [
            one
            for one, value in vars(tasks).items()
            if isinstance(value, type) and issubclass(value, torch.nn.Module)
        ]
    if name not in known:
        raise ModelError(f"{where}: unknown block {name!r}{did_you_mean(name, known)}")


def _check_sources(row: list[Any], index: int, where: str) -> None:
    sources = row[0] if isinstance(row[0], list) else [row[0]]
    for source in sources:
        reaches = isinstance(source, int) and (-max(index, 1) <= source < index)
        if not reaches:
            raise ModelError(
                f"{where}: layer {index} reads from {source!r}; expected -1 or the number of an "
                f"earlier layer"
            )
    if row[2] == "EMA" and "c2" in row[3] and row[0] != -1:
        raise ModelError(
            f"{where}: EMA reads from {row[0]!r} with channels c2; c2 is the width of the row "
            f"above, so from must be -1, "
            "or the channels a number"
        )
