"""What `yolo_ema.engine.training.trainer` and its neighbours assume about the inside of
Ultralytics' trainer, one test per assumption.
"""

from __future__ import annotations

import inspect
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import ultralytics

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported

# isort: split

from ultralytics.cfg import get_cfg
from ultralytics.engine import trainer as trainer_module
from ultralytics.engine import validator as validator_module
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.utils import (
    DEFAULT_CFG_DICT,
    SETTINGS,
    callbacks,
    checks,
    dist,
    nms,
    patches,
    torch_utils,
)


class _Trainer(BaseTrainer):
    """Sets up a small module without a dataset, and records each step."""

    def get_dataset(self):
        return {"names": {0: "a"}}

    def setup_model(self):
        self.steps = ["setup_model"]
        self.model = torch.nn.Linear(2, 1)
        return "the checkpoint"

    def _build_train_pipeline(self):
        self.steps.append("data and optimizer")
        self.scheduler = SimpleNamespace()

    def get_validator(self):
        return SimpleNamespace(metrics=SimpleNamespace(keys=[]))

    def label_loss_items(self, loss_items=None, prefix="train"):
        return []

    def set_class_weights(self):
        self.steps.append("class weights")
        assert self.ema is None

    def resume_training(self, ckpt):
        self.steps.append(f"resume {ckpt}")
        assert self.ema is not None


@pytest.fixture
def trainer(tmp_path) -> _Trainer:
    settings = {"device": "cpu", "workers": 4, "deterministic": False, "plots": False}
    return _Trainer(overrides={**settings, "save_dir": str(tmp_path / "run"), "model": "m.yaml"})


class _Written(type(Path())):
    """A path that keeps what is written to it by `write_bytes`."""

    contents: ClassVar[dict[str, bytes]] = {}

    def write_bytes(self, data) -> int:
        self.contents[self.name] = data
        return super().write_bytes(data)


@pytest.fixture
def saved(tmp_path) -> Path:
    """The folder into which Ultralytics' trainer has saved a small module after epoch 2."""
    module = torch.nn.Linear(2, 1)
    module.criterion = "ours"
    trainer = SimpleNamespace(
        model=module,
        ema=SimpleNamespace(ema=module, updates=7),
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        stopper=SimpleNamespace(best_fitness=0.5, best_epoch=2),
        args=SimpleNamespace(data="a.yaml", lr0=0.1),
        metrics={},
        read_results_csv=dict,
        wdir=_Written(tmp_path),
        last=_Written(tmp_path / "last.pt"),
        best=_Written(tmp_path / "best.pt"),
        epoch=2,
        save_period=2,
        fitness=0.5,
        best_fitness=0.5,
    )
    _Written.contents.clear()
    BaseTrainer.save_model(trainer)
    return tmp_path


