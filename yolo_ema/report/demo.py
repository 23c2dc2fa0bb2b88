"""``yolo-ema demo``: from scratch to a checked ONNX file on drawn scenes, in minutes."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.deploy.parity.parity_report import MIN_IMAGES
from yolo_ema.deploy.publish import ExportResult, export
from yolo_ema.detect.result import DetectResult
from yolo_ema.detect.run import detect, fresh_folder
from yolo_ema.engine.training.launch import require_one_process
from yolo_ema.engine.training.train import TrainResult, train
from yolo_ema.errors import CheckFailedError
from yolo_ema.evaluate.val_result import Evidence, ValResult
from yolo_ema.io.atomic_files import write_bytes
from yolo_ema.io.text_files import say
from yolo_ema.media.sinks.video_writer import VideoWriter
from yolo_ema.options.data import PrepareOptions
from yolo_ema.options.demo import DemoOptions
from yolo_ema.options.detect import DetectOptions
from yolo_ema.options.export import ExportOptions
from yolo_ema.options.train import TrainOptions
from yolo_ema.options.val import ValOptions
from yolo_ema.report.validation_page.html_page import validate_and_report
from yolo_ema.scenes import draw_clip, draw_scene, write_dataset
from yolo_ema.visdrone.prepare import prepare

MODEL = Path(__file__).with_name("yolo11n-ema-demo.yaml")

INPUT_PX = 320
"""Side of the training scenes and of the network's input."""

RANGE_M = (30.0, 48.0)
"""Distances at which a car is about 30 pixels long in such a scene, a pedestrian about 12 high."""

LARGEST_MEDIAN_PX = 20.0

SHOWN_SEED = 2_147_480_000
"""The scene and the clip on display are drawn from seeds that no training scene can have."""

SETTINGS = {
    "nbs": "8",
    "optimizer": "AdamW",
    "lr0": "0.002",
    "lrf": "0.02",
    "momentum": "0.9",
    "weight_decay": "0.0001",
    "warmup_epochs": "0.3",
    "warmup_bias_lr": "0.002",
    "cos_lr": "true",
    "mosaic": "0",
    "hsv_h": "0.01",
    "hsv_s": "0.3",
    "hsv_v": "0.3",
    "translate": "0.05",
    "scale": "0.15",
    "flipud": "0.5",
    "cache": "ram",
    "val": "false",
    "plots": "false",
}
"""A few minutes from scratch: every batch a step, no mosaic, steep warm-up, no validation."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured and made.

    Attributes:
        out: the folder.
        validation: the figures on scenes of unseen seeds.
        median_box_px: median root of a box's area in validation, at the network's input.
        training: where weights and record are.
        outputs: the annotated scene and clip, and the page.
        onnx: the exported file and its proof.
        seconds: by step.
    """

    out: Path
    validation: ValResult
    median_box_px: float
    training: TrainResult
    outputs: tuple[Path, ...]
    onnx: ExportResult
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "out": str(self.out),
            "official": self.validation.scorecard.official.official,
            "median_box_px": self.median_box_px,
            "weights": str(self.training.last),
            "pictures": [str(path) for path in self.outputs],
            "export": self.onnx.as_json(),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }

    def as_text(self) -> str:
        """Return the figures, the files to look at, and what to do next."""
        figures = self.validation.scorecard.official.official
        total, images = sum(self.seconds.values()), len(self.validation.evidence.images)
        lines = [
            self.validation.as_text(),
            "",
            self.onnx.as_text(),
            "",
            f"learned from scratch in {total / 60:.1f} minutes, all steps included:",
            (
                f"  official AP50 {figures['AP50']:.1f} %, AP {figures['AP']:.1f} % on {images} "
                f"drawn scenes of unseen seeds,"
            ),
            f"  median box {self.median_box_px:.1f} px at the model's input",
            "steps: "
            + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items()),
            "see:",
            *(f"  {path}" for path in self.outputs),
            "on real data:",
            (
                f"  {'yolo-ema train':<53}# downloads VisDrone, after naming the files and their "
                f"licence"
            ),
            "  yolo-ema train --data YOUR/VisDrone2019-DET --model yolo11n-ema --preset fast",
        ]
        return "\n".join(lines)


