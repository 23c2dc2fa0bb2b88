"""Weights files that were made to do harm: code in pickled layers, memory that is not there, and
damage of every kind. Each is one clear error, and nothing of it runs.
"""

from __future__ import annotations

import collections
import copy
import io
import os
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lively_weights import tiny_model
from torch import nn
from ultralytics.nn import tasks

from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.weights.loading import load_checkpoint, load_model
from yolo_ema.errors import DamagedWeightsError, UnsafeWeightsError, WeightsError

MARKER = "YOLO_EMA_TEST_CODE_RAN"
EVIL = f"(__import__('os').environ.__setitem__({MARKER!r}, '1'), nn.SiLU())[1]"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    built = tiny_model(3)
    built.names = {0: "car", 1: "bus", 2: "van"}
    return built.eval()


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch):
    monkeypatch.delenv(MARKER, raising=False)
    yield
    assert MARKER not in os.environ, "code of the file ran"


def saved(path: Path, model: nn.Module, **more: object) -> Path:
    torch.save({"model": model, "train_args": {"imgsz": 320}, **more}, path)
    return path


# ------------------------------------------------------------------------- layers with more to them


def plant_hidden_module(model: nn.Module) -> None:
    model.model[0].__dict__["helper"] = nn.Conv2d(1, 1, 1)


def plant_module_over_a_setting(model: nn.Module) -> None:
    model.model[0].conv.__dict__["stride"] = nn.Conv2d(1, 1, 1)


def plant_values(model: nn.Module) -> None:
    hooks = collections.OrderedDict()
    hooks.values = tasks.DetectionModel
    model.model[0].__dict__["_forward_hooks"] = hooks


def plant_forward_module(model: nn.Module) -> None:
    model.model[0].__dict__["forward"] = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1))


def plant_forward_class(model: nn.Module) -> None:
    model.model[0].__dict__["forward"] = tasks.DetectionModel


def plant_forward_of_another(model: nn.Module) -> None:
    model.model[0].__dict__["forward"] = model.model[1].forward


def plant_function_as_hook(model: nn.Module) -> None:
    model.model[0]._forward_pre_hooks[0] = nn.Conv2d.forward


def plant_class_as_hook(model: nn.Module) -> None:
    model.model[0]._forward_hooks[0] = tasks.DetectionModel


def plant_one_tensor_in_two_layers(model: nn.Module) -> None:
    model.model[5].conv.weight = model.model[4].conv.weight = nn.Parameter(torch.ones(64, 64, 3, 3))
    model.model[4].conv.in_channels = 64


def plant_class_as_layer(model: nn.Module) -> None:
    model.model[0]._modules["conv"] = nn.Identity


def plant_layer_as_parameter(model: nn.Module) -> None:
    model.model[0].conv._parameters["weight"] = nn.Identity()


def plant_more_layers(model: nn.Module) -> None:
    model.model[0]._modules["more"] = nn.Conv2d(1, 1, 1)


def plant_other_layer(model: nn.Module) -> None:
    model.model[0]._modules["conv"] = nn.LSTM(3, 3)


def plant_itself(model: nn.Module) -> None:
    model.model[0]._modules["conv"] = model.model


def plant_setting_as_class(model: nn.Module) -> None:
    model.model[0].conv.__dict__["padding_mode"] = tasks.DetectionModel


def plant_other_wiring(model: nn.Module) -> None:
    model.model[2].f = 0


def plant_activation(model: nn.Module) -> None:
    model.yaml["activation"] = EVIL


def plant_row(model: nn.Module) -> None:
    model.yaml["backbone"][0] = [-1, 1, "TorchVision", [16, "resnet18", "DEFAULT", True, 2]]


def plant_hub(model: nn.Module) -> None:
    model.yaml["backbone"][0] = [-1, 1, "torch.hub.load", ["owner/name", "model"]]


def plant_many_classes(model: nn.Module) -> None:
    model.model[-1].nc = model.yaml["nc"] = 100_000_000


def plant_huge_padding(model: nn.Module) -> None:
    model.model[0].conv.padding = (10**6, 10**6)


def plant_huge_padding_everywhere(model: nn.Module) -> None:
    model.model[0].conv.padding = (60_000, 60_000)
    model.yaml["backbone"][0][3] = [16, 3, 2, 60_000]


def plant_names_of_others(model: nn.Module) -> None:
    model.names = {0: "car", 1: "bus", 2: "van", 3: "person"}


