"""What is assumed about OpenVINO and NNCF: without their package of telemetry they report their use
to nobody.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import socket
import yolo_ema.engine
def refuse(*arguments, **named):
    print("CONNECTS", flush=True)
    raise OSError("refused")
socket.socket.connect = socket.getaddrinfo = refuse
import nncf, openvino, torch
from nncf.telemetry import wrapper
wrapper.telemetry.send_event("a", "b", "c")
traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1, 2))
openvino.convert_model(traced, example_input=torch.zeros(1, 2))
print("DONE")
"""


@pytest.mark.slow
def test_openvino_and_nncf_are_silent_without_openvino_telemetry():
    pytest.importorskip("nncf")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert "CONNECTS" not in done.stdout + done.stderr
    assert done.stdout.endswith("DONE\n")
