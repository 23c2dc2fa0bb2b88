"""Writes a classifier as ONNX, and proves the file: the same images through both, and nothing is
left under the file's name unless probabilities agree and the first class is the same.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_ema._version import __version__
from yolo_ema.classify.checkpoints import Classifier, load_classifier
from yolo_ema.classify.images import read_rgb, transform_for
from yolo_ema.constants import DATASET_IMAGE_SUFFIXES, is_hidden
from yolo_ema.engine.data.split_files import files_below
from yolo_ema.errors import (
    CheckFailedError,
    ConfigError,
    DataError,
    DataNotFoundError,
    MissingPackageError,
)
from yolo_ema.io.atomic_files import atomic_path, sha256_of
from yolo_ema.nn.ema import trace_for
from yolo_ema.options.classify import ClassifyExportOptions

_OPSET = 17
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Proof:
    """How a file's answers compare to those of its weights.

    Attributes:
        images: number of inputs.
        are_drawn: whether they are noise, for want of images.
        max_difference: largest difference of a probability.
        max_score_difference: largest difference of a score, in parts of the largest score: it shows
            what probabilities near 0 and 1 hide.
        limit: the largest that is allowed.
        ties: inputs whose first class differs, because two classes are nearer than the limit.
    """

    images: int
    are_drawn: bool
    max_difference: float
    max_score_difference: float
    limit: float
    ties: int


@dataclasses.dataclass(frozen=True)
class ClassifyExportResult:
    """What ``classify export`` wrote: the file, its SHA-256 and the proof."""

    file: Path
    sha256: str
    proof: Proof

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "file": str(self.file),
            "sha256": self.sha256,
            "proof": dataclasses.asdict(self.proof),
        }

    def as_text(self) -> str:
        """Return what is printed."""
        proof = self.proof
        what = "drawn inputs (give --images for real ones)" if proof.are_drawn else "images"
        ties = f", {proof.ties} ties" if proof.ties else ""
        return "\n".join(
            [
                f"{self.file}: SHA-256 {self.sha256}",
                f"proven on {proof.images} {what}: the first class is the same{ties}",
                (
                    f"probabilities differ by {proof.max_difference:.1e} at most, scores by "
                    f"{proof.max_score_difference:.1e} of the largest; allowed are "
                    f"{proof.limit:.1e}"
                ),
            ]
        )


def export(options: ClassifyExportOptions) -> ClassifyExportResult:
    """Write a classifier as ONNX: input ``images`` (B, 3, S, S), normalised; output ``scores``
    (B, K), before the softmax. Classes, mean, standard deviation and size are in its metadata.

    Raises:
        ConfigError: a folder has the file's name.
        WeightsError: the checkpoint is not a classifier, or is damaged.
        DataError: the images to prove the file on are not there or cannot be read.
        MissingPackageError: onnx or onnxruntime is not installed.
        CheckFailedError: the file's answers are others; it is not kept.
    """
    _check_packages()
    file = options.out or options.weights.with_suffix(".onnx")
    if file.is_dir():
        raise ConfigError(f"--out is {file}, which is a folder; expected the file to write")
    classifier = load_classifier(options.weights)
    inputs = _inputs(classifier, options)
    with atomic_path(file) as beside:
        _write(classifier, beside, options.weights)
        proof = _prove(classifier, beside, inputs, options)
    return ClassifyExportResult(file, sha256_of(file), proof)


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"classify export needs {error.name}, which is not installed: "
            f'pip install "yolo-ema[classify]"'
        ) from error


def _inputs(classifier: Classifier, options: ClassifyExportOptions) -> torch.Tensor:
    """Return (N, 3, S, S): images as validation sees them, or noise."""
    side = classifier.recipe.imgsz
    if not options.images:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(min(options.limit, _BATCH), 3, side, side, generator=generator)
    found = [path for one in options.images for path in _images_of(one)]
    if not found:
        places = ", ".join(map(str, options.images))
        raise DataError(f"there is no image in {places} to prove the file on")
    chosen = np.linspace(0, len(found) - 1, min(options.limit, len(found))).round().astype(int)
    transform = transform_for(classifier.recipe, is_training=False)
    return torch.stack([transform(read_rgb(found[index])) for index in chosen])


def _images_of(place: Path) -> list[Path]:
    if not place.is_dir():
        if not place.exists():
            raise DataNotFoundError(f"there is no image and no folder {place}")
        return [place]
    return [
        path
        for path in sorted(files_below(place))
        if path.suffix.lower() in DATASET_IMAGE_SUFFIXES and not is_hidden(path.name)
    ]


def _write(classifier: Classifier, file: Path, weights: Path) -> None:
    import onnx

    side = classifier.recipe.imgsz
    trace_for(classifier.network, fixed_size=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer's and of the exporter's own future
        torch.onnx.export(
            classifier.network,
            (torch.zeros(2, 3, side, side),),
            str(file),
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes={"images": {0: "batch"}, "scores": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load(file)
    onnx.helper.set_model_props(model, _metadata(classifier, weights))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def _metadata(classifier: Classifier, weights: Path) -> dict[str, str]:
    recipe, architecture = classifier.recipe, classifier.architecture
    entries = {
        "task": "classify",
        "names": dict(enumerate(architecture.classes)),
        "imgsz": recipe.imgsz,
        "mean": recipe.mean,
        "std": recipe.std,
        "crop_share": recipe.crop_share,
        "channel_order": "RGB",
        "model": architecture.model,
        "attention": architecture.attention,
        "epoch": classifier.epoch,
        "weights_sha256": sha256_of(weights),
        "yolo_ema": __version__,
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in entries.items()
    }


def _prove(
    classifier: Classifier, file: Path, inputs: torch.Tensor, options: ClassifyExportOptions
) -> Proof:
    """Return how the file's probabilities compare. Raises `CheckFailedError` where they differ."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    ours, theirs = [], []
    with torch.inference_mode():
        for batch in inputs.split(_BATCH):
            ours.append(classifier.network(batch).numpy())
            theirs.append(session.run(["scores"], {"images": batch.numpy()})[0])
    return _compared(
        np.concatenate(ours), np.concatenate(theirs), options.max_difference, not options.images
    )


def _compared(ours: np.ndarray, theirs: np.ndarray, limit: float, are_drawn: bool) -> Proof:
    """Hold scores (N, K) of weights and file against each other."""
    largest = max(float(np.abs(ours).max()), np.finfo(np.float32).tiny)
    in_scores = float(np.abs(ours - theirs).max()) / largest
    likely, theirs_likely = _probabilities(ours), _probabilities(theirs)
    difference = float(np.abs(likely - theirs_likely).max())
    first, second = ours.argmax(1), theirs.argmax(1)
    rows = np.arange(len(ours))
    other = first != second
    is_tie = np.abs(likely[rows, first] - likely[rows, second]) <= limit
    wrong = int((other & ~is_tie).sum())
    if not (difference <= limit and in_scores <= limit) or wrong:
        raise CheckFailedError(
            f"the exported file is refused and not kept: its probabilities differ by "
            f"{difference:.1e}, its scores by {in_scores:.1e} of the largest (allowed: "
            f"{limit:.1e}), and {wrong} of {len(ours)} inputs have another first class"
        )
    return Proof(len(ours), are_drawn, difference, in_scores, limit, int(other.sum()))


def _probabilities(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    found: np.ndarray = powers / powers.sum(1, keepdims=True)
    return found