def plant_object_as_name(model: nn.Module) -> None:
    model.names = {0: "car", 1: "bus", 2: nn.Identity()}


PLANTS = [value for name, value in sorted(globals().items()) if name.startswith("plant_")]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("safe_load", [True, False], ids=["safe load", "plain load"])
def test_a_layer_with_more_than_data_is_refused(tmp_path, model, monkeypatch, plant, safe_load):
    """Whatever Ultralytics was told by its variable, which it reads when it is imported."""
    monkeypatch.setattr(tasks, "SAFE_LOAD", safe_load)
    planted = copy.deepcopy(model)
    plant(planted)
    with pytest.raises(UnsafeWeightsError, match=r"bad\.pt is refused: .*--trust"):
        load_model(saved(tmp_path / "bad.pt", planted))


def test_a_planted_activation_would_run_where_nothing_guards(tmp_path, model, monkeypatch):
    """Otherwise the test above would pass on a file that never does anything."""
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)
    planted = copy.deepcopy(model)
    plant_activation(planted)
    trusted = load_model(saved(tmp_path / "mine.pt", planted), trust=True)
    tasks.DetectionModel(trusted.model.yaml, nc=3, verbose=False)
    assert os.environ.pop(MARKER) == "1"


def test_attributes_that_the_rebuilt_layers_do_not_use_are_dropped(tmp_path, model):
    """Plain values alone: older versions of Ultralytics kept more of them."""
    planted = copy.deepcopy(model)
    planted.model[0].old_setting = [1, 2, 3]
    planted.__dict__["helper"] = nn.Identity()
    loaded = load_model(saved(tmp_path / "old.pt", planted)).model
    assert not hasattr(loaded.model[0], "old_setting")
    assert not hasattr(loaded, "helper")
    assert torch.equal(loaded.model[0].conv.weight, model.model[0].conv.weight)


# -------------------------------------------------------------------- models that are not as drawn


def test_pruned_layers_keep_their_widths(tmp_path, model):
    pruned = copy.deepcopy(model)
    with torch.no_grad():
        first, second = pruned.model[0], pruned.model[1]
        first.conv.weight = nn.Parameter(first.conv.weight[:12].clone())
        first.conv.out_channels = first.bn.num_features = 12
        for name in ("weight", "bias"):
            setattr(first.bn, name, nn.Parameter(getattr(first.bn, name)[:12].clone()))
        for name in ("running_mean", "running_var"):
            setattr(first.bn, name, getattr(first.bn, name)[:12].clone())
        second.conv.weight = nn.Parameter(second.conv.weight[:, :12].clone())
        second.conv.in_channels = 12
    image = torch.rand(1, 3, 64, 64)
    loaded = load_model(saved(tmp_path / "pruned.pt", pruned)).model
    with torch.inference_mode():
        assert torch.equal(loaded(image)[0], pruned(image)[0])
    second.conv.weight = nn.Parameter(second.conv.weight[:, :10].clone())
    with pytest.raises(UnsafeWeightsError, match="settings say"):
        load_model(saved(tmp_path / "torn.pt", pruned))
    second.conv.in_channels = 10
    with pytest.raises(UnsafeWeightsError, match="does not take what it reads"):
        load_model(saved(tmp_path / "torn.pt", pruned))


@pytest.mark.parametrize("act", [nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(16), nn.Hardswish()])
def test_other_activations_and_constants_are_kept(tmp_path, model, act):
    changed = copy.deepcopy(model)
    changed.model[0].act = act
    changed.model[1].bn.eps = 1e-5
    image = torch.rand(1, 3, 64, 64)
    loaded = load_model(saved(tmp_path / "own.pt", changed)).model
    with torch.inference_mode():
        assert torch.equal(loaded(image)[0], changed(image)[0])
    assert loaded.model[1].bn.eps == 1e-5


@pytest.mark.parametrize(
    "fused", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["as trained", "fused"]
)
@pytest.mark.parametrize(
    "name", ["yolov5n-ema-p2", "yolov8n", "yolo11n-ema", "yolo26n-ema", "yolov10n", "yolov9t"]
)
def test_every_family_is_restored_exactly(tmp_path, name, fused):
    classes = 4
    if name in {"yolov10n", "yolov9t"}:
        built = tasks.DetectionModel(f"{name}.yaml", nc=classes, verbose=False)
    else:
        built = build_model(name, classes)
    built.names = {index: f"class {index}" for index in range(classes)}
    built = built.eval()
    if fused:
        built = built.fuse(verbose=False)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    loaded = load_model(saved(tmp_path / "own.pt", built)).model
    given, made = built.state_dict(), loaded.state_dict()
    assert list(given) == list(made)
    assert all(torch.equal(given[key], made[key]) for key in given)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(built(image)[0], loaded(image)[0])
    assert loaded.stride.tolist() == built.stride.tolist()
    assert loaded.is_fused() is built.is_fused()