def demo(options: DemoOptions) -> DemoResult:
    """Train on drawn scenes from scratch, validate, detect on an unseen scene and a clip, export
    and check.

    Raises:
        CheckFailedError: too little was learned, or the file's boxes differ from the weights'.
        ConfigError: a launcher has started several processes.
        MissingPackageError: the packages for ONNX are not installed.
        DiskFullError: the disk is full.
    """
    require_one_process("demo")
    # A folder of its own: what an earlier run drew or made must not mix with this one.
    options, clock = dataclasses.replace(options, out=fresh_folder(options.out)), _Clock()
    out = options.out
    with clock.step(
        "draw", f"drawing {options.scenes} scenes to train on and {options.val_scenes} to score on"
    ):
        drawn = write_dataset(
            out / "drawn",
            train=options.scenes,
            val=options.val_scenes,
            image_wh=(INPUT_PX, INPUT_PX),
            seed=options.seed,
            objects=30,
            range_m=RANGE_M,
        )
    with clock.step(
        "prepare", "deriving labels and ignored regions from VisDrone's annotation format"
    ):
        folders = tuple(drawn / f"VisDrone2019-DET-{split}" for split in ("train", "val"))
        data = prepare(
            PrepareOptions(
                root=out / "dataset", source=folders, splits=("train", "val"), offline=True
            )
        ).data_yaml
    with clock.step("train", f"training {MODEL.stem} from scratch, {options.epochs} epochs"):
        training = train(_train_options(options, data))
    with clock.step("validate", "scoring by VisDrone's official protocol"):
        validation = validate_and_report(
            ValOptions(
                weights=training.last,
                data=str(data),
                imgsz=(INPUT_PX,),
                batch=8,
                device=options.device,
                report=out / "report",
            )
        )
    median = _check_learned(
        validation.evidence, validation.scorecard.official.official["AP50"], options
    )
    with clock.step("detect", "detecting on an unseen scene and on a clip"):
        outputs = _show(options, training.last)
    with clock.step(
        "export", "exporting to ONNX and proving that it gives the boxes of the weights"
    ):
        unseen = (folders[1] / "images",) if options.val_scenes >= MIN_IMAGES else ()
        onnx = export(
            ExportOptions(
                weights=training.last, out=out / "demo.onnx", imgsz=(INPUT_PX,), images=unseen
            )
        )
    pages = (validation.report,) if validation.report else ()
    return DemoResult(out, validation, median, training, (*outputs, *pages), onnx, clock.seconds)


def _train_options(options: DemoOptions, data: Path) -> TrainOptions:
    return TrainOptions(
        model=str(MODEL),
        data=str(data),
        imgsz=INPUT_PX,
        epochs=options.epochs,
        batch=8,
        workers=0,
        device=options.device,
        pretrained="none",
        seed=options.seed,
        project=options.out,
        name="train",
        loggers=("none",),
        offline=True,
        settings=SETTINGS,
    )


def _check_learned(evidence: Evidence, ap50: float | None, options: DemoOptions) -> float:
    """Return the median box size; refuse scenes that are too easy, and too little learned.

    Raises:
        CheckFailedError: a class is missing, boxes are too large, or the AP50 is too low.
    """
    rows = np.concatenate(list(evidence.ground_truth.values()))
    rows = rows[(rows[:, 5] >= 1) & (rows[:, 5] <= len(VISDRONE_CLASSES))]
    missing = [
        name
        for number, name in enumerate(VISDRONE_CLASSES, start=1)
        if not (rows[:, 5] == number).any()
    ]
    median = float(np.median(np.sqrt(rows[:, 2] * rows[:, 3]))) if len(rows) else 0.0
    if missing:
        raise CheckFailedError(
            f"no {', '.join(missing)} in the {len(evidence.images)} validation scenes; raise "
            f"--val-scenes"
        )
    if median >= LARGEST_MEDIAN_PX:
        raise CheckFailedError(
            f"the median box is {median:.1f} px at the model's input; expected less than "
            f"{LARGEST_MEDIAN_PX:g}"
        )
    if ap50 is None or ap50 < options.least_ap50:
        raise CheckFailedError(
            f"official AP50 on {len(evidence.images)} unseen scenes is {ap50 or 0:.1f} %; expected "
            f"{options.least_ap50:g} % or more after {options.epochs} epochs on {options.scenes} "
            f"scenes: use more of either, or report a bug if both are at their defaults"
        )
    return median


def _show(options: DemoOptions, weights: Path) -> tuple[Path, ...]:
    """Draw a scene and a clip from unseen seeds, detect on both and return the annotated copies."""
    seed = SHOWN_SEED + options.seed % 1000
    shown = options.out / "unseen"
    # Both are drawn finer than the network sees them, so that objects have their training size at
    # its input.
    scene = draw_scene(seed, image_wh=(1920, 1080), objects=140, range_m=(95.0, 105.0))
    _, encoded = cv2.imencode(".jpg", scene.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 94])
    write_bytes(shown / "scene.jpg", encoded.tobytes())
    clip_wh = (960, 540)
    with VideoWriter(shown / "clip.mp4", frame_rate=Fraction(20), image_wh=clip_wh) as writer:
        for frame in draw_clip(
            seed,
            frames=options.frames,
            fps=20.0,
            image_wh=clip_wh,
            objects=60,
            range_m=(48.0, 52.0),
        ):
            writer.write(frame.image_bgr)
    results: list[DetectResult] = []
    for name, imgsz in (("scene.jpg", (544, 960)), ("clip.mp4", (288, 480))):
        source = (str(shown / name),)
        results.append(
            detect(
                DetectOptions(
                    source=source,
                    weights=weights,
                    out=options.out / "detected" / Path(name).stem,
                    tile="off",
                    imgsz=imgsz,
                    iou=0.45,
                    device=options.device,
                )
            )
        )
    return tuple(path for result in results for path in result.paths["annotated"])


class _Clock:
    """Announces each step on stderr, and records how long it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Time the block as ``name``."""
        say(f"[{len(self.seconds) + 1}/6] {title}")
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
