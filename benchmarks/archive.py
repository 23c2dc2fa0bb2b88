"""What an archive costs beside its detections: frames per second, overhead by jobs, memory.

    python benchmarks/archive.py frames [--videos 8] [--frames 300] [--weights FILE] [--json]
    python benchmarks/archive.py jobs [--counts 10,100,1000,10000] [--engine local|ray] [--json]

``frames`` draws videos of 1280x720 and runs them, each way in processes of its own, start-up
included: ``yolo-ema archive`` as it chooses, with one worker, and a plain loop over ``yolo
predict``, a process a file, at the same input size. ``jobs`` runs archives of one small image a job
with a network that does nothing, so that nearly all of the time is overhead, and says what share of
jobs of a minute that would be; the first run of each count makes the manifest, the second passes
over all jobs. Memory is the largest resident set of the process that hands out the jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
MINUTE_S = 60.0


class Ran(NamedTuple):
    """What a command took: seconds, seconds of processors with all its processes, its own peak of
    memory in MB; and what it printed.
    """

    seconds: float
    cpu_s: float
    memory_mb: int
    said: str


def run(words: Sequence[object], cwd: Path) -> Ran:
    """Run a command."""
    began_at = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(list(map(str, words)), cwd=cwd, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        said = out.read().decode()
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(map(str, words))} failed:\n{said}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Ran(time.perf_counter() - began_at, cpu_s, usage.ru_maxrss // 1024, said)


def archive(cwd: Path, source: str, weights: Path, out: str, *more: object) -> tuple[Any, Ran]:
    """Run ``yolo-ema archive``; return its result, and what it took."""
    words = [sys.executable, "-m", "yolo_ema", "archive", source, "--weights", weights]
    ran = run([*words, "--out", out, "--json", *more], cwd)
    return json.loads(ran.said), ran


def draw_videos(folder: Path, videos: int, frames: int) -> None:
    """Write videos of a picture that moves."""
    import numpy as np
    from lively_weights import picture

    from yolo_ema.media.sinks.video_writer import VideoWriter

    image = picture(1, (1280, 720))
    for number in range(videos):
        path = folder / f"{number}.mp4"
        with VideoWriter(path, frame_rate=Fraction(30), image_wh=(1280, 720)) as writer:
            for frame in range(frames):
                writer.write(np.roll(image, 3 * frame, 1))


def measure_frames(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each way to run through the videos."""
    (folder / "videos").mkdir()
    draw_videos(folder / "videos", options.videos, options.frames)
    weights, total = Path(options.weights).resolve(), options.videos * options.frames
    rows = []
    more = ("--tile", "off", "--segment", 0)
    for name, words in (("archive", ()), ("archive, one worker", ("--workers", 1))):
        result, ran = archive(folder, "videos", weights, name, *more, *words)
        if result["frames"] != total:
            raise SystemExit(f"{name}: {result['frames']} of {total} frames")
        rows.append({"way": name, "seconds": ran.seconds, "cpu_s": ran.cpu_s})
    yolo = Path(sys.executable).with_name("yolo")
    loop = []
    for video in sorted((folder / "videos").iterdir()):
        words = (
            f"model={weights}",
            f"source={video}",
            "save=False",
            "verbose=False",
        )
        loop.append(run([yolo, "predict", *words, "imgsz=640", "conf=0.25"], folder))
    seconds, cpu_s = sum(ran.seconds for ran in loop), sum(ran.cpu_s for ran in loop)
    rows.append({"way": "a loop over yolo predict", "seconds": seconds, "cpu_s": cpu_s})
    for row in rows:
        row["frames_per_s"] = total / row["seconds"]
        row["times_the_loop"] = rows[-1]["seconds"] / row["seconds"]
    return rows


def draw_images(folder: Path, first: int, last: int) -> None:
    """Write small images."""
    import cv2
    import numpy as np

    for number in range(first, last):
        image = np.full((64, 96, 3), number % 256, np.uint8)
        cv2.imwrite(str(folder / f"{number:06d}.png"), image)


def measure_jobs(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each number of jobs."""
    from drawn_onnx import write_onnx

    weights = write_onnx(folder / "nothing.onnx")
    (folder / "images").mkdir()
    rows, drawn = [], 0
    for count in map(int, options.counts.split(",")):
        draw_images(folder / "images", drawn, count)
        drawn = count
        more = ("--images-per-job", 1, "--engine", options.engine)
        first, ran = archive(folder, "images", weights, f"out-{count}", *more)
        second, again = archive(folder, "images", weights, f"out-{count}", *more)
        if (first["done"], second["done_before"]) != (count, count):
            raise SystemExit(f"{first['done']} of {count} jobs done")
        workers = options.workers
        overhead_s = first["seconds"] * workers / count
        rows.append(
            {
                "jobs": count,
                "seconds": ran.seconds,
                "ms_per_job": 1000 * ran.seconds / count,
                "cpu_ms_per_job": 1000 * ran.cpu_s / count,
                "percent_of_a_minute": 100 * overhead_s / (MINUTE_S + overhead_s),
                "memory_mb": ran.memory_mb,
                "again_seconds": again.seconds,
                "again_memory_mb": again.memory_mb,
            }
        )
    return rows


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("frames", "jobs"))
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--counts", default="10,100,1000,10000")
    parser.add_argument("--engine", default="local", choices=("local", "ray"))
    parser.add_argument("--weights", default=str(REPOSITORY / "weights/yolo11n-ema-visdrone.pt"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from yolo_ema.io.machine import usable_cores

    options.workers = usable_cores()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        measure = measure_frames if options.what == "frames" else measure_jobs
        rows = measure(options, Path(name))
    if options.json:
        print(json.dumps({"cores": options.workers, "load_before": load, "rows": rows}))
        return
    print(f"{options.workers} cores, load before: {load:.2f}")
    for row in rows:
        print("  ".join(f"{key} {_shown(value)}" for key, value in row.items()))


def _shown(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
