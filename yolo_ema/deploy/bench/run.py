"""The ``bench`` verb: compares every runtime of the same weights on this machine.

Each runtime is a process of its own, so that its memory is its own and a crash is not the others'.
They take turns in rounds, in an order that shifts by one each time, so that a busy minute of the
machine hits all of them; one computes while the others wait.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from yolo_ema.deploy.bench.process import RuntimeProcess
from yolo_ema.deploy.bench.result import BenchResult
from yolo_ema.deploy.bench.row import BenchRow, Round, box_agreement
from yolo_ema.deploy.parity.proof_images import sampled_files
from yolo_ema.engine.export.artifact_files import size_of
from yolo_ema.errors import ConfigError, MachineError, WeightsError, did_you_mean
from yolo_ema.io.atomic_files import sha256_of
from yolo_ema.io.resources import missing_weights
from yolo_ema.io.scratch_folders import scratch_folder
from yolo_ema.options.bench import MOST_IMAGES, BenchOptions
from yolo_ema.scenes.scene import draw_scene

_SCENES = 4
_SCENE_WH = (1920, 1080)
_SCENE_OBJECTS = 140
_GPU_FORMATS = frozenset({"engine"})

Key = tuple[tuple[int, int], bool]
"""Input height and width, and whether without NMS: what the weights' boxes depend on."""


@dataclass
class _Contender:
    row: BenchRow
    device: str
    path: Path | None = None
    half: bool = False
    process: RuntimeProcess | None = None
    rounds: list[Round] = field(default_factory=list)

    def fail(self, reason: str) -> None:
        """Take it out of the measurement; the others continue."""
        self.row = replace(self.row, reason=reason)
        if self.process is not None:
            self.process.close()
            self.process = None


def bench(options: BenchOptions) -> BenchResult:
    """Measure every runtime that is asked for.

    Raises:
        WeightsError: there is no such weights file, or it is refused.
        DataNotFoundError: there are no images to run on.
        ConfigError: the weights are not a .pt.
    """
    _check_weights(options.weights)
    with (
        scratch_folder("bench") as folder,
        contextlib.ExitStack() as processes,
    ):
        return _Bench(options, folder, processes).run()


