"""Reading a data YAML: its classes, its splits and where they lie. Nothing is downloaded here, and
nothing in the file is run.

A data YAML is Ultralytics': ``path`` (root), ``train``, ``val`` and perhaps ``test`` (folder, list
file, or several of them), and ``names`` or ``nc``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolo_ema.errors import DataError, DataNotFoundError
from yolo_ema.io.machine import with_home
from yolo_ema.io.yaml_files import YamlFileError, read_yaml

DATASETS = Path("datasets")
"""Where datasets that we fetch or prepare go, relative to the folder that the command runs in."""

SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {"validation": "val", "valid": "val", "test-dev": "test"}

_MOST_CLASSES = 100_000


def read_data(data_yaml: str | Path) -> dict[str, Any]:
    """Read a data YAML and resolve its paths.

    Returns:
        Its content with ``path`` (absolute `Path`), ``train``, ``val``, ``test`` (lists of absolute
        paths as text; absent where the YAML has none), ``names`` (``dict[int, str]`` from 0 without
        gaps), ``nc``, ``channels`` and ``yaml_file``.

    Raises:
        DataNotFoundError: the file does not exist.
        DataError: it is not a data YAML; everything wrong with it is named at once.
    """
    file = Path(data_yaml)
    content = yaml_content(file)
    problems: list[str] = []
    names = _names(content, problems)
    channels = _whole_number(content, "channels", problems, default=3)
    keypoints = _keypoint_shape(content, problems)
    entries = {split: _entries(content, split, problems) for split in SPLITS}
    problems += [f"{split!r} is missing" for split in ("train", "val") if not entries[split]]
    root = _root(file, content.get("path"), [*entries["train"], *entries["val"]], problems)
    if problems:
        raise DataError(
            f"{file}: {'; '.join(problems)}. A data YAML needs train, val, and names or nc"
        )
    data = {
        key: value
        for key, value in content.items()
        if key not in {*SPLITS, *SPLIT_ALIASES, "download"}
    }
    data |= {
        "path": root,
        "names": names,
        "nc": len(names),
        "channels": channels,
        "yaml_file": str(file.resolve()),
    }
    if keypoints:
        data["kpt_shape"] = keypoints
    for split, values in entries.items():
        if values:
            data[split] = [str(_under(root, value)) for value in values]
    return data


def is_data_yaml(file: Path) -> bool:
    """Say whether a file in a dataset's folder is its data YAML, by name and keys. Raises
    `DataError` where a YAML file is damaged.
    """
    if file.suffix not in {".yaml", ".yml"} or file.name.startswith(".") or not file.is_file():
        return False
    content = _load(file)
    return isinstance(content, dict) and "train" in content and bool({"names", "nc"} & set(content))


def yaml_content(file: Path) -> dict[str, Any]:
    """Return a data YAML's keys as they stand.

    Raises:
        DataNotFoundError: the file does not exist.
        DataError: it is not YAML, or holds no keys.
    """
    if not file.is_file():
        raise DataNotFoundError(f"there is no data YAML at {file}")
    content = _load(file)
    if not isinstance(content, dict):
        raise DataError(
            f"{file} holds {type(content).__name__}, expected the keys of a data YAML: train, val, "
            f"names"
        )
    return content


def _load(file: Path) -> Any:
    try:
        return read_yaml(file)
    except YamlFileError as error:
        raise DataError(f"{file} cannot be read as YAML: it {error}") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error


def path_exists(path: str | Path) -> bool:
    """Say whether a file or folder exists; False for text that no file system takes as a path."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # longer than a name may be; a NUL in it
        return False


def _names(content: Mapping[str, Any], problems: list[str]) -> dict[int, str]:
    names = content.get("names")
    count = _whole_number(content, "nc", problems, default=None, at_most=_MOST_CLASSES)
    if names is None:
        if "nc" not in content:
            problems.append("'names' is missing")
        return {index: f"class_{index}" for index in range(count or 0)}
    by_number = _numbered_names(names)
    if not by_number:
        problems.append(
            f"'names' is {reprlib.repr(names)}, expected a list, or numbers from 0 with a name each"
        )
        return {}
    if set(by_number) != set(range(len(by_number))):
        numbers = reprlib.repr(sorted(by_number))[1:-1]
        problems.append(
            f"'names' has the numbers {numbers}; expected 0 to {len(by_number) - 1} without gaps"
        )
        return {}
    if count not in {None, len(by_number)}:
        problems.append(f"'nc' is {count}, but 'names' has {len(by_number)}")
    return {index: by_number[index] for index in range(len(by_number))}


def _numbered_names(names: Any) -> dict[int, str]:
    """Return names by class number, which may be text as in Ultralytics; empty for other forms."""
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(pairs, dict) or any(isinstance(name, list | dict) for name in pairs.values()):
        return {}
    try:
        return {int(number): str(name) for number, name in pairs.items()}
    except (TypeError, ValueError):
        return {}


def _whole_number(
    content: Mapping[str, Any],
    key: str,
    problems: list[str],
    *,
    default: int | None,
    at_most: float = float("inf"),
) -> int | None:
    """Return a positive whole number, which may be written as ``2.0`` or ``'2'``."""
    value = content.get(key)
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or number % 1 or not 1 <= number <= at_most:
        problems.append(
            f"{key!r} is {reprlib.repr(value)}, expected the number of "
            f"{'classes' if key == 'nc' else key}"
        )
        return default
    return int(number)


def _keypoint_shape(content: Mapping[str, Any], problems: list[str]) -> list[int] | None:
    """Return how many keypoints a label has, and of how many numbers each; None without any."""
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    is_pair = isinstance(shape, list) and len(shape) == 2
    if is_pair and all(type(side) is int and 0 <= side < 1000 for side in shape):
        return shape
    problems.append(
        f"'kpt_shape' is {reprlib.repr(shape)}, expected the number of keypoints and of numbers "
        f"each, as in [17, 3]"
    )
    return None


def _entries(content: Mapping[str, Any], split: str, problems: list[str]) -> list[str]:
    keys = (split, *(alias for alias, name in SPLIT_ALIASES.items() if name == split))
    value = next((content[key] for key in keys if content.get(key)), None)
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) and entry and "\0" not in entry for entry in values):
        problems.append(f"{split!r} is {reprlib.repr(value)}, expected a path or a list of paths")
        return []
    return values


def _root(file: Path, path: Any, entries: Sequence[str], problems: list[str]) -> Path:
    """Return the dataset's root, looked for as Ultralytics does, and in `DATASETS`: the first that
    has what train and val name, so that ``path: .`` may mean the YAML's own folder; else the first
    that exists. Where there is none yet, its place in `DATASETS`.
    """
    if not path:
        return file.parent.resolve()
    if not isinstance(path, str) or "\0" in path:
        problems.append(f"'path' is {reprlib.repr(path)}, expected a folder")
        return file.parent.resolve()
    from yolo_ema.engine.setup.ultralytics_settings import user_settings

    given = with_home(path)
    places = [Path(), DATASETS, file.parent]
    if folder := user_settings().get("datasets_dir"):
        places.append(Path(folder))
    roots = [place / given for place in places if path_exists(place / given)]
    whole = (root for root in roots if all(path_exists(_under(root, entry)) for entry in entries))
    return next(whole, roots[0] if roots else DATASETS / given).resolve()


def _under(root: Path, entry: str) -> Path:
    path = (root / entry).absolute()
    if not path_exists(path) and entry.startswith("../") and path_exists(root / entry[3:]):
        return (root / entry[3:]).absolute()
    return path
