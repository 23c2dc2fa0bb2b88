"""What it costs that torch's threads wait by spinning: one image through the network, on all cores,
for several settings.

    python benchmarks/spinning.py --weights yolo11n.pt [--rounds 9] [--passes 20] [--json]

Each measurement is a child process, since the setting is read when torch is loaded; the settings
take turns in rounds. The table gives the median and the quartiles of all passes and the median of
their processor time. "as torch has it" is without any setting. Run it on a quiet machine and beside
other work: the time on the clock answers whether sleeping costs anything, the processor time what
spinning takes from others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

SETTINGS = {
    "as torch has it": {"GOMP_SPINCOUNT": ""},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}
NAMES = (
    "OMP_NUM_THREADS",
    "YOLO_EMA_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
)
CHILD = """
import json, sys, time
if sys.argv[3]:
    import torch  # before this project sets its own default
from yolo_ema.engine.prediction.torch_predictor import open_predictor
import numpy as np
runtime = open_predictor(sys.argv[1], device="cpu", imgsz=640, trust=True)
image = np.random.default_rng(0).integers(0, 255, (640, 640, 3), dtype=np.uint8)
runtime([image]), runtime([image])
found = []
for _ in range(int(sys.argv[2])):
    start, start_cpu = time.perf_counter(), time.process_time()
    runtime([image])
    found.append((time.perf_counter() - start, time.process_time() - start_cpu))
print(json.dumps(found))
"""


def main() -> None:
    """Run, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    clean = {key: value for key, value in os.environ.items() if key not in NAMES}
    for _ in range(options.rounds):
        for name, variables in SETTINGS.items():
            chosen = {key: value for key, value in variables.items() if value}
            command = [
                sys.executable,
                "-c",
                CHILD,
                options.weights,
                str(options.passes),
                "" if chosen else "torch first",
            ]
            done = subprocess.run(
                command, env=clean | chosen, capture_output=True, text=True, check=True
            )
            found[name] += json.loads(done.stdout.splitlines()[-1])
    rows = []
    for name, passes in found.items():
        seconds, cpu = zip(*passes, strict=True)
        low, middle, high = (1e3 * one for one in statistics.quantiles(seconds, n=4))
        rows.append(
            {
                "what": name,
                "median_ms": middle,
                "quartiles_ms": [low, high],
                "cpu_ms": 1e3 * statistics.median(cpu),
            }
        )
    if options.json:
        print(json.dumps({"load": os.getloadavg()[0], "rows": rows}))
        return
    print(f"load {os.getloadavg()[0]:.1f}\n\n| | ms | quartiles | CPU ms |\n|---|--:|--:|--:|")
    for row in rows:
        low, high = row["quartiles_ms"]
        print(
            f"| {row['what']} | {row['median_ms']:.0f} | {low:.0f}–{high:.0f} | "
            f"{row['cpu_ms']:.0f} |"
        )


if __name__ == "__main__":
    main()
