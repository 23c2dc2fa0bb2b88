"""A worker as a process of its own: options and then jobs come in at standard input, a line of JSON
each, and outcomes go out at standard output.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from yolo_ema.archive.job import Job
from yolo_ema.archive.worker import Worker
from yolo_ema.errors import YoloEmaError
from yolo_ema.options.archive import ArchiveOptions

_LOOK_S = 1.0


def as_order(options: ArchiveOptions) -> str:
    """Return options as the first line that a worker's process expects."""
    values = dataclasses.asdict(options)
    return json.dumps(values, default=str)  # paths


def main() -> int:
    """Run the jobs that come in until no more can come."""
    # Standard output carries the outcomes alone, whatever libraries print.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as outcomes:
        os.dup2(2, 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends this
        signal.signal(signal.SIGTERM, _end)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

        def say(content: dict[str, Any]) -> None:
            outcomes.write(json.dumps(content) + "\n")
            outcomes.flush()

        try:
            worker = Worker(_options(sys.stdin.readline()))
        except YoloEmaError as error:
            say({"refused": str(error), "kind": type(error).__name__})
            return error.exit_code
        say({"ready": os.getpid()})
        for line in sys.stdin:
            order = json.loads(line)
            outcome = worker.run(Job.from_line(order["job"]), order["attempts"])
            say(dataclasses.asdict(outcome))
    return 0


def _options(line: str) -> ArchiveOptions:
    values = json.loads(line)
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return ArchiveOptions(**fields)


def _end_with(parent: int) -> None:
    """End this process soon after its parent was killed, which otherwise shows between two jobs
    alone; on Windows it does so still.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _end(_number: int, _frame: Any) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
