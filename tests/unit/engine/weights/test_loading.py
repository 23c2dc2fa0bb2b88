"""Weights files: what loads, what is refused, and that nothing of a refused file runs."""

from __future__ import annotations

import builtins
import contextlib
import copy
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lively_weights import tiny_model
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import IterableSimpleNamespace

from yolo_ema.engine.weights.loading import guarded_torch_load, load_checkpoint, load_model
from yolo_ema.errors import DamagedWeightsError, UnsafeWeightsError, WeightsNotFoundError
from yolo_ema.nn import EfficientMultiScaleAttention

MARKER = "YOLO_EMA_TEST_CODE_RAN"


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        return (
            (self.function, self.arguments)
            if self.state is None
            else (self.function, self.arguments, self.state)
        )


@pytest.fixture(scope="module")
def model() -> nn.Module:
    built = tiny_model(3)
    built.names = {0: "car", 1: "bus", 2: "van"}
    return built.eval()


@pytest.fixture
def marker(monkeypatch) -> str:
    """A statement that leaves a mark; the test ends in a failure where it ran."""
    monkeypatch.delenv(MARKER, raising=False)
    yield f"__import__('os').environ.__setitem__({MARKER!r}, '1')"
    assert MARKER not in os.environ, "code of the file ran"


def save(path: Path, content, **how) -> Path:
    torch.save(content, path, **how)
    return path


def checkpoint_of(model: nn.Module, **more) -> dict:
    return {
        "model": copy.deepcopy(model).half(),
        "ema": None,
        "epoch": -1,
        "train_args": {"imgsz": 320},
        **more,
    }


# --------------------------------------------------------------------------------- what loads


def test_best_checkpoint_loads_as_float32_in_eval_mode(tmp_path, model):
    loaded = load_model(
        save(tmp_path / "best.pt", checkpoint_of(model, version="8.4.190", date="2026-01-01"))
    )
    assert loaded.names == {0: "car", 1: "bus", 2: "van"}
    assert (loaded.stride, loaded.imgsz) == (32, 320)
    assert loaded.metadata["version"] == "8.4.190"
    assert loaded.metadata["task"] == "detect"
    assert not loaded.model.training
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert any(isinstance(one, EfficientMultiScaleAttention) for one in loaded.model.modules())
    wanted = copy.deepcopy(model).half().float().state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name


def test_last_checkpoint_with_optimizer_and_moving_average_loads(tmp_path, model):
    """The moving average is what counts, and the optimizer's state comes back whole for a
    resume.
    """
    average = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.add_(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    content = {
        "model": None,
        "ema": average,
        "epoch": 3,
        "best_fitness": np.float64(0.25),
        "stopper": {"best_fitness": np.float32(0.5), "best_epoch": np.int64(2)},
        "optimizer": optimizer.state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "train_args": {"imgsz": 640, "save_dir": pathlib.PosixPath("runs/train"), "classes": None},
        "train_results": {"epoch": [1, 2], "time": [0.5, 1.5]},
        "train_metrics": {"fitness": np.float64(0.125), "done": np.True_},
        "args": IterableSimpleNamespace(lr0=0.1),
    }
    path = save(tmp_path / "last.pt", content)
    back = load_checkpoint(path)
    assert back["best_fitness"] == 0.25
    assert back["stopper"] == {"best_fitness": 0.5, "best_epoch": 2}
    assert back["train_metrics"] == {"fitness": 0.125, "done": True}
    assert back["train_args"]["save_dir"] == Path("runs/train")
    assert back["args"].lr0 == 0.1
    moments = optimizer.state_dict()["state"]
    assert all(
        torch.equal(back["optimizer"]["state"][key]["exp_avg"], moments[key]["exp_avg"])
        for key in moments
    )
    loaded = load_model(path)
    first = next(iter(average.state_dict()))
    assert torch.equal(loaded.model.state_dict()[first], average.state_dict()[first])


def test_fused_model_loads(tmp_path, model):
    """Fusing replaces methods of the layers, which a pickle writes as getattr."""
    content = {"model": copy.deepcopy(model).fuse(verbose=False)}
    loaded = load_model(save(tmp_path / "fused.pt", content))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(loaded.model(image)[0], content["model"](image)[0], atol=1e-4)


@pytest.mark.parametrize(
    "names", [["car", "bus", "van"], {"0": "car", "1": "bus", "2": "van"}], ids=["list", "texts"]
)
def test_names_of_older_files_load(tmp_path, model, names):
    content = checkpoint_of(model)
    content["model"].names = names
    loaded = load_model(save(tmp_path / "old.pt", content))
    assert loaded.names == loaded.model.names == {0: "car", 1: "bus", 2: "van"}


def test_model_saved_without_a_dictionary_loads(tmp_path, model):
    assert load_model(save(tmp_path / "bare.pt", model)).imgsz == 640


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["yolo11n_coco_from_int8.pt", "yolov8n_coco_from_int8.pt"])
def test_pretrained_weights_load(shared, name):
    loaded = load_model(shared / "weights" / name)
    assert loaded.names[0] == "person"
    assert len(loaded.names) == 80


