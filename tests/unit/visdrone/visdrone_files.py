"""A split in VisDrone's layout on disk, prepared, and what a preparation made of it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from PIL import Image

from yolo_ema.options.data import PrepareOptions
from yolo_ema.visdrone.prepare import prepare

WH = (200, 100)

ROWS = {
    "a": "10,20,30,40,1,4,0,0\n0,0,50,60,0,0,0,0\n5,5,5,5,0,11,0,0\n",
    "b": "100,50,20,10,1,1,0,1,\n",
    "c": "",
}


def add_image(path: Path, wh: tuple[int, int] = WH, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", wh, (90, 120, 90)).save(path, **more)
    return path


def add_split(parent: Path, split: str = "val", rows: dict[str, str] | None = None) -> Path:
    folder = parent / f"VisDrone2019-DET-{split}"
    (folder / "annotations").mkdir(parents=True)
    for stem, text in (ROWS if rows is None else rows).items():
        add_image(folder / "images" / f"{stem}.jpg")
        (folder / "annotations" / f"{stem}.txt").write_text(text)
    return folder


def state_of(folder: Path) -> dict[str, tuple]:
    """What a folder of the user's must still be after we worked with it."""
    return {
        str(path.relative_to(folder)): (
            path.is_symlink(),
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.is_file() and path.read_bytes(),
        )
        for path in sorted(folder.rglob("*"))
    }


def prepare_root(root: Path, *sources: Path, **more):
    return prepare(PrepareOptions(root=root, source=sources, **more))


def label_rows(path: Path) -> list[list[float]]:
    return [[float(number) for number in row.split()] for row in path.read_text().splitlines()]


def zipped(folder: Path, *, inside: str) -> Path:
    archive = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, f"{inside}{path.relative_to(folder).as_posix()}")
    return archive
