"""What int8 for OpenVINO assumes about NNCF: told that it runs in CI, it reports its use to nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import socket
def refuse(*arguments, **named):
    print("CONNECTS")
    raise OSError("refused")
socket.socket.connect = socket.getaddrinfo = refuse
import nncf
from nncf.telemetry import wrapper
wrapper.telemetry.send_event("a", "b", "c")
print(type(wrapper.telemetry).__name__)
"""


@pytest.mark.slow
def test_nncf_is_silent_where_it_is_told_to_be_in_ci():
    pytest.importorskip("nncf")
    environment = {**os.environ, "NNCF_CI": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert "CONNECTS" not in done.stdout
    assert done.stdout.split()[-1] == "MagicMock"