def _load(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def test_save_model_writes_every_checkpoint_with_write_bytes_of_its_path(saved):
    assert sorted(_Written.contents) == ["best.pt", "epoch2.pt", "last.pt"]
    for name, content in _Written.contents.items():
        assert (saved / name).read_bytes() == content


def test_save_model_removes_the_criterion_from_what_it_saves(saved):
    assert _load(saved / "last.pt")["ema"].criterion is None


def test_checkpoints_hold_all_settings_under_train_args(saved):
    assert _load(saved / "last.pt")["train_args"] == {"data": "a.yaml", "lr0": 0.1}


def test_strip_optimizer_can_write_to_another_path(saved):
    before = (saved / "last.pt").read_bytes()
    torch_utils.strip_optimizer(saved / "last.pt", str(saved / "stripped.pt"))
    assert (saved / "last.pt").read_bytes() == before
    assert _load(saved / "stripped.pt")["optimizer"] is None


def test_final_eval_strips_last_and_best_and_validates_the_best(saved, monkeypatch):
    stripped, validated, events = [], [], []

    def strip_optimizer(path, **_):
        stripped.append(path.name)
        return {}

    monkeypatch.setattr(trainer_module, "strip_optimizer", strip_optimizer)

    def validator(model):
        validated.append(model.name)
        return {"fitness": 0.5}

    validator.args = SimpleNamespace()
    trainer = SimpleNamespace(
        last=saved / "last.pt",
        best=saved / "best.pt",
        validator=validator,
        args=SimpleNamespace(plots=False),
        epoch=2,
        run_callbacks=events.append,
    )
    BaseTrainer.final_eval(trainer)
    assert (stripped, validated) == (["last.pt", "best.pt"], ["best.pt"])
    assert events == ["on_fit_epoch_end"]


def test_the_setup_runs_in_this_order_and_resumes_from_the_checkpoint_of_setup_model(
    trainer, monkeypatch
):
    """The AMP check is looked up in the trainer module; the moving average is made after the
    class weights and before the checkpoint's state is loaded.
    """

    def check_amp(model):
        trainer.steps.append("check_amp")
        return False

    monkeypatch.setattr(trainer_module, "check_amp", check_amp)
    trainer._setup_train()
    assert trainer.steps == [
        "setup_model",
        "check_amp",
        "data and optimizer",
        "class weights",
        "resume the checkpoint",
    ]


class _Weight(torch.nn.Module):
    """A module that is its own loss."""

    criterion = None

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return self.weight, {"loss": self.weight.detach()}


class _Images(list):
    num_workers = 0
    dataset = ()


class _RunByTime(_Trainer):
    """Trains a single number on two batches; each epoch ends right away, and the first the run."""

    def _setup_train(self):
        self.steps, self.metrics, self.model, self.amp = [], {}, _Weight(), False
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.train_loader = self.test_loader = _Images([{"img": torch.zeros(1, 3, 8, 8)}] * 2)
        self.accumulate, self.start_epoch, self.nan_recovery_attempts = 1, 0, 0
        self.ema = SimpleNamespace(update_attr=lambda *_, **__: None)
        self.stopper = SimpleNamespace(possible_stop=False)
        self.args.warmup_epochs, self.args.close_mosaic = 0, 0
        self._setup_scheduler()

    def _get_warmup_iterations(self, num_batches):
        self.steps.append(("warmup", self.epochs, num_batches))
        return 0

    def _setup_scheduler(self):
        self.steps.append(("scheduler", self.epochs))
        super()._setup_scheduler()

    def _model_train(self):
        pass

    def preprocess_batch(self, batch):
        return batch

    def optimizer_step(self):
        pass

    def label_loss_items(self, loss_items=None, prefix="train"):
        return {}

    def validate(self):
        return {}, 0.0

    def save_metrics(self, metrics):
        self.stop = True
        self.stopper = lambda *_: True

    def _handle_nan_recovery(self, epoch):
        return False

    def final_eval(self):
        pass


def test_a_run_by_time_counts_its_warmup_right_after_it_estimates_its_epochs(tmp_path):
    """By `_get_warmup_iterations`, which ours overrides; then it sets up its schedule."""
    settings = {
        "device": "cpu",
        "deterministic": False,
        "plots": False,
        "save": False,
        "val": False,
    }
    settings |= {"save_dir": str(tmp_path / "run"), "model": "m.yaml", "epochs": 9, "time": 1.0}
    trainer = _RunByTime(overrides=settings)
    trainer._do_train()
    estimated = trainer.epochs
    assert estimated > 9
    assert trainer.steps == [
        ("scheduler", 9),
        ("warmup", 9, 2),
        ("warmup", estimated, 2),
        ("scheduler", estimated),
    ]


def test_check_resume_decides_when_the_trainer_is_made_by_setting_self_resume(trainer, tmp_path):
    class Asked(_Trainer):
        def check_resume(self, overrides):
            super().check_resume(overrides)
            asked.append((overrides, self.resume))

    asked = []
    overrides = {"device": "cpu", "save_dir": str(tmp_path / "run"), "deterministic": False}
    overrides["model"] = "m.yaml"
    Asked(overrides=overrides)
    assert asked == [(overrides, False)]


def test_resume_loads_optimizer_moving_average_and_stopper():
    module = torch.nn.Linear(2, 1)
    trainer = SimpleNamespace(
        model=module,
        ema=torch_utils.ModelEMA(module),
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler("cpu"),
        stopper=SimpleNamespace(best_epoch=0),
    )
    other = torch.nn.Linear(2, 1)
    BaseTrainer._load_checkpoint_state(
        trainer,
        {
            "optimizer": torch.optim.SGD(module.parameters(), lr=0.3).state_dict(),
            "scaler": {**trainer.scaler.state_dict(), "scale": 2.0},
            "ema": other,
            "updates": 7,
            "best_fitness": 0.5,
            "stopper": {"best_epoch": 2},
        },
    )
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.3)
    assert trainer.scaler.get_scale() == pytest.approx(2.0)
    assert torch.equal(trainer.ema.ema.weight, other.weight)
    assert (trainer.ema.updates, trainer.best_fitness) == (7, 0.5)
    assert trainer.stopper.best_epoch == 2


