"""Ultralytics' detection trainer with this project's models, data, loss, checkpoints and record.

Whatever a run needs beyond Ultralytics' settings is one plain dictionary among them (`RUN_KEY`). So
it reaches the workers of a run on several GPUs, which are made anew from the settings in fresh
processes, and lies in every checkpoint's ``train_args``, where a resumed run finds it.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import DEFAULT_CFG, LOCAL_RANK, LOGGER, RANK
from ultralytics.utils.dist import ddp_cleanup, generate_ddp_command
from ultralytics.utils.torch_utils import (
    torch_distributed_zero_first,
    unset_deterministic,
    unwrap_model,
)

from yolo_ema.engine.data.datasets import data_fingerprint, read_data, resolve_data
from yolo_ema.engine.data.train_dataset import DroneDataset, build_train_dataset
from yolo_ema.engine.models.registration import model_yaml, register
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.setup.half_precision import cpu_bfloat16, own_amp_check
from yolo_ema.engine.setup.malloc_tuning import keep_freed_memory
from yolo_ema.engine.setup.no_network_no_install import confined
from yolo_ema.engine.setup.plot_fonts import place_fonts
from yolo_ema.engine.setup.ultralytics_settings import enable_loggers
from yolo_ema.engine.setup.worker_errors import place_for_errors, told_to_starter
from yolo_ema.engine.training.drone_loss import attach_drone_loss
from yolo_ema.engine.training.run_record import RECORD_NAME, RunRecord
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings, refuse_distillation
from yolo_ema.engine.training.train_validator import TrainValidator
from yolo_ema.engine.weights.checkpoints import AtomicPath, discard_leftovers, strip_checkpoint
from yolo_ema.engine.weights.loading import guarded_torch_load, load_checkpoint, load_model
from yolo_ema.engine.weights.transfer import TransferReport, transfer_weights
from yolo_ema.errors import MachineError
from yolo_ema.inference.object_sizes import measured_sizes
from yolo_ema.io.atomic_files import disk_full_is_clear, write_text

__all__ = ["EmaTrainer"]

_STOP_SECONDS = 30.0


class EmaTrainer(DetectionTrainer):
    """Trains a detection model, with EMA blocks or without.

    Args:
        cfg: Ultralytics' default settings.
        overrides: settings that differ, and `RunSettings.as_dict` under `RUN_KEY`. ``data`` is a
            data YAML whose images are on the disk, ``model`` a model's name, YAML or .pt;
            ``pretrained`` the path of a .pt, or False; ``save_dir`` the run's folder.
        _callbacks: Ultralytics' callbacks.
    """

    model: Any
    wdir: Path

    def __init__(
        self,
        cfg: Any = DEFAULT_CFG,
        overrides: dict[str, Any] | None = None,
        _callbacks: Any = None,
    ) -> None:
        overrides = dict(overrides or {})
        planned = overrides.pop(RUN_KEY, None)
        self._is_planned = planned is not None
        refuse_distillation(overrides)
        self.run_settings = RunSettings.from_dict(planned or {})
        self.transfer: TransferReport | None = None
        register()
        place_fonts()
        self.loggers = enable_loggers(self.run_settings.loggers, offline=self.run_settings.offline)
        workers = overrides.get("workers")
        with confined(), guarded_torch_load(trust=self.run_settings.trust):
            super().__init__(cfg, overrides, _callbacks)
        if not self._is_planned and hasattr(self.args, RUN_KEY):
            # A plain YOLO(…).train(trainer=EmaTrainer, resume=True) finds ours in the checkpoint,
            # which can't vouch for itself.
            found = RunSettings.from_dict(getattr(self.args, RUN_KEY))
            self.run_settings = dataclasses.replace(found, trust=False, offline=True)
            refuse_distillation(vars(self.args))
        if self.device.type == "cpu":
            use_all_cores()
            keep_freed_memory(of_any_size=True)
            self.args.workers = workers or 0  # Ultralytics knows only 0 here
        setattr(self.args, RUN_KEY, self.run_settings.as_dict())
        self.wdir = AtomicPath(self.wdir)
        self.last, self.best = self.wdir / "last.pt", self.wdir / "best.pt"
        self.record = RunRecord(self.save_dir / RECORD_NAME)

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Take planned settings as they are, read from the checkpoint before; else read them as
        Ultralytics does.
        """
        if self._is_planned:
            self.resume = bool(self.args.resume)
        else:
            super().check_resume(overrides)

    def get_dataset(self) -> dict[str, Any]:
        """Read the data YAML; what it names must be on the disk, and nothing in it runs."""
        self.args.data = str(resolve_data(self.args.data, offline=True).absolute())
        data = read_data(self.args.data)
        if self.args.single_cls:
            data |= {"names": {0: "item"}, "nc": 1}
        return data

    def setup_model(self) -> dict[str, Any] | None:
        """Make the model and its first weights; return the checkpoint that the run goes on from, or
        None for a new run.
        """
        if isinstance(self.model, nn.Module):
            return None
        if self.resume:
            return self._continued_model()
        config, weights = self.model, None
        if str(config).lower().endswith(".pt"):
            weights = load_model(config, trust=self.run_settings.trust).model
            config = weights.yaml
        if self.args.pretrained is False:
            weights = None
        elif isinstance(self.args.pretrained, str | Path):
            weights = load_model(self.args.pretrained, trust=self.run_settings.trust).model
        self.model = self.get_model(config, weights)
        return None

    def _continued_model(self) -> dict[str, Any]:
        """Take the checkpoint's averaged model as it is: carried weights may have widened its head
        beyond what its YAML says.
        """
        checkpoint = load_checkpoint(self.args.resume, trust=self.run_settings.trust)
        self.model = copy.deepcopy(checkpoint["ema"]).float().requires_grad_(True)
        return checkpoint

    def get_model(
        self, cfg: Any = None, weights: nn.Module | None = None, verbose: bool = True
    ) -> DetectionModel:
        """Build the model and carry ``weights`` over by layer correspondence.

        Raises:
            ModelError: the name or YAML is wrong.
            TransferError: too few tensors of ``weights`` fit.
        """
        definition = dict(cfg) if isinstance(cfg, dict) else yaml_model_load(model_yaml(cfg))
        classes, channels = self.data["nc"], self.data["channels"]
        model = DetectionModel(
            {**definition, "nc": classes}, ch=channels, nc=classes, verbose=False
        )
        model = self.set_model_names_for_load(model)
        if weights is not None:
            self.transfer = transfer_weights(weights, model)
        if verbose and RANK in {-1, 0}:
            model.info(verbose=False)
            LOGGER.info(
                self.transfer.as_text()
                if self.transfer
                else "weights: none carried over, all of them are random"
            )
        return model

    def build_dataset(
        self, img_path: str | list[str], mode: str = "train", batch: int | None = None
    ) -> DroneDataset:
        """Build the dataset for training (``train``) or for the validation during it (``val``)."""
        stride = max(int(unwrap_model(self.model).stride.max()), 32)
        return build_train_dataset(
            self.args,
            img_path,
            batch or 1,
            self.data,
            drone=self.run_settings.drone,
            mode=mode,
            stride=stride,
            rect=mode == "val",
        )

    def set_model_attributes(self) -> None:
        """Give the model its class names; on a CPU, too, lay its weights out as channels_last,
        which is faster there.
        """
        super().set_model_attributes()
        if self._is_channels_last_on_cpu:
            self.model = self.model.to(memory_format=torch.channels_last)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch as the network takes it: float32 in 0…1, in the memory format of its
        weights.
        """
        batch = super().preprocess_batch(batch)
        if self._is_channels_last_on_cpu:
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    @property
    def _is_channels_last_on_cpu(self) -> bool:
        return self.device.type == "cpu" and self.args.channels_last is not False

    def get_validator(self) -> TrainValidator:
        """Return the validator; it reads the dataset that the trainer made."""
        args = copy.copy(self.args)
        delattr(args, RUN_KEY)
        args.data = str(self.save_dir / "data.yaml")
        return TrainValidator(
            self.test_loader, save_dir=self.save_dir, args=args, _callbacks=self.callbacks
        )

    def _setup_train(self) -> None:
        """Set up as Ultralytics does, then put this project's loss, record and resolved data YAML
        in place.
        """
        with own_amp_check():
            super()._setup_train()
        attach_drone_loss(self.model, self.run_settings.drone)
        attach_drone_loss(self.ema.ema, self.run_settings.drone)
        if RANK in {-1, 0}:
            self._write_data_yaml()
            discard_leftovers(Path(self.wdir))
            if self.resume:
                _trim_rows(self.csv, self.start_epoch)
            self._start_record()

    def _write_data_yaml(self) -> None:
        """Write the data YAML with absolute paths into the run's folder: the last validation reads
        it, and it documents the run.
        """
        keys = ("train", "val", "test", "names", "nc", "channels")
        content = {"path": str(self.data["path"])} | {
            key: self.data[key] for key in keys if key in self.data
        }
        write_text(
            self.save_dir / "data.yaml",
            yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
        )

    def _start_record(self) -> None:
        if self.resume and self.record.content:
            self.record.resume(command=self.run_settings.command, epoch=self.start_epoch + 1)
            return
        settings = {key: value for key, value in vars(self.args).items() if key != RUN_KEY}
        self.record.start(
            command=self.run_settings.command,
            model=str(self.args.model),
            seed=self.args.seed,
            settings=settings,
            drone=self.run_settings.as_dict()["drone"],
            loggers=list(self.loggers),
            transfer=self._transfer_facts(),
            data={
                "yaml": str(self.args.data),
                **data_fingerprint(self.args.data),
                "left_out": self._left_out(),
            },
        )

    def _left_out(self) -> dict[str, int]:
        """Return how many label rows and images of each split are wrong and left out; the log names
        them.
        """
        loaders = {"train": self.train_loader, "val": self.test_loader}
        return {split: len(loader.dataset.problems) for split, loader in loaders.items()}

    def _transfer_facts(self) -> dict[str, Any] | None:
        if self.transfer is None:
            return None
        source = (
            self.args.pretrained
            if isinstance(self.args.pretrained, str | Path)
            else self.args.model
        )
        return {
            "tensors": self.transfer.transferred,
            "of": self.transfer.total,
            "from": str(source),
            "new": list(self.transfer.new),
        }

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Append the epoch's metrics to ``results.csv`` and to the run record."""
        super().save_metrics(metrics)
        self.record.add_epoch(self.epoch + 1, metrics)

    def final_eval(self) -> None:
        """Strip both checkpoints, each at once or not at all, and validate the best one."""
        with torch_distributed_zero_first(LOCAL_RANK):
            if RANK in {-1, 0} and self.last.exists():
                sizes = measured_sizes(self.train_loader.dataset.labels, self.args.imgsz)
                results = strip_checkpoint(Path(self.last), updates=sizes).get("train_results")
                if self.best.exists():
                    strip_checkpoint(Path(self.best), updates={"train_results": results, **sizes})
        if not self.best.exists():
            return
        LOGGER.info(f"\nValidating {self.best}...")
        self.validator.args.plots = self.args.plots
        self.validator.args.compile = False
        self.metrics = self.validator(model=load_model(Path(self.best)).model)
        self.metrics.pop("fitness", None)
        self.epoch += 1  # loggers get the best checkpoint's metrics one step after the last epoch's
        self.run_callbacks("on_fit_epoch_end")
        self.epoch -= 1
        if RANK in {-1, 0}:
            full = {
                "max_det": self.args.max_det,
                "count": len(self.validator.full_images),
                "images": self.validator.full_images,
            }
            self.record.finish("finished", self.metrics, images_at_limit=full)

    def train(self) -> None:
        """Train here, or start one process per GPU and wait for them.

        Raises:
            DiskFullError: the disk is full; the last checkpoint is intact.
            YoloEmaError: in a run on several GPUs, what a process told of.
            MachineError: such a process failed with another error; it has said why on stderr.
        """
        with confined(), guarded_torch_load(trust=self.run_settings.trust):
            if self.ddp:
                self._train_in_workers()
                return
            with told_to_starter(), disk_full_is_clear(self.last), cpu_bfloat16():
                super().train()

    def _train_in_workers(self) -> None:
        self.args.rect = False  # it needs one order of images for all
        command, file = generate_ddp_command(self)
        try:
            _run_workers(command)
        finally:
            ddp_cleanup(self, file)
            unset_deterministic()


def _run_workers(command: list[str]) -> None:
    """Run the launcher of the workers; an interruption ends it and them. An error that a worker
    tells of is raised here.
    """
    with place_for_errors() as place:
        environment = {**os.environ, **place.environment}
        process = subprocess.Popen(command, stdout=sys.stderr, env=environment)  # noqa: S603 - Ultralytics' own command
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if code:
            failed = MachineError(
                f"a training process on one of the GPUs failed (exit code {code}); what it said "
                f"stands above"
            )
            raise place.error() or failed


def _trim_rows(csv: Path, epochs: int) -> None:
    """Drop the rows of epochs that are done again: the run was cut off between writing a row and
    the checkpoint.
    """
    if csv.is_file():
        header, *rows = csv.read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if int(float(row.split(",")[0])) <= epochs]
        write_text(csv, "\n".join([header, *kept]) + "\n")
