"""A training through the command line that is ended by SIGTERM and resumed."""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import time
from pathlib import Path

from yolo_ema.doctor.gpu.drawn import dataset
from yolo_ema.doctor.gpu.place import Finding, Place
from yolo_ema.io.atomic_files import read_json
from yolo_ema.io.child_process import module_command

_EPOCHS = 4
_POLL_S = 0.02
_INTERRUPTED = 130


def resume(place: Place) -> Finding:
    """Train with ``yolo-ema train``, end it after its first epoch, and let ``--resume`` finish."""
    finding, run = Finding(), place.folder / "run"
    first = _start(place, _words(place))
    last = run / "weights" / "last.pt"
    while first.poll() is None and not last.exists():
        time.sleep(_POLL_S)
    with contextlib.suppress(ProcessLookupError):
        first.send_signal(signal.SIGTERM)
    code = first.wait()
    finding.expect(
        code == _INTERRUPTED, f"ended by SIGTERM it exits with {code}; expected {_INTERRUPTED}"
    )
    if code != _INTERRUPTED:
        return finding
    done = len(read_json(run / "run.json")["epochs"])
    finding.measured["epochs_before"] = done
    second = _start(place, ["train", "--resume", str(last), "--device", place.device])
    code = second.wait()
    finding.expect(code == 0, f"resumed it exits with {code}; expected 0")
    record = read_json(run / "run.json")
    finding.measured |= {"epochs": len(record["epochs"]), "status": record["status"]}
    finding.expect(record["status"] == "finished", f"the record says {record['status']}")
    numbers = [entry["epoch"] for entry in record["epochs"]]
    finding.expect(numbers == [*range(1, _EPOCHS + 1)], f"the record has the epochs {numbers}")
    losses = [value for entry in record["epochs"] for key, value in entry.items() if "_loss" in key]
    finding.expect(
        all(value is not None and math.isfinite(value) for value in losses),
        "a loss is not a number",
    )
    return finding


def _words(place: Place) -> list[str]:
    return [
        *("train", "--data", str(dataset(place)), "--model", "yolo11n-ema", "--pretrained", "none"),
        *("--imgsz", str(place.size(320, 64)), "--batch", str(place.size(16, 2))),
        *("--epochs", str(_EPOCHS), "--workers", "0", "--device", place.device),
        *("--project", str(place.folder), "--name", "run", "--loggers", "none", "--offline"),
        "plots=false",
    ]


def _start(place: Place, words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this interpreter and this package
        module_command("yolo_ema", *words), cwd=Path(place.folder)
    )
