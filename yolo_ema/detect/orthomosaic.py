"""``detect`` on orthomosaics: window by window into a journal, then row by row into files."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo_ema._version import __version__
from yolo_ema.detect.detector import Detector
from yolo_ema.detect.orthomosaic_result import OrthomosaicResult, OrthomosaicSummary
from yolo_ema.detect.orthomosaic_sources import kinds_to_save
from yolo_ema.detect.orthomosaic_windows import WindowGrid
from yolo_ema.detect.result import most_frequent
from yolo_ema.detect.run import fresh_folder
from yolo_ema.detect.window_journal import WindowJournal, WindowRecord
from yolo_ema.errors import SourceError
from yolo_ema.geo.orthomosaic.detected_objects import objects_of
from yolo_ema.geo.orthomosaic.object_files import SUFFIXES, open_object_files
from yolo_ema.geo.orthomosaic.raster import DamagedWindowError, OrthomosaicReader
from yolo_ema.inference.tiled import NO_LIMIT, TiledPredictor, cut_margin_px
from yolo_ema.inference.view import View
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.io.text_files import say
from yolo_ema.media.sinks.unique_paths import numbered_paths
from yolo_ema.options.detect import DetectOptions
from yolo_ema.tiling.row_merge import merge_by_rows

if TYPE_CHECKING:
    from tqdm import tqdm

_GPU_WINDOWS = 8


def detect_orthomosaics(options: DetectOptions, paths: Sequence[Path]) -> OrthomosaicResult:
    """Detect on GeoTIFFs and write polygons in their projections and in longitude and latitude.

    Beside the files stand journals of windows until all of them are complete: a run that was killed
    continues there when it is started again with the same ``--out``.

    Raises:
        SourceError: the only file cannot be read, or holds no data.
        WeightsError: the weights cannot be used.
        ConfigError: bands that a file lacks, tiles that do not fit into memory, or a folder that
            belongs to a run with other settings.
        MissingPackageError: rasterio or pyproj is not installed.
        DiskFullError: there is no room for what is written.
    """
    detector = Detector(config=options)
    summaries = []
    with _out(options) as out:
        journals = _journal_paths(paths, out)
        for path, journal in zip(paths, journals, strict=True):
            summary = OrthomosaicSummary(str(path))
            try:
                _Run(options, detector, path, journal, summary).run()
            except SourceError as error:
                if len(paths) == 1:
                    raise
                summary.problem = str(error)
            summaries.append(summary)
        for journal in journals:
            journal.unlink(missing_ok=True)
    return OrthomosaicResult(out, tuple(summaries))


def _journal_paths(paths: Sequence[Path], out: Path) -> list[Path]:
    """Return a journal for each file, by its name, numbered where several files have it."""
    journals: list[Path] = []
    for path in paths:
        names = numbered_paths(out, path.stem, ".windows.journal")
        journals.append(next(name for name in names if name not in journals))
    return journals


@contextlib.contextmanager
def _out(options: DetectOptions) -> Iterator[Path]:
    if options.out is not None:
        yield options.out
    elif kinds_to_save(options):
        yield fresh_folder(Path("runs/detect"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


class _Run:
    def __init__(
        self,
        options: DetectOptions,
        detector: Detector,
        path: Path,
        journal: Path,
        summary: OrthomosaicSummary,
    ) -> None:
        self._options, self._detector, self._path = options, detector, path
        self._journal, self._out = journal, journal.parent
        self._summary, self._tiled = summary, detector.predictor
        # What runs one window, mirrored and enlarged, too, where that is asked for.
        self._network = TiledPredictor(
            self._tiled.predictor, tile="off", merge=options.merge, augment=options.augment
        )

    def run(self) -> None:
        """Detect and write."""
        rows = self._tiled.imgsz_hw[0]
        with OrthomosaicReader(
            self._path, self._options.bands, self._options.stretch, rows
        ) as reader:
            grid = WindowGrid.of(self._tiled, reader.image_wh, self._options)
            self._describe(reader, grid)
            journal = WindowJournal(self._journal, self._settings(reader, grid))
            try:
                self._detect(reader, grid, journal)
                self._count(journal, grid)
                self._write(reader, grid, journal)
            except SourceError:
                journal.remove()
                raise
            except BaseException:
                journal.close()
                raise
            journal.close()

    def _describe(self, reader: OrthomosaicReader, grid: WindowGrid) -> None:
        summary = self._summary
        summary.image_wh, summary.windows = reader.image_wh, len(grid)
        summary.projection = reader.place.projection
        summary.remarks = [grid.reason, *reader.remarks]
        for remark in summary.remarks:
            say(f"yolo-ema: {self._path}: {remark}")

    def _settings(self, reader: OrthomosaicReader, grid: WindowGrid) -> dict[str, Any]:
        settings = asdict(self._tiled.settings)
        del settings["max_det"]
        state = self._path.stat()
        return {
            "file": [self._path.name, state.st_size, state.st_mtime_ns],
            "weights": sha256_of(self._detector.weights),
            "windows": [len(grid), *grid.tiles_xyxy[0].tolist(), *grid.plan.overlap_px],
            "input": list(grid.plan.input_hw),
            "bands": list(reader.bands),
            "stretch": reader.stretch and list(reader.stretch),
            "half": self._options.half,
            "augment": self._options.augment,
            "merge": self._options.merge,
            **settings,
        }

    def _detect(self, reader: OrthomosaicReader, grid: WindowGrid, journal: WindowJournal) -> None:
        done = journal.done()
        self._summary.resumed = len(done)
        at_once = self._at_once(grid)
        waiting: list[tuple[WindowRecord, np.ndarray]] = []
        with self._bar(len(grid), len(done)) as bar:
            for number in range(len(grid)):
                if number in done:
                    continue
                record, image = _read(reader, grid, number)
                if image is None:
                    journal.add(record)
                else:
                    waiting.append((record, image))
                if len(waiting) >= at_once:
                    self._run_waiting(waiting, grid, journal)
                if bar is not None:
                    bar.update()
            self._run_waiting(waiting, grid, journal)

    def _run_waiting(
        self,
        waiting: list[tuple[WindowRecord, np.ndarray]],
        grid: WindowGrid,
        journal: WindowJournal,
    ) -> None:
        if not waiting:
            return
        images = [image for _, image in waiting]
        rows_of_images = self._network(images, max_det=NO_LIMIT, imgsz_hw=grid.plan.input_hw)
        for (record, _), rows in zip(waiting, rows_of_images, strict=True):
            boxes = grid.view(record.number).to_image(rows)
            journal.add(record._replace(boxes=boxes))
        waiting.clear()

    def _at_once(self, grid: WindowGrid) -> int:
        x1, y1, x2, y2 = grid.xyxy(0)
        predictor = self._tiled.predictor
        workers = predictor.at_once((x2 - x1, y2 - y1), imgsz_hw=grid.plan.input_hw)
        on_gpu = predictor.batched and predictor.device.startswith("cuda")
        return workers if workers > 1 or not on_gpu else _GPU_WINDOWS

    def _count(self, journal: WindowJournal, grid: WindowGrid) -> None:
        """Sum up what became of the windows.

        Raises:
            SourceError: none holds data.
        """
        summary, states = self._summary, journal.states()
        summary.detected, summary.no_data = states.get("detected", 0), states.get("no_data", 0)
        summary.damaged = [(grid.xyxy(n), reason) for n, reason in journal.unreadable()]
        summary.unreadable = len(summary.damaged)
        if summary.no_data == len(grid):
            raise SourceError(
                f"{self._path} holds no data: all its {len(grid)} windows are nodata or transparent"
            )
        _, summary.square_metres = journal.area()

    def _write(self, reader: OrthomosaicReader, grid: WindowGrid, journal: WindowJournal) -> None:
        summary, names = self._summary, self._tiled.names
        paths = self._free_paths(has_degrees=reader.place.to_degrees is not None)
        begun = journal.files()
        paths = {kind: begun.get(kind, path) for kind, path in paths.items()}
        journal.name_files(paths)

        def merge(rows_of_views: list[np.ndarray], views: np.ndarray) -> np.ndarray:
            windows = [
                View(0, (int(x1), int(y1), int(x2), int(y2)), None, grid.plan.input_hw)
                for x1, y1, x2, y2 in views.tolist()
            ]
            return self._tiled.merged(
                list(zip(windows, rows_of_views, strict=True)), grid.plan, reader.image_wh, None
            )

        header = {**summary.as_json(), "generator": f"yolo-ema {__version__}"}
        for later in ("files", "objects", "objects_per_class", "objects_per_hectare", "problem"):
            del header[later]
        del header["objects_not_placed"]
        counts: Counter[str] = Counter()
        parts = merge_by_rows(grid.found_in(journal), merge, margin_px=cut_margin_px(grid.plan))
        with open_object_files(paths, reader.place, header) as write:
            for part in parts:
                for feature in objects_of(part, reader.place, names, counts.total() + 1):
                    write(feature)
                    counts[feature.class_name] += 1
                    if feature.geometry is None and reader.place.to_degrees is not None:
                        summary.not_placed += 1
        summary.objects_per_class = most_frequent(counts)
        summary.paths = paths

    def _free_paths(self, *, has_degrees: bool) -> dict[str, Path]:
        paths = {}
        for kind in kinds_to_save(self._options):
            if kind == "geojson" and not has_degrees:
                self._summary.remarks.append(
                    "no GeoJSON is written: it needs longitude and latitude"
                )
                continue
            names = numbered_paths(self._out, self._path.stem, SUFFIXES[kind])
            paths[kind] = next(name for name in names if not name.exists())
        return paths

    @contextlib.contextmanager
    def _bar(self, total: int, done: int) -> Iterator[tqdm[Any] | None]:
        try:
            if not sys.stderr.isatty():
                yield None
                return
            from tqdm import tqdm  # only here: it brings multiprocessing

            with tqdm(desc="detect", total=total, initial=done, unit="window") as bar:
                yield bar
        except KeyboardInterrupt:
            say(f"yolo-ema: the windows so far are kept: give --out {self._out} to continue")
            raise


def _read(
    reader: OrthomosaicReader, grid: WindowGrid, number: int
) -> tuple[WindowRecord, np.ndarray | None]:
    """Return a window's record without boxes, and its image if there is anything to see."""
    none = np.empty((0, 6), np.float32)
    xyxy = grid.xyxy(number)
    try:
        window = reader.read(xyxy)
    except DamagedWindowError as error:
        return WindowRecord(number, "unreadable", none, reason=str(error)), None
    if not window.has_data.any():
        return WindowRecord(number, "no_data", none), None
    width, height = grid.own_wh(number)
    pixels = int(window.has_data[:height, :width].sum())
    area = reader.place.square_metres((xyxy[0], xyxy[1], xyxy[0] + width, xyxy[1] + height))
    area = None if area is None else area * pixels / (width * height)
    return WindowRecord(number, "detected", none, pixels, area), window.image_bgr
