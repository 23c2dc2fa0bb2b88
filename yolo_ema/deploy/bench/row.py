"""One runtime's figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolo_ema.deploy.bench.agreement import BoxAgreement

__all__ = ["BenchRow", "Round"]


@dataclass(frozen=True)
class Round:
    """What one round of a runtime took, in seconds.

    Attributes:
        seconds: of each call with one image: from the decoded picture to its boxes.
        network_seconds: of these, the forward pass.
        cpu_seconds: processor time of a call over all threads, on average.
        batch_seconds: a call with several images; None where the runtime takes one at a time.
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
        quantize: fp16 or int8 where that was asked for.
        file: the artifact's name where it was given ready-made.
        reason: why it did not run; empty where it did.
        facts: what the runtime says of itself: device, threads, precisions, input, versions,
            memory.
        rounds: its times.
        pt_rounds: those of the .pt, which took turns with it.
        batch: images in a call with several.
        file_bytes: size on disk.
        agreement: with the weights' boxes at the same input; None for the .pt itself.
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
        """What the row is called."""
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
        """Precision in a word, or two where it computes in another than it stores."""
        stored, computed = (
            self.facts.get("stored_precision", ""),
            self.facts.get("computed_precision", ""),
        )
        return stored if stored == computed else f"{stored} in {computed}"

    @property
    def latency(self) -> float:
        """Median over the rounds of the median call, in seconds."""
        return statistics.median(one.median for one in self.rounds)

    @property
    def p95(self) -> float:
        """What 95 % of all calls stay below, in seconds."""
        return float(np.percentile([one for turn in self.rounds for one in turn.seconds], 95))

    @property
    def network(self) -> float:
        """Median over the rounds of the median forward pass, in seconds."""
        return statistics.median(statistics.median(one.network_seconds) for one in self.rounds)

    @property
    def cpu(self) -> float:
        """Processor time of a call, median over the rounds, in seconds."""
        return statistics.median(one.cpu_seconds for one in self.rounds)

    @property
    def throughput(self) -> tuple[float, int]:
        """Images a second, and how many go into a call: several where the runtime takes them, even
        if one by one is faster.
        """
        batches = [one.batch_seconds for one in self.rounds if one.batch_seconds]
        if batches:
            return self.batch / statistics.median(batches), self.batch
        return 1 / statistics.median(statistics.fmean(one.seconds) for one in self.rounds), 1

    @property
    def times_as_fast(self) -> tuple[float, float, float] | None:
        """How many times as fast as the .pt: median and quartiles of the rounds, each held against
        the same one of the .pt.
        """
        ratios = [
            theirs.median / own.median
            for own, theirs in zip(self.rounds, self.pt_rounds, strict=False)
        ]
        if not ratios:
            return None
        low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
        return middle, low, high

    @property
    def loaded_bytes(self) -> int:
        """Peak memory less what the process held before the runtime and the weights were loaded."""
        return int(self.facts["peak_memory_bytes"]) - int(self.facts["memory_before_bytes"])

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        told = {
            "runtime": self.name,
            "quantize": self.quantize,
            "file": self.file,
            "ran": self.ran,
            "reason": self.reason or None,
        }
        if not self.ran:
            return told
        throughput, together = self.throughput
        ratio = self.times_as_fast
        return {
            **told,
            **self.facts,
            "latency_s": {
                "median": self.latency,
                "p95": self.p95,
                "network_median": self.network,
                "round_medians": [one.median for one in self.rounds],
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
