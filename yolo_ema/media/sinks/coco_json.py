"""``coco.json``: a dataset in COCO's format whose annotations carry scores."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from yolo_ema.io.atomic_files import disk_full_is_clear
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sinks.growing_file import GrowingFile, no_room
from yolo_ema.media.sinks.sink import FrameContext, Sink
from yolo_ema.media.sinks.unique_paths import assemble_unique


class CocoJson(Sink):
    """``coco.json``: images, annotations with scores, categories; it appears whole when the sink is
    closed.

    Memory holds one frame: until then images and annotations are kept in nameless files, of which a
    killed run leaves no trace.
    """

    def __init__(self, out: Path, names: Mapping[int, str]) -> None:
        """Start in the folder ``out``; category ids are class ids plus one, since COCO's begin at
        one.

        Raises:
            DiskFullError: there is no space left.
        """
        self._out = out
        self._categories = [
            {"id": number + 1, "name": name} for number, name in sorted(names.items())
        ]
        with disk_full_is_clear(out / "coco.json"):
            out.mkdir(parents=True, exist_ok=True)
            self._images, self._annotations = _Entries(out), _Entries(out)
        self._closed = False

    def write(self, found: FrameDetections, context: FrameContext) -> None:
        """Add one frame and its objects."""
        width, height = found.frame.image_wh
        image_id = self._images.count + 1
        image: dict[str, Any] = {"id": image_id, "width": width, "height": height}
        is_image = context.image_path or not context.is_moving
        image["file_name"] = (
            context.image_path or found.frame.source
            if is_image
            else f"{context.frame_stem(found.frame)}.jpg"
        )
        if context.is_moving:
            image |= {
                "source": found.frame.source,
                "frame": found.frame.index,
                "time_s": round(found.frame.time_s, 6),
            }
        first = self._annotations.count + 1
        self._annotations.add(_annotations(found, image_id, first))
        self._images.add([image])

    def close(self) -> None:
        """Write the file; a second call does nothing.

        Raises:
            DiskFullError: there is no space left; no partial file remains.
        """
        if self._closed:
            return
        self._closed = True
        with contextlib.closing(self._images), contextlib.closing(self._annotations):
            try:
                self.paths = (assemble_unique(self._out, "coco", ".json", self._write_to),)
            except OSError as error:
                if full := no_room(error, self._out / "coco.json", "no partial file is left"):
                    raise full from error
                raise

    def _write_to(self, file: IO[bytes]) -> None:
        file.write(b'{"info": {"description": "objects found by yolo-ema"},\n"categories": ')
        file.write(
            json.dumps(self._categories, ensure_ascii=False).encode("utf-8", "backslashreplace")
        )
        for key, entries in (("images", self._images), ("annotations", self._annotations)):
            file.write(f',\n"{key}": [\n'.encode())
            entries.copy_to(file)
            file.write(b"\n]")
        file.write(b"}\n")


def _annotations(dets: FrameDetections, image_id: int, first_id: int) -> Iterator[dict[str, Any]]:
    for row, detection in enumerate(dets.as_json()["detections"]):
        x1, y1, x2, y2 = detection["box_xyxy"]
        width, height = round(x2 - x1, 2), round(y2 - y1, 2)
        entry = {
            "id": first_id + row,
            "image_id": image_id,
            "category_id": detection["class_id"] + 1,
            "bbox": [x1, y1, width, height],
        }
        entry |= {"area": round(width * height, 2), "iscrowd": 0, "score": detection["score"]}
        if "track_id" in detection:
            entry["track_id"] = detection["track_id"]
        yield entry


class _Entries:
    """The entries of a JSON list, separated by commas, in a file without a name."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it lives as long as the sink
        self._writer = GrowingFile(
            folder / "coco.json", self._file, "what was found before then can still be written"
        )
        self.count = 0

    def add(self, entries: Any) -> None:
        texts = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in entries]
        if not texts:
            return
        self._writer.append((",\n" if self.count else "") + ",\n".join(texts))
        self.count += len(texts)

    def copy_to(self, file: IO[bytes]) -> None:
        self._file.seek(0)
        shutil.copyfileobj(self._file, file, 1 << 20)

    def close(self) -> None:
        self._file.close()