def test_the_save_dir_setting_decides_the_folder(tmp_path):
    args = get_cfg(DEFAULT_CFG_DICT, {"save_dir": str(tmp_path / "run"), "project": "elsewhere"})
    assert trainer_module.get_save_dir(args) == tmp_path / "run"


def test_unknown_settings_are_refused_so_ours_must_be_removed_first(caplog):
    with pytest.raises(SyntaxError, match="yolo_ema"):
        get_cfg(DEFAULT_CFG_DICT, {"yolo_ema": {}})


def test_a_cpu_run_gets_no_loading_processes(trainer):
    assert trainer.args.workers == 0


class _Worker:
    made: ClassVar[list] = []

    def __init__(self, cfg, overrides, _callbacks):
        self.made.append((overrides, _callbacks))

    def train(self):
        self.made.append(self.model)


def test_workers_of_a_run_on_several_gpus_are_made_from_class_settings_and_callbacks(
    monkeypatch, tmp_path
):
    saved = {}
    (tmp_path / "DDP").mkdir()
    monkeypatch.setattr(dist, "USER_CONFIG_DIR", tmp_path)
    monkeypatch.setattr(dist, "torch_save", lambda state, path, **_: saved.update(state))
    monkeypatch.setattr(checks, "check_requirements", lambda *_: True)
    monkeypatch.setitem(sys.modules, "cloudpickle", SimpleNamespace())
    monkeypatch.setattr(patches, "torch_load", lambda *_, **__: saved)
    monkeypatch.setattr(sys, "path", sys.path)
    monkeypatch.setattr(_Worker, "made", [])

    trainer = object.__new__(_Worker)
    trainer.args, trainer.model, trainer.callbacks = SimpleNamespace(lr0=0.1), "model", {"a": []}
    runpy.run_path(dist.generate_ddp_file(trainer), run_name="__main__")
    assert _Worker.made == [({"lr0": 0.1}, {"a": []}), "model"]


@pytest.mark.parametrize("resume", [True, False])
def test_the_launcher_removes_the_run_folder_of_a_new_run_only(monkeypatch, tmp_path, resume):
    monkeypatch.setattr(dist, "generate_ddp_file", lambda trainer: "run.py")
    folder = tmp_path / "run"
    folder.mkdir()
    trainer = SimpleNamespace(resume=resume, save_dir=folder, world_size=2)
    command, _ = dist.generate_ddp_command(trainer)
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert command[-1] == "run.py"
    assert folder.exists() == resume


def test_the_launcher_branch_of_train_checks_rect_and_batch_and_runs_one_command(monkeypatch):
    commands = []
    monkeypatch.setattr(trainer_module, "generate_ddp_command", lambda _: (["command"], None))
    monkeypatch.setattr(
        trainer_module.subprocess, "run", lambda command, check: commands.append(command)
    )
    trainer = SimpleNamespace(ddp=True, world_size=2, args=SimpleNamespace(rect=True, batch=4))
    BaseTrainer.train(trainer)
    assert commands == [["command"]]
    assert not trainer.args.rect
    trainer.args.batch = 0.5
    with pytest.raises(ValueError, match="AutoBatch"):
        BaseTrainer.train(trainer)


def test_the_last_validation_reads_the_data_yaml_again_and_keeps_its_loader(monkeypatch, tmp_path):
    class Model(SimpleNamespace):
        def eval(self):
            pass

        def warmup(self, imgsz):
            raise InterruptedError

    opened = Model(device=torch.device("cpu"), fp16=False, stride=32, format="pt", names={0: "a"})
    read = []

    def check_det_dataset(data, split):
        read.append((data, split))
        return {"channels": 3}

    monkeypatch.setattr(validator_module, "AutoBackend", lambda **_: opened)
    monkeypatch.setattr(validator_module, "check_det_dataset", check_det_dataset)
    loader = SimpleNamespace(batch_size=1)
    validator = DetectionValidator(
        loader, tmp_path, {"data": "a.yaml", "split": "val", "device": "cpu"}
    )
    with pytest.raises(InterruptedError):
        validator(model=torch.nn.Linear(2, 1))
    assert read == [("a.yaml", "val")]
    assert validator.data == {"channels": 3}
    assert validator.dataloader is loader


