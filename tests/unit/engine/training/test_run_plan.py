"""What a run's settings become: flags, key=value words, presets, devices, batches, folders; and
what a resumed run may change.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolo_ema.engine.data import dataset_lookup
from yolo_ema.engine.models.presets import PRESETS
from yolo_ema.engine.models.registration import build_model
from yolo_ema.engine.setup import devices
from yolo_ema.engine.setup.devices import ultralytics_device
from yolo_ema.engine.training import resume_plan, run_plan
from yolo_ema.engine.training.run_plan import plan_run
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings
from yolo_ema.errors import ConfigError, DataNotFoundError, MachineError
from yolo_ema.options.drone import DroneOptions
from yolo_ema.options.train import TrainOptions


def _data_yaml(folder: Path, name: str) -> Path:
    """Write a data YAML of two classes whose images lie in the folder."""
    file = folder / f"{name}.yaml"
    file.write_text(f"path: {folder}\ntrain: .\nval: .\nnames: [boat, crane]\n")
    return file


@pytest.fixture(autouse=True)
def plan(tmp_path, monkeypatch):
    """Plan a run without data to prepare, on a machine with two GPUs of 24 GB unless a test says
    otherwise.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resume_plan, "resolve_data", lambda data, **_: _data_yaml(tmp_path, data))
    return lambda **given: plan_run(
        TrainOptions(**{"pretrained": "none", "device": "cpu", **given})
    )


@pytest.fixture
def gpus(monkeypatch):
    def have(count: int, gigabytes: float) -> None:
        properties = type("Properties", (), {"total_memory": gigabytes * 1e9})
        monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(devices.torch.cuda, "get_device_properties", lambda _: properties)

    return have


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_decides_model_size_and_epochs(plan, preset):
    planned = plan(preset=preset.name)
    assert preset.model in planned["model"]
    assert (planned["imgsz"], planned["epochs"], planned["max_det"]) == (
        preset.imgsz,
        preset.epochs,
        500,
    )
    assert planned["save_dir"].endswith(f"runs/train/{preset.model}")


def test_flags_and_settings_win_over_the_preset(plan):
    planned = plan(
        preset="accurate",
        model="yolov8n-ema",
        imgsz=320,
        settings={"epochs": "7", "max_det": "900", "mosaic": "0.5"},
    )
    assert "yolov8n-ema" in planned["model"]
    assert (planned["imgsz"], planned["epochs"], planned["max_det"], planned["mosaic"]) == (
        320,
        7,
        900,
        0.5,
    )


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("imgsz=416", "imgsz", 416),
        ("batch=-1", "batch", -1),
        ("batch=0.7", "batch", 0.7),
        ("seed=9", "seed", 9),
        ("workers=3", "workers", 3),
        ("device=cpu", "device", "cpu"),
    ],
)
def test_a_setting_with_a_flag_of_its_own_is_that_flag(plan, word, key, value):
    name, _, text = word.partition("=")
    planned = plan(device="auto", settings={name: text})
    assert planned[key] == value
    assert type(planned[key]) is type(value)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"imgsz": "[640, 480]"}, r"imgsz is .\[640, 480\].; expected a whole number"),
        ({"epochs": "0"}, "epochs"),
        ({"name": "a/b"}, "expected the name of one folder"),
    ],
)
def test_a_setting_that_its_flag_would_refuse_is_refused(plan, settings, what):
    with pytest.raises(ConfigError, match=what):
        plan(settings=settings)


def test_a_setting_given_twice_is_refused(plan):
    with pytest.raises(ConfigError, match="batch is given twice: as --batch 4 and as batch=8"):
        plan(batch=4, settings={"batch": "8"})


@pytest.mark.parametrize("word", ["False", "none"])
def test_no_weights_as_ultralytics_users_write_it(plan, word):
    assert plan(pretrained="auto", settings={"pretrained": word})["pretrained"] is False


def test_resume_as_ultralytics_users_write_it(plan, cut_off):
    for word in ("True", str(cut_off)):
        assert plan(pretrained="auto", settings={"resume": word})["resume"] == str(cut_off)
    assert "resume" not in plan(settings={"resume": "False"})


