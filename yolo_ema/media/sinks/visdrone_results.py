"""Result files in VisDrone's formats: DET for images, VID for videos and sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from yolo_ema.errors import ConfigError
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.growing_file import GrowingFile
from yolo_ema.media.sinks.sink import FilePerSource, FrameContext
from yolo_ema.media.sinks.unique_paths import write_unique


class VisdroneResults(FilePerSource):
    """``visdrone/<source>.txt``.

    An image's rows are ``left,top,width,height,score,category,-1,-1``; those of a video begin with
    ``frame,-1,``, where frames count from 1 as in VisDrone. Boxes are rounded to a hundredth of a
    pixel, scores to six digits; rows are sorted by falling score.
    """

    def __init__(self, out: Path, names: Mapping[int, str], visdrone_names: Sequence[str]) -> None:
        """Match the classes by name.

        Args:
            out: the folder that gets ``visdrone/``.
            names: class by id, of all classes that may be found.
            visdrone_names: VisDrone's names of the categories from 1 on.

        Raises:
            ConfigError: a class is not one of VisDrone's.
        """
        numbers = {_plain(name): number for number, name in enumerate(visdrone_names, start=1)}
        foreign = [name for name in names.values() if _plain(name) not in numbers]
        if foreign:
            shown = ", ".join(foreign[:5]) + (
                f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
            )
            raise ConfigError(
                f"VisDrone's result files cannot hold the classes {shown}; VisDrone's are "
                f"{', '.join(visdrone_names)}. "
                "Choose classes with --classes, or save in another format."
            )
        self._categories = {class_id: numbers[_plain(name)] for class_id, name in names.items()}
        super().__init__()
        self.folder = out / "visdrone"
        self.paths = (self.folder,)

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Write an image's file, or append a frame to a video's. Raises `DiskFullError` if there is
        no space.
        """
        if not context.is_moving:
            write_unique(self.folder, context.stem, ".txt", "".join(self._rows(found)).encode())
            return
        source = found.frame.source
        if source not in self._files:
            self._files[source] = GrowingFile.create(self.folder, context.stem, ".txt")
        self._files[source].append(
            "".join(f"{found.frame.index + 1},-1,{row}" for row in self._rows(found))
        )

    def _rows(self, dets: FrameDetections) -> list[str]:
        rows = zip(
            dets.boxes_xyxy.tolist(), dets.scores.tolist(), dets.class_ids.tolist(), strict=True
        )
        return [
            f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.6f},"
            f"{self._categories[class_id]},-1,-1\n"
            for (x1, y1, x2, y2), score, class_id in rows
        ]


def _plain(name: str) -> str:
    """Return a class's name without case, spaces, hyphens and underscores."""
    return "".join(letter for letter in name.casefold() if letter not in " -_")