def test_nms_has_a_time_limit_per_image_that_can_be_raised():
    assert inspect.signature(nms.non_max_suppression).parameters[
        "max_time_img"
    ].default == pytest.approx(0.05)


def test_the_validator_hands_nms_what_ours_hands_it(monkeypatch):
    handed = {}

    def non_max_suppression(predictions, conf, iou, **settings):
        handed.update(settings)
        return [predictions]

    monkeypatch.setattr(nms, "non_max_suppression", non_max_suppression)
    args = get_cfg(overrides={"task": "detect", "max_det": 7})
    (found,) = DetectionValidator.postprocess(
        SimpleNamespace(args=args, nc=2, end2end=True), torch.arange(7.0)[None]
    )
    assert handed == {
        "nc": 0,
        "multi_label": True,
        "agnostic": False,
        "max_det": 7,
        "end2end": True,
        "rotated": False,
    }
    assert {name: values.tolist() for name, values in found.items()} == {
        "bboxes": [[0.0, 1.0, 2.0, 3.0]],
        "conf": [4.0],
        "cls": [5.0],
        "extra": [[6.0]],
    }


@pytest.mark.parametrize(("max_det", "raised"), [(300, 400), (350, 350)])
def test_max_det_is_raised_where_it_is_ultralytics_default_typed_or_not(max_det, raised):
    args = SimpleNamespace(max_det=max_det)
    crowded = SimpleNamespace(labels=[{"cls": torch.zeros(400, 1)}])
    DetectionValidator._check_max_det(args, {"val": crowded})
    assert args.max_det == raised
    assert DEFAULT_CFG_DICT["max_det"] == 300


def test_the_trainer_checks_max_det_by_the_validators_class_with_both_splits(monkeypatch):
    seen: dict[str, object] = {}
    monkeypatch.setattr(BaseTrainer, "_build_train_pipeline", lambda self: None)
    monkeypatch.setattr(
        DetectionValidator, "_check_max_det", lambda args, datasets: seen.update(datasets)
    )
    trainer = DetectionTrainer.__new__(DetectionTrainer)
    trainer.args = SimpleNamespace(task="detect", max_det=7)
    trainer.train_loader, trainer.test_loader = (SimpleNamespace(dataset=one) for one in (1, 2))
    trainer.model = SimpleNamespace(set_head_attr=lambda **attributes: seen.update(attributes))
    trainer._build_train_pipeline()
    assert seen == {"train": 1, "val": 2, "max_det": 7}


_LOGGERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


@pytest.mark.parametrize(
    ("name", "wanted", "loaded"),
    [("OurTrainer", True, 7), ("OurTrainer", False, 0), ("Our", True, 0)],
)
def test_loggers_are_chosen_by_the_settings_when_the_trainer_is_made(
    monkeypatch, name, wanted, loaded
):
    modules = []

    def import_module(module, package):
        modules.append(module)
        return SimpleNamespace(callbacks={})

    assert set(_LOGGERS) <= set(SETTINGS.defaults)
    monkeypatch.setattr(ultralytics.utils, "SETTINGS", dict.fromkeys(_LOGGERS, wanted))
    monkeypatch.setattr(callbacks.base, "import_module", import_module)
    instance = type(name, (), {"callbacks": callbacks.get_default_callbacks()})()
    callbacks.add_integration_callbacks(instance)
    assert len(modules) == loaded


def test_settings_are_a_dict_whose_own_update_alone_writes_to_disk():
    assert isinstance(SETTINGS, dict)
    assert type(SETTINGS).update is not dict.update


def test_fonts_are_looked_for_in_the_settings_folder_before_any_download(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "USER_CONFIG_DIR", tmp_path)
    (tmp_path / "Arial.ttf").write_bytes(b"font")
    assert checks.check_font("Arial.ttf") == tmp_path / "Arial.ttf"


@pytest.mark.parametrize(
    "name",
    [
        "get_dataset",
        "setup_model",
        "get_model",
        "build_dataset",
        "get_validator",
        "_setup_train",
        "_build_train_pipeline",
        "_get_warmup_iterations",
        "save_metrics",
        "final_eval",
    ],
)
def test_a_method_that_our_trainer_overrides_exists(name):
    assert callable(getattr(DetectionTrainer, name))