def test_weights_in_channels_last_stay_in_channels_last(tmp_path, model):
    turned = copy.deepcopy(model).to(memory_format=torch.channels_last)
    loaded = load_model(saved(tmp_path / "turned.pt", turned)).model
    weight = loaded.model[1].conv.weight
    assert weight.stride() == turned.model[1].conv.weight.stride()
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("yaml_name", "kind", "task"),
    [
        ("yolo11n-seg.yaml", tasks.SegmentationModel, "segment"),
        ("yolo11n-pose.yaml", tasks.PoseModel, "pose"),
        ("yolo11n-obb.yaml", tasks.OBBModel, "obb"),
        ("yolo11n-cls.yaml", tasks.ClassificationModel, "classify"),
    ],
)
def test_weights_for_another_task_are_named(tmp_path, yaml_name, kind, task):
    other = kind(yaml_name, verbose=False)
    other.task = task
    path = saved(tmp_path / "other.pt", other)
    for trust in (False, True):
        with pytest.raises(
            WeightsError, match=rf"is a model for '{task}' \(\w+\); expected a detector"
        ):
            load_model(path, trust=trust)


def test_a_detector_with_a_pose_head_is_refused(tmp_path):
    pose = tasks.PoseModel("yolo11n-pose.yaml", verbose=False)
    chimera = tiny_model(1)
    chimera.model, chimera.yaml, chimera.task = pose.model, pose.yaml, "detect"
    for trust in (False, True):
        with pytest.raises(WeightsError, match=r"\(Pose\); expected a detector"):
            load_model(saved(tmp_path / "chimera.pt", chimera), trust=trust)


# ------------------------------------------------------------------------ memory that is not there


def archive_of(content: object) -> dict[str, bytes]:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_deflated_file_loads_and_a_deflated_bomb_does_not(tmp_path, model):
    entries = archive_of({"model": model})
    packed = written(tmp_path / "packed.pt", entries, zipfile.ZIP_DEFLATED)
    assert load_model(packed).stride == 32
    bomb = {"archive/data.pkl": b"\x80\x02" + b"N0" * (60 << 20) + b"N."}
    path = written(tmp_path / "bomb.pt", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DamagedWeightsError, match="its entries come to 125,829,124 bytes"):
        load_model(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02" + b"]" * (17 << 20) + b".", "its pickle has .* bytes"),
        (b"\x80\x02" + b"N0" * 1_500_000 + b"N.", "operation POP|more than 2,000,000 operations"),
        (b"\x80\x02" + b"]" * 2_100_000 + b".", "more than 2,000,000 operations"),
        (b"\x80\x02N" + b"r\xff\xff\xff\x7f.", "does not|holds a NoneType"),
        (b"\x80\x02X\xff\xff\xff\x7f.", "is damaged"),
        (b"\x80\x02}X\x01\x00\x00\x00aN" + b"\x85" * 100_000 + b"s.", "nested|depth"),
        (b"\x80\x02.", "takes more from its stack"),
        (b"\x80\x02(.", "damaged|refused"),
        (b"\x80\x02]q\x00h\x00a.", "nested"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", "nested"),
        (b"\x80\x02}\x8a\xff" + b"\x7f" * 255 + b"Ns.", "a dictionary has a int as its key"),
        (b"\x80\x02}cos\nsystem\nNs.", r"os\.system|posix\.system|names what weights"),
        (b"\x80\x05\x8c\x01a.", "SHORT_BINUNICODE"),
    ],
)
def test_pickles_that_ask_for_memory_or_time(tmp_path, program, message):
    path = written(tmp_path / "bad.pt", {"archive/data.pkl": program})
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(path)


def test_lists_repeated_beyond_counting(tmp_path):
    """Lists of ten times the same list of ten times the same list …"""
    program = b"\x80\x02(]q\x00"
    for level in range(12):
        program += b"]q" + bytes([level + 1]) + b"(" + (b"h" + bytes([level])) * 10 + b"e"
    program += b"t."
    path = written(tmp_path / "bad.pt", {"archive/data.pkl": program})
    with pytest.raises(UnsafeWeightsError, match="nested or repeated"):
        load_checkpoint(path)


