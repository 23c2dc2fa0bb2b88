"""From what a user calls a dataset to a data YAML, its classes, its splits' images and the files
beside each image.

A data YAML is Ultralytics': ``path`` (root), ``train``, ``val`` and perhaps ``test`` (folder, list
file, or several of them), and ``names`` or ``nc``. Labels lie beside the images by its convention,
``…/images/a.jpg`` → ``…/labels/a.txt``; ignored regions likewise under ``ignored``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import ROOT

from yolo_ema.errors import DataError, DataNotFoundError, did_you_mean
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.io.resources import data_dir

__all__ = [
    "DATASETS",
    "data_fingerprint",
    "ignored_path",
    "label_path",
    "named_yaml",
    "read_data",
    "resolve_data",
    "split_images",
]

DATASETS = Path("datasets")
"""Where datasets that we fetch or prepare go, relative to the folder that the command runs in."""

SPLITS = ("train", "val", "test")
_ALIASES = {"validation": "val", "valid": "val", "test-dev": "test"}


def resolve_data(
    data: str | Path, *, offline: bool = False, trust: bool = False, splits: tuple[str, ...] = ()
) -> Path:
    """Return the data YAML that ``data`` means; what is missing is fetched and prepared, unless
    ``offline``.

    Args:
        data: ``visdrone``; a folder in VisDrone's layout (prepared under ``datasets/<its name>``);
            a prepared root or any folder with one data YAML in it; a data YAML; or the name of one
            that Ultralytics ships (``coco8``).
        offline: forbid downloads.
        trust: let a download script in a data YAML run. Those that Ultralytics itself ships need no
            such word.
        splits: what to fetch of ``visdrone`` where it is missing; empty for all published ones.

    Raises:
        DataNotFoundError: nothing there goes by that name, or its images are missing and nothing
            says where to fetch them.
        ConfigError: ``datasets/<its name>`` was prepared from another folder of that name, or holds
            files that are not ours.
        DataError: it is there, and is no dataset; or its images are missing and only a script in
            it, not trusted, could fetch them.
        OfflineError: a download would be needed.
    """
    path = Path(data)
    if path.is_dir():
        found = _yaml_in(path)
        return (
            _with_images(found, offline, trust, splits)
            if found
            else _prepare_folder(path, offline=offline)
        )
    if path.is_file():
        if path.suffix.lower() not in {".yaml", ".yml"}:
            coco = (
                f"; COCO's annotations are prepared first: yolo-ema data prepare coco "
                f"--annotations {path} --images DIR"
            )
            hint = coco if path.suffix.lower() == ".json" else ""
            raise DataError(
                f"{path} is no data YAML; expected a .yaml file, a folder, or a name such as "
                f"visdrone{hint}"
            )
        return _with_images(path, offline, trust, splits)
    if str(data).lower() in {"visdrone", "visdrone.yaml"}:
        return _prepare_visdrone(offline, splits)
    return _with_images(named_yaml(str(data)), offline, trust, splits)


def _yaml_in(folder: Path) -> Path | None:
    """Return the one data YAML in ``folder``; None where there is none."""
    found = [one for one in sorted(folder.glob("*.y*ml")) if _is_data_yaml(one)]
    named = [one for one in found if one.stem == folder.resolve().name]
    if len(found) > 1 and not named:
        names = ", ".join(one.name for one in found)
        raise DataError(f"{folder} holds several data YAMLs ({names}); name the one to use")
    return next(iter(named or found), None)


def _is_data_yaml(path: Path) -> bool:
    if path.suffix not in {".yaml", ".yml"}:
        return False
    content = _load_yaml(path)
    return (
        isinstance(content, dict) and "train" in content and ("names" in content or "nc" in content)
    )


def _is_shipped_visdrone(data_yaml: Path) -> bool:
    """Say whether this is the YAML that this project ships, which prepared data have no need of, or
    a copy of it.
    """
    return data_yaml.read_bytes() == (data_dir() / "visdrone.yaml").read_bytes()


def _prepare_visdrone(offline: bool, splits: tuple[str, ...]) -> Path:
    prepared = DATASETS / "visdrone" / "visdrone.yaml"
    if prepared.is_file() and not _missing(prepared):
        return prepared
    return _prepared(dataset="visdrone", offline=offline, splits=splits)


def _prepare_folder(folder: Path, *, offline: bool) -> Path:
    return _prepared(
        alone=True, source=(folder,), root=DATASETS / folder.resolve().name, offline=offline
    )


def _prepared(*, alone: bool = False, **options: Any) -> Path:
    """Prepare a dataset, say on stderr what was found where there was something to do, and return
    the data YAML.
    """
    from yolo_ema.options.data import PrepareOptions
    from yolo_ema.visdrone.prepare import prepare

    result = prepare(PrepareOptions(**options), alone=alone)
    if not result.up_to_date:
        print(*result.findings(), sep="\n", file=sys.stderr)  # noqa: T201 - stdout is for the result
    return result.data_yaml


def named_yaml(name: str) -> Path:
    """Return the data YAML of that name that this project or Ultralytics ships. Raises
    `DataNotFoundError`, naming the closest.
    """
    shipped = {
        one.stem: one
        for folder in (ROOT / "cfg" / "datasets", data_dir())
        for one in sorted(folder.glob("*.yaml"))
    }
    stem = name.removesuffix(".yaml").removesuffix(".yml")
    if stem in shipped:
        return shipped[stem]
    looks_like_path = os.sep in name or name.startswith(".")
    hint = "" if looks_like_path else did_you_mean(stem, ["visdrone", *shipped])
    raise DataNotFoundError(
        f"there is no dataset {name!r}: expected visdrone, a folder, a data YAML, or a name that "
        f"Ultralytics ships{hint}"
    )


def _with_images(data_yaml: Path, offline: bool, trust: bool, splits: tuple[str, ...]) -> Path:
    missing = _missing(data_yaml)
    if missing and _is_shipped_visdrone(data_yaml):
        return _prepare_visdrone(offline, splits)
    if missing:
        from yolo_ema.engine.data.dataset_download import fetch_dataset

        entry, root = _content(data_yaml).get("download"), read_data(data_yaml)["path"]
        fetch_dataset(data_yaml, entry, into=root, missing=missing[0], offline=offline, trust=trust)
        if still := _missing(data_yaml):
            raise DataNotFoundError(f"{data_yaml}: its download ended, but {still[0]} is not there")
    return data_yaml


def _missing(data_yaml: Path) -> list[Path]:
    """Return the train and val entries that are not there."""
    data = read_data(data_yaml)
    return [
        Path(entry)
        for split in ("train", "val")
        for entry in data[split]
        if not Path(entry).exists()
    ]


def read_data(data_yaml: str | Path) -> dict[str, Any]:
    """Read a data YAML and resolve its paths. Nothing is downloaded and nothing in it is run.

    Returns:
        Its content with ``path`` (absolute `Path`), ``train``, ``val``, ``test`` (lists of absolute
        paths as text; absent where the YAML has none), ``names`` (``dict[int, str]`` from 0 without
        gaps), ``nc``, ``channels`` and ``yaml_file``.

    Raises:
        DataNotFoundError: the file is not there.
        DataError: it is no data YAML; all that is wrong is named at once.
    """
    file = Path(data_yaml)
    content = _content(file)
    problems: list[str] = []
    names = _names(content, problems)
    entries = {split: _entries(content, split, problems) for split in SPLITS}
    problems += [f"{split!r} is missing" for split in ("train", "val") if not entries[split]]
    if problems:
        raise DataError(
            f"{file}: {'; '.join(problems)}. A data YAML needs train, val, and names or nc"
        )
    root = _root(file, content.get("path"))
    data = {
        key: value for key, value in content.items() if key not in {*SPLITS, *_ALIASES, "download"}
    }
    data |= {
        "path": root,
        "names": names,
        "nc": len(names),
        "channels": content.get("channels", 3),
        "yaml_file": str(file.resolve()),
    }
    for split, values in entries.items():
        if values:
            data[split] = [str(_under(root, value)) for value in values]
    return data


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataNotFoundError(f"the data YAML {file} is not there")
    content = _load_yaml(file)
    if not isinstance(content, dict):
        raise DataError(
            f"{file} holds {type(content).__name__}, expected the keys of a data YAML: train, val, "
            f"names"
        )
    return content


def _load_yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from error


def _names(content: Mapping[str, Any], problems: list[str]) -> dict[int, str]:
    names, count = content.get("names"), content.get("nc")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        problems.append(f"'nc' is {count!r}, expected the number of classes")
        return {}
    if names is None:
        if count is None:
            problems.append("'names' is missing")
        return {index: f"class_{index}" for index in range(count or 0)}
    if not isinstance(names, list | dict) or not names:
        problems.append(
            f"'names' is {names!r}, expected a list, or numbers from 0 with a name each"
        )
        return {}
    named = dict(enumerate(names)) if isinstance(names, list) else names
    if set(named) != set(range(len(named))):
        problems.append(
            f"'names' has the numbers {', '.join(map(str, named))}; expected 0 to {len(named) - 1} "
            f"without gaps"
        )
        return {}
    if count not in {None, len(named)}:
        problems.append(f"'nc' is {count}, but 'names' has {len(named)}")
    return {index: str(named[index]) for index in range(len(named))}


def _entries(content: Mapping[str, Any], split: str, problems: list[str]) -> list[str]:
    value = next(
        (
            content[key]
            for key in (split, *(a for a, to in _ALIASES.items() if to == split))
            if content.get(key)
        ),
        None,
    )
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        problems.append(f"{split!r} is {value!r}, expected a path or a list of paths")
        return []
    return values


def _root(file: Path, path: Any) -> Path:
    """Return the dataset's root: as Ultralytics finds it, but for the folder of fetched datasets,
    which is `DATASETS` too.
    """
    if not path:
        return file.parent.resolve()
    from yolo_ema.engine.setup.ultralytics_settings import user_settings

    given = Path(str(path)).expanduser()
    places = [Path(), DATASETS, file.parent]
    if theirs := user_settings().get("datasets_dir"):
        places.append(Path(theirs))
    return next(
        (place / given for place in places if (place / given).exists()), DATASETS / given
    ).resolve()


def _under(root: Path, entry: str) -> Path:
    found = (root / entry).absolute()
    if not found.exists() and entry.startswith("../") and (root / entry[3:]).exists():
        return (root / entry[3:]).absolute()
    return found


def split_images(data_yaml: str | Path, split: str) -> list[Path]:
    """Return a split's images in order of path.

    Args:
        data_yaml: the data YAML.
        split: ``train``, ``val``, ``test`` (``test-dev`` is another name of it).

    Raises:
        DataNotFoundError: the YAML has no such split, or its folder, list file or images are not
            there.
    """
    data = read_data(data_yaml)
    key = _ALIASES.get(split, split)
    if key not in SPLITS or key not in data:
        have = [one for one in SPLITS if one in data]
        fetched = (
            key == "test"
            and (data["path"] / "fingerprint.json").is_file()
            and Path(data_yaml).name == "visdrone.yaml"
        )
        hint = (
            "; to add it: yolo-ema data prepare visdrone --splits test-dev"
            if fetched
            else did_you_mean(split, have)
        )
        raise DataNotFoundError(
            f"{data_yaml} has no split {split!r}; it has {', '.join(have)}{hint}"
        )
    images = sorted({image for entry in data[key] for image in _images_of(Path(entry), data_yaml)})
    if not images:
        raise DataNotFoundError(f"{data_yaml}: no images for {split!r} in {', '.join(data[key])}")
    return images


def _images_of(entry: Path, data_yaml: str | Path) -> Iterable[Path]:
    if entry.is_dir():
        # os.walk and not rglob: linked folders are followed, as Ultralytics does.
        found: Iterable[Path] = (
            Path(folder) / name
            for folder, _, names in os.walk(entry, followlinks=True)
            for name in names
        )
    elif entry.is_file() and entry.suffix.lower().lstrip(".") in IMG_FORMATS:
        found = [entry]
    elif entry.is_file():
        rows = entry.read_text(encoding="utf-8-sig").split("\n")
        found = (
            entry.parent / row[2:] if row.startswith("./") else Path(row)
            for row in map(str.strip, rows)
            if row
        )
    else:
        raise DataNotFoundError(f"{data_yaml}: {entry} is not there")
    return (
        image
        for image in found
        if image.suffix.lower().lstrip(".") in IMG_FORMATS and not image.name.startswith(".")
    )


def label_path(image: Path) -> Path:
    """Return where an image's labels lie: the last folder ``images`` of its path becomes
    ``labels``, its suffix ``.txt``.
    """
    return _beside(image, "labels")


def ignored_path(image: Path) -> Path:
    """Return where an image's ignored regions lie, whether or not the file is there."""
    return _beside(image, "ignored")


