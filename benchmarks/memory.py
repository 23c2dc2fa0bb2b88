"""How much memory a large image needs on its way to ``detections.jsonl`` in tiles.

    python benchmarks/memory.py [--size 20000x15000] [--tile auto] [--imgsz 640] [--conf 0.8] [--weights FILE] [--json]

Draws the image, writes it as a JPEG, and looks at it in a process of its own, whose peak of resident memory the kernel tells:
decoding, tiles, network, merging and writing. Without ``--weights`` the network is a small one with random layers that finds many
boxes: memory depends on the size of image and network, not on what it has learned.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]


def draw(path: Path, width: int, height: int) -> None:
    """Write a JPEG of blobs, (height, width)."""
    import cv2
    import numpy as np
    from lively_weights import picture

    patch = picture(1, (1000, 750))
    cv2.imwrite(str(path), np.tile(patch, (-(-height // 750), -(-width // 1000), 1))[:height, :width])


def look(image: Path, weights: str, imgsz: int, tile: str, conf: float, out: Path) -> None:
    """Detect on the image in tiles, write JSON lines, and print what was done."""
    from yolo_ema.engine.runtime import Runtime
    from yolo_ema.engine.tiled import TiledRuntime
    from yolo_ema.footage.frames import Frame, FrameDetections
    from yolo_ema.footage.images import read_image
    from yolo_ema.footage.sinks import FrameContext, JsonLines
    from yolo_ema.options.tiles import tile_size

    runtime = TiledRuntime(Runtime(weights, imgsz=imgsz, conf=conf, max_det=100_000), tile=tile_size(tile) or tile)
    picture = read_image(image)
    decoded = peak_bytes()
    rows = runtime([picture])[0]
    found = FrameDetections(Frame(picture, str(image), 0, 0.0), rows[:, :4], rows[:, 4], rows[:, 5].astype(int), runtime.names)
    with contextlib.closing(JsonLines(out)) as lines:
        lines.write(found, FrameContext(None, image.stem, is_live=False))
    written = lines.paths[0].stat().st_size
    facts = {
        "decoded_gb": round(decoded / 1e9, 3),
        "peak_gb": round(peak_bytes() / 1e9, 3),
        "plan": runtime.last_plans[0].reason,
        "boxes": len(rows),
    }
    print(json.dumps(facts | {"jsonl_bytes": written}))


def peak_bytes() -> int:
    """Return this process's peak of resident memory. Linux's own count starts anew with a program, unlike getrusage's."""
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_a_process(*words: object) -> tuple[str, float]:
    """Run this file with other words; return what it printed and its seconds."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{words[0]} failed with code {done.returncode}")
    return done.stdout, time.perf_counter() - started


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="20000x15000", help="width and height of the image in pixels")
    parser.add_argument("--tile", default="auto")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--conf", type=float, default=0.8, help="so high that the network finds some tens of boxes in a tile")
    parser.add_argument("--weights")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yolo-ema-memory-") as name:
        folder = Path(name)
        image, weights = folder / "large.jpg", options.weights
        in_a_process("draw", image, *options.size.split("x"))
        if not weights:
            from lively_weights import lively_model, save

            weights = save(lively_model("tiny"), folder / "tiny.pt")
        printed, seconds = in_a_process("look", image, weights, options.imgsz, options.tile, options.conf, folder / "out")
        megabytes = image.stat().st_size / 1e6
    facts = {"size": options.size, "jpeg_mb": round(megabytes, 1), "seconds": round(seconds, 1)}
    facts |= json.loads(printed)
    if options.json:
        print(json.dumps(facts))
    else:
        print("\n".join(f"{key:12} {value}" for key, value in facts.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        draw(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["look"]:
        look(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5], float(sys.argv[6]), Path(sys.argv[7]))
    else:
        main()