TENSOR = (
    b"\x80\x02}X\x01\x00\x00\x00tctorch._utils\n_rebuild_tensor_v2\n("
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%st"
    b"Q%s%s%s\x89ccollections\nOrderedDict\n)RtRs."
)


def whole(number: int) -> bytes:
    return (
        b"J" + struct.pack("<i", number)
        if number < 1 << 31
        else b"\x8a\x08" + struct.pack("<q", number)
    )


def tensor_of(count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    def tuple_of(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(whole, values)) + b"t"

    return TENSOR % (whole(count), whole(offset), tuple_of(size), tuple_of(stride))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (tensor_of(4, 0, (2, 2), (2, 1)), None),
        (tensor_of(4, 0, (2, 2), (1, 2)), None),
        (tensor_of(4, 1, (3,), (1,)), None),
        (tensor_of(1 << 40, 0, (2, 2), (2, 1)), "claims 4,398,046,511,104 bytes where 16 are"),
        (tensor_of(5, 0, (2, 2), (2, 1)), "claims 20 bytes where 16 are"),
        (tensor_of(4, 1, (2, 2), (2, 1)), "reaches beyond"),
        (tensor_of(4, 0, (5,), (1,)), "reaches beyond"),
        (tensor_of(4, 0, (2, 2), (4, 1)), "reaches beyond"),
        (tensor_of(4, 0, (1 << 40,), (0,)), "takes some of them twice"),
        (tensor_of(4, 0, (2, 2), (1, 1)), "takes some of them twice"),
        (tensor_of(4, 0, (1 << 40, 0), (1, 1)), None),
        (tensor_of(4, 0, (1 << 61, 1 << 61, 0), (1, 1, 1)), "is damaged: a tensor"),
        (tensor_of(4, 0, (2,), (1, 1)), "other arguments than torch"),
        (tensor_of(4, 0, (1,) * 9, (1,) * 9), "other arguments than torch"),
        (tensor_of(-4, 0, (2,), (1,)), "numbers of the kind"),
        (tensor_of(4, -1, (2,), (1,)), "other arguments than torch"),
        (
            tensor_of(4, 0, (4,), (1,)).replace(b"ccollections\nOrderedDict\n)R", b"}K\x00Ns"),
            "a tensor carries hooks",
        ),
    ],
)
def test_tensor_sizes_are_checked_against_the_stored_numbers(tmp_path, tensor, message):
    entries = {"archive/data.pkl": tensor, "archive/data/0": struct.pack("<4f", 1, 2, 3, 4)}
    path = written(tmp_path / "t.pt", entries)
    if message is None:
        assert load_checkpoint(path)["t"].numel() <= 4
        return
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(path)


