"""What `yolo_ema.engine.training.trainer` and its neighbours assume about the inside of
Ultralytics' trainer, one test per assumption.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

import yolo_ema.engine  # noqa: F401 - sets Ultralytics up before it is imported

# isort: split

from ultralytics.cfg import get_cfg
from ultralytics.engine import trainer as trainer_module
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.utils import DEFAULT_CFG_DICT, SETTINGS, callbacks, checks, dist, nms, torch_utils


def _source(of) -> str:
    return inspect.getsource(of)


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


def test_strip_optimizer_writes_to_another_place_when_told(saved):
    before = (saved / "last.pt").read_bytes()
    torch_utils.strip_optimizer(saved / "last.pt", str(saved / "stripped.pt"))
    assert (saved / "last.pt").read_bytes() == before
    assert _load(saved / "stripped.pt")["optimizer"] is None


def test_final_eval_strips_last_and_best_and_nothing_else_needs_doing():
    source = _source(BaseTrainer.final_eval)
    assert source.count("strip_optimizer(") == 2
    assert 'run_callbacks("on_fit_epoch_end")' in source


def test_the_amp_check_is_looked_up_in_the_trainer_module():
    assert "check_amp(self.model)" in _source(BaseTrainer._setup_train)
    assert trainer_module.check_amp is checks.check_amp


def test_a_run_by_time_counts_its_warmup_right_after_it_estimates_its_epochs():
    source = _source(BaseTrainer._do_train)
    _, rest = source.split("self.epochs = self.args.epochs = math.ceil(")
    assert rest.index("self._get_warmup_iterations(") < rest.index("self._setup_scheduler()")


def test_setup_model_is_called_once_and_gives_the_checkpoint_to_resume_from():
    source = _source(BaseTrainer._setup_train)
    assert "ckpt = self.setup_model()" in source
    assert "self.resume_training(ckpt)" in source


def test_check_resume_decides_by_setting_self_resume():
    assert "self.resume = resume" in _source(BaseTrainer.check_resume)
    assert "self.check_resume(overrides or {})" in _source(BaseTrainer.__init__)


def test_resume_loads_optimizer_moving_average_and_stopper():
    source = _source(BaseTrainer._load_checkpoint_state)
    for key in ("optimizer", "scaler", "ema", "updates", "best_fitness", "stopper"):
        assert f'"{key}"' in source, key


def test_the_save_dir_setting_decides_the_folder(tmp_path):
    args = get_cfg(DEFAULT_CFG_DICT, {"save_dir": str(tmp_path / "run"), "project": "elsewhere"})
    assert trainer_module.get_save_dir(args) == tmp_path / "run"


def test_unknown_settings_are_refused_so_that_ours_must_be_taken_out_first(caplog):
    with pytest.raises(SyntaxError, match="yolo_ema"):
        get_cfg(DEFAULT_CFG_DICT, {"yolo_ema": {}})


def test_a_cpu_run_is_left_without_loading_processes():
    assert "self.args.workers = 0" in _source(BaseTrainer.__init__)


def test_workers_of_a_run_on_several_gpus_are_made_from_class_settings_and_callbacks():
    source = _source(dist.generate_ddp_file)
    assert '"trainer": type(trainer)' in source
    assert '"args": vars(trainer.args)' in source
    assert (
        'state["trainer"](cfg=cfg, overrides=state["args"], _callbacks=state["callbacks"])'
        in source
    )


def test_the_launcher_removes_the_run_folder_of_a_new_run_only():
    assert "if not trainer.resume:\n        shutil.rmtree(trainer.save_dir)" in _source(
        dist.generate_ddp_command
    )


def test_the_launcher_branch_of_train_checks_rect_and_batch_and_runs_one_command():
    source = _source(BaseTrainer.train)
    assert "generate_ddp_command(self)" in source
    assert "self.args.rect = False" in source
    assert "self.args.batch < 1.0" in source


def test_the_last_validation_reads_the_data_yaml_again():
    assert "self.data = check_det_dataset(self.args.data, split=self.args.split)" in _source(
        BaseValidator.__call__
    )
    assert "self.dataloader = self.dataloader or" in _source(BaseValidator.__call__)


def test_nms_has_a_time_limit_per_image_that_can_be_raised():
    assert inspect.signature(nms.non_max_suppression).parameters[
        "max_time_img"
    ].default == pytest.approx(0.05)


def test_the_validator_hands_nms_what_ours_hands_it():
    source = _source(DetectionValidator.postprocess)
    for part in (
        "multi_label=True",
        "end2end=self.end2end",
        "max_det=self.args.max_det",
        '"extra": x[:, 6:]',
    ):
        assert part in source


@pytest.mark.parametrize(("max_det", "raised"), [(300, 400), (350, 350)])
def test_max_det_is_raised_only_where_it_was_left_at_its_default(max_det, raised):
    args = SimpleNamespace(max_det=max_det)
    crowded = SimpleNamespace(labels=[{"cls": torch.zeros(400, 1)}])
    DetectionValidator._check_max_det(args, {"val": crowded})
    assert args.max_det == raised
    assert DEFAULT_CFG_DICT["max_det"] == 300


def test_loggers_are_chosen_by_the_settings_when_the_trainer_is_made():
    source = _source(callbacks.add_integration_callbacks)
    assert "SETTINGS[key] is True" in source
    for name in ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"):
        assert f'"{name}"' in source
        assert name in SETTINGS.defaults
    assert '"Trainer" in instance.__class__.__name__' in source


def test_settings_are_a_dict_that_only_its_own_update_writes_to_disk():
    assert isinstance(SETTINGS, dict)
    assert type(SETTINGS).update is not dict.update


def test_fonts_are_looked_for_in_the_settings_folder_before_any_download(monkeypatch, tmp_path):
    assert "file = USER_CONFIG_DIR / name" in _source(checks.check_font)
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
        "_get_warmup_iterations",
        "save_metrics",
        "final_eval",
    ],
)
def test_a_method_that_our_trainer_replaces_is_there(name):
    assert callable(getattr(DetectionTrainer, name))
