"""How fast detection is: whole frames, tiles, and video to annotated mp4, against SAHI and plain
Ultralytics with the same weights.

    python benchmarks/detect.py --weights yolo11n.pt [--quick] [--json] [--images FILE …] [--video
    FILE] [--int8 FOLDER]

Each contender is a process of its own with the environment its users have, is warmed up, and then
asked for one pass after the other in rounds, so that a busy minute of the machine meets all of
them; the others wait meanwhile. The table gives the median of the passes, their lower and upper
quartile, the processor time of the cheapest pass, and how many times as fast as each peer the
median is. Images are decoded before; video is decoded, drawn on and encoded. Exported files are
made here, dynamic, of the same weights.

SAHI: `get_sliced_prediction` with its defaults and the same tiles and overlap, the whole frame
besides the tiles. "As shipped" is a process without any setting of threads; "all threads" has
torch's threads set to the cores that it may use before each pass. Without --images and --video,
drawn scenes of 1920x1080 are taken.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

OVERLAP = 0.2
CONF, IOU, MOST = 0.25, 0.7, 1000
THREADS = (
    "OMP_NUM_THREADS",
    "YOLO_EMA_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
)

Rows = list[np.ndarray]


# A contender's process: functions that build one pass over the images or the video, each importing
# only what it needs.


def ours(job: dict[str, Any], images: Rows) -> Callable[[], Rows]:
    from yolo_ema.engine.prediction.torch_predictor import open_predictor
    from yolo_ema.inference.tiled import TiledPredictor

    runtime: Any = open_predictor(
        job["weights"],
        imgsz=job["imgsz"],
        precision=job["precision"],
        device=job["device"],
        trust=True,
    )
    if job["task"] == "tiles":
        side = job["imgsz"]
        runtime = TiledPredictor(runtime, tile=(side, side), overlap=OVERLAP, whole_frame=True)
    return lambda: [runtime([image])[0] for image in images]


def our_video(job: dict[str, Any], _: Rows) -> Callable[[], None]:
    """Return the verb `detect` with a detector that is there already, as the peers' is."""
    from yolo_ema.detect import run as detection
    from yolo_ema.options.detect import DetectOptions

    detector = _detector(job)
    detection.Detector = lambda *_, **__: detector  # type: ignore[assignment,misc]
    settings = {
        "source": (job["video"],),
        "weights": Path(job["weights"]),
        "save": ("annotated",),
        "tile": "off",
    }

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            found = detection.detect(
                DetectOptions(**settings, out=Path(folder) / "out", imgsz=(job["imgsz"],))
            )
            if found.exit_code:
                raise SystemExit(found.as_text())

    return run


def _detector(job: dict[str, Any]) -> Any:
    from yolo_ema.detect.detector import Detector

    return Detector(
        job["weights"], tile="off", imgsz=job["imgsz"], device=job["device"], trust=True
    )


def sequential_video(job: dict[str, Any], _: Rows) -> Callable[[], None]:
    """Return the plain loop over the same steps, one after the other in one thread."""
    from fractions import Fraction

    from yolo_ema.media.drawing.annotator import draw_detections
    from yolo_ema.media.sinks.video_writer import VideoWriter
    from yolo_ema.media.sources.open_sources import open_sources

    detector = _detector(job)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            footage = open_sources([job["video"]])[0].open()
            writer = None
            for frame in footage:
                rate = footage.frame_rate or Fraction(30)
                writer = writer or VideoWriter(
                    Path(folder) / "out.mp4", frame_rate=rate, image_wh=frame.image_wh
                )
                writer.write(draw_detections(detector.detections(frame.image_bgr)))
            if writer:
                writer.close()

    return run


def _yolo(job: dict[str, Any]) -> Any:
    import torch  # noqa: F401 - before this project, so that its environment is not set for the peers
    from ultralytics import YOLO

    from yolo_ema.engine.models.registration import register

    register()
    return YOLO(job["weights"], task="detect")


def ultralytics(job: dict[str, Any], images: Rows) -> Callable[[], Rows]:
    model = _yolo(job)
    settings = {
        "imgsz": job["imgsz"],
        "conf": CONF,
        "iou": IOU,
        "max_det": MOST,
        "verbose": False,
        "device": job["device"],
    }
    return lambda: [
        model.predict(image, **settings)[0].boxes.data.cpu().numpy() for image in images
    ]


def ultralytics_video(job: dict[str, Any], _: Rows) -> Callable[[], None]:
    """Return `predict(save=True)`: an MJPG .avi on Linux, which is less work than H.264."""
    model = _yolo(job)
    settings = {
        "imgsz": job["imgsz"],
        "conf": CONF,
        "iou": IOU,
        "max_det": MOST,
        "verbose": False,
        "device": job["device"],
    }

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for _ in model.predict(
                job["video"], save=True, project=folder, stream=True, **settings
            ):
                pass

    return run


