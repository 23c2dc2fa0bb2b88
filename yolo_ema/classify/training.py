"""Trains a classifier by a recipe: timm's optimizers, schedules and moving average, torch's mixed
precision and loading, and a loop.

All random numbers follow from the seed, the epoch and an image's index, so that a resumed run goes
on exactly as if it had never stopped, whatever the number of loading processes.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from yolo_ema.classify.checkpoints import entries_fit, save_checkpoint
from yolo_ema.classify.images import ClassImages, transform_for
from yolo_ema.classify.models import build_classifier, parameter_count, timm_module
from yolo_ema.classify.recipes import Recipe
from yolo_ema.classify.run_plan import Plan, check_same_images, plan_run
from yolo_ema.classify.train_result import ClassifyTrainResult
from yolo_ema.classify.validation import batches, loader_of, memory_is_clear, score
from yolo_ema.engine.setup.devices import select_device
from yolo_ema.engine.training.run_folder import open_run_folder
from yolo_ema.engine.training.run_record import RECORD_NAME, RunRecord
from yolo_ema.errors import CheckFailedError
from yolo_ema.io.atomic_files import write_text
from yolo_ema.io.text_files import shell_words
from yolo_ema.options.classify import ClassifyTrainOptions

_COLUMNS = ("epoch", "lr", "train_loss", "val_loss", "top1", "top5", "seconds")


def train(options: ClassifyTrainOptions) -> ClassifyTrainResult:
    """Train a classifier, or go on with a training.

    Two trainings that differ in their attention alone start from equal values in all that they
    share and see the same images in the same order.

    Raises:
        ConfigError: an option does not fit, or the attention does not fit the network.
        ModelError: no network or attention block has the name.
        DataError: the images are not there, cannot be read, or have other classes in val.
        WeightsError: what is to be resumed is no training of a classifier's.
        OfflineError: the dataset would have to be fetched.
        MachineError: the machine lacks the device, its memory, or timm.
        CheckFailedError: the loss is no number any more.
    """
    device = select_device(options.device)
    timm_module("timm")
    plan, images = plan_run(options)
    for split, one in images.items():
        one.transform = transform_for(plan.recipe, is_training=split == "train")
    images["train"].seed = plan.seed
    with open_run_folder(plan.folder, is_new=plan.resumed is None):
        record = RunRecord(plan.folder / RECORD_NAME)
        facts = {split: one.facts() for split, one in images.items()}
        if plan.resumed is not None:
            check_same_images(record.content.get("data", {}), facts)
        training = _Training(plan, images, options, device)
        _start_record(record, plan, facts, training)
        for one in images.values():
            one.keep_in_memory()  # after the record, whose hash is that of the files
        try:
            for epoch in range(training.epochs_done, plan.recipe.epochs):
                training.run_epoch(epoch)
                record.add_epoch(epoch + 1, training.metrics)
                _write_table(plan.folder / "results.csv", record)
                training.save(plan.folder)
        except BaseException as error:
            is_stop = isinstance(error, KeyboardInterrupt)
            record.finish("interrupted" if is_stop else "failed")
            _say_how_to_resume(plan.folder / "last.pt", error)
            raise
        record.finish("finished", training.best)
    return ClassifyTrainResult(
        folder=plan.folder,
        epochs=plan.recipe.epochs,
        parameters=parameter_count(training.network),
        best=training.best,
        last=training.metrics,
        left_out={split: one.left_out for split, one in images.items()},
    )


def _say_how_to_resume(last: Path, error: BaseException) -> None:
    if last.is_file() and not isinstance(error, CheckFailedError):  # which would come again
        again = f"yolo-ema classify train --resume {shell_words(str(last))}"
        print(f"{last} is whole, resume it: {again}", file=sys.stderr)  # noqa: T201


class _Training:
    """A network and what changes it, from epoch to epoch.

    Attributes:
        network: what is trained.
        epochs_done: epochs that are done.
        metrics: of the last epoch.
        best: of the epoch with the highest top-1.
    """

    def __init__(
        self,
        plan: Plan,
        images: dict[str, ClassImages],
        options: ClassifyTrainOptions,
        device: torch.device,
    ) -> None:
        recipe, self.plan, self.device = plan.recipe, plan, device
        self._images = images["train"]
        network: Any = build_classifier(plan.architecture, seed=plan.seed)
        self.network: nn.Module = network.to(device, memory_format=torch.channels_last)
        self._average = _average(self.network, recipe)
        self._optimizer = _optimizer(self.network, recipe)
        self._schedule = _schedule(self._optimizer, recipe)
        self._loss = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
        self._amp = options.amp and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._amp)
        self._order = torch.Generator()
        self._train_loader = loader_of(
            self._images, recipe.batch, options.workers, device, shuffled_by=self._order
        )
        self._val_loader = loader_of(images["val"], recipe.batch, options.workers, device)
        self.epochs_done = 0
        self.metrics: dict[str, float] = {}
        self.best: dict[str, float] = {}
        if plan.resumed is not None:
            self._load(plan.resumed)

    @property
    def scored(self) -> nn.Module:
        """The network whose figures count: the moving average where there is one."""
        return self.network if self._average is None else self._average.module

    def run_epoch(self, epoch: int) -> None:
        """Train for an epoch (0-based) and score it."""
        started, started_process = time.monotonic(), time.process_time()
        self._schedule.step(epoch)
        rate = self._optimizer.param_groups[0]["lr"]
        with memory_is_clear(self.plan.recipe.batch):
            loss = self._learn(epoch)
        learned, learned_process = time.monotonic(), time.process_time()
        if not math.isfinite(loss):
            raise CheckFailedError(
                f"the loss of epoch {epoch + 1} is {loss}: training diverged; take a lower --lr"
            )
        scores = score(self.scored, self._val_loader, self.device)
        self.epochs_done = epoch + 1
        self.metrics = {"lr": rate, "train_loss": loss, **scores.as_metrics()}
        if not self.best or scores.top1 > self.best["top1"]:
            self.best = {"epoch": epoch + 1, **scores.as_metrics()}
        self.metrics |= {
            "seconds": round(time.monotonic() - started, 1),
            "train_seconds": round(learned - started, 2),
            "train_process_seconds": round(learned_process - started_process, 2),
        }

    def _learn(self, epoch: int) -> float:
        """Return the mean loss over an epoch's images."""
        recipe = self.plan.recipe
        self._images.epoch = epoch
        seed = int(np.random.SeedSequence((self.plan.seed, epoch)).generate_state(1)[0])
        self._order.manual_seed(seed)
        torch.manual_seed(seed)
        self.network.train()
        total, count = torch.zeros((), device=self.device), 0
        title = f"epoch {epoch + 1}/{recipe.epochs}"
        steps = len(self._train_loader)
        with tqdm(total=steps, desc=title, disable=None, leave=False) as bar:
            for step, (inputs, labels) in enumerate(batches(self._train_loader, self.device)):
                loss = self._step(inputs, labels)
                if self._average is not None:
                    self._average.update(self.network, step=epoch * steps + step)
                total += loss * len(labels)
                count += len(labels)
                bar.update()
        return float(total) / count

    def _step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self._amp):
            loss: Tensor = self._loss(self.network(inputs), labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach()

    def save(self, folder: Path) -> None:
        """Write last.pt, and best.pt where this epoch is the best."""
        resume = {
            "seed": self.plan.seed,
            # without an average these are the weights, which stand in a file once
            "network": None if self._average is None else self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "best": self.best,
        }
        content: dict[str, Any] = {
            "architecture": self.plan.architecture,
            "recipe": self.plan.recipe,
            "weights": self.scored.state_dict(),
            "epoch": self.epochs_done,
            "metrics": self.metrics,
        }
        if self.best["epoch"] == self.epochs_done:
            save_checkpoint(folder / "best.pt", **content, resume=None)
        save_checkpoint(folder / "last.pt", **content, resume=resume)

    def _load(self, content: dict[str, Any]) -> None:
        saved = content["resume"]
        with entries_fit(self.plan.folder / "last.pt"):
            self.network.load_state_dict(saved["network"] or content["weights"])
            if self._average is not None:
                self._average.module.load_state_dict(content["weights"])
            self._optimizer.load_state_dict(saved["optimizer"])
            if saved["scaler"] and self._amp:  # without both, the scale starts anew
                self._scaler.load_state_dict(saved["scaler"])
            self.epochs_done, self.best = int(content["epoch"]), dict(saved["best"])


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = timm_module("timm.optim").create_optimizer_v2(
        network,
        opt=recipe.optimizer,
        lr=recipe.lr,
        momentum=0.9,
        weight_decay=recipe.weight_decay,
        filter_bias_and_bn=not recipe.decay_norms,
    )
    return made


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> Any:
    """Return timm's schedule: ``step(epoch)`` sets the rate of an epoch (0-based), whatever was
    set before.
    """
    schedule, _ = timm_module("timm.scheduler").create_scheduler_v2(
        optimizer,
        sched=recipe.schedule,
        num_epochs=recipe.epochs,
        # timm lowers the rate in the epoch before a milestone
        decay_milestones=[round(part * recipe.epochs) + 1 for part in recipe.milestones],
        decay_rate=recipe.decay_rate,
        warmup_epochs=recipe.warmup_epochs,
    )
    return schedule


def _average(network: nn.Module, recipe: Recipe) -> Any:
    """Return timm's moving average of the weights, which follows faster at first, or None."""
    if not recipe.average:
        return None
    return timm_module("timm.utils").ModelEmaV3(network, decay=recipe.average, use_warmup=True)


def _start_record(record: RunRecord, plan: Plan, data: dict[str, Any], training: _Training) -> None:
    command = shell_words("yolo-ema", *sys.argv[1:])
    if plan.resumed is not None and record.content:
        record.resume(
            command=command, epoch=training.epochs_done + 1, processes={"count": 1}, data=data
        )
        return
    record.start(
        command=command,
        task="classify",
        seed=plan.seed,
        recipe=plan.recipe.as_plain(),
        attention=plan.architecture.attention,
        attention_arguments=list(plan.architecture.attention_arguments),
        parameters=parameter_count(training.network),
        device=str(training.device),
        data=data,
        timm=timm_module("timm").__version__,
    )


def _write_table(path: Path, record: RunRecord) -> None:
    rows = [
        ",".join(str(entry.get(column, "")) for column in _COLUMNS)
        for entry in record.content["epochs"]
    ]
    write_text(path, "\n".join([",".join(_COLUMNS), *rows]) + "\n")
