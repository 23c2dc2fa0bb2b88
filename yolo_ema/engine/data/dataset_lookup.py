"""From a dataset's name to its data YAML, fetched and prepared where the verb may do that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ultralytics.utils import ROOT

from yolo_ema.engine.data.data_yaml import (
    DATASETS,
    is_data_yaml,
    path_exists,
    read_data,
    yaml_content,
)
from yolo_ema.errors import DataError, DataNotFoundError, OfflineError, did_you_mean
from yolo_ema.io.download import shown_url
from yolo_ema.io.resources import data_dir
from yolo_ema.io.text_files import say


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
        trust: let a download script in a data YAML run; Ultralytics' own need no permission.
        splits: what to fetch of ``visdrone`` where it is missing; empty for all published ones.

    Raises:
        DataNotFoundError: there is nothing of that name, or its images are missing and nothing
            says where to fetch them.
        ConfigError: ``datasets/<its name>`` was prepared from another folder of that name, or holds
            files that are not ours.
        DataError: what is there is not a dataset; or its images are missing and only a script in
            it, not trusted, could fetch them.
        OfflineError: a download would be needed.
    """
    if not str(data).strip():
        raise DataNotFoundError("no dataset is named; expected a data YAML, a folder or a name")
    path = Path(data)
    if path.is_dir():
        if data_yaml := _yaml_in(path):
            return _with_images(data_yaml, offline, trust, splits)
        name = path.resolve().name
        return _prepared(alone=True, source=(path,), root=DATASETS / name, offline=offline)
    if path.is_file():
        if path.suffix.lower() not in {".yaml", ".yml"}:
            coco = (
                f"; COCO's annotations are prepared first: yolo-ema data prepare coco "
                f"--annotations {path} --images DIR"
            )
            hint = coco if path.suffix.lower() == ".json" else ""
            raise DataError(
                f"{path} is not a data YAML; expected a .yaml file, a folder, or a name such as "
                f"visdrone{hint}"
            )
        return _with_images(path, offline, trust, splits)
    if str(data).lower() in {"visdrone", "visdrone.yaml"}:
        return _prepare_visdrone(offline, splits)
    return _with_images(named_yaml(str(data)), offline, trust, splits)


def _yaml_in(folder: Path) -> Path | None:
    """Return the one data YAML in ``folder``; None where there is none."""
    candidates = [file for file in sorted(folder.glob("*.y*ml")) if is_data_yaml(file)]
    named_as_folder = [file for file in candidates if file.stem == folder.resolve().name]
    if len(candidates) > 1 and not named_as_folder:
        names = ", ".join(file.name for file in candidates)
        raise DataError(f"{folder} holds several data YAMLs ({names}); name the one to use")
    return next(iter(named_as_folder or candidates), None)


def _prepare_visdrone(offline: bool, splits: tuple[str, ...]) -> Path:
    prepared = DATASETS / "visdrone" / "visdrone.yaml"
    if prepared.is_file() and not _missing(prepared):
        return prepared
    return _prepared(dataset="visdrone", offline=offline, splits=splits)


def _prepared(*, alone: bool = False, **options: Any) -> Path:
    """Prepare a dataset, say on stderr what was found where there was something to do, and return
    the data YAML.
    """
    from yolo_ema.options.data import PrepareOptions
    from yolo_ema.visdrone.prepare import prepare

    result = prepare(PrepareOptions(**options), alone=alone)
    if result.failures or not result.up_to_date:
        say("\n".join(result.findings()))
    return result.data_yaml


def named_yaml(name: str) -> Path:
    """Return the data YAML of that name that this project or Ultralytics ships. Raises
    `DataNotFoundError`, naming the closest.
    """
    shipped = {
        file.stem: file
        for folder in (ROOT / "cfg" / "datasets", data_dir())
        for file in sorted(folder.glob("*.yaml"))
    }
    stem = name.removesuffix(".yaml").removesuffix(".yml")
    if stem in shipped:
        return shipped[stem]
    looks_like_path = os.sep in name or name.startswith(".")
    hint = "" if looks_like_path else did_you_mean(stem, ["visdrone", *shipped])
    raise DataNotFoundError(
        f"there is no dataset {shown_url(name)!r}: expected visdrone, a folder, a data YAML, or a "
        f"name that Ultralytics ships{hint}"
    )


def _with_images(data_yaml: Path, offline: bool, trust: bool, splits: tuple[str, ...]) -> Path:
    missing = _missing(data_yaml)
    # The YAML that this project ships, or a copy of it: prepared data have one of their own.
    if missing and data_yaml.read_bytes() == (data_dir() / "visdrone.yaml").read_bytes():
        return _prepare_visdrone(offline, splits)
    if missing:
        from yolo_ema.engine.data.dataset_download import fetch_dataset

        entry, root = yaml_content(data_yaml).get("download"), read_data(data_yaml)["path"]
        fetch_dataset(data_yaml, entry, into=root, missing=missing[0], offline=offline, trust=trust)
        if still := _missing(data_yaml):
            raise DataNotFoundError(
                f"{data_yaml}: its download ended, but {still[0]} does not exist"
            )
    return data_yaml


def _missing(data_yaml: Path) -> list[Path]:
    """Return the train and val entries that do not exist."""
    data = read_data(data_yaml)
    entries = [Path(entry) for split in ("train", "val") for entry in data[split]]
    return [entry for entry in entries if not path_exists(entry)]


def local_data(data: str | Path) -> Path:
    """Return the data YAML that ``data`` means, as `resolve_data` does, and never download.

    Raises:
        DataNotFoundError: there is nothing of that name, or its images are missing and nothing
            says where to fetch them.
        DataError: what is there is not a dataset.
        OfflineError: its images are missing, and would have to be fetched first.
    """
    try:
        # With trust the missing images are what is reported; offline, no script runs.
        return resolve_data(data, offline=True, trust=True)
    except OfflineError as error:
        if str(data).lower().removesuffix(".yaml") == "visdrone":
            advice = (
                "run yolo-ema data prepare visdrone first (with --source DIR where you have "
                "the archives)"
            )
        else:
            advice = (
                f"only training fetches them (yolo-ema train --data {data}); or put them in place "
                f"and run this again"
            )
        raise OfflineError(
            f"the images of {data} are missing, and this command downloads nothing; {advice}"
        ) from error
