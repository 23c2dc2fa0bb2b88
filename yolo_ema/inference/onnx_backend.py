"""ONNX files in ONNX Runtime on the CPU. Threads that wait do not spin: on a busy machine they
would burn the time that others need.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolo_ema.errors import DamagedWeightsError
from yolo_ema.inference.backend import ExportedBackend

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxBackend(ExportedBackend):
    """An ONNX file in ONNX Runtime."""

    suffix = ".onnx"

    def _open(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads_each
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # it warns of what it puts right by itself
        self._session = onnxruntime.InferenceSession(
            str(self.file), options, providers=["CPUExecutionProvider"]
        )
        (images, *others), answer = self._session.get_inputs(), self._session.get_outputs()[0]
        if others or images.type not in _TYPES:
            inputs = ", ".join(f"{tensor.name} {tensor.type}" for tensor in (images, *others))
            raise DamagedWeightsError(
                f"{self.file} takes {inputs}; expected one input of images in float32 or float16"
            )
        self._output, self._input, self._type = answer.name, images.name, _TYPES[images.type]
        self.dynamic = isinstance(answer.shape[0], str)
        sides = images.shape[2:]
        if not self.dynamic and len(sides) == 2 and all(isinstance(side, int) for side in sides):
            self.imgsz_hw = (sides[0], sides[1])
        self._describe(self._session.get_modelmeta().custom_metadata_map, answer.shape)

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each image as (1, 3, H, W), RGB in 0…1."""
        return [blob.astype(self._type, copy=False) for blob in super().prepare(images_bgr)]

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Return the answer to prepared images."""
        return self._session.run([self._output], {self._input: batch})[0]
