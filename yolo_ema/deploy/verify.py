"""The ``verify`` verb: the proof at the end of ``export``, repeated later and elsewhere."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_ema.deploy.artifact_names import final_name
from yolo_ema.deploy.parity.gate import prove
from yolo_ema.deploy.parity.parity_report import GateLimits, Verdict
from yolo_ema.engine.export.exporting import publish
from yolo_ema.errors import CheckFailedError
from yolo_ema.io.atomic_files import write_json
from yolo_ema.options.verify import VerifyOptions

__all__ = ["VerifyResult", "verify"]


@dataclass(frozen=True)
class VerifyResult:
    """What ``verify`` found.

    Attributes:
        verdict: what the gate says.
        accepted: where the file lies now, if it got its name.
    """

    verdict: Verdict
    accepted: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 only where the file passed."""
        return 0 if self.verdict.passed else CheckFailedError.exit_code

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {**self.verdict.as_json(), "accepted": str(self.accepted) if self.accepted else None}

    def as_text(self) -> str:
        """Return the verdict and the table."""
        return self.verdict.as_text() + (f"\nnow {self.accepted}" if self.accepted else "")


def verify(options: VerifyOptions) -> VerifyResult:
    """Hold an exported file against its weights, on this machine.

    Raises:
        WeightsError: the weights cannot be used, or the file is not there or is a program that is
            not trusted.
        DataError: images or dataset are not there.
        SourceError: an image cannot be read.
        ConfigError: classes of weights and data don't fit.
        DiskFullError: there is no room for the report.
    """
    limits = GateLimits(
        options.tolerance_px, options.tolerance_score, options.max_ap_loss, options.max_ap50_loss
    )
    result = VerifyResult(
        prove(
            options.artifact,
            options.weights,
            limits,
            images=options.images,
            data=options.data,
            device=options.device,
            trust=options.trust,
        )
    )
    if options.accept and result.verdict.passed:
        result = dataclasses.replace(result, accepted=_named(options.artifact))
    if options.report is not None:
        write_json(options.report, result.as_json())
    return result


def _named(artifact: Path) -> Path:
    """Give a proven file its name."""
    final = final_name(artifact)
    publish(artifact, final)
    if artifact.is_dir():
        shutil.rmtree(artifact)
    else:
        artifact.unlink()
    return final
