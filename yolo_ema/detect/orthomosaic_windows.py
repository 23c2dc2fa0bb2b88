"""The windows of an orthomosaic: the tiles of a plan, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from yolo_ema.detect.window_journal import WindowJournal
from yolo_ema.errors import ConfigError
from yolo_ema.inference.tiled import TiledPredictor
from yolo_ema.inference.view import View
from yolo_ema.options.detector import DetectorConfig
from yolo_ema.tiling.plan import TilePlan, plan_tiles


@dataclass(frozen=True)
class WindowGrid:
    """Windows, numbered row by row from the upper left.

    Attributes:
        plan: how each goes through the network.
        tiles_xyxy: (T, 4) int64, pixels.
        image_wh: width and height of the file in pixels.
        reason: the plan in a sentence.
    """

    plan: TilePlan
    tiles_xyxy: np.ndarray
    image_wh: tuple[int, int]
    reason: str

    @classmethod
    def of(
        cls, tiled: TiledPredictor, image_wh: tuple[int, int], config: DetectorConfig
    ) -> WindowGrid:
        """Return the windows of a file of this size: the tiles of an image, but no whole frame.

        Raises:
            ConfigError: tiles are off, and the file is too large for one window.
        """
        plan = tiled.plan(image_wh)
        width, height = image_wh
        if not len(plan.tiles_xyxy) and width * height > config.max_pixels:
            if config.tile == "off":
                raise ConfigError(
                    f"--tile off would read {width}x{height} pixels at once, more than "
                    f"--max-pixels {config.max_pixels}; expected --tile auto or WxH"
                )
            input_h, input_w = tiled.imgsz_hw
            plan = plan_tiles(
                image_wh, tiled.imgsz_hw, tile=(input_w, input_h), overlap=config.overlap
            )
        if not len(plan.tiles_xyxy):
            return cls(plan, np.array([[0, 0, width, height]]), image_wh, plan.reason)
        x1, y1, x2, y2 = plan.tiles_xyxy[0].tolist()
        plan = replace(plan, whole_frame=False)
        reason = (
            f"{len(plan.tiles_xyxy)} windows of {x2 - x1}x{y2 - y1} pixels that overlap by "
            f"{plan.overlap_px[0]}x{plan.overlap_px[1]} or more; no whole frame is run: objects "
            f"longer than the overlap are joined from their parts"
        )
        return cls(plan, plan.tiles_xyxy, image_wh, reason)

    def __len__(self) -> int:
        return len(self.tiles_xyxy)

    @property
    def columns(self) -> int:
        """How many windows a row has."""
        return int((self.tiles_xyxy[:, 1] == self.tiles_xyxy[0, 1]).sum())

    def xyxy(self, number: int) -> tuple[int, int, int, int]:
        """Return a window's pixels."""
        x1, y1, x2, y2 = self.tiles_xyxy[number].tolist()
        return x1, y1, x2, y2

    def view(self, number: int) -> View:
        """Return a window as a view of the image."""
        return View(0, self.xyxy(number), None, self.plan.input_hw)

    def own_wh(self, number: int) -> tuple[int, int]:
        """Return the width and height of the upper left part that no later window shows."""
        x1, y1, x2, y2 = self.xyxy(number)
        columns = self.columns
        if (number + 1) % columns:
            x2 = int(self.tiles_xyxy[number + 1, 0])
        if number + columns < len(self):
            y2 = int(self.tiles_xyxy[number + columns, 1])
        return x2 - x1, y2 - y1

    def found_in(
        self, journal: WindowJournal
    ) -> Iterator[tuple[float, list[tuple[tuple[int, int, int, int], np.ndarray]]]]:
        """Yield for each row of windows the first pixel row of the next one, and the windows that
        have boxes with these.
        """
        columns = self.columns
        for start in range(0, len(self), columns):
            stop = start + columns
            next_y1 = float(self.tiles_xyxy[stop, 1]) if stop < len(self) else float("inf")
            boxes = journal.boxes(range(start, stop))
            yield next_y1, [(self.xyxy(number), rows) for number, rows in boxes]
