"""The gate: whether an exported file gives the boxes of its weights."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from yolo_ema.deploy.parity.accuracy_drop import measure_loss
from yolo_ema.deploy.parity.cases import Case, grey_like, other_cases, plain_case
from yolo_ema.deploy.parity.comparison import Tolerance
from yolo_ema.deploy.parity.diagnosis import diagnose
from yolo_ema.deploy.parity.metadata_check import check_identity
from yolo_ema.deploy.parity.model_pair import Setup, Sides, open_sides
from yolo_ema.deploy.parity.parity_report import (
    FAILED,
    LEAST_BOXES,
    LEAST_CROWD,
    LEAST_IMAGES,
    NOT_PROVEN,
    PASSED,
    CaseFigures,
    GateLimits,
    Loss,
    Verdict,
)
from yolo_ema.deploy.parity.test_images import GateImage, drawn_images, user_images
from yolo_ema.engine.prediction.runtime import format_of
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.training.run_record import versions
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import MachineError, UnsafeWeightsError, WeightsError
from yolo_ema.inference import file_metadata as artifact_metadata
from yolo_ema.io.atomic_files import sha256_of

__all__ = ["prove"]

_BUILT_IN_CONF, _IOU = 0.25, 0.7
_LIKELY_TIES = 0.01
"""Where what a network proposed cannot be seen, so large a share of the boxes may be explained by
NMS's choice, …
"""

_MORE_TIES = 3
"""… or so many times the share that it was seen to explain on the images."""
_ARBITRARY = 0.1
"""Above this share, tiles are merged so arbitrarily that a box may stand alone, too."""

_TELLING_IMAGES = 3
_PASSES = 70  # roughly, for the progress bar; of a float file


@dataclass
class _Findings:
    """What the gate gathers on its way."""

    faults: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cases: list[CaseFigures] = field(default_factory=list)
    loss: Loss | None = None

    def status(self) -> str:
        if self.faults:
            return FAILED
        return NOT_PROVEN if self.open else PASSED


def prove(
    artifact: Path,
    weights: Path,
    limits: GateLimits | None = None,
    *,
    images: Sequence[Path] | None = None,
    data: str | None = None,
    device: str = "cpu",
    trust: bool = False,
    made_here: bool = False,
) -> Verdict:
    """Compare an exported file with its weights.

    Args:
        artifact: the file or folder.
        weights: the .pt that it was made from.
        limits: what it may differ by.
        images: images and folders of images to compare on, at least 20 images; without them drawn
            ones.
        data: dataset, as in ``val``, on whose val split the loss of official AP is measured; fp16
            and int8 need it.
        device: where both run: cpu, cuda, auto or a GPU's number.
        trust: load them although they carry code.
        made_here: the file was made by this process: it is run although its format is a program.

    Returns:
        The verdict. A file that cannot be read, or not be run here, is part of it.

    Raises:
        WeightsError: the weights cannot be used, or the file is not there or is a program that is
            not trusted.
        DataError: images or dataset are not there.
        SourceError: an image cannot be read.
        ConfigError: classes of weights and data don't fit.
    """
    started = time.perf_counter()
    limits = limits or GateLimits()
    artifact, weights = Path(artifact), Path(weights)
    loaded = load_model(weights, trust=trust)
    artifact_format = format_of(artifact)
    if artifact_format == "pt":
        raise WeightsError(
            f"{artifact} is a .pt; the gate compares an exported file with the .pt that it was "
            f"made from"
        )
    found = _Findings()
    pictures = user_images(images) if images else drawn_images()
    facts = artifact_metadata.ArtifactMetadata()
    try:
        setup = _setup(artifact, weights, limits, device=device, trust=trust or made_here)
        facts = setup.facts
        open_sides(setup)  # what cannot be read says nothing of itself
        identity = check_identity(facts, loaded, weights)
        found.faults += identity.faults
        found.notes += identity.notes
        if facts.names and len(facts.names) != len(loaded.names):
            found.notes.append("the boxes were not compared: their classes are others")
        else:
            _compare_with_a_bar(setup, pictures, found, f"prove {artifact_format}")
            if data is not None or not setup.is_float:
                _weigh(setup, limits, data, found)
    except UnsafeWeightsError:
        raise
    except WeightsError as error:
        found.faults.append(f"the file cannot be read: {error}")
    except MachineError as error:
        found.open.append(f"the file cannot be run on this machine: {error}")
    return Verdict(
        found.status(),
        (*found.faults, *found.open),
        tuple(found.notes),
        tuple(found.cases),
        found.loss,
        limits,
        artifact=_about_file(artifact, artifact_format, facts),
        weights={"path": str(weights), "sha256": sha256_of(weights)},
        machine={"versions": versions(), "device": device, "threads": use_all_cores()},
        seconds=time.perf_counter() - started,
    )


def _setup(artifact: Path, weights: Path, limits: GateLimits, *, device: str, trust: bool) -> Setup:
    try:
        facts = artifact_metadata.read(artifact)
    except (WeightsError, MachineError):
        raise
    except Exception as error:  # each format has errors of its own for a file that is cut short
        raise WeightsError(
            f"{artifact} is damaged: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0][:200]}"
        ) from error
    conf = (_BUILT_IN_CONF if facts.conf is None else facts.conf) if facts.nms else None
    iou = facts.iou if facts.nms and facts.iou is not None else _IOU
    return Setup(
        artifact, weights, facts, Tolerance(limits.px, limits.score), conf, iou, device, trust
    )


def _compare_with_a_bar(
    setup: Setup, images: Sequence[GateImage], found: _Findings, title: str
) -> None:
    """Compare, and show how far it is."""
    with tqdm(
        total=_PASSES, desc=title, unit="pass", file=sys.stderr, disable=not sys.stderr.isatty()
    ) as bar:
        _compare(replace(setup, advance=bar.update), images, found)


def _compare(setup: Setup, images: Sequence[GateImage], found: _Findings) -> None:
    """Run the cases and gather what they say."""
    sides = open_sides(setup)
    plain, reference, lowest = plain_case(sides, [*images, grey_like(images[0])])
    # The empty image is compared, and does not count among the images.
    counted = replace(plain.figures, images=len(images))
    found.cases.append(counted)
    found.open += _too_little(counted, setup)
    # Where weights score alike all over, NMS's choice is often arbitrary: as often elsewhere as
    # where it was seen to be.
    seen = (
        plain.figures.ties / max(1, plain.figures.boxes + plain.figures.ties)
        if plain.exact
        else 0.0
    )
    ties = max(_LIKELY_TIES, _MORE_TIES * seen)
    wrong = _judged(plain, setup, ties)
    if wrong or counted.lost or counted.renamed:
        causes = diagnose(sides, plain.compared, images)
        found.faults += causes if setup.is_float else []
        found.notes += [] if setup.is_float else causes
    found.faults += wrong
    if not wrong and not _tells(sides, images, reference, lowest):
        found.open.append(
            "the weights answer these images as an empty one, so that a file that ignores its "
            "input would agree, too; take weights "
            "that have learned something, or other images"
        )
        return
    if wrong:
        found.notes.append("the other cases were not run: this one is refused")
        return
    for case in other_cases(sides, images, reference[:-1], lowest):
        found.cases.append(case.figures)
        found.faults += _judged(case, setup, ties)
        if case.figures.boxes == 0:
            found.open.append(f"{case.figures.name}: there is no box to compare")
        if case.figures.name.startswith("crowded"):
            found.notes += _crowd_notes(case.figures, setup)


def _too_little(plain: CaseFigures, setup: Setup) -> Iterator[str]:
    if plain.images < LEAST_IMAGES:
        yield (
            f"{plain.images} images are too few; expected at least {LEAST_IMAGES}: name more "
            f"with --images, or leave that out"
        )
    if plain.boxes < LEAST_BOXES:
        built_in = "" if setup.conf is None else ", which is built into the file,"
        yield (
            f"{plain.boxes} boxes with a counterpart, from score {plain.lowest_score:g}{built_in} "
            f"on, are too few; expected at "
            f"least {LEAST_BOXES}: name images that show more with --images"
            + (", or export with a lower --conf, or without --nms" if built_in else "")
        )


def _tells(
    sides: Sides, images: Sequence[GateImage], reference: Sequence[np.ndarray], lowest: float
) -> bool:
    """Say whether the weights' boxes depend on the image: else a file that ignores its input is as
    good as any.

    A file that answers all images alike and passes is within the tolerance of every answer of the
    weights, so that these are within twice the tolerance of each other.
    """
    for image, rows in zip(images[:_TELLING_IMAGES], reference, strict=False):
        empty = sides.rows([grey_like(image)], lowest)
        tolerance = sides.setup.tolerance
        twice = replace(
            sides,
            setup=replace(sides.setup, tolerance=Tolerance(2 * tolerance.px, 2 * tolerance.score)),
        )
        (one,) = twice.compare([image], [rows], empty, lowest, ask=False)
        if (
            len(one.lost) + len(one.extra) + len(one.renamed) + one.ties
            or one.box_px > 2 * tolerance.px
            or one.score_share > 2 * tolerance.score
        ):
            return True
    return False


def _judged(case: Case, setup: Setup, ties: float) -> list[str]:
    """Return what is wrong with a case of a float file, in a sentence; nothing for others, whose
    loss is measured.

    Args:
        case: what was compared.
        setup: what is allowed.
        ties: the share of boxes that NMS's choice may explain where that is only likely.
    """
    figures, tolerance = case.figures, setup.tolerance
    if not setup.is_float:
        return []
    parts = []
    allowed = max(1, ties * (figures.boxes + figures.ties))
    if (
        not case.exact
        and ties > _ARBITRARY
        and figures.lost + figures.extra + figures.renamed + figures.ties <= allowed
    ):
        figures = replace(figures, lost=0, extra=0, renamed=0)
    if figures.lost:
        parts.append(
            f"{figures.lost} of the weights' {figures.boxes + figures.lost} boxes are missing"
        )
    if figures.extra:
        parts.append(f"{figures.extra} boxes are not the weights'")
    if figures.renamed:
        parts.append(f"{figures.renamed} boxes bear another class")
    if figures.box_px > tolerance.px:
        parts.append(
            f"boxes differ by up to {figures.box_px:.3g} px of the input (at most {tolerance.px:g})"
        )
    if figures.score_share > tolerance.score:
        parts.append(
            f"scores differ by up to {figures.score:.3g}, and by {100 * figures.score_share:.3g} % "
            f"(at most {100 * tolerance.score:g} %)"
        )
    if not case.exact and figures.ties > allowed:
        parts.append(
            f"{figures.ties} boxes stand in another's place, more than the choice of NMS explains"
        )
    return [f"{figures.name}: {'; '.join(parts)}; worst on {figures.worst}"] if parts else []


def _crowd_notes(crowd: CaseFigures, setup: Setup) -> Iterator[str]:
    if crowd.boxes + crowd.ties > LEAST_CROWD:
        return
    if setup.most <= LEAST_CROWD:
        yield (
            f"the file keeps at most {setup.most} boxes an image, by its own account (max_det); "
            f"a crowd shows more"
        )
    elif setup.conf is not None:
        yield (
            f"on the crowded image only {crowd.boxes} boxes score {setup.conf:g}, which is "
            f"built "
            f"into the file"
        )
    else:
        yield (
            f"at this input the weights keep {crowd.boxes} boxes on the crowded image, however "
            f"low they score; all are compared"
        )


def _weigh(setup: Setup, limits: GateLimits, data: str | None, found: _Findings) -> None:
    """Measure what a file of lower precision loses."""
    precision = setup.facts.precision
    if data is None:
        found.open.append(
            f"the file is {precision}, and what that costs is measured on a dataset: name one with "
            f"--data, as in --data visdrone"
        )
        return
    found.loss = loss = measure_loss(open_sides(setup), data)
    for name, before, lost, limit in (
        ("AP", loss.ap[0], loss.ap_loss, limits.ap_loss),
        ("AP50", loss.ap50[0], loss.ap50_loss, limits.ap50_loss),
    ):
        if lost > limit:
            found.faults.append(
                f"{precision or 'the file'} loses {lost:.2f} points of official {name} on "
                f"{loss.images} images of {data} "
                f"({before:.2f} to {before - lost:.2f}); at most {limit:g}"
            )
        elif before <= limit and not setup.is_float:
            found.open.append(
                f"the weights reach an official {name} of {before:.2f} on {data}, and {limit:g} "
                f"points may be lost: any file would "
                f"pass; take data that the weights know, or a lower --max-{name.lower()}-loss"
            )


def _about_file(
    artifact: Path, format_name: str, facts: artifact_metadata.ArtifactMetadata
) -> dict[str, Any]:
    parts = (
        [part for part in artifact.rglob("*") if part.is_file()]
        if artifact.is_dir()
        else [artifact]
    )
    return {
        "path": str(artifact),
        "format": format_name,
        "precision": facts.precision or "fp32",
        "bytes": sum(part.stat().st_size for part in parts),
        "sha256": sha256_of(artifact) if artifact.is_file() else None,
        "imgsz_hw": list(facts.imgsz_hw) if facts.imgsz_hw else None,
        "dynamic": facts.dynamic,
        "batch": facts.batch,
        "nms": facts.nms,
        "nms_free": facts.nms_free,
        "max_det": facts.max_det,
        "weights_sha256": facts.weights_sha256,
        "producer": facts.producer,
    }
