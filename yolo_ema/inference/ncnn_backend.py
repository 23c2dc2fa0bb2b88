"""ncnn folders on the CPU."""

from __future__ import annotations

import platform

import numpy as np

from yolo_ema.inference.backend import ExportedBackend
from yolo_ema.inference.file_metadata import yaml_entries


class NcnnBackend(ExportedBackend):
    """An ncnn folder. Its maps have no axis for several images."""

    suffix = ".param"

    def _open(self) -> None:
        import ncnn

        self._describe(yaml_entries(self.file), ())
        self._ncnn, self._net = ncnn, ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = self._threads_each
        self._net.opt.openmp_blocktime = 0
        if self._config.precision != "auto":
            for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic"):
                setattr(self._net.opt, f"use_{name}", False)
            self._net.opt.use_bf16_storage = self._config.precision == "bf16"
        if self._net.load_param(str(self.file)) or self._net.load_model(
            str(self.file.with_suffix(".bin"))
        ):
            raise ValueError("ncnn cannot read it")
        self._input, self._output = self._net.input_names()[0], self._net.output_names()[0]

    def _told_precision(self) -> str:
        """Return what ncnn may use; on ARM it then takes fp16 where the processor can."""
        options = self._net.opt
        halves = options.use_fp16_storage and platform.machine().lower() in {"aarch64", "arm64"}
        return "fp16" if halves else "bf16" if options.use_bf16_storage else "fp32"

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Return the answer to prepared images."""
        return np.stack([self._forward_one(image) for image in batch])

    def _forward_one(self, image: np.ndarray) -> np.ndarray:
        with self._net.create_extractor() as extractor:
            extractor.input(self._input, self._ncnn.Mat(image))
            code, answer = extractor.extract(self._output)
            if code:
                raise RuntimeError(f"ncnn ends with code {code}")
            return np.array(answer)