class _Bench:
    def __init__(
        self, options: BenchOptions, folder: Path, processes: contextlib.ExitStack
    ) -> None:
        self._options, self._folder, self._processes = options, folder, processes
        self._images = _images(options, folder)
        self._progress = tqdm(desc="bench", unit="step", disable=None)
        self._boxes: dict[Key, list[np.ndarray]] = {}

    def run(self) -> BenchResult:
        """Export, open, measure in rounds, compare."""
        before = _load()
        machine = self._machine()
        contenders = list(self._contenders(machine.get("hardware", {}).get("gpus", [])))
        self._progress.total = (2 + self._options.rounds) * len(contenders)
        for contender in contenders:
            self._step("open", contender)
            if not contender.row.reason:
                self._open(contender)
        sizes_wh = self._measure(contenders)
        facts = {
            "weights_sha256": sha256_of(self._options.weights),
            "images": [str(path) for path in self._images]
            if self._options.images
            else f"{_SCENES} drawn scenes",
            "image_sizes_wh": sizes_wh,
            "rounds": self._options.rounds,
            "conf": self._options.conf,
            "iou": self._options.iou,
            "max_det": self._options.max_det,
            "hardware": machine.get("hardware", {}),
            "versions": machine.get("versions", {}),
            "load_average": [before, _load()],
        }
        self._progress.close()
        return BenchResult(
            self._options.weights, tuple(contender.row for contender in contenders), facts
        )

    def _machine(self) -> dict[str, Any]:
        """Describe the machine. Raises `WeightsError` for weights that no runtime can run."""
        order, machine = {"weights": str(self._options.weights), "trust": self._options.trust}, {}
        with self._process() as process, contextlib.suppress(MachineError):
            machine = process.ask("machine", **order)
        if refused := machine.get("refused"):
            raise WeightsError(refused)
        return machine

    def _contenders(self, gpus: Sequence[Any]) -> Iterator[_Contender]:
        """Yield the .pt on each device, each format in each precision, exported here, and the files
        that were given.
        """
        options = self._options
        available = ["cpu", "cuda:0"] if gpus else ["cpu"]
        devices = available if options.device == "auto" else [options.device]
        for device in devices:
            yield _Contender(BenchRow("pt"), device, options.weights)
        if gpus and "fp16" in options.quantize and devices[-1] != "cpu":
            yield _Contender(BenchRow("pt", "fp16"), devices[-1], options.weights, half=True)
        for format_name in dict.fromkeys(options.formats):
            for quantize in (None, *options.quantize):
                # Without a GPU, a format for GPUs fails with an error that says so.
                device = devices[-1] if format_name in _GPU_FORMATS else devices[0]
                yield self._exported(_Contender(BenchRow(format_name, quantize), device))
        for path in options.artifact:
            device = devices[-1] if path.suffix.removeprefix(".") in _GPU_FORMATS else devices[0]
            alike = sum(other.name == path.name for other in options.artifact) > 1
            shown = str(path) if alike else path.name
            contender = _Contender(BenchRow(shown, file=shown), device, path)
            if not path.exists():
                folder = path.parent
                siblings = [file.name for file in folder.iterdir()] if folder.is_dir() else []
                contender.fail(f"there is no file {path}{did_you_mean(path.name, siblings)}")
            yield contender

    def _exported(self, contender: _Contender) -> _Contender:
        options, row = self._options, contender.row
        folder = self._folder / row.label.replace(" ", "-")
        folder.mkdir()
        self._step("export", contender)
        with self._process() as process:
            try:
                answer = process.ask(
                    "export",
                    folder=str(folder),
                    device=contender.device,
                    **export_settings(row, options),
                )
                contender.path = Path(answer["path"])
            except MachineError as error:
                contender.fail(str(error))
        return contender

    def _open(self, contender: _Contender) -> None:
        contender.process = self._processes.enter_context(self._process())
        # A program (TorchScript) that was made here is trusted; weights only if the user says so.
        made_here = contender.row.file is None and contender.row.name != "pt"
        try:
            facts = self._ask_open(
                contender.process, contender, trust=self._options.trust or made_here
            )
        except MachineError as error:
            contender.fail(str(error))
            return
        name = facts.pop("format")
        contender.row = replace(
            contender.row,
            name=name,
            facts=facts,
            batch=self._options.batch,
            file_bytes=size_of(contender.path) if contender.path else None,
        )

    def _ask_open(
        self,
        process: RuntimeProcess,
        contender: _Contender,
        *,
        trust: bool,
        imgsz: Sequence[int] = (),
        nms_free: bool = False,
    ) -> dict[str, Any]:
        options = self._options
        size = imgsz or (options.imgsz if contender.row.name == "pt" else ())
        return process.ask(
            "open",
            weights=str(contender.path),
            images=[str(path) for path in self._images],
            imgsz=list(size) or None,
            nms_free=nms_free,
            device=contender.device,
            half=contender.half,
            conf=options.conf,
            iou=options.iou,
            max_det=options.max_det,
            precision=options.precision,
            trust=trust,
        )

    def _measure(self, contenders: Sequence[_Contender]) -> list[list[int]]:
        for number in range(self._options.rounds):
            start = number % len(contenders)
            for contender in (*contenders[start:], *contenders[:start]):
                self._step("run", contender)
                self._run(contender)
        weights = contenders[0]
        sizes_hw: list[list[int]] = []
        for contender in contenders:
            self._step("compare", contender)
            contender.row = replace(contender.row, rounds=tuple(contender.rounds))
            if contender is not weights:
                contender.row = replace(contender.row, pt_rounds=tuple(weights.rounds))
            if contender.process is None:
                continue
            with _row_of(contender):
                answer = contender.process.ask("boxes")
                sizes_hw = answer["sizes_hw"]
                self._compare(contender, weights, _rows(answer["boxes"]), sizes_hw)
        return [list(size) for size in sorted({(width, height) for height, width in sizes_hw})]

    def _run(self, contender: _Contender) -> None:
        if contender.process is None:
            return
        with _row_of(contender):
            took = contender.process.ask("time", batch=self._options.batch)
            calls, network = tuple(took["seconds"]), tuple(took["network_seconds"])
            contender.rounds.append(
                Round(calls, network, took["cpu_seconds"], took["batch_seconds"])
            )

    def _compare(
        self,
        contender: _Contender,
        weights: _Contender,
        boxes: list[np.ndarray],
        sizes_hw: Sequence[Sequence[int]],
    ) -> None:
        facts = contender.row.facts
        height, width = facts["imgsz_hw"]
        key = ((height, width), bool(facts["nms_free"]))
        if contender is weights:
            self._boxes[key] = boxes
            return
        reference, row = self._reference(key, weights), contender.row
        if reference is not None:
            conf = self._options.conf
            agreement = box_agreement(
                reference, boxes, sizes_hw, (height, width), conf=conf, lossy=row.lossy
            )
            contender.row = replace(row, agreement=agreement)

    def _reference(self, key: Key, weights: _Contender) -> list[np.ndarray] | None:
        """Return the weights' boxes for an input, from a process of its own; None if they fail."""
        if key not in self._boxes:
            with self._process() as process, contextlib.suppress(MachineError):
                self._ask_open(
                    process, weights, trust=self._options.trust, imgsz=key[0], nms_free=key[1]
                )
                self._boxes[key] = _rows(process.ask("boxes")["boxes"])
        return self._boxes.get(key)

    def _process(self) -> RuntimeProcess:
        return RuntimeProcess(threads=self._options.threads, limit_s=self._options.time_limit)

    def _step(self, action: str, contender: _Contender) -> None:
        self._progress.set_postfix_str(f"{action} {contender.row.label}", refresh=False)
        self._progress.update()