def sahi(job: dict[str, Any], images: Rows) -> Callable[[], Rows]:
    _yolo(job)  # registers the attention block
    from sahi.models.ultralytics import UltralyticsDetectionModel
    from sahi.predict import get_sliced_prediction

    side = job["imgsz"]
    model = UltralyticsDetectionModel(
        model_path=job["weights"],
        task="detect",
        confidence_threshold=CONF,
        image_size=side,
        device=job["device"],
    )
    pictures = [np.ascontiguousarray(image[:, :, ::-1]) for image in images]
    sliced = {
        "slice_height": side,
        "slice_width": side,
        "overlap_height_ratio": OVERLAP,
        "overlap_width_ratio": OVERLAP,
    }

    def run() -> Rows:
        found = []
        for picture in pictures:
            kept = get_sliced_prediction(picture, model, verbose=0, **sliced).object_prediction_list
            rows = [[*one.bbox.to_xyxy(), one.score.value, one.category.id] for one in kept]
            found.append(np.array(rows, np.float32).reshape(-1, 6))
        return found

    return run


KINDS: dict[str, Callable[[dict[str, Any], Rows], Callable[[], Any]]] = {
    "ours": ours,
    "our video": our_video,
    "sequential video": sequential_video,
    "ultralytics": ultralytics,
    "ultralytics video": ultralytics_video,
    "sahi": sahi,
}


def worker(job: dict[str, Any]) -> None:
    """Answer each line on stdin with one pass: its seconds, its processor seconds, and where its
    boxes lie.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    with np.load(job["images"]) as stored:
        images = [stored[name] for name in stored.files]
    run = KINDS[job["kind"]](job, images)
    for _ in sys.stdin:
        if job["threads"]:
            sys.modules["torch"].set_num_threads(job["threads"])
        start, start_cpu = time.perf_counter(), time.process_time()
        result = run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        rows = [one.tolist() for one in result] if isinstance(result, list) else None
        threads = sys.modules["torch"].get_num_threads()
        answers.write(
            json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows, "threads": threads}) + "\n"
        )
        answers.flush()


# The process that asks them.


class Contender:
    """One row of the table."""

    def __init__(self, name: str, job: dict[str, Any], environment: dict[str, str]) -> None:
        self.name, self.task, self.job, self.seconds, self.cpu = name, str(job["task"]), job, [], []
        self.rows: Rows | None = None
        self.threads = 0
        clean = {key: value for key, value in os.environ.items() if key not in THREADS}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=clean | environment,
            text=True,
        )

    def go(self, *, counts: bool = True) -> None:
        """Run one pass."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{self.name} failed; to see why: {sys.executable} {__file__} --worker "
                f"'{json.dumps(self.job)}'"
            )
        answer = json.loads(line)
        self.threads = answer["threads"]
        self.rows = (
            None
            if answer["rows"] is None
            else [np.array(one, np.float32).reshape(-1, 6) for one in answer["rows"]]
        )
        if counts:
            self.seconds.append(answer["seconds"])
            self.cpu.append(answer["cpu"])

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()


def contenders(
    options: argparse.Namespace, files: dict[str, str], common: dict[str, Any]
) -> list[Contender]:
    """Start all that take part. The first word of a name says whose it is; peers are those that are
    not ours.
    """
    peer = {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": common["folder"],
    }
    made = []

    def add(
        name: str,
        task: str,
        kind: str,
        file: str,
        environment: dict[str, str] | None = None,
        *,
        precision: str = "f32",
        threads: int = 0,
    ) -> None:
        job = common | {
            "task": task,
            "kind": kind,
            "weights": files[file],
            "precision": precision,
            "threads": threads,
        }
        made.append(Contender(name, job, environment or {}))

    for task in options.tasks:
        if task == "video":
            add("ours, OpenVINO f32", task, "our video", "openvino")
            add("sequential loop, OpenVINO f32", task, "sequential video", "openvino")
            add("ours, PyTorch f32", task, "our video", "pt")
            add("sequential loop, PyTorch f32", task, "sequential video", "pt")
            add(
                "Ultralytics, PyTorch f32, all threads",
                task,
                "ultralytics video",
                "pt",
                peer,
                threads=common["cores"],
            )
            continue
        for file, title in (
            ("pt", "PyTorch f32"),
            ("openvino", "OpenVINO f32"),
            ("onnx", "ONNX Runtime f32"),
        ):
            add(f"ours, {title}", task, "ours", file)
        if "avx512_bf16" in common["flags"] or "amx_bf16" in common["flags"]:
            add("ours, OpenVINO bf16", task, "ours", "openvino", precision="bf16")
        if "int8" in files:
            add("ours, OpenVINO int8", task, "ours", "int8")
        kind, whose = ("sahi", "SAHI") if task == "tiles" else ("ultralytics", "Ultralytics")
        add(f"{whose}, PyTorch f32, as shipped", task, kind, "pt", peer)
        add(f"{whose}, PyTorch f32, all threads", task, kind, "pt", peer, threads=common["cores"])
        add(
            f"{whose}, OpenVINO, all threads", task, kind, "openvino", peer, threads=common["cores"]
        )
    return made


