"""What safe loading, the runtime and the export assume about the insides of Ultralytics and
torch.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import torch
import ultralytics
from torch import _weights_only_unpickler as unpickler
from ultralytics.engine import exporter, predictor
from ultralytics.nn import autobackend, tasks
from ultralytics.nn.modules.head import Detect
from ultralytics.utils import checks, downloads, nms, patches

from yolo_ema.engine.weights import pickle_gate
from yolo_ema.options.export import FORMATS

SOURCE = Path(ultralytics.__file__).parent


def files_with(text: str) -> set[str]:
    return {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if text in path.read_text(encoding="utf-8")
    }


def test_every_torch_load_goes_through_one_function_that_looks_it_up_when_called():
    """`guarded_torch_load` replaces ``torch.load``; nobody may hold the old one."""
    assert files_with("torch.load(") <= {"utils/patches.py", "nn/tasks.py", "utils/export/deepx.py"}
    assert "torch.load(*args, **kwargs)" in inspect.getsource(patches.torch_load)
    assert not files_with("from torch import load")


def test_the_loads_that_bypass_safe_loading_are_known():
    """Stripping the optimizer after training, tuning, and the state for further processes: all
    through ``torch_load``.
    """
    known = {
        "utils/patches.py",
        "utils/torch_utils.py",
        "utils/dist.py",
        "nn/tasks.py",
        "engine/trainer.py",
    }
    others = {
        "models/nas/model.py",
        "models/sam/build.py",
        "models/sam/build_sam3.py",
        "models/yolo/depth/calibrate.py",
    }
    others |= {"models/yolo/world/train.py", "models/yolo/yoloe/train.py"}
    assert files_with("torch_load(") == known | others


def test_a_missing_module_would_be_installed_by_ultralytics_own_loading():
    """Why its loading is never asked to unpickle everything."""
    assert "check_requirements(e.name)" in inspect.getsource(tasks.torch_safe_load)


def test_rebuilding_a_model_evaluates_its_activation():
    """Why a description's activation is checked when weights are loaded."""
    assert "eval(act)" in inspect.getsource(tasks.parse_model)
    assert "globals()[m]" in inspect.getsource(tasks.parse_model)


def test_torch_reads_only_the_operations_that_the_gate_follows():
    source = inspect.getsource(unpickler.Unpickler.load)
    for name in pickle_gate._OPCODES:
        assert name in source, name
    read = set(re.findall(r"\b([A-Z0-9_]+)\[0\]", source))
    assert read == pickle_gate._OPCODES


def test_torch_calls_only_allowed_objects():
    source = inspect.getsource(unpickler.Unpickler.load)
    assert "func not in _get_allowed_globals().values()" in source
    assert (
        'hasattr(inst, "__setstate__")' in source
    )  # which an earlier filling could plant: objects are filled once


def test_torchs_archive_reader_finds_the_pickle_that_torch_reads():
    assert "PyTorchFileReader" in inspect.getsource(torch.serialization._open_zipfile_reader)
    assert 'get_record("data.pkl")' in inspect.getsource(
        torch.serialization.get_unsafe_globals_in_checkpoint
    )


def test_numpy_scalars_are_pickled_as_kind_and_bytes():
    function, (kind, raw) = np.float32(0.5).__reduce__()
    assert f"{function.__module__}.{function.__name__}" in pickle_gate._FUNCTIONS
    assert (kind.str, raw) == ("<f4", np.float32(0.5).tobytes())
    assert kind.__reduce__()[1][0] == "f4"


def test_the_formats_are_those_of_ultralytics():
    assert set(FORMATS) == set(exporter.export_formats()["Argument"]) - {"-"}


def test_autobackend_takes_a_module_and_the_head_to_use():
    parameters = inspect.signature(autobackend.AutoBackend.__init__).parameters
    assert {"model", "device", "fp16", "verbose", "end2end"} <= set(parameters)
    assert autobackend.AutoBackend._model_type("a/b_openvino_model") == "openvino"
    assert autobackend.AutoBackend._model_type("x.pt") == "pt"


def test_prediction_takes_the_head_with_nms_unless_told():
    assert "end2end=self.args.nms is False" in inspect.getsource(
        predictor.BasePredictor.setup_model
    )


def test_prediction_shrinks_the_input_for_images_of_one_shape():
    source = inspect.getsource(predictor.BasePredictor.pre_transform)
    assert "auto=same_shapes" in source
    assert 'self.model.format == "pt"' in source


def test_the_head_keeps_300_unless_told():
    assert Detect.max_det == 300
    assert "self.max_det" in inspect.getsource(Detect.postprocess)
    assert "m.max_det = min(self.args.max_det" in inspect.getsource(exporter.Exporter.__call__)


def test_nms_stops_after_a_time_that_can_be_set():
    assert "max_time_img" in inspect.signature(nms.non_max_suppression).parameters
    assert "time_limit = 2.0 + max_time_img * bs" in inspect.getsource(nms.non_max_suppression)


def test_the_exporter_writes_beside_the_models_path_and_tells_its_metadata_first():
    source = inspect.getsource(exporter.Exporter.__call__)
    assert 'getattr(model, "pt_path", None)' in source
    assert source.index("self.metadata = {") < source.index('self.run_callbacks("on_export_start")')


def test_packages_are_installed_only_where_a_flag_of_the_module_says_so():
    assert "if install and AUTOINSTALL:" in inspect.getsource(
        checks.check_requirements.__wrapped__
        if hasattr(checks.check_requirements, "__wrapped__")
        else checks
    )


def test_downloads_go_through_the_functions_that_are_refused():
    assert files_with("import download, safe_download") == {"data/utils.py"}
    assert "get_github_assets" in inspect.getsource(downloads.attempt_download_asset)
    others = files_with("import safe_download") - {"utils/downloads.py"}
    assert all(
        name.startswith("solutions/") for name in others
    )  # a room that this project never enters
