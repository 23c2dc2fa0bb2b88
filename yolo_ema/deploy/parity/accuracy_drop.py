"""What fp16 or int8 costs: official figures of weights and file on the same images."""

from __future__ import annotations

from yolo_ema.deploy.parity.model_pair import ModelPair
from yolo_ema.deploy.parity.parity_report import AccuracyDrop, GateLimits
from yolo_ema.evaluate.validation import validate
from yolo_ema.inference.backend_predictor import BackendPredictor
from yolo_ema.options.val import ValOptions


def measure_accuracy_drop(pair: ModelPair, data: str) -> AccuracyDrop:
    """Score weights and file on a dataset's val split, at the file's input size, padded alike.

    Raises:
        DataError: the dataset is wrong or not here.
        ConfigError: the classes of weights and data don't fit.
    """

    def official(predictor: BackendPredictor) -> tuple[float, float, int]:
        options = ValOptions(
            weights=predictor.weights,
            data=data,
            imgsz=pair.imgsz_hw,
            rectangular=False,
            batch=pair.setup.batch,
            iou=pair.setup.config.iou,
            device=pair.setup.device,
        )
        result = validate(options, predictor=pair.for_scoring(predictor, options))
        figures = result.scorecard.official.official
        return figures["AP"] or 0.0, figures["AP50"] or 0.0, len(result.evidence.images)

    before, after = official(pair.reference), official(pair.candidate)
    return AccuracyDrop(data, before[2], (before[0], after[0]), (before[1], after[1]))


def accuracy_faults(
    drop: AccuracyDrop, limits: GateLimits, precision: str | None
) -> tuple[list[str], list[str]]:
    """Hold what a file loses to the limits, and return what is wrong with the file, and why the
    figures prove nothing, a sentence each.

    ``precision`` is fp16 or int8; None or fp32 for a float file.
    """
    faults, undecided = [], []
    for name, before, lost, limit in (
        ("AP", drop.ap[0], drop.ap_drop, limits.ap_loss),
        ("AP50", drop.ap50[0], drop.ap50_drop, limits.ap50_loss),
    ):
        if lost > limit:
            faults.append(
                f"{precision or 'the file'} loses {lost:.2f} points of official {name} on "
                f"{drop.images} images of {drop.data} ({before:.2f} to {before - lost:.2f}); at "
                f"most {limit:g}"
            )
        elif before <= limit and precision not in {None, "fp32"}:
            undecided.append(
                f"the weights reach an official {name} of {before:.2f} on {drop.data}, and "
                f"{limit:g} points may be lost: any file would pass; take data that the weights "
                f"know, or a lower --max-{name.lower()}-loss"
            )
    return faults, undecided