def export_settings(row: BenchRow, options: BenchOptions) -> dict[str, Any]:
    """Return the settings of a row's export; calibration images are for int8 only."""
    int8 = row.quantize == "int8"
    return {
        "weights": str(options.weights),
        "format_name": row.name,
        "quantize": row.quantize,
        "imgsz": list(options.imgsz),
        "data": options.data if int8 else None,
        "calibrate": [str(path) for path in options.calibrate] if int8 else [],
        "conf": options.conf,
        "iou": options.iou,
        "max_det": options.max_det,
        "trust": options.trust,
    }


@contextlib.contextmanager
def _row_of(contender: _Contender) -> Iterator[None]:
    """Turn a runtime that fails into a row with its reason."""
    try:
        yield
    except MachineError as error:
        contender.fail(str(error))


def _check_weights(weights: Path) -> None:
    if not weights.is_file():
        raise missing_weights(weights)
    if weights.suffix not in {".pt", ".pth"}:
        raise ConfigError(
            f"--weights is {weights}; expected a .pt: exported files go into --artifact"
        )


def _images(options: BenchOptions, folder: Path) -> list[Path]:
    if options.images:
        places = [path.absolute() for path in options.images]
        return sampled_files(places, MOST_IMAGES)
    paths = [folder / f"scene{seed}.png" for seed in range(_SCENES)]
    for seed, path in enumerate(paths):
        scene = draw_scene(seed, image_wh=_SCENE_WH, objects=_SCENE_OBJECTS)
        path.write_bytes(cv2.imencode(".png", scene.image_bgr)[1].tobytes())
    return paths


def _rows(boxes: Sequence[Sequence[Sequence[float]]]) -> list[np.ndarray]:
    return [np.array(rows, np.float32).reshape(-1, 6) for rows in boxes]


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