def test_tiles_decide_the_input_size_where_none_is_given(plan):
    assert plan(train_tiles="640x500")["imgsz"] == 640
    assert (
        plan(train_tiles="300x500", preset="fast")["imgsz"] == 512
    )  # the longer side, up to a multiple of the stride
    assert plan(train_tiles="640x640", imgsz=320)["imgsz"] == 320
    assert plan(train_tiles="off", preset="fast")["imgsz"] == PRESETS["fast"].imgsz


def test_distillation_is_refused_before_anything_starts(plan, tmp_path):
    with pytest.raises(
        ConfigError, match=r"distill_model is 'yolo11m\.pt': distillation is not supported"
    ):
        plan(settings={"distill_model": "yolo11m.pt"})
    assert not (tmp_path / "runs").exists()


def test_a_project_that_is_a_file_is_refused(plan, tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="--project is notes, which is a file"):
        plan(project=Path("notes"))


@pytest.mark.parametrize("pretrained", ["auto", "yolo11s.pt"])
def test_nothing_is_fetched_for_a_missing_dataset(plan, monkeypatch, pretrained):
    monkeypatch.setattr(resume_plan, "resolve_data", dataset_lookup.resolve_data)
    real = run_plan.resolve_pretrained

    def resolve(name, *, offline):
        return (
            real(name, offline=True) if offline else pytest.fail("the weights were fetched first")
        )

    monkeypatch.setattr(run_plan, "resolve_pretrained", resolve)
    with pytest.raises(DataNotFoundError, match="there is no dataset 'no/such/folder'"):
        plan(data="no/such/folder", pretrained=pretrained)


def test_only_the_visdrone_splits_that_training_reads_are_requested(plan, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        resume_plan,
        "resolve_data",
        lambda _, **given: asked.append(given["splits"]) or _data_yaml(tmp_path, "a"),
    )
    plan()
    assert set(asked) == {("train", "val")}


def test_the_run_settings_travel_with_the_rest(plan):
    planned = plan(nwd=0.5, augment=("haze", "noise"), loggers=("none",), offline=True)
    run = RunSettings.from_dict(planned[RUN_KEY])
    assert run.drone == DroneOptions(nwd=0.5, augment=("haze", "noise"))
    assert (run.loggers, run.offline, run.trust) == (("none",), True, False)


def test_folders_are_numbered_and_never_shared(plan, tmp_path):
    folders = [plan(name="mine")["save_dir"] for _ in range(3)]
    assert [folder.rpartition("/")[2] for folder in folders] == ["mine", "mine-2", "mine-3"]
    assert plan(name="mine", settings={"exist_ok": "true"})["save_dir"] == folders[0]
    assert plan(project=tmp_path / "elsewhere")["save_dir"] == str(
        tmp_path / "elsewhere" / PRESETS["balanced"].model
    )


def test_devices(gpus):
    gpus(0, 0)
    assert ultralytics_device("auto") == ultralytics_device("cpu") == "cpu"
    with pytest.raises(MachineError, match="torch finds no GPU here"):
        ultralytics_device("cuda")
    gpus(2, 24)
    assert ultralytics_device("auto") == "0,1"
    assert ultralytics_device("cuda:1") == "1"
    assert ultralytics_device("0, 1") == "0,1"
    with pytest.raises(MachineError, match=r"this machine has 2 \(0 to 1\)"):
        ultralytics_device("0,2,7")
    with pytest.raises(ConfigError, match="'tpu'"):
        ultralytics_device("tpu")


@pytest.mark.slow
def test_the_batch_fits_the_gpus_memory_and_counts_all_of_them(plan, gpus):
    gpus(1, 80)
    assert plan(preset="balanced", device="auto")["batch"] == 16
    gpus(1, 6)
    small = plan(preset="balanced", device="auto")["batch"]
    assert 1 <= small < 16
    gpus(3, 6)
    assert plan(preset="balanced", device="auto")["batch"] == 3 * small
    assert plan(preset="balanced", device="0", batch=5)["batch"] == 5
    with pytest.raises(ConfigError, match="by trial on one GPU only; 3 processes"):
        plan(device="auto", batch=-1)
    with pytest.raises(ConfigError, match=r"all 3 processes .* take 6 or 9"):
        plan(device="auto", batch=8)
    with pytest.raises(ConfigError, match=r"all 3 processes .* take 3$"):
        plan(device="auto", batch=2)
    assert plan(device="auto", batch=9)["batch"] == 9