def test_torchs_allow_list_is_as_before(tmp_path, model):
    before = set(torch.serialization.get_safe_globals())
    load_model(save(tmp_path / "best.pt", checkpoint_of(model)))
    assert set(torch.serialization.get_safe_globals()) == before


# ---------------------------------------------------------------------------- what is refused


def exploits(marker: str) -> dict[str, tuple[object, str]]:
    """What would run code, and the global that the refusal must name."""
    return {
        "os.system": (Calls(os.system, f"{sys.executable} -c pass"), "system"),
        "exec": (Calls(exec, marker), "builtins.exec"),
        "eval": (Calls(eval, marker), "builtins.eval"),
        "subprocess": (Calls(subprocess.Popen, [sys.executable, "-c", "pass"]), "subprocess.Popen"),
        "import": (Calls(__import__, "antigravity"), "builtins.__import__"),
        "getattr of a module": (
            Calls(getattr, Calls(__import__, "os"), "system"),
            "builtins.__import__",
        ),
        "getattr of a class": (Calls(getattr, nn.Conv2d, "__init__"), "builtins.getattr"),
        "getattr of a class's globals": (
            Calls(getattr, Calls(getattr, nn.Conv2d, "forward"), "__globals__"),
            "builtins.getattr",
        ),
        "nested torch.load": (
            Calls(torch.storage._load_from_bytes, pickle.dumps(Calls(eval, marker))),
            "_load_from_bytes",
        ),
        "a layer's constructor": (Calls(nn.Conv2d, 3, 3, 1), "torch.nn.modules.conv.Conv2d"),
        "a model's constructor": (
            Calls(tasks.DetectionModel, {"activation": marker}),
            "ultralytics.nn.tasks.DetectionModel",
        ),
        "a helper of a trusted module": (
            Calls(tasks.yaml_model_load, "yolo11n.yaml"),
            "ultralytics.nn.tasks.yaml_model_load",
        ),
        "a name that a trusted module imported": (Calls(tasks.Path, "x"), "pathlib"),
        "a numpy object": (Calls(np.frombuffer, b"1234"), "numpy"),
        "partial": (Calls(__import__("functools").partial, eval, marker), "functools.partial"),
        "torch.hub": (Calls(torch.hub.load, "a/b", "c"), "torch.hub.load"),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize("name", exploits(""))
def test_code_is_refused_and_named(tmp_path, marker, name, zipped):
    exploit, named = exploits(marker)[name]
    path = save(
        tmp_path / "bad.pt",
        {"model": exploit, "x": torch.ones(2)},
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(UnsafeWeightsError, match="--trust") as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    # In the old format a model cannot be checked at all, and that is the reason given.
    assert named in str(caught.value) or (not zipped and "before 1.6" in str(caught.value))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickle_with_code_is_refused(tmp_path, marker, protocol):
    path = tmp_path / "bad.pt"
    path.write_bytes(pickle.dumps(Calls(eval, marker), protocol=protocol))
    with pytest.raises(
        (UnsafeWeightsError, DamagedWeightsError)
    ):  # protocols 0 and 1 have no header: no torch file at all
        load_model(path)


def test_code_beside_a_whole_model_is_refused(tmp_path, marker, model):
    with pytest.raises(UnsafeWeightsError, match=r"builtins\.eval"):
        load_model(save(tmp_path / "bad.pt", checkpoint_of(model, note=Calls(eval, marker))))


def test_object_filled_twice_is_refused(tmp_path, model):
    """The first filling could plant the method that the second one calls with whatever the file
    holds.
    """
    program = (
        b"\x80\x02ctorch.nn.modules.linear\nIdentity\n)\x81q\x00"
        b"}X\x0c\x00\x00\x00__setstate__cultralytics.nn.tasks\nDetectionModel\nsb"
        b"h\x00X\x0b\x00\x00\x00http://evilb."
    )
    path = archive_with(tmp_path, program)
    with pytest.raises(UnsafeWeightsError, match="fills an object"):
        load_checkpoint(path)


def test_trusted_type_called_through_the_memo_is_refused(tmp_path):
    program = b"\x80\x02cultralytics.nn.tasks\nDetectionModel\nq\x000h\x00X\x0b\x00\x00\x00http://evil\x85R."
    with pytest.raises((UnsafeWeightsError, DamagedWeightsError)):
        load_checkpoint(archive_with(tmp_path, program))


def archive_with(folder: Path, program: bytes) -> Path:
    """A torch archive whose pickle is replaced."""
    buffer = io.BytesIO()
    torch.save({"x": 1}, buffer)
    path = folder / "made.pt"
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.infolist():
            target.writestr(
                item, program if item.filename.endswith("data.pkl") else source.read(item)
            )
    return path


def planted(what: str, marker: str):
    def plant(model: nn.Module) -> None:
        if what == "activation":
            model.yaml["activation"] = marker
        elif what == "activation that calls":
            model.yaml["activation"] = f"nn.SiLU({marker})"
        elif what == "activation of another room":
            model.yaml["activation"] = "nn.modules.os.system('true')"
        elif what == "row":
            model.yaml["backbone"][0][2] = "check_requirements"
        elif what == "torchvision row":
            model.yaml["head"][0][2] = "torchvision.ops.boxes"
        elif what == "hook":
            model.model[0]._forward_hooks[0] = nn.Identity
        elif what == "method":
            model.model[0].forward = nn.Identity
        elif what == "layer":
            model.model[0]._modules["conv"] = nn.Identity

    return plant


@pytest.mark.parametrize(
    "what",
    [
        "activation",
        "activation that calls",
        "activation of another room",
        "row",
        "torchvision row",
        "hook",
        "method",
        "layer",
    ],
)
def test_model_that_would_carry_code_elsewhere_is_refused(tmp_path, marker, model, what):
    content = checkpoint_of(model)
    planted(what, marker)(content["model"])
    path = tmp_path / "bad.pt"
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UnsafeWeightsError):
        load_model(path)


@pytest.mark.parametrize("activation", ["nn.SiLU()", "torch.nn.LeakyReLU(0.1, inplace=True)"])
def test_a_plain_activation_is_not_code(tmp_path, model, activation):
    content = checkpoint_of(model)
    content["model"].yaml["activation"] = activation
    assert load_model(save(tmp_path / "good.pt", content)).stride == 32


def test_trust_allows_it(tmp_path, monkeypatch, model):
    monkeypatch.delenv(MARKER, raising=False)
    mark = f"__import__('os').environ.__setitem__({MARKER!r}, '1')"
    path = save(tmp_path / "mine.pt", checkpoint_of(model, note=Calls(eval, mark)))
    assert load_model(path, trust=True).stride == 32
    assert os.environ[MARKER] == "1"


# ----------------------------------------------------------------------------------------- damaged
# and foreign files


def test_missing_file_names_the_closest(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"x")
    with pytest.raises(WeightsNotFoundError, match=r"did you mean 'best\.pt'"):
        load_model(tmp_path / "bset.pt")


FOREIGN = {
    "empty": (b"", "empty"),
    "html": (b"<!DOCTYPE html><html>not found</html>", "HTML page"),
    "text": (b"hello, these are not weights\n" * 9, "text file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "safetensors": (struct.pack("<Q", 80) + b'{"a":{"dtype":"F32"' + b" " * 70, "safetensors"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x05" + b"2.0.0" * 20, "ONNX model"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "JPEG"),
    "zeros": (bytes(4096), "zero bytes"),
    "noise": (bytes(range(255, 127, -1)) * 9, "unknown kind"),
    "pickle": (pickle.dumps([1, 2, 3], protocol=2), "torch did not write"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "gzip"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("trust", [False, True])
def test_foreign_file_is_named(tmp_path, name, trust):
    content, says = FOREIGN[name]
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(DamagedWeightsError) as caught:
        load_model(path, trust=trust)
    assert str(path) in str(caught.value)
    if not trust:
        assert says in str(caught.value)


def test_zip_without_a_model(tmp_path):
    path = tmp_path / "photos.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday/1.jpg", b"\xff\xd8\xff" * 99)
    with pytest.raises(DamagedWeightsError, match="zip archive without a torch model"):
        load_model(path)


def test_torchscript_is_recognised(tmp_path):
    path = tmp_path / "scripted.pt"
    torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)).save(str(path))
    with pytest.raises(DamagedWeightsError, match="TorchScript"):
        load_model(path)


