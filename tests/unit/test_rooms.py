"""The map in CONTRIBUTING.md, the import contracts in pyproject.toml and the tree are the same."""

from __future__ import annotations

import re
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("the standard library reads no TOML yet", allow_module_level=True)

import tomllib

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "yolo_ema"
MOST_LINES = 350
WITH_TORCH = {"nn", "engine", "evaluate", "classify", "deploy", "studies", "doctor"}


def members(folder: Path) -> set[str]:
    """Return the modules and packages directly in a package's folder."""
    return {
        path.stem
        for path in folder.iterdir()
        if path.name != "__init__.py" and (path.suffix == ".py" or (path / "__init__.py").is_file())
    }


def contracts() -> dict[str, Any]:
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return {one["name"]: one for one in content["tool"]["importlinter"]["contracts"]}


def layers(name: str) -> list[set[str]]:
    return [set(layer.split(" | ")) for layer in contracts()[name]["layers"]]


def rows_of_the_map() -> list[list[str]]:
    """Return the rooms in the first column of each row of the map, downwards."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room | what is in it |\n| --- | --- |\n")[2].partition("\n\n")[0]
    return [re.findall(r"`(\w+)(?:/|\.py)`", row.split("|")[1]) for row in table.splitlines()]


def test_the_map_names_every_package_in_the_order_of_the_import_contract():
    lines = [layer for layer in layers("imports run one way") if layer != {"__main__"}]
    drawn = rows_of_the_map()
    assert [room for row in drawn[:-1] for room in sorted(row)] == [
        room for layer in lines[:-2] for room in sorted(layer)
    ]
    assert set(drawn[-1]) == lines[-2] | lines[-1]
    assert set(chain(*drawn)) | {"__main__"} == members(PACKAGE)


def test_the_subpackages_of_engine_are_those_of_its_contract_and_of_the_map():
    own = members(PACKAGE / "engine")
    assert set(chain(*layers("imports run one way inside engine/"))) == own
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `engine/` |"))
    assert set(re.findall(r"`(\w+)/`", row)) == own | {"engine"}


@pytest.mark.parametrize(
    ("name", "without"),
    [("only engine/ knows Ultralytics", {"engine"}), ("deployment needs no torch", WITH_TORCH)],
)
def test_contracts_apply_to_every_package_but_those_they_leave_out(name, without):
    sources = {one.removeprefix("yolo_ema.") for one in contracts()[name]["source_modules"]}
    assert sources == members(PACKAGE) - without - {"__main__", "_version"}


def test_files_of_the_package_stay_short():
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines())
        for suffix in ("py", "js", "css", "html", "jinja")
        for path in PACKAGE.rglob(f"*.{suffix}")
    }
    assert {path: count for path, count in lengths.items() if count > MOST_LINES} == {}