def test_tensors_do_not_share_memory(tmp_path):
    numbers = torch.arange(6.0)
    path = tmp_path / "views.pt"
    torch.save({"a": numbers[:4], "b": numbers[2:]}, path)
    with pytest.raises(DamagedWeightsError, match="share the numbers"):
        load_checkpoint(path)
    torch.save({"a": numbers[:3], "b": numbers[3:], "c": numbers[:0]}, path)
    back = load_checkpoint(path)
    back["a"].fill_(9)
    assert back["b"].tolist() == [3, 4, 5]
    first, second = (load_checkpoint(path)["a"] for _ in range(2))
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries | {"other/data.pkl": b"."}, "without a torch model"),
        (lambda entries: entries | {"archive/constants.pkl": b"."}, "TorchScript"),
        (lambda entries: entries | {"archive/byteorder": b"big"}, "another byte order"),
        (lambda entries: {"data.pkl": b"."}, "without a torch model"),
        (lambda entries: {"a/b/data.pkl": b"."}, "without a torch model"),
        (
            lambda entries: {
                name: value for name, value in entries.items() if "/data/" not in name
            },
            "the numbers '0' are missing",
        ),
        (
            lambda entries: {
                name: value[: len(value) // 2] if "/data/" in name else value
                for name, value in entries.items()
            },
            "claims .* bytes where",
        ),
        (lambda entries: entries | {"archive/data.pkl": b""}, "is damaged"),
    ],
)
def test_archives_that_torch_did_not_write(tmp_path, change, message):
    entries = {
        name.replace(name.partition("/")[0], "archive", 1): content
        for name, content in archive_of({"t": torch.ones(3)}).items()
    }
    with pytest.raises(DamagedWeightsError, match=message):
        load_checkpoint(written(tmp_path / "bad.pt", change(entries)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_entry(tmp_path):
    path = written(tmp_path / "bad.pt", archive_of({"t": torch.ones(3)}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(next(name for name in archive.namelist() if "data.pkl" in name), b"N.")
    with pytest.raises(DamagedWeightsError, match="is there twice"):
        load_checkpoint(path)


def test_a_flipped_bit_in_the_numbers_is_noticed(tmp_path, model):
    path = saved(tmp_path / "best.pt", model)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[entry.header_offset + 200 + entry.file_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedWeightsError, match="Bad CRC-32"):
        load_model(path)


def test_paths_that_are_not_files(tmp_path):
    os.mkfifo(tmp_path / "fifo.pt")
    for path, message in (
        ("a\0b.pt", "cannot be read"),
        ("x" * 5000 + ".pt", "cannot be read"),
        ("/dev/zero", "not a regular file"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_model(path)


# ------------------------------------------------------------------------------------- any damage

CHILD = """
import resource, sys
import ultralytics
from yolo_ema.engine.weights.loading import load_checkpoint
from yolo_ema.errors import YoloEmaError

import os
from pathlib import Path
path = Path(sys.argv[1])
limit = int(sys.argv[2])
def size():
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (size() + limit, size() + limit))
for line in sys.stdin:
    try:
        load_checkpoint(path)
    except YoloEmaError as error:
        print(type(error).__name__, flush=True)
    else:
        print("loaded", flush=True)
"""


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    """A process that loads a file again and again, with 600 MB to spare, Ultralytics imported first
    and none of its variables set.
    """
    path = tmp_path_factory.mktemp("fuzz") / "fuzzed.pt"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "ULTRA"))
    }
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD), str(path), str(600 << 20)],
        env=environment | {"YOLO_OFFLINE": "true", "YOLO_EMA_CACHE": str(path.parent / "cache")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def load(content: bytes) -> str:
        path.write_bytes(content)
        child.stdin.write("go\n")
        child.stdin.flush()
        answer = child.stdout.readline().strip()
        assert answer, f"the process died: {child.wait(10)}"
        return answer

    yield load
    with child:  # closes what leads to it and waits for its end
        pass
    assert [one.name for one in path.parent.iterdir() if one.name != "cache"] == [path.name]


@pytest.fixture(scope="module")
def small_entries(model) -> dict[str, bytes]:
    names = ("model", "epoch", "train_args", "names", "optimizer")
    values = (
        model.half(),
        3,
        {"imgsz": 320, "lr0": 0.1},
        model.names,
        {"state": {0: torch.ones(4)}},
    )
    return archive_of(dict(zip(names, values, strict=True)))


GRAFTS = (
    b"cbuiltins\neval\n",
    b"cos\nsystem\n",
    b"cultralytics.nn.tasks\nDetectionModel\n",
    b"cultralytics.nn.modules.block\nTorchVision\n",
    b"cbuiltins\ngetattr\n",
    b"X\x04\x00\x00\x00evil",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"J\xff\xff\xff\x7f",
    b"G\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b")\x81",
    b"}b",
    b"R",
    b"h\x00",
    b"]",
    b"N",
    b"K\x00",
)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_flipped_and_grafted_files_are_clear_errors_or_harmless(loader, small_entries, data):
    """Bytes of the pickle replaced and pieces of other pickles put in, entries cut and exchanged,
    bytes of the whole file flipped: no code, no crash, bounded memory, nothing written.
    """
    entries = dict(small_entries)
    pickle_name = next(name for name in entries if name.endswith("data.pkl"))
    program = bytearray(entries[pickle_name])
    for _ in range(data.draw(st.integers(0, 3))):
        where = data.draw(st.integers(0, len(program) - 1))
        graft = data.draw(st.sampled_from([*GRAFTS, bytes([data.draw(st.integers(0, 255))])]))
        program[where : where + data.draw(st.integers(0, 4))] = graft
    entries[pickle_name] = bytes(program)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(entries)))
        entries[name] = entries[name][: data.draw(st.integers(0, len(entries[name])))]
    buffer = io.BytesIO()
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 2))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert loader(bytes(content)) in {
        "loaded",
        "DamagedWeightsError",
        "UnsafeWeightsError",
        "WeightsError",
    }


def test_the_fuzzed_file_loads_when_it_is_whole(loader, small_entries, tmp_path):
    """Otherwise everything above would be refused for one and the same reason."""
    assert loader(written(tmp_path / "whole.pt", small_entries).read_bytes()) == "loaded"
