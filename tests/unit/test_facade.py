from __future__ import annotations

import subprocess
import sys

import pytest

import yolo_ema


def test_every_public_name_is_there():
    for name in yolo_ema.__all__:
        assert getattr(yolo_ema, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Detektor"):
        _ = yolo_ema.Detektor


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, yolo_ema, yolo_ema.cli; print(sorted({'torch', 'ultralytics', 'cv2', "
        "'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