def difference(found: Rows | None, other: Rows | None) -> str:
    """Return how two contenders' boxes differ: paired by class and overlap, since rounding may swap
    neighbours in the order.
    """
    if found is None or other is None:
        return ""
    px = score = 0.0
    missing = 0
    for one, two in zip(found, other, strict=True):
        taken: set[int] = set()
        for row in one:
            gaps = np.abs(two[:, :4] - row[:4]).max(1, initial=0) + np.where(
                two[:, 5] == row[5], 0, np.inf
            )
            best = min(
                (n for n in np.argsort(gaps) if n not in taken), key=lambda n: gaps[n], default=None
            )
            if best is None or gaps[best] > 1:
                missing += 1
                continue
            taken.add(int(best))
            px, score = max(px, float(gaps[best])), max(score, abs(float(two[best, 4] - row[4])))
        missing += len(two) - len(taken)
    return f"{px:.1g} px, {score:.1g}, {missing} unpaired"


def table(rows: list[Contender], per: int, reference: dict[str, str]) -> list[dict[str, Any]]:
    """Return one dictionary a row."""
    peers = {
        one.name: statistics.median(one.seconds) for one in rows if not one.name.startswith("ours")
    }
    result = []
    for one in rows:
        middle = statistics.median(one.seconds)
        low, _, high = (
            statistics.quantiles(one.seconds, n=4) if len(one.seconds) > 1 else (middle,) * 3
        )
        against = next((other for other in rows if other.name == reference.get(one.task)), None)
        result.append(
            {
                "task": one.task,
                "what": one.name,
                "threads": one.threads,
                "median_ms": 1e3 * middle / per,
                "quartiles_ms": [1e3 * low / per, 1e3 * high / per],
                "cpu_ms": 1e3 * min(one.cpu) / per,
                "passes": len(one.seconds),
                "boxes": None if one.rows is None else sum(map(len, one.rows)),
                "boxes_against": difference(one.rows, against.rows if against else None)
                if against is not one
                else "",
                "times_as_fast_as": {
                    name: seconds / middle for name, seconds in peers.items() if name != one.name
                },
            }
        )
    return result


def show(rows: list[dict[str, Any]]) -> None:
    """Print one task's table as Markdown."""
    peers = [row["what"] for row in rows if not row["what"].startswith("ours")]
    print(
        f"\n**{rows[0]['task']}**\n\n| | threads | ms | quartiles | CPU ms | boxes | boxes differ "
        f"by | × " + " | × ".join(peers) + " |"
    )
    print("|---|" + "--:|" * (6 + len(peers)))
    for row in rows:
        ratios = [
            f"{row['times_as_fast_as'][peer]:.2f}" if peer in row["times_as_fast_as"] else ""
            for peer in peers
        ]
        low, high = row["quartiles_ms"]
        boxes = "" if row["boxes"] is None else row["boxes"]
        shown = [
            row["threads"],
            f"{row['median_ms']:.0f}",
            f"{low:.0f}–{high:.0f}",
            f"{row['cpu_ms']:.0f}",
            boxes,
        ]
        print(
            "| "
            + " | ".join(map(str, [row["what"], *shown, row["boxes_against"], *ratios]))
            + " |",
            flush=True,
        )


def drawn(folder: Path, images: int, frames: int) -> tuple[Rows, Path]:
    """Return drawn images of 1920x1080, and a clip of that size."""
    from fractions import Fraction

    from yolo_ema.media.sinks.video_writer import VideoWriter
    from yolo_ema.scenes.clip import draw_clip
    from yolo_ema.scenes.scene import draw_scene

    pictures = [draw_scene(seed, image_wh=(1920, 1080)).image_bgr for seed in range(images)]
    path = folder / "clip.mp4"
    if frames:
        with VideoWriter(path, frame_rate=Fraction(30), image_wh=(1920, 1080)) as writer:
            for scene in draw_clip(0, frames=frames, image_wh=(1920, 1080)):
                writer.write(scene.image_bgr)
    return pictures, path


