"""Finds the splits in folders of VisDrone's official layout: ``VisDrone2019-DET-<split>`` with
``images`` and ``annotations``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, is_hidden
from yolo_ema.errors import ConfigError, DataError, DataNotFoundError

WITHOUT_ANNOTATIONS = "test-challenge"
"""The only split whose annotations were never published."""

_SPLIT = re.compile(r"(?:^|.*[^a-z])(train|val|test-dev|test-challenge|test)$")


@dataclasses.dataclass(frozen=True)
class SplitFolder:
    """Where a split's images and annotations lie; ``annotations`` is None where none were ever
    published.
    """

    split: str
    images: Path
    annotations: Path | None


def official_name(split: str) -> str:
    """Return the name of a split's official folder and archive, without suffix."""
    return f"VisDrone2019-DET-{split}"


def split_named(name: str) -> str | None:
    """Return the split that the name of a folder or archive ends in, as in
    ``VisDrone2019-DET-val``; None where it ends in none.
    """
    match = _SPLIT.match(name.lower())
    if match is None:
        return None
    return "test-dev" if match[1] == "test" else match[1]


def find_splits(
    folder: Path, *, name: str | None = None, wanted: Sequence[str] = ()
) -> list[SplitFolder]:
    """Find the splits in a folder: itself one, or one or two levels above them.

    Args:
        folder: a split's folder, or a folder that holds such folders.
        name: the name that tells the split where the folder's own does not (an unpacked archive).
        wanted: the splits asked for; where there is only one, a folder whose name tells nothing is
            taken for it.

    Raises:
        DataNotFoundError: there is no such folder, or no split in it.
        DataError: a split has no annotations though they were published; or the folder is in COCO's
            or YOLO's layout.
        ConfigError: a folder's name does not tell which split it is.
    """
    if not folder.is_dir():
        raise DataNotFoundError(
            f"the source {folder} is not there, or it is neither a folder nor an archive (.zip, "
            f".tar, .tar.gz, .tar.xz)"
        )
    _refuse_other_layouts(folder)
    if _is_split(folder):
        return [_split_folder(folder, name or folder.resolve().name, wanted)]
    inner = [path for path in _visible(folder, "*/", "*/*/") if _is_split(path)]
    if not inner:
        names = ", ".join(path.name for path in _visible(folder, "*")[:5]) or "nothing"
        raise DataNotFoundError(
            f"{folder} has no split in VisDrone's layout: expected the folders images and "
            f"annotations in it, or folders such as {official_name('train')} that hold them; "
            f"found {names}"
        )
    if len(inner) == 1:
        only = inner[0]
        return [
            _split_folder(only, only.name if split_named(only.name) else name or only.name, wanted)
        ]
    return [_split_folder(path, path.name, ()) for path in inner]


def _visible(folder: Path, *patterns: str) -> list[Path]:
    """Return what the patterns find below a folder, without what is hidden."""
    return [
        path
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if not any(map(is_hidden, path.relative_to(folder).parts))
    ]


def _refuse_other_layouts(folder: Path) -> None:
    """Say what to do with a folder in COCO's or YOLO's layout, rather than what VisDrone's is."""
    texts = (folder.glob(f"{above}annotations/*.txt") for above in ("", "*/", "*/*/"))
    if any(not is_hidden(path.name) for paths in texts for path in paths):
        return
    if coco := _visible(folder, "*.json", "annotations/*.json", "*/*.json"):
        raise DataError(
            f"{folder} is not in VisDrone's layout. If {coco[0]} holds COCO's annotations: "
            f"yolo-ema data prepare coco --annotations {coco[0]} --images DIR; then give the data "
            f"YAML that it makes"
        )
    labels = [path for path in _visible(folder, "labels/", "*/labels/") if path.is_dir()]
    if yolo := next((path for path in labels if not path.with_name("annotations").is_dir()), None):
        raise DataError(
            f"{folder} is not in VisDrone's layout. If {yolo} holds YOLO's labels, it needs no "
            f"preparation: give a data YAML with path, train, val, names"
        )


def _is_split(folder: Path) -> bool:
    """Tell by the images themselves: a prepared root has ``images`` too, but with folders in it."""
    images = folder / "images"
    return images.is_dir() and any(
        path.suffix.lower() in DATASET_IMAGE_SUFFIXES and not is_hidden(path.name)
        for path in images.iterdir()
    )


def _split_folder(folder: Path, name: str, splits: Sequence[str]) -> SplitFolder:
    split = split_named(name) or (splits[0] if len(splits) == 1 else None)
    if split is None:
        raise ConfigError(
            f"the name of {folder} does not say which split it is; rename it, as in "
            f"{official_name('val')}, or give it alone with one name in --splits"
        )
    annotations = folder / "annotations"
    if annotations.is_dir():
        return SplitFolder(split, folder / "images", annotations)
    if split != WITHOUT_ANNOTATIONS:
        raise DataError(
            f"{folder} has images but no folder annotations; expected one text file per image in it"
        )
    return SplitFolder(split, folder / "images", None)