def test_weights_are_checked_before_the_data_is_fetched(plan, tmp_path, monkeypatch):
    (tmp_path / "empty.pt").write_bytes(b"")
    fetched = lambda *_, offline, **__: (  # noqa: E731
        _data_yaml(tmp_path, "a") if offline else pytest.fail("the data was fetched first")
    )
    monkeypatch.setattr(resume_plan, "resolve_data", fetched)
    with pytest.raises(ValueError, match="is empty"):
        plan(pretrained=str(tmp_path / "empty.pt"))
    with pytest.raises(ValueError, match="is empty"):
        plan(model=str(tmp_path / "empty.pt"), pretrained="auto")


@pytest.fixture
def cut_off(tmp_path):
    """The checkpoint of a run that was cut off after its second of five epochs."""
    last = tmp_path / "runs" / "train" / "old" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    settings = {
        "epochs": 5,
        "imgsz": 96,
        "batch": 6,
        "data": "old-data",
        "seed": 4,
        "lr0": 0.02,
        "cos_lr": True,
    }
    settings |= {"save_dir": "/moved/away", "from_a_later_version": 1}
    run = RunSettings(DroneOptions(nwd=0.5), command="first", loggers=("none",)).as_dict()
    model = build_model("yolo11n-ema", 2).half()
    model.names = {0: "boat", 1: "crane"}
    torch.save({"epoch": 1, "ema": model, "train_args": {**settings, RUN_KEY: run}}, last)
    return last


def test_a_resumed_run_keeps_its_settings(plan, cut_off, tmp_path):
    planned = plan(resume=str(cut_off), pretrained="auto")
    kept = {"epochs": 5, "imgsz": 96, "batch": 6, "seed": 4, "lr0": 0.02, "cos_lr": True}
    assert {key: planned[key] for key in kept} == kept
    assert planned["data"] == str(tmp_path / "old-data.yaml")
    assert planned["resume"] == planned["model"] == str(cut_off)
    assert planned["save_dir"] == str(tmp_path / "runs" / "train" / "old")  # where the run lies now
    assert "from_a_later_version" not in planned
    run = RunSettings.from_dict(planned[RUN_KEY])
    assert (run.drone.nwd, run.loggers) == (0.5, ("none",))
    assert run.command != "first"


def test_resume_without_a_path_takes_the_newest(plan, cut_off):
    assert plan(resume="latest", pretrained="auto")["resume"] == str(cut_off)


def test_machine_specific_settings_can_change(plan, cut_off, tmp_path):
    changed = {"cache": "ram", "patience": "5"}
    planned = plan(
        resume=str(cut_off), pretrained="auto", workers=2, batch=3, data="new", settings=changed
    )
    assert (planned["workers"], planned["batch"], planned["cache"], planned["patience"]) == (
        2,
        3,
        "ram",
        5,
    )
    assert planned["data"] == str(tmp_path / "new.yaml")


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"epochs": 9}, "--epochs"),
        ({"imgsz": 64}, "--imgsz"),
        ({"nwd": 0.7}, "--nwd"),
        ({"settings": {"lr0": "0.1"}}, "lr0"),
        ({"model": "yolo11n"}, "--model"),
    ],
)
def test_settings_that_would_make_it_another_run_are_refused(plan, cut_off, given, flag):
    with pytest.raises(
        ConfigError, match=f"a resumed run keeps its settings: {flag} can't change now"
    ):
        plan(resume=str(cut_off), pretrained="auto", **given)


def test_repeating_unchanged_settings_is_allowed(plan, cut_off):
    assert plan(resume=str(cut_off), pretrained="auto", nwd=0.5)["epochs"] == 5


def _changed(last: Path, **train_args) -> None:
    checkpoint = torch.load(last, weights_only=False)
    checkpoint["train_args"] |= train_args
    torch.save(checkpoint, last)


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        ({"lr0": 7.0}, "lr0=7.0"),
        ({"imgsz": "huge"}, "its imgsz is 'huge'; expected a number"),
        ({"imgsz": 8}, "--imgsz is 8"),
        ({"batch": True}, "its batch is 'True'"),
        ({"seed": -1}, "seed"),
        ({"freeze": "abc"}, "freeze is 'abc'"),
        ({"optimizer": "Lion"}, "optimizer is 'Lion'"),
        ({"distill_model": "yolo11m.pt"}, "distillation is not supported"),
        ({"data": 7}, "name it with --data"),
        ({RUN_KEY: {"drone": {"nwd": "much"}}}, "nwd is 'much'; expected a number, 0 to 1"),
        ({RUN_KEY: {"drone": 7}}, "settings cannot be read"),
        ({RUN_KEY: {"loggers": ["phone home"]}}, "the run's loggers are 'phone home'"),
    ],
)
def test_a_checkpoints_settings_are_checked_like_a_users(plan, cut_off, planted, what):
    _changed(cut_off, **planted)
    with pytest.raises(ConfigError, match=rf"last\.pt cannot be resumed: .*{what}"):
        plan(resume=str(cut_off), pretrained="auto")