def test_a_state_dict_alone_is_not_a_model(tmp_path, model):
    with pytest.raises(DamagedWeightsError, match="holds no model"):
        load_model(save(tmp_path / "state.pt", model.state_dict()))


def test_a_tensor_alone_is_not_a_checkpoint(tmp_path):
    with pytest.raises(DamagedWeightsError, match="holds a Tensor"):
        load_model(save(tmp_path / "tensor.pt", torch.ones(3)))


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(DamagedWeightsError, match="folder"):
        load_model(tmp_path)


def test_yolov5_repositorys_weights_are_named(tmp_path):
    program = b"\x80\x02}X\x05\x00\x00\x00modelcmodels.yolo\nDetectionModel\n)\x81s."
    with pytest.raises(DamagedWeightsError, match="YOLOv5"):
        load_model(archive_with(tmp_path, program))


def test_unknown_layer_is_named(tmp_path):
    program = b"\x80\x02}X\x05\x00\x00\x00modelcmy_layers.attention\nCBAM\n)\x81s."
    with pytest.raises(UnsafeWeightsError, match=r"my_layers\.attention\.CBAM"):
        load_model(archive_with(tmp_path, program))
    with pytest.raises(DamagedWeightsError, match="my_layers"):
        load_model(archive_with(tmp_path, program), trust=True)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99, 0.999999])
