"""The validation during training, with as many detections as drone images need and without a time
limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import LOGGER, RANK, nms

from yolo_ema.engine.training.cpu_group import use_own_cores

MAX_DET = 500
"""Maximum detections per image in training's validation; VisDrone's protocol counts 500."""

_MOST_NAMED = 5
_NO_TIME_LIMIT_S = 1e6


class TrainValidator(DetectionValidator):
    """Ultralytics' validator for the model in training and for its best checkpoint at the end.

    It keeps ``max_det`` as it was set, whatever the images hold. Its non-maximum suppression has no
    time limit, which would leave the later images of a batch empty on a slow machine. The last
    validation names the images that reach ``max_det``.
    """

    @staticmethod
    def _check_max_det(args: Any, datasets: Mapping[str, Any]) -> None:
        """Leave the limit as it was set; `warn_of_crowded_images` has spoken."""

    def init_metrics(self, model: torch.nn.Module) -> None:
        """Start again, with no image at the limit."""
        super().init_metrics(model)
        if self.device.type == "cpu":
            use_own_cores()  # choosing the device for the last validation took one away
        self.full_images: list[str] = []

    def postprocess(self, preds: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """Return the detections of each image: ``bboxes`` (N, 4) x1 y1 x2 y2 in input pixels,
        ``conf`` (N,), ``cls`` (N,).
        """
        outputs = nms.non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            multi_label=True,
            agnostic=self.args.single_cls or self.args.agnostic_nms,
            max_det=self.args.max_det,
            max_time_img=_NO_TIME_LIMIT_S,
            end2end=self.end2end,
        )
        return [
            {"bboxes": rows[:, :4], "conf": rows[:, 4], "cls": rows[:, 5], "extra": rows[:, 6:]}
            for rows in outputs
        ]

    def update_metrics(self, preds: list[dict[str, torch.Tensor]], batch: dict[str, Any]) -> None:
        """Match a batch, and note its images that reach the limit."""
        super().update_metrics(preds, batch)
        self.full_images += [
            file
            for pred, file in zip(preds, batch["im_file"], strict=True)
            if len(pred["conf"]) >= self.args.max_det
        ]

    def gather_stats(self) -> None:
        """Gather what several processes have noted, in the first of them."""
        super().gather_stats()
        if RANK == 0:
            gathered: list[Any] = [None] * dist.get_world_size()
            dist.gather_object(self.full_images, gathered, dst=0)
            self.full_images = [file for part in gathered for file in part]
        elif RANK > 0:
            dist.gather_object(self.full_images, None, dst=0)

    def finalize_metrics(self) -> None:
        """Finish, and at the last validation name the images at the limit."""
        super().finalize_metrics()
        if self.full_images and not self.training and RANK in {-1, 0}:
            names = [Path(file).name for file in self.full_images[:_MOST_NAMED]]
            named = ", ".join(names) + (", …" if len(self.full_images) > _MOST_NAMED else "")
            LOGGER.warning(
                f"{len(self.full_images)} images reach max_det={self.args.max_det}: {named}"
            )


def warn_of_crowded_images(args: Any, datasets: Mapping[str, Any]) -> None:
    """Warn where images of the validation split have more objects than detections are kept.

    Takes the place of Ultralytics' own check, which counts training images, too, and raises its own
    default of 300 even where the user has typed it.
    """
    counts = [len(label["cls"]) for label in datasets["val"].labels]
    crowded = sum(count > args.max_det for count in counts)
    if crowded and RANK in {-1, 0}:
        whose = ", this project's default" if args.max_det == MAX_DET else ""
        LOGGER.warning(
            f"{crowded} images of the validation split have more objects than the {args.max_det} "
            f"detections that are kept of an image (max_det={args.max_det}{whose}), up to "
            f"{max(counts)}: what is beyond counts as missed; max_det={max(counts)} keeps as many"
        )
