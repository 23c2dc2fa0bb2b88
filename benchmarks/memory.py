"""How much memory a large image needs on its way to ``detections.jsonl`` in tiles.

    python benchmarks/memory.py [--size 20000x15000] [--tile auto] [--imgsz 640] [--conf 0.8]
    [--weights FILE] [--json]

Draws the image, writes it as a JPEG, and runs ``yolo-ema detect`` on it in a process of its own,
whose peak of resident memory the kernel tells: starting, decoding, tiles, network, merging and
writing. Without ``--weights`` the network is a small one with random layers that finds many boxes:
memory depends on the size of image and network, not on what it has learned.
"""

from __future__ import annotations

import argparse
import json
import os
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
    cv2.imwrite(
        str(path), np.tile(patch, (-(-height // 750), -(-width // 1000), 1))[:height, :width]
    )


def random_weights(path: Path) -> None:
    """Write weights of a small network."""
    from lively_weights import lively_model, save

    save(lively_model("tiny"), path)


def detect(image: Path, weights: str, out: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run the command as a user does; return what it says and took."""
    words = [
        sys.executable,
        "-m",
        "yolo_ema",
        "detect",
        str(image),
        "--weights",
        weights,
        "--save",
        "jsonl",
        "--out",
        str(out),
    ]
    words += [
        "--tile",
        options.tile,
        "--imgsz",
        str(options.imgsz),
        "--conf",
        str(options.conf),
        "--max-det",
        "100000",
        "--json",
    ]
    started = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as command:
        assert command.stdout is not None
        printed = command.stdout.read()
        _, status, used = os.wait4(command.pid, 0)
        command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode:
        sys.exit(f"detect failed with code {command.returncode}")
    told = json.loads(printed)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gb": round(used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9, 3),
        "plan": next(iter(told["tiling"].values())),
        "boxes": told["sources"][0]["objects"],
        "jsonl_bytes": (out / "detections.jsonl").stat().st_size,
    }


def in_a_process(*words: object) -> None:
    """Run this file with other words: what they need stays out of this process, whose size would
    count in its children's peaks.
    """
    done = subprocess.run([sys.executable, __file__, *map(str, words)], check=False)
    if done.returncode:
        sys.exit(f"{words[0]} failed with code {done.returncode}")


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", default="20000x15000", help="width and height of the image in pixels"
    )
    parser.add_argument("--tile", default="auto")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument(
        "--conf",
        type=float,
        default=0.8,
        help="so high that the network finds some tens of boxes in a tile",
    )
    parser.add_argument("--weights")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yolo-ema-memory-") as name:
        folder = Path(name)
        image, weights = folder / "large.jpg", options.weights
        in_a_process("draw", image, *options.size.split("x"))
        if not weights:
            weights = str(folder / "tiny.pt")
            in_a_process("weights", weights)
        facts = {"size": options.size, "jpeg_mb": round(image.stat().st_size / 1e6, 1)}
        facts |= detect(image, weights, folder / "out", options)
    if options.json:
        print(json.dumps(facts))
    else:
        print("\n".join(f"{key:12} {value}" for key, value in facts.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        draw(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["weights"]:
        random_weights(Path(sys.argv[2]))
    else:
        main()