def test_truncated_file(tmp_path, model, share):
    path = save(tmp_path / "best.pt", checkpoint_of(model))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DamagedWeightsError, match=r"truncated|without a torch model|unknown kind"):
        load_model(path)


@pytest.fixture(scope="module")
def small_file() -> bytes:
    buffer = io.BytesIO()
    torch.save(
        {
            "model": nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU()),
            "epoch": 3,
            "score": np.float64(0.5),
        },
        buffer,
    )
    return buffer.getvalue()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_is_a_clear_error_or_harmless(tmp_path, small_file, data):
    content = bytearray(small_file)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.pt"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    with contextlib.suppress(DamagedWeightsError, UnsafeWeightsError):
        load_checkpoint(path)


# ----------------------------------------------------------------------------- torch.load inside
# Ultralytics


def test_guard_covers_every_torch_load(tmp_path, marker):
    path = save(tmp_path / "bad.pt", {"model": Calls(eval, marker)})
    from ultralytics.utils.torch_utils import strip_optimizer

    unguarded = torch.load
    with guarded_torch_load():
        with pytest.raises(UnsafeWeightsError):
            torch.load(path, weights_only=False)
        with path.open("rb") as file, pytest.raises(UnsafeWeightsError):
            torch.load(file, weights_only=False)
        with pytest.raises(UnsafeWeightsError):
            tasks.torch_safe_load(str(path))
        with contextlib.suppress(
            UnsafeWeightsError
        ):  # Ultralytics may report it instead of passing it on
            strip_optimizer(path)
    assert torch.load is unguarded


def test_guard_accepts_our_checkpoints(tmp_path, model):
    path = save(tmp_path / "best.pt", checkpoint_of(model))
    with guarded_torch_load():
        loaded, checkpoint = tasks.load_checkpoint(str(path))
    assert checkpoint["epoch"] == -1
    assert len(loaded.names) == 3


def test_guard_trusts_the_listed_files(tmp_path, monkeypatch):
    monkeypatch.delenv(MARKER, raising=False)
    path = save(
        tmp_path / "mine.pt", Calls(eval, f"__import__('os').environ.__setitem__({MARKER!r}, '1')")
    )
    other = tmp_path / "other.pt"
    other.write_bytes(path.read_bytes())
    with guarded_torch_load([path]):
        with pytest.raises(UnsafeWeightsError):
            torch.load(other, weights_only=False)
        with other.open("rb") as file, pytest.raises(UnsafeWeightsError):
            torch.load(file, weights_only=False)
        assert MARKER not in os.environ
        torch.load(path, weights_only=False)
    assert os.environ[MARKER] == "1"


def test_the_exploits_work_where_nothing_guards(tmp_path, monkeypatch):
    """Otherwise the tests above would pass on files that never do anything."""
    monkeypatch.delenv(MARKER, raising=False)
    path = save(
        tmp_path / "bad.pt",
        Calls(builtins.eval, f"__import__('os').environ.__setitem__({MARKER!r}, '1')"),
    )
    torch.load(path, weights_only=False)
    assert os.environ[MARKER] == "1"
