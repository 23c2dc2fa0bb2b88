"""The proof that an exported file gives the boxes of its weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from yolo_ema.deploy.parity.accuracy_drop import accuracy_faults, measure_accuracy_drop
from yolo_ema.deploy.parity.cases import Case, empty_like, other_cases, plain_case
from yolo_ema.deploy.parity.comparison import Tolerance
from yolo_ema.deploy.parity.diagnosis import diagnose
from yolo_ema.deploy.parity.metadata_check import check_metadata, validity_faults
from yolo_ema.deploy.parity.model_pair import ModelPair, ParitySetup, open_pair
from yolo_ema.deploy.parity.parity_report import (
    FAILED,
    MIN_BOXES,
    MIN_CROWD_BOXES,
    MIN_IMAGES,
    NOT_PROVEN,
    PASSED,
    AccuracyDrop,
    CaseFigures,
    GateLimits,
    ParityReport,
)
from yolo_ema.deploy.parity.proof_images import ProofImage, drawn_images, user_images
from yolo_ema.detect.predictors import read_file_metadata
from yolo_ema.engine.export.artifact_files import size_of
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.training.run_record import versions
from yolo_ema.engine.weights.loading import LoadedModel
from yolo_ema.errors import MachineError, UnsafeWeightsError, WeightsError
from yolo_ema.inference.file_metadata import ArtifactMetadata
from yolo_ema.inference.formats import format_of
from yolo_ema.io.atomic_files import sha256_of

_LIKELY_TIES = 0.01
"""Where NMS is built in and cannot be replayed, ties may explain this share of the boxes."""

_TELLING_IMAGES = 3
_PASSES = 70  # roughly, of a float file, for the progress bar


@dataclass
class _Findings:
    faults: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cases: list[CaseFigures] = field(default_factory=list)
    accuracy_drop: AccuracyDrop | None = None

    @property
    def status(self) -> str:
        if self.faults:
            return FAILED
        return NOT_PROVEN if self.undecided else PASSED


def prove(
    artifact: Path,
    weights: Path,
    loaded: LoadedModel,
    limits: GateLimits | None = None,
    *,
    images: Sequence[Path] = (),
    data: str | None = None,
    device: str = "cpu",
    trust_artifact: bool = False,
) -> ParityReport:
    """Compare an exported file with its weights.

    Args:
        artifact: the file or folder; it is opened once.
        weights: the .pt that it was made from, for the report.
        loaded: the model in it, which stays as it is; ``weights`` is not read again.
        limits: how far the file may differ.
        images: at least 20 images, or folders of them, to compare on; drawn scenes if empty.
        data: dataset, as in ``val``, for the loss of official AP; needed for fp16 and int8.
        device: where both run: cpu, cuda, auto or a GPU's number.
        trust_artifact: run the file although its format is a program.

    Returns:
        The report. A file that cannot be read, or not be run here, is part of it.

    Raises:
        WeightsError: the file is not there, is a .pt, or is a program that is not trusted.
        DataError: images or dataset are not there.
        SourceError: an image cannot be read.
        ConfigError: classes of weights and data don't fit.
    """
    started = time.perf_counter()
    limits = limits or GateLimits()
    artifact_format = format_of(artifact)
    if artifact_format == "pt":
        raise WeightsError(
            f"{artifact} is a .pt; an exported file is compared with the .pt that it was made from"
        )
    proof_images = user_images(images) if images else drawn_images()
    findings, metadata = _Findings(), ArtifactMetadata()
    try:
        metadata = read_file_metadata(artifact)
        tolerance = Tolerance(limits.px, limits.score)
        setup = ParitySetup(artifact, weights, loaded, metadata, tolerance, device, trust_artifact)
        _examine(setup, proof_images, limits, data, findings)
    except UnsafeWeightsError:
        raise
    except WeightsError as error:
        findings.faults.append(f"the file cannot be read: {error}")
    except MachineError as error:
        findings.undecided.append(f"the file cannot be run on this machine: {error}")
    return ParityReport(
        findings.status,
        (*findings.faults, *findings.undecided),
        tuple(findings.notes),
        tuple(findings.cases),
        findings.accuracy_drop,
        limits,
        artifact=_about_file(artifact, artifact_format, metadata),
        weights={"path": str(weights), "sha256": loaded.sha256},
        machine={"versions": versions(), "device": device, "threads": use_all_cores()},
        seconds=time.perf_counter() - started,
    )


def _examine(
    setup: ParitySetup,
    images: Sequence[ProofImage],
    limits: GateLimits,
    data: str | None,
    findings: _Findings,
) -> None:
    artifact_format, names = format_of(setup.artifact), setup.loaded.names
    title = f"prove {artifact_format}"
    with tqdm(total=_PASSES, desc=title, unit="pass", disable=None) as bar:
        pair = open_pair(replace(setup, advance=bar.update))
        check = check_metadata(setup.metadata, setup.loaded)
        findings.faults += [*check.faults, *validity_faults(setup.artifact, artifact_format)]
        findings.notes += check.notes
        if len(setup.metadata.names or names) != len(names):
            findings.notes.append("the boxes were not compared, since the classes differ")
            return
        _compare_boxes(pair, images, findings)
    if data is not None or not setup.is_float:
        _judge_accuracy(pair, limits, data, findings)


def _compare_boxes(pair: ModelPair, images: Sequence[ProofImage], findings: _Findings) -> None:
    setup = pair.setup
    plain, reference, lowest = plain_case(pair, [*images, empty_like(images[0])])
    # The empty image is compared, but does not count among the images.
    figures = replace(plain.figures, images=len(images))
    findings.cases.append(figures)
    findings.undecided += _too_little(figures, setup)
    faults = _box_faults(plain, setup)
    if faults or figures.missing or figures.class_mismatch:
        causes = diagnose(pair, plain.compared, images)
        (findings.faults if setup.is_float else findings.notes).extend(causes)
    if faults:
        findings.faults += faults
        findings.notes.append("the other cases were not run, since this one failed")
        return
    if reason := _proves_nothing(pair, plain, images, reference, lowest):
        findings.undecided.append(
            f"{reason}, so a file that ignores its input would agree, too; take weights that have "
            f"learned something, or other images"
        )
        return
    for case in other_cases(pair, images, reference[:-1], lowest):
        findings.cases.append(case.figures)
        findings.faults += _box_faults(case, setup)
        if case.figures.boxes == 0:
            findings.undecided.append(f"{case.figures.name}: there is no box to compare")
        if case.figures.name.startswith("crowded"):
            findings.notes += _crowd_notes(case.figures, setup)


def _too_little(plain: CaseFigures, setup: ParitySetup) -> Iterator[str]:
    if plain.images < MIN_IMAGES:
        yield (
            f"{plain.images} images are too few; expected at least {MIN_IMAGES}: name more with "
            f"--images, or leave it out"
        )
    if plain.boxes < MIN_BOXES:
        built_in = setup.conf is not None
        yield (
            f"{plain.boxes} boxes with a counterpart, from score {plain.lowest_score:g}"
            f"{' (built into the file)' if built_in else ''} up, are too few; expected at least "
            f"{MIN_BOXES}: name images that show more with --images"
            f"{', or export with a lower --conf, or without --nms' if built_in else ''}"
        )


def _proves_nothing(
    pair: ModelPair,
    plain: Case,
    images: Sequence[ProofImage],
    reference: Sequence[np.ndarray],
    lowest: float,
) -> str:
    """Return why agreement does not show that the file looks at its input, as a clause; "" if it
    does.
    """
    if not _depend_on_the_image(pair, images, reference, lowest):
        return "the weights answer these images like an empty one"
    first, *others = (image.candidate[:, 4] for image in plain.compared)
    if all(np.array_equal(first, scores) for scores in others):
        return "the file gives exactly the same scores for every image, and the weights nearly so"
    return ""


def _depend_on_the_image(
    pair: ModelPair, images: Sequence[ProofImage], reference: Sequence[np.ndarray], lowest: float
) -> bool:
    """Return whether the weights' boxes depend on the image; if not, a file that ignores its input
    is as good as any.

    A file that answers all images alike and passes is within the tolerance of every answer of the
    weights, so those are within twice the tolerance of each other. Boxes that may be ties count as
    different: weights that hardly learned differ in nothing else.
    """
    twice = pair.setup.tolerance.share(2)
    loose = replace(pair, setup=replace(pair.setup, tolerance=twice))
    for image, rows in zip(images[:_TELLING_IMAGES], reference, strict=False):
        empty = pair.reference_rows([empty_like(image)], lowest)
        (result,) = loose.compare([image], [rows], empty, lowest, guess=True)
        alone = len(result.missing) + len(result.spurious) + len(result.class_mismatch)
        if alone + result.ties or result.box_px > twice.px or result.score_share > twice.score:
            return True
    return False


def _box_faults(case: Case, setup: ParitySetup) -> list[str]:
    """Return what is wrong with a case of a float file, in one sentence; nothing for other files,
    whose drop in accuracy is measured.
    """
    if not setup.is_float:
        return []
    figures, tolerance = case.figures, setup.tolerance
    likely = max(1, _LIKELY_TIES * (figures.boxes + figures.ties))
    parts = []
    if figures.missing:
        total = figures.boxes + figures.missing
        parts.append(f"{figures.missing} of the weights' {total} boxes are missing")
    if figures.spurious:
        parts.append(f"{figures.spurious} boxes are not the weights'")
    if figures.class_mismatch:
        parts.append(f"{figures.class_mismatch} boxes have another class")
    if figures.box_px > tolerance.px:
        parts.append(
            f"boxes differ by up to {figures.box_px:.3g} px of the input (at most {tolerance.px:g})"
        )
    if figures.score_share > tolerance.score:
        parts.append(
            f"scores differ by up to {figures.score:.3g}, and by {100 * figures.score_share:.3g} % "
            f"(at most {100 * tolerance.score:g} %)"
        )
    if not case.exact and figures.ties > likely:
        parts.append(
            f"{figures.ties} boxes are in another's place, more than NMS's choice explains"
        )
    return [f"{figures.name}: {'; '.join(parts)}; worst on {figures.worst}"] if parts else []


def _crowd_notes(crowd: CaseFigures, setup: ParitySetup) -> Iterator[str]:
    if crowd.boxes + crowd.ties > MIN_CROWD_BOXES:
        return
    if setup.max_boxes <= MIN_CROWD_BOXES:
        yield (
            f"the file keeps at most {setup.max_boxes} boxes per image, by its own account "
            f"(max_det); a crowd shows more"
        )
    elif setup.conf is not None:
        yield (
            f"on the crowded image only {crowd.boxes} boxes score {setup.conf:g}, which is built "
            f"into the file"
        )
    else:
        yield (
            f"at this input size the weights keep {crowd.boxes} boxes on the crowded image, "
            f"however low they score; all are compared"
        )


def _judge_accuracy(
    pair: ModelPair, limits: GateLimits, data: str | None, findings: _Findings
) -> None:
    precision = pair.setup.metadata.precision
    if data is None:
        findings.undecided.append(
            f"the file is {precision}, and what that costs is measured on a dataset: name one with "
            f"--data, as in --data visdrone"
        )
        return
    findings.accuracy_drop = measure_accuracy_drop(pair, data)
    faults, undecided = accuracy_faults(findings.accuracy_drop, limits, precision)
    findings.faults += faults
    findings.undecided += undecided


def _about_file(artifact: Path, format_name: str, metadata: ArtifactMetadata) -> dict[str, Any]:
    return {
        "path": str(artifact),
        "format": format_name,
        "precision": metadata.precision or "fp32",
        "bytes": size_of(artifact),
        "sha256": sha256_of(artifact) if artifact.is_file() else None,
        "imgsz_hw": list(metadata.imgsz_hw) if metadata.imgsz_hw else None,
        "dynamic": metadata.dynamic,
        "batch": metadata.batch,
        "nms": metadata.nms,
        "nms_free": metadata.nms_free,
        "max_det": metadata.max_det,
        "weights_sha256": metadata.weights_sha256,
        "producer": metadata.producer,
    }
