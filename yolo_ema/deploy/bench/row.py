"""One runtime's figures: times, sizes, and how its boxes agree with those of the weights."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from yolo_ema.deploy.parity.comparison import Tolerance, compare_image
from yolo_ema.options.export import ExportOptions

EXACT = Tolerance(px=ExportOptions.tolerance_px, score=ExportOptions.tolerance_score)
"""How far a float32 file's boxes may lie from its weights' to be the same: the proof's."""

_FEW = 0.02
"""Share of boxes that may be unmatched or ties: the last digit rarely changes NMS's choice."""


@dataclass(frozen=True)
class BoxAgreement:
    """How the boxes of a runtime compare with those of the weights.

    Attributes:
        boxes: of the weights, over all images.
        unmatched: boxes on either side without a counterpart of the same class in the same place.
        ties: boxes where NMS chose differently between equal proposals, or that hardly reach the
            lowest score; they count neither as unmatched nor in the differences. Only distinguished
            between two float32 runtimes.
        box_px: largest difference of a side, in pixels of the network's input.
        score: largest difference of a score, 0…1.
        score_share: largest relative difference of a score.
    """

    boxes: int
    unmatched: int
    ties: int
    box_px: float
    score: float
    score_share: float

    @property
    def same(self) -> bool:
        """Whether these are the boxes of the weights, apart from rounding."""
        few = self.unmatched + self.ties <= _FEW * self.boxes
        return (
            self.boxes > 0 and few and self.box_px <= EXACT.px and self.score_share <= EXACT.score
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {**asdict(self), "same": self.same}


def box_agreement(
    reference: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    sizes_hw: Sequence[Sequence[int]],
    input_hw: Sequence[int],
    *,
    conf: float,
    lossy: bool = False,
) -> BoxAgreement:
    """Compare boxes image by image.

    Args:
        reference: of each image (N, 6) the weights' boxes: x1, y1, x2, y2 in pixels of the image,
            score, class id.
        other: likewise the runtime's.
        sizes_hw: height and width of each image in pixels.
        input_hw: height and width of the network's input in pixels.
        conf: the lowest score that was asked for.
        lossy: the runtime stores or computes in less than float32, so no difference is excused.
    """
    compared = [
        compare_image(
            "",
            first,
            second,
            EXACT,
            scale=min(input_hw[0] / size[0], input_hw[1] / size[1]),
            lowest=conf,
            guess=True,
        )
        for first, second, size in zip(reference, other, sizes_hw, strict=True)
    ]
    boxes = sum(map(len, reference))
    ties = sum(image.ties for image in compared)
    if lossy or ties > _FEW * boxes:  # too many to be ties
        pairs = sum(len(image.px) for image in compared)
        return BoxAgreement(
            boxes,
            unmatched=boxes + sum(map(len, other)) - 2 * pairs,
            ties=0,
            box_px=max(float(image.px.max(initial=0.0)) for image in compared),
            score=max(float(np.abs(image.scores).max(initial=0.0)) for image in compared),
            score_share=max(float(image.shares.max(initial=0.0)) for image in compared),
        )
    unmatched = (
        len(image.missing) + len(image.spurious) + 2 * len(image.class_mismatch)
        for image in compared
    )
    return BoxAgreement(
        boxes,
        unmatched=sum(unmatched),
        ties=ties,
        box_px=max((image.box_px for image in compared), default=0.0),
        score=max((image.score for image in compared), default=0.0),
        score_share=max((image.score_share for image in compared), default=0.0),
    )


@dataclass(frozen=True)
class Round:
    """The times of one round of a runtime, in seconds.

    Attributes:
        seconds: of each call with one image, from the decoded image to its boxes.
        network_seconds: of these, the forward pass.
        cpu_seconds: mean processor time of a call over all threads.
        batch_seconds: of a call with several images; None if the runtime takes one at a time.
    """

    seconds: tuple[float, ...]
    network_seconds: tuple[float, ...]
    cpu_seconds: float
    batch_seconds: float | None

    @property
    def median(self) -> float:
        """Median of the calls."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class BenchRow:
    """One runtime on this machine.

    Attributes:
        name: the format.
        quantize: fp16 or int8 if that was asked for.
        file: the artifact's name if it was given.
        reason: why it did not run; empty if it did.
        facts: what the runtime says of itself: device, threads, precisions, input, memory.
        rounds: its times.
        pt_rounds: those of the .pt, with which it took turns.
        batch: images in a call with several.
        file_bytes: size on disk.
        agreement: with the weights' boxes at the same input size; None for the .pt itself.
    """

    name: str
    quantize: str | None = None
    file: str | None = None
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    rounds: tuple[Round, ...] = ()
    pt_rounds: tuple[Round, ...] = ()
    batch: int = 1
    file_bytes: int | None = None
    agreement: BoxAgreement | None = None

    @property
    def ran(self) -> bool:
        """Whether there are figures."""
        return not self.reason and bool(self.rounds)

    @property
    def label(self) -> str:
        """The name of the row."""
        return self.file or (f"{self.name} {self.quantize}" if self.quantize else self.name)

    @property
    def is_weights(self) -> bool:
        """Whether this is the .pt itself, as it is."""
        return self.name == "pt" and not self.quantize

    @property
    def lossy(self) -> bool:
        """Whether it stores or computes in less than float32."""
        return {self.facts.get("stored_precision"), self.facts.get("computed_precision")} != {
            "fp32"
        }

    @property
    def precision(self) -> str:
        """Precision in one word, or in two if it computes in another than it stores."""
        stored, computed = (
            self.facts.get("stored_precision", ""),
            self.facts.get("computed_precision", ""),
        )
        return stored if stored == computed else f"{stored} in {computed}"

    @property
    def latency(self) -> float:
        """Median over the rounds of the median call, in seconds."""
        return statistics.median(turn.median for turn in self.rounds)

    @property
    def p95(self) -> float:
        """95th percentile of all calls, in seconds."""
        return float(np.percentile([call for turn in self.rounds for call in turn.seconds], 95))

    @property
    def network(self) -> float:
        """Median over the rounds of the median forward pass, in seconds."""
        return statistics.median(statistics.median(turn.network_seconds) for turn in self.rounds)

    @property
    def cpu(self) -> float:
        """Processor time of a call, median over the rounds, in seconds."""
        return statistics.median(turn.cpu_seconds for turn in self.rounds)

    @property
    def throughput(self) -> tuple[float, int]:
        """Images per second, and images per call: several if the runtime takes them, even if one by
        one is faster.
        """
        batches = [turn.batch_seconds for turn in self.rounds if turn.batch_seconds]
        if batches:
            return self.batch / statistics.median(batches), self.batch
        return 1 / statistics.median(statistics.fmean(turn.seconds) for turn in self.rounds), 1

    @property
    def times_as_fast(self) -> tuple[float, float, float] | None:
        """How many times as fast as the .pt: median and quartiles of the rounds, each compared with
        the same round of the .pt.
        """
        ratios = [
            pt.median / file.median for file, pt in zip(self.rounds, self.pt_rounds, strict=False)
        ]
        if not ratios:
            return None
        low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
        return middle, low, high

    @property
    def loaded_bytes(self) -> int:
        """Peak memory, less what the process held before runtime and weights were loaded."""
        return int(self.facts["peak_memory_bytes"]) - int(self.facts["memory_before_bytes"])

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        record = {
            "runtime": self.name,
            "quantize": self.quantize,
            "file": self.file,
            "ran": self.ran,
            "reason": self.reason or None,
        }
        if not self.ran:
            return record
        throughput, together = self.throughput
        ratio = self.times_as_fast
        return {
            **record,
            **self.facts,
            "latency_s": {
                "median": self.latency,
                "p95": self.p95,
                "network_median": self.network,
                "round_medians": [turn.median for turn in self.rounds],
            },
            "cpu_s": self.cpu,
            "times_as_fast_as_pt": {"median": ratio[0], "quartiles": [ratio[1], ratio[2]]}
            if ratio
            else None,
            "images_per_s": throughput,
            "images_a_call": together,
            "file_bytes": self.file_bytes,
            "agreement": self.agreement.as_json() if self.agreement else None,
        }