def _beside(image: Path, folder: str) -> Path:
    head, images, tail = str(image.parent / image.stem).rpartition(f"{os.sep}images{os.sep}")
    return Path(
        f"{head}{os.sep}{folder}{os.sep}{tail}.txt"
        if images
        else f"{image.parent / image.stem}.txt"
    )


def data_fingerprint(data_yaml: str | Path) -> dict[str, Any]:
    """Return what tells this dataset from another: its classes, each split's number of images and a
    SHA-256 over them.

    The digest covers each image's name and size in bytes, and its label file.

    The prepared dataset's own fingerprint, made when it was prepared, is added where there is one.
    """
    data = read_data(data_yaml)
    splits = {}
    for split in SPLITS:
        if split in data:
            images = split_images(data_yaml, split)
            splits[split] = {"images": len(images), "sha256": _digest(images)}
    fingerprint: dict[str, Any] = {"names": list(data["names"].values()), "splits": splits}
    prepared = data["path"] / "fingerprint.json"
    if prepared.is_file():
        fingerprint["prepared_sha256"] = sha256_of(prepared)
    return fingerprint


def _digest(images: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for image in images:
        labels = label_path(image)
        digest.update(f"{image.name}\0{image.stat().st_size}\0".encode())
        digest.update(labels.read_bytes() if labels.is_file() else b"-")
        digest.update(b"\0")
    return digest.hexdigest()