def exported(weights: Path, folder: Path, imgsz: int, int8: Path | None) -> dict[str, str]:
    """Return the weights' file by format."""
    import shutil

    from yolo_ema.engine.export.exporting import export_artifact
    from yolo_ema.engine.weights.loading import load_model
    from yolo_ema.options.export import ExportOptions

    copy = Path(shutil.copy(weights, folder / weights.name))
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = load_model(copy, trust=True)
        options = ExportOptions(weights=copy, imgsz=(imgsz,), dynamic=True)
        files = {
            name: str(export_artifact(name, options, loaded, folder).path)
            for name in ("openvino", "onnx")
        } | {"pt": str(copy)}
    return files | ({"int8": str(int8)} if int8 else {})


def cut(video: Path, folder: Path, frames: int) -> Path:
    """Return the first frames of a video as one of its own."""
    from fractions import Fraction

    from yolo_ema.media.sinks.video_writer import VideoWriter
    from yolo_ema.media.sources.open_sources import open_sources

    footage, writer = open_sources([str(video)])[0].open(), None
    for number, frame in enumerate(footage):
        if number == frames:
            break
        rate = footage.frame_rate or Fraction(30)
        writer = writer or VideoWriter(folder / "cut.mp4", frame_rate=rate, image_wh=frame.image_wh)
        writer.write(frame.image_bgr)
    if writer is None:
        raise SystemExit(f"{video} has no frames")
    writer.close()
    return writer.path


def processor() -> tuple[str, str]:
    """Return the processor's name and its flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor(), ""
    found = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    return found.get("model name", platform.machine()), found.get("flags", "")


def main() -> None:
    """Run, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="a .pt; without it the shipped ones")
    parser.add_argument(
        "--int8",
        type=Path,
        help="an OpenVINO folder of the same weights in int8, for a row of its own",
    )
    parser.add_argument("--images", nargs="+", type=Path, default=[])
    parser.add_argument("--video", type=Path)
    parser.add_argument(
        "--frames", type=int, default=0, help="frames of the video (default: 60; 12 with --quick)"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=("frames", "tiles", "video"),
        default=["frames", "tiles", "video"],
    )
    parser.add_argument("--imgsz", type=int, default=640, help="input size and side of a tile")
    parser.add_argument(
        "--rounds", type=int, default=0, help="passes of each (default: 9; 2 with --quick)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or a GPU's number")
    parser.add_argument("--quick", action="store_true", help="few passes, to see that it runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(json.loads(options.worker))
        return

    import cv2

    from yolo_ema.detect.detector import default_weights
    from yolo_ema.io.machine import usable_cores

    rounds = options.rounds or (2 if options.quick else 9)
    frames = options.frames or (12 if options.quick else 60)
    name, flags = processor()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count = 0 if options.images else (1 if options.quick else 3)
        clip = frames if "video" in options.tasks and not options.video else 0
        images, video = drawn(folder, count, clip)
        images = [cv2.imread(str(path)) for path in options.images] or images
        if options.video and "video" in options.tasks:
            video = cut(options.video, folder, frames)
        stored = folder / "images.npz"
        np.savez(stored, *images)
        files = exported(options.weights or default_weights(), folder, options.imgsz, options.int8)
        common = {
            "images": str(stored),
            "video": str(video),
            "imgsz": options.imgsz,
            "device": options.device,
        }
        common |= {
            "folder": temporary,
            "cores": usable_cores(),
            "flags": [f for f in flags.split() if "bf16" in f or "vnni" in f],
        }
        packages = {
            one: version(one) for one in ("torch", "ultralytics", "sahi", "openvino", "onnxruntime")
        }
        about = (
            f"{name}, {usable_cores()} cores, "
            f"{' '.join(common['flags']) or 'neither VNNI nor bf16'}; "
            + ", ".join(f"{key} {value}" for key, value in packages.items())
        )
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        if not options.json:
            print(
                f"{about}; load before: {load:.1f}\n{len(images)} images, {frames} frames, "
                f"{rounds} rounds, input {options.imgsz}"
            )
        every: list[dict[str, Any]] = []
        for task in options.tasks:
            part = argparse.Namespace(**{**vars(options), "tasks": [task]})
            rows = contenders(part, files, common)
            try:
                for one in rows:
                    one.go(counts=False)
                for number in range(rounds):
                    for one in rows[number % len(rows) :] + rows[: number % len(rows)]:
                        one.go()
            finally:
                for one in rows:
                    one.close()
            reference = {
                "frames": "Ultralytics, PyTorch f32, all threads",
                "tiles": "ours, PyTorch f32",
            }
            part_rows = table(rows, frames if task == "video" else len(images), reference)
            every += part_rows
            if not options.json:
                show(part_rows)
    if options.json:
        print(
            json.dumps(
                {
                    "machine": about,
                    "load_before": load,
                    "images": len(images),
                    "frames": frames,
                    "rows": every,
                }
            )
        )


if __name__ == "__main__":
    main()
