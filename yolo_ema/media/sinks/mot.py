"""Track files, one per source: the result formats of MOT Challenge and of VisDrone's multi-object
tracking.

MOT Challenge (motchallenge.net/instructions), ten fields; frames, identities and coordinates count
    from 1; x, y and z, which belong to 3D tracking, are −1:
    frame,id,left,top,width,height,confidence,x,y,z
VisDrone-MOT (the toolkit of VisDrone2018-MOT), ten fields; frames count from 1, pixels from 0; the
    last two are −1, as in all result files:
    frame,id,left,top,width,height,score,category,truncation,occlusion
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.errors import ConfigError
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.growing_file import GrowingFile
from yolo_ema.media.sinks.sink import FilePerSource, FrameContext

MOT_STYLES = ("mot", "visdrone-mot")

Style = Literal["mot", "visdrone-mot"]

_VISDRONE_CATEGORIES = {name: number for number, name in enumerate(VISDRONE_CLASSES, start=1)}


class MotFiles(FilePerSource):
    """Writes ``<out>/<style>/<stem>.txt`` for each tracked source, frame by frame; existing files
    are never replaced.

    Detections without an identity are left out: both formats need one in every row. Sources that
    are not tracked, such as single images, get no file; a tracked source in which nothing got an
    identity gets an empty one.
    """

    def __init__(
        self, out: Path, style: Style = "mot", names: Mapping[int, str] | None = None
    ) -> None:
        """Write below ``out``.

        Args:
            out: the folder.
            style: one of `MOT_STYLES`.
            names: class by id, of all classes that may be found; None takes them from each source's
                first frame.

        Raises:
            ConfigError: an unknown style, or names that are not VisDrone's, whose numbers
                ``visdrone-mot`` needs.
        """
        if style not in MOT_STYLES:
            raise ConfigError(f"no MOT style {style!r}; expected one of {', '.join(MOT_STYLES)}")
        if style == "visdrone-mot" and names is not None:
            _check_names(names)
        super().__init__()
        self.folder, self.style = Path(out) / style, style
        self._checked = names is not None

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Append one frame.

        Raises:
            ConfigError: the classes are not VisDrone's, whose numbers the style needs.
            DiskFullError: there is no space left; the file ends with the last whole frame.
        """
        if found.track_ids is None:
            return
        source = found.frame.source
        if source not in self._files:
            if self.style == "visdrone-mot" and not self._checked:
                _check_names(found.names)
            self._files[source] = GrowingFile.create(self.folder, context.stem, ".txt")
            self.paths += (self._files[source].path,)
        self._files[source].append("".join(self._lines(found, found.track_ids)))

    def _lines(self, dets: FrameDetections, track_ids: np.ndarray) -> Iterator[str]:
        number = dets.frame.index + 1
        from_one = 1 if self.style == "mot" else 0
        kept = np.flatnonzero(track_ids >= 0)
        for row in kept[np.argsort(track_ids[kept], kind="stable")].tolist():
            x1, y1, x2, y2 = map(float, dets.boxes_xyxy[row])
            box = f"{x1 + from_one:.2f},{y1 + from_one:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
            rest = "-1,-1,-1"
            if self.style == "visdrone-mot":
                rest = f"{_VISDRONE_CATEGORIES[dets.names[int(dets.class_ids[row])]]},-1,-1"
            yield f"{number},{int(track_ids[row])},{box},{float(dets.scores[row]):.6f},{rest}\n"


def _check_names(names: Mapping[int, str]) -> None:
    unknown = [name for name in names.values() if name not in _VISDRONE_CATEGORIES]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
        raise ConfigError(
            f"VisDrone has no class {shown}: --save visdrone-mot needs weights of VisDrone's "
            f"classes; "
            "use mot, or leave the others out with --classes"
        )