def test_a_checkpoint_neither_trusts_itself_nor_chooses_folder_model_or_device(plan, cut_off):
    planted = {"save_dir": "/etc", "project": "/etc", "name": "x", "device": "0", "model": "/m.pt"}
    run = RunSettings(trust=True, offline=True).as_dict()
    _changed(cut_off, **planted, **{RUN_KEY: run}, source="http://192.0.2.1", cfg="x.yaml")
    planned = plan(resume=str(cut_off), pretrained="auto")
    assert planned["save_dir"] == str(cut_off.parent.parent)
    assert (planned["device"], planned["model"]) == ("cpu", str(cut_off))
    assert not {"project", "name", "source", "cfg"} & set(planned)
    assert not RunSettings.from_dict(planned[RUN_KEY]).trust


def test_a_checkpoint_outside_a_weights_folder_resumes_in_a_new_one(plan, cut_off, tmp_path):
    moved = tmp_path / "downloads" / "last.pt"
    moved.parent.mkdir()
    cut_off.rename(moved)
    planned = plan(resume=str(moved), pretrained="auto")
    assert planned["save_dir"] == str(tmp_path / "runs" / "train" / "last")
    assert [file.name for file in moved.parent.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("names", ["[boat]", "[boat, crane, dock]", "[crane, boat]"])
def test_a_run_is_not_resumed_on_other_classes(plan, cut_off, tmp_path, monkeypatch, names):
    file = tmp_path / "other.yaml"
    file.write_text(f"path: {tmp_path}\ntrain: .\nval: .\nnames: {names}\n")
    monkeypatch.setattr(resume_plan, "resolve_data", lambda *_, **__: file)
    with pytest.raises(ConfigError, match=r"has the classes .*'boat', 'crane'.*other\.yaml"):
        plan(resume=str(cut_off), pretrained="auto", data="other")


def test_a_run_whose_epochs_are_all_done_is_planned_to_be_finished(plan, cut_off):
    _changed(cut_off, epochs=2)
    assert plan(resume=str(cut_off), pretrained="auto")["epochs"] == 2


@given(st.sampled_from(["motion_blur", "haze"]), st.floats(0, 1), st.booleans())
def test_run_settings_survive_plain_values(name, share, switch):
    drone = DroneOptions(augment=(name,), nwd=share, mask_ignored=switch)
    run = RunSettings(drone, "yolo-ema train", ("none",), switch, not switch)
    assert RunSettings.from_dict(run.as_dict()) == run


def test_exist_ok_would_empty_the_folder_on_several_gpus(plan, gpus, tmp_path):
    gpus(2, 24)
    kept = tmp_path / "runs" / "train" / "mine" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("x")
    with pytest.raises(ConfigError, match="exist_ok=true cannot be combined with several GPUs"):
        plan(name="mine", device="0,1", settings={"exist_ok": "true"})
    assert kept.read_text() == "x"


@pytest.mark.parametrize("which", ["model", "pretrained"])
def test_exist_ok_does_not_replace_what_the_run_starts_from(plan, tmp_path, which):
    weights = tmp_path / "runs" / "train" / "mine" / "weights" / "best.pt"
    weights.parent.mkdir(parents=True)
    torch.save({"model": build_model("yolo11n-ema", 2), "train_args": {}}, weights)
    before = weights.read_bytes()
    with pytest.raises(ConfigError, match=f"{weights}, which the new one starts from"):
        plan(name="mine", settings={"exist_ok": "true"}, **{which: str(weights)})
    assert weights.read_bytes() == before
    assert plan(name="other", settings={"exist_ok": "true"}, **{which: str(weights)})
