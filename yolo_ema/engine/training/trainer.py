"""Ultralytics' detection trainer with this project's models, data, loss, checkpoints and record.

Whatever a run needs beyond Ultralytics' settings is one plain dictionary among them (`RUN_KEY`). So
it reaches the workers of a run on several GPUs, which are rebuilt from the settings in fresh
processes, and lies in every checkpoint's ``train_args``, where a resumed run finds it.

Of several processes the first one (`RANK` 0 of all, not of its node) reads what lies on its disk
alone, weights and checkpoints, and hands it to the others; it alone writes.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import distributed as dist
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.detect import train as detect_train
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import DEFAULT_CFG, LOCAL_RANK, LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.dist import ddp_cleanup, generate_ddp_command
from ultralytics.utils.torch_utils import (
    torch_distributed_zero_first,
    unset_deterministic,
    unwrap_model,
)

from yolo_ema.engine.data.data_yaml import read_data
from yolo_ema.engine.data.dataset_lookup import resolve_data
from yolo_ema.engine.data.drone_dataset import DroneDataset, build_train_dataset
from yolo_ema.engine.models.registration import model_yaml, register
from yolo_ema.engine.setup.no_network_no_install import no_network_no_install, place_fonts
from yolo_ema.engine.setup.ultralytics_settings import enable_loggers
from yolo_ema.engine.training.cpu_group import settle_on_cpu, several_on_cpu
from yolo_ema.engine.training.ddp_workers import report_to_starter, run_workers
from yolo_ema.engine.training.drone_loss import attach_drone_loss
from yolo_ema.engine.training.first_model import first_model
from yolo_ema.engine.training.loading_workers import (
    clear_loading_errors,
    prepare_loader,
    workers_allowed,
)
from yolo_ema.engine.training.mixed_precision import check_bfloat16, cpu_bfloat16, own_amp_check
from yolo_ema.engine.training.process_group import from_first, in_turn
from yolo_ema.engine.training.resumed_run import (
    AllEpochsDone,
    finish_run,
    keep_best,
    require_epochs,
)
from yolo_ema.engine.training.run_record import (
    RECORD_NAME,
    RunRecord,
    begin_records,
    write_data_yaml,
)
from yolo_ema.engine.training.run_settings import RUN_KEY, RunSettings
from yolo_ema.engine.training.setting_checks import (
    check_data_settings,
    check_settings,
    clear_ultralytics_errors,
)
from yolo_ema.engine.training.train_validator import TrainValidator, warn_of_crowded_images
from yolo_ema.engine.weights.checkpoints import AtomicPath, strip_checkpoint, training_state_fits
from yolo_ema.engine.weights.loading import guarded_torch_load, load_checkpoint, load_model
from yolo_ema.engine.weights.transfer import TransferReport, transfer_weights
from yolo_ema.inference.object_sizes import measured_sizes
from yolo_ema.io.atomic_files import disk_full_is_clear
from yolo_ema.io.child_process import module_command


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
        check_settings(overrides)
        self.run_settings = RunSettings.from_dict(planned or {})
        self.transfer: TransferReport | None = None
        register()
        place_fonts()
        self.loggers = enable_loggers(self.run_settings.loggers, offline=self.run_settings.offline)
        workers = overrides.get("workers")
        with no_network_no_install(), guarded_torch_load(self.run_settings.trusted(overrides)):
            super().__init__(cfg, overrides, _callbacks)
        if RANK != -1:  # one of several, whose number Ultralytics takes from the device's word
            self.world_size, self.ddp = WORLD_SIZE, False
        if not self._is_planned and hasattr(self.args, RUN_KEY):
            # A plain YOLO(…).train(trainer=EmaTrainer, resume=True) finds ours in the checkpoint,
            # which can't vouch for itself.
            saved = RunSettings.from_dict(getattr(self.args, RUN_KEY))
            self.run_settings = dataclasses.replace(saved, trust=False, offline=True)
            check_settings(vars(self.args))
        if self.device.type == "cpu":
            settle_on_cpu(self.args, workers)
        self.args.workers = workers_allowed(self.args.workers)
        check_bfloat16(self.args.amp, self.device)
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
        """Read the data YAML; its images must exist, and nothing in it is run."""
        self.args.data = str(resolve_data(self.args.data, offline=True).absolute())
        data = read_data(self.args.data)
        check_data_settings(vars(self.args), data)
        if self.args.single_cls:
            data |= {"names": {0: "item"}, "nc": 1}
        return data

    def setup_model(self) -> dict[str, Any] | None:
        """Make the model and its first weights; return the checkpoint to resume, or None for a new
        run.
        """
        if isinstance(self.model, nn.Module):
            return None
        self.model, checkpoint = from_first(lambda: first_model(self))
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
        classes = self.data["nc"]
        model = DetectionModel({**definition, "nc": classes}, ch=3, nc=classes, verbose=False)
        model = self.set_model_names_for_load(model)
        if weights is not None:
            self.transfer = transfer_weights(weights, model)
        if verbose and RANK in {-1, 0}:
            model.info(verbose=False)
            random = "weights: none carried over, all of them are random"
            LOGGER.info(self.transfer.as_text() if self.transfer else random)
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

    def get_dataloader(
        self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """Build the loader, safe to wait for."""
        with mock.patch.object(detect_train, "torch_distributed_zero_first", in_turn):
            loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        prepare_loader(loader, self.args.imgsz)
        return loader

    def set_model_attributes(self) -> None:
        """Give the model its class names; on a CPU lay it out as channels_last, faster there."""
        super().set_model_attributes()
        if self._is_channels_last_on_cpu:
            self.model = self.model.to(memory_format=torch.channels_last)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch as the network takes it: float32 in 0…1, laid out as its weights are."""
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

    def _build_train_pipeline(self) -> None:
        """Build loaders and optimizer; the limit on detections stays as it was set."""
        with mock.patch.object(DetectionValidator, "_check_max_det", warn_of_crowded_images):
            super()._build_train_pipeline()

    def _setup_train(self) -> None:
        """Set up as Ultralytics does, then put our loss, record and data YAML in place."""
        with own_amp_check():
            super()._setup_train()
        attach_drone_loss(self.model, self.run_settings.drone)
        attach_drone_loss(self.ema.ema, self.run_settings.drone)
        if RANK in {-1, 0} or (LOCAL_RANK == 0 and not (self.save_dir / "data.yaml").exists()):
            write_data_yaml(self.save_dir / "data.yaml", self.data)
        if RANK in {-1, 0}:
            begin_records(self)
        require_epochs(self)

    def _get_warmup_iterations(self, num_batches: int) -> int:
        """Count them. A run by time has just re-estimated its epochs: of several processes the
        first one's estimate counts, or their learning rates would differ.
        """
        if self.args.time:
            self.epochs = self.args.epochs = from_first(lambda: self.epochs)
        return int(super()._get_warmup_iterations(num_batches))

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Append the epoch's metrics to ``results.csv`` and to the run record."""
        super().save_metrics(metrics)
        self.record.add_epoch(self.epoch + 1, metrics)

    def final_eval(self) -> None:
        """Strip the best checkpoint and validate it, then strip the last one, each at once or not
        at all.

        The last one keeps its training state until all is recorded: a run that is killed before can
        be resumed, and does what is left.
        """
        if not self.last.exists() and RANK in {-1, 0}:  # save=False, and stopped early
            self.save_model()
        with torch_distributed_zero_first(LOCAL_RANK):
            if RANK in {-1, 0}:
                last = load_checkpoint(Path(self.last), trust=self.run_settings.trust)
                sizes = measured_sizes(self.train_loader.dataset.labels, self.args.imgsz)
                updates = {"train_results": last.get("train_results"), **sizes}
                if self.best.exists():
                    strip_checkpoint(Path(self.best), updates=updates)
        best = Path(self.best if self.best.exists() else self.last)  # save=False: perhaps no best
        LOGGER.info(f"\nValidating {best}...")
        model = from_first(lambda: load_model(best, trust=self.run_settings.trust).model)
        self.validator.args.plots = self.args.plots
        self.validator.args.compile = False
        self.metrics = self.validator(model=model)
        self.metrics.pop("fitness", None)
        self.epoch += 1  # loggers get the best checkpoint's metrics one step after the last epoch's
        self.run_callbacks("on_fit_epoch_end")
        self.epoch -= 1
        if RANK in {-1, 0}:
            images = self.validator.full_images
            full = {"max_det": self.args.max_det, "count": len(images), "images": images}
            self.record.finish("finished", self.metrics, images_at_limit=full)
            strip_checkpoint(Path(self.last), updates=updates)

    def train(self) -> None:
        """Train here, or start one process per GPU and wait for them.

        Raises:
            DiskFullError: the disk is full; the last checkpoint is intact.
            MachineError: a process on a GPU failed, or one that loads images.
            YoloEmaError: what a process on a GPU reported.
        """
        with (
            no_network_no_install(),
            guarded_torch_load(self.run_settings.trusted(vars(self.args))),
        ):
            if not self.ddp:
                with (
                    report_to_starter(),
                    disk_full_is_clear(self.last),
                    clear_loading_errors(),
                    clear_ultralytics_errors(),
                    cpu_bfloat16(),
                    several_on_cpu(self),
                ):
                    super().train()
                return
            self.args.rect = False  # it needs one order of images for all
            (_, _, launcher, *words), file = generate_ddp_command(self)  # python -m launcher …
            try:
                run_workers(module_command(launcher, *words))
            finally:
                ddp_cleanup(self, file)
                unset_deterministic()

    def _setup_ddp(self) -> None:
        """Make the process group, where who started the processes has not made it."""
        if dist.is_initialized():
            return
        if self.device.type == "cpu":
            dist.init_process_group("gloo")
        else:
            super()._setup_ddp()

    def _do_train(self) -> None:
        """Train, or finish a run that was killed after its last epoch."""
        try:
            super()._do_train()
        except AllEpochsDone:
            finish_run(self)

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        """Take over a checkpoint's state, also where no epoch is left; and its weights as the best,
        where the run ended before it wrote them.
        """
        keep_best(self)
        with training_state_fits(Path(str(self.args.resume)), self.optimizer):
            if ckpt is None or ckpt["epoch"] + 1 < self.epochs:
                super().resume_training(ckpt)
                return
            self._load_checkpoint_state(ckpt)
            self.start_epoch = ckpt["epoch"] + 1
