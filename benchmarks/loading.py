"""What a training image costs before it reaches the network: reading, mosaic, augmentation; in
processor time of one thread.

    python benchmarks/loading.py --data visdrone [--imgsz 640] [--images 200] [--json]

Times the dataset that ``yolo-ema train`` reads, with Ultralytics' default augmentations, after a
warm-up that fills the mosaic's buffer. On a GPU, images arrive at best at (number of loader
processes) / (this time), each process on a core of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

_WARM_UP = 40


def milliseconds(data: str, imgsz: int, count: int) -> float:
    """Return the mean processor time of an item in milliseconds."""
    from ultralytics.cfg import get_cfg

    from yolo_ema.engine.data.data_yaml import read_data
    from yolo_ema.engine.data.dataset_lookup import resolve_data
    from yolo_ema.engine.data.drone_dataset import build_train_dataset
    from yolo_ema.options.drone import DroneOptions

    content = read_data(resolve_data(data, offline=True))
    arguments = get_cfg(overrides={"imgsz": imgsz})
    dataset = build_train_dataset(
        arguments,
        content["train"],
        16,
        content,
        drone=DroneOptions(),
        mode="train",
        stride=32,
        rect=False,
    )
    order = [(31 * number) % len(dataset) for number in range(count + _WARM_UP)]
    for index in order[:_WARM_UP]:
        dataset[index]
    started = time.process_time()
    for index in order[_WARM_UP:]:
        dataset[index]
    return 1000 * (time.process_time() - started) / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="visdrone")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cost = milliseconds(options.data, options.imgsz, options.images)
    result = {"imgsz": options.imgsz, "images": options.images, "ms_per_image": round(cost, 1)}
    print(
        json.dumps(result)
        if options.json
        else f"{cost:.1f} ms of processor time for an image at {options.imgsz}"
    )


if __name__ == "__main__":
    main()
