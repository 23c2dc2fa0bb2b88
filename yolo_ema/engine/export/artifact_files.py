"""Where an exported file lies: its final name, its name until it is proven, and the move there."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from yolo_ema.errors import ConfigError
from yolo_ema.io.atomic_files import atomic_path, disk_full_is_clear
from yolo_ema.io.resources import are_installed
from yolo_ema.options.export import ExportOptions

_MARK = "-unproven"
_ENDING = re.compile(r"(_[a-z0-9]+_model|(_edgetpu)?\.[a-z0-9]+)$")
"""What the format is recognised by: it stays at the end of the name."""


def artifact_stem(options: ExportOptions) -> str:
    """Return the file's name without its ending: that of the weights, and the precision unless it
    is float32.
    """
    return options.weights.stem + (f"-{options.quantize}" if options.quantize else "")


def final_path(made: Path, options: ExportOptions) -> Path:
    """Return where a finished file or folder belongs.

    Raises:
        ConfigError: ``--out`` names a file of another format.
    """
    if options.out is None:
        folder = Path() if are_installed(options.weights) else options.weights.parent
        return folder / made.name
    ending = made.name.removeprefix(artifact_stem(options))
    if options.out.name.endswith(ending):
        return options.out
    if options.out.suffix and not options.out.is_dir():
        raise ConfigError(
            f"--out is {options.out}; expected a folder, or a name ending in {ending}"
        )
    return options.out / made.name


def unproven_path(final: Path) -> Path:
    """Return the name that a file has until it is proven: ``best-unproven.onnx``."""
    ending = match[0] if (match := _ENDING.search(final.name)) else ""
    return final.with_name(final.name.removesuffix(ending) + _MARK + ending)


def final_name(unproven: Path) -> Path:
    """Return the name that a file gets once it is proven."""
    before, _, after = unproven.name.rpartition(_MARK)
    return unproven.with_name(before + after)


def publish(made: Path, final: Path) -> None:
    """Give a finished file or folder its name; what had that name before is replaced only then.

    Raises:
        DiskFullError: there is no room; what had the name before is intact.
    """
    if made.is_file():
        with atomic_path(final) as temp:
            shutil.copyfile(made, temp)
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    with (
        disk_full_is_clear(final),
        tempfile.TemporaryDirectory(prefix=f".{final.name}-", dir=final.parent) as waiting,
    ):
        _copy_folder(made, Path(waiting) / "new")
        if final.exists():
            final.rename(Path(waiting) / "old")
        (Path(waiting) / "new").rename(final)


def _copy_folder(folder: Path, copy: Path) -> None:
    """Copy a folder; the first file that cannot be written ends it, where `shutil.copytree` gathers
    all errors in one that no longer says that the disk is full.
    """
    copy.mkdir()
    for part in sorted(folder.rglob("*")):
        if part.is_dir():
            (copy / part.relative_to(folder)).mkdir()
        else:
            shutil.copyfile(part, copy / part.relative_to(folder))


def size_of(artifact: Path) -> int:
    """Return the size of a file or folder in bytes."""
    parts = artifact.rglob("*") if artifact.is_dir() else [artifact]
    return sum(part.stat().st_size for part in parts if part.is_file())
