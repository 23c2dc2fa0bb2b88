"""Nothing is installed, and only training and data preparation download: proven with the network
and new processes blocked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import pytest
import yaml
from lively_weights import lively_model, picture, save
from tiny_dataset import NAMES, draw_dataset

TESTS = Path(__file__).resolve().parent.parent

GUARD = """
import os, sys

BLOCKED = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
           "urllib.Request", "http.client.connect", "subprocess.Popen", "os.system",
           "os.posix_spawn", "os.exec", "os.fork", "os.forkpty"}
HARMLESS = {"lscpu", "uname", "ldconfig", "xpu-smi"}

def guard(event, arguments):
    if event in BLOCKED and not _harmless(event, arguments):
        os.write(2, f"BLOCKED {event} {arguments!r:.300}\\n".encode())
        raise PermissionError(f"{event} is blocked")

def _harmless(event, arguments):
    # torch and the standard library ask the machine about itself through these.
    return event == "subprocess.Popen" and os.path.basename(str(arguments[0])) in HARMLESS

sys.addaudithook(guard)
"""


def guarded(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh process in which network and new processes raise, and say so."""
    path = folder / "script.py"
    path.write_text(GUARD + textwrap.dedent(script), encoding="utf-8")
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("YOLO_", "ULTRALYTICS_", "NO_ALBUMENTATIONS_"))
    }
    environment |= {
        "YOLO_EMA_CACHE": str(folder / "cache"),
        "HOME": str(folder),
        "PYTHONPATH": str(TESTS),
        **variables,
    }
    return subprocess.run(
        [sys.executable, str(path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("guarded")
    save(lively_model("tiny"), place / "tiny.pt")
    for seed in range(2):
        cv2.imwrite(str(place / f"{seed}.png"), picture(seed))
    return place


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import socket; socket.getaddrinfo('example.com', 80)",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')",
        "import subprocess, sys; subprocess.run([sys.executable, '-m', 'pip', 'install', 'x'])",
        "import os; os.system('true')",
        (
            "from ultralytics.utils.downloads import safe_download; "
            "safe_download('http://192.0.2.1/x.pt', retry=0)"
        ),
        "import pip._internal.cli.main as m; import subprocess; subprocess.Popen(['true'])",
    ],
)
def test_the_guard_catches_attempts(tmp_path, attempt):
    done = guarded(attempt, tmp_path)
    assert done.returncode != 0
    assert "BLOCKED" in done.stderr


def test_plain_ultralytics_would_be_caught(tmp_path):
    """Without the environment that the engine sets, the very import of Ultralytics asks the
    network.
    """
    assert "BLOCKED socket.getaddrinfo" in guarded("import ultralytics", tmp_path).stderr


WORK = """
    import cv2
    from pathlib import Path
    {first}
    from yolo_ema.deploy.publish import export
    from yolo_ema.engine.weights.loading import load_model
    from yolo_ema.engine.prediction.torch_predictor import open_predictor
    from yolo_ema.options.export import ExportOptions

    assert load_model("tiny.pt").stride == 32
    images = [cv2.imread(f"{{seed}}.png") for seed in range(2)]
    assert all(len(rows) for rows in open_predictor("tiny.pt", device="cpu")(images))
    made = export(ExportOptions(weights=Path("tiny.pt"), out=Path("out"), imgsz=(192, 320)))
    assert made.files[0].parity.passed
    assert all(len(rows) for rows in open_predictor(made.path, device="cpu")(images))
    print("done")
"""


@pytest.mark.slow
def test_loading_detecting_and_exporting_need_no_network_and_no_process(folder):
    done = guarded(WORK.format(first=""), folder)
    assert done.returncode == 0, done.stderr
    assert "BLOCKED" not in done.stderr
    assert done.stdout.splitlines()[-1] == "done"


@pytest.mark.slow
def test_the_same_where_the_user_imported_ultralytics_first(folder):
    """Its own import may have used the network; what this project does afterwards must not."""
    done = guarded(
        WORK.format(first='import ultralytics; import os; os.write(2, b"IMPORTED")'), folder
    )
    assert done.returncode == 0, done.stderr
    assert "BLOCKED" not in done.stderr.partition("IMPORTED")[2]


@pytest.mark.slow
def test_validating_needs_no_network_and_no_process(folder):
    data_yaml = draw_dataset(folder / "data", train=2, val=2)
    model = lively_model("tiny", classes=2)
    model.names = dict(enumerate(NAMES))
    save(model, folder / "two.pt")
    script = f"""
        from pathlib import Path
        from yolo_ema.evaluate.validation import validate
        from yolo_ema.options.val import ValOptions
        validate(ValOptions(weights=Path("two.pt"), data={str(data_yaml)!r}, device="cpu"))
        print("done")
    """
    done = guarded(script, folder)
    assert done.returncode == 0, done.stderr
    assert "BLOCKED" not in done.stderr
    assert done.stdout.splitlines()[-1] == "done"


@pytest.mark.slow
def test_missing_packages_are_not_installed(folder):
    script = """
        import ultralytics  # with its own automatic installation on
        import os; os.write(2, b"IMPORTED")
        from pathlib import Path
        from yolo_ema.deploy.publish import export
        from yolo_ema.errors import MissingPackageError
        from yolo_ema.options.export import ExportOptions
        try:
            export(ExportOptions(weights=Path("tiny.pt"), format=("paddle",), prove=False))
        except MissingPackageError as error:
            print(error)
    """
    done = guarded(script, folder, YOLO_AUTOINSTALL="true")
    assert "paddle" in done.stdout, done.stderr
    assert "BLOCKED" not in done.stderr.partition("IMPORTED")[2]


@pytest.mark.slow
def test_weights_that_name_a_missing_module_install_nothing(folder):
    script = """
        import sys, types, torch
        module = types.ModuleType("not_on_this_machine")
        exec("class Layer: pass", module.__dict__)
        module.Layer.__module__ = "not_on_this_machine"
        sys.modules["not_on_this_machine"] = module
        torch.save({"model": module.Layer()}, "strange.pt")
        del sys.modules["not_on_this_machine"]
        from yolo_ema.engine.weights.loading import load_model
        from yolo_ema.errors import WeightsError
        for trust in (False, True):
            try:
                load_model("strange.pt", trust=trust)
            except WeightsError as error:
                print(type(error).__name__, error)
    """
    done = guarded(script, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not_on_this_machine") == 2
    assert "BLOCKED" not in done.stderr


@pytest.mark.slow
def test_downloads_are_refused(folder):
    script = """
        import torch, torchvision
        from yolo_ema.engine.setup.no_network_no_install import no_network_no_install
        from yolo_ema.errors import OfflineError
        from ultralytics.utils import checks, downloads
        from ultralytics.data import utils
        from ultralytics.nn.modules import TorchVision
        url = "http://192.0.2.1/yolo11n.pt"
        attempts = (
            lambda: downloads.safe_download(url),
            lambda: utils.safe_download(url),
            lambda: checks.check_file(url),
            lambda: downloads.attempt_download_asset("yolo11n.pt"),
            lambda: torch.hub.load("a/b", "c"),
            lambda: torch.hub.load_state_dict_from_url(url),
            lambda: TorchVision("resnet18"),
        )
        with no_network_no_install():
            assert not checks.AUTOINSTALL
            for attempt in attempts:
                try:
                    attempt()
                except OfflineError as error:
                    assert isinstance(error, ConnectionError)
                    print("refused")
        try:
            downloads.safe_download(url, retry=0)
        except Exception as error:
            assert not isinstance(error, OfflineError), error
            print("tried")
    """
    done = guarded(script, folder)
    assert done.stdout.split().count("refused") == 7, done.stderr + done.stdout
    assert done.stdout.split().count("tried") == 1
    assert done.stderr.count("BLOCKED") >= 1, "outside of the block the guard must have met it"


HOSTILE = """
    {first}
    import os
    os.write(2, b"IMPORTED")
    from pathlib import Path
    from yolo_ema.errors import YoloEmaError
    from yolo_ema.cli import main
    for words in (
        "detect 0.png --weights hostile.pt",
        "export --weights hostile.pt",
        "val --weights hostile.pt --data coco8.yaml",
        "train --model hostile.pt --data coco8.yaml --offline",
        "train --model hostile.yaml --pretrained none --data coco8.yaml --offline",
    ):
        print("exit", main(words.split()))
    assert "YOLO_EMA_TEST_CODE_RAN" not in os.environ
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "safe_load"),
    [
        ("import ultralytics", "0"),
        ("import ultralytics.nn.tasks, torch", "1"),
        ("import yolo_ema", "0"),
    ],
)
def test_no_verb_runs_a_files_code_in_any_order_of_imports(folder, first, safe_load):
    """A description that Ultralytics would evaluate, and one that would download."""
    evil = "(__import__('os').environ.__setitem__('YOLO_EMA_TEST_CODE_RAN', '1'), nn.SiLU())[1]"
    model = lively_model("tiny")
    model.yaml["activation"] = evil
    save(model, folder / "hostile.pt")
    rows = {**model.yaml, "backbone": [[-1, 1, "TorchVision", [16, "resnet18", "DEFAULT"]]]}
    (folder / "hostile.yaml").write_text(yaml.safe_dump(rows))
    done = guarded(
        HOSTILE.format(first=first),
        folder,
        ULTRALYTICS_SAFE_LOAD=safe_load,
        YOLO_AUTOINSTALL="true",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("exit")[1:] == [" 4\n"] * 4 + [" 2\n"], done.stdout + done.stderr
    assert "BLOCKED" not in done.stderr.partition("IMPORTED")[2]
    assert done.stderr.count("hostile.pt is refused: its model description: the activation") == 4
