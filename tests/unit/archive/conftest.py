"""Archives need pyarrow and ONNX Runtime."""

from __future__ import annotations

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("onnxruntime")
