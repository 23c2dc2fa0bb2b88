"""The process of one runtime: it loads nothing else, and answers each line of its standard input
with a line of JSON.

    {"do": "machine", …}           describes the machine, and says if the weights are refused
    {"do": "open", "weights": …}   loads the runtime and the images, and warms up
    {"do": "time", …}              runs on each image once, and returns the times
    {"do": "boxes"}                returns the boxes of all images
    {"do": "export", …}            writes the weights in another format

It ends when its standard input does. What libraries print goes to its standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yolo_ema.errors import WeightsError, YoloEmaError
from yolo_ema.io.machine import peak_memory_bytes

_WARM_UP = 3
_PACKAGES = {
    "pt": "torch",
    "torchscript": "torch",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "engine": "tensorrt",
    "coreml": "coremltools",
    "saved_model": "tensorflow",
    "pb": "tensorflow",
    "litert": "ai-edge-litert",
    "mnn": "MNN",
    "paddle": "paddlepaddle",
    "executorch": "executorch",
}


@dataclass
class Runner:
    """A runtime and the images that it runs on."""

    runtime: Any = None
    images: list[Any] = field(default_factory=list)

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out an order."""
        orders: dict[str, Callable[..., dict[str, Any]]] = {
            "machine": self.machine,
            "open": self.open,
            "time": self.time,
            "boxes": self.boxes,
            "export": self.export,
        }
        return orders[order.pop("do")](**order)

    def machine(self, *, weights: str, trust: bool) -> dict[str, Any]:
        """Return the hardware, the versions of the packages, and why the weights are refused, or ""
        if they are not.
        """
        from yolo_ema.engine.training.run_record import hardware, versions
        from yolo_ema.engine.weights.loading import load_model

        refused = ""
        try:
            load_model(weights, trust=trust)
        except WeightsError as error:
            refused = str(error)
        return {"hardware": hardware(), "versions": versions(), "refused": refused}

    def open(
        self, *, weights: str, images: Sequence[str], imgsz: Sequence[int] | None, **settings: Any
    ) -> dict[str, Any]:
        """Load a runtime of fixed input size, warm it up on every image shape, and describe it."""
        from yolo_ema.engine.prediction.torch_predictor import open_predictor
        from yolo_ema.media.sources.image_reader import read_image

        self.images = [read_image(Path(image)) for image in images]
        before = peak_memory_bytes()
        size = None if imgsz is None else (imgsz[0], imgsz[-1])
        self.runtime = open_predictor(weights, imgsz=size, rectangular=False, **settings)
        for image in [*self.images, *self.images[:1] * _WARM_UP]:
            self.runtime([image])
        package, backend = _PACKAGES.get(self.runtime.format, ""), self.runtime.backend
        metadata = self.runtime.metadata
        return {
            "format": self.runtime.format,
            "imgsz_hw": list(self.runtime.imgsz_hw),
            "device": self.runtime.device,
            "batched": self.runtime.batched,
            "nms_free": metadata is not None and metadata.nms_free,
            "stored_precision": backend.stored,
            "computed_precision": backend.computed,
            "threads": backend.threads,
            "version": f"{package} {_version(package)}".strip(),
            "memory_before_bytes": before,
            "peak_memory_bytes": peak_memory_bytes(),
            "gpu_memory_bytes": self._gpu_memory_bytes(),
        }

    def time(self, *, batch: int) -> dict[str, Any]:
        """Run on each image by itself, then, if the runtime takes several, on ``batch`` of them in
        one call.

        Returns:
            ``seconds`` and ``network_seconds`` of each call, mean ``cpu_seconds`` of a call over
            all threads, and ``batch_seconds`` of the call with several images, None without one.
        """
        seconds, network, before = [], [], time.process_time()
        for image in self.images:
            seconds.append(self._seconds([image]))
            network.append(self.runtime.seconds["inference"])
        cpu = (time.process_time() - before) / len(self.images)
        several = [self.images[number % len(self.images)] for number in range(batch)]
        batch_seconds = self._seconds(several) if batch > 1 and self.runtime.batched else None
        return {
            "seconds": seconds,
            "network_seconds": network,
            "cpu_seconds": cpu,
            "batch_seconds": batch_seconds,
        }

    def boxes(self) -> dict[str, Any]:
        """Return the boxes (N, 6) and the size of each image."""
        return {
            "boxes": [self.runtime([image])[0].tolist() for image in self.images],
            "sizes_hw": [image.shape[:2] for image in self.images],
        }

    def export(
        self, *, weights: str, format_name: str, folder: str, trust: bool, **settings: Any
    ) -> dict[str, Any]:
        """Write the weights in another format into a folder, unproven."""
        from yolo_ema.engine.export.exporting import export_artifact
        from yolo_ema.engine.weights.loading import load_model
        from yolo_ema.options.export import ExportOptions

        calibrate = tuple(map(Path, settings.pop("calibrate")))
        options = ExportOptions(
            weights=Path(weights),
            format=(format_name,),
            calibrate=calibrate,
            trust=trust,
            imgsz=tuple(settings.pop("imgsz")),
            **settings,
        )
        made = export_artifact(
            format_name, options, load_model(options.weights, trust=trust), Path(folder)
        )
        return {"path": str(made.path), "imgsz_hw": list(made.imgsz_hw), "seconds": made.seconds}

    def _seconds(self, images: list[Any]) -> float:
        """Return how long a call takes. It ends when its boxes are in main memory, so a GPU is done
        by then, too.
        """
        self._wait_for_gpu()
        started = time.perf_counter()
        self.runtime(images)
        self._wait_for_gpu()
        return time.perf_counter() - started

    def _wait_for_gpu(self) -> None:
        if self.runtime.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self.runtime.device)

    def _gpu_memory_bytes(self) -> int | None:
        """Return the most memory that torch has held on the GPU, without other libraries' share."""
        if not self.runtime.device.startswith("cuda"):
            return None
        import torch

        return int(torch.cuda.max_memory_allocated(self.runtime.device))


def _version(package: str) -> str:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:  # an import's name, of which the distribution bears another
        return ""


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Ctrl-C reaches the whole group; the parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runner = Runner()
    for line in sys.stdin:
        try:
            answer = runner.answer(json.loads(line))
        except YoloEmaError as error:
            answer = {"error": str(error)}
        except (
            Exception
        ) as error:  # each runtime has errors of its own; whatever it is, it is this row's
            answer = {
                "error": f"{type(error).__name__}: "
                f"{(str(error).strip() or 'no message').splitlines()[0][:300]}"
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
