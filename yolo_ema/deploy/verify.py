"""The ``verify`` verb: the proof at the end of ``export``, repeated later and elsewhere."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_ema.deploy.parity.gate import prove
from yolo_ema.deploy.parity.parity_report import GateLimits, ParityReport
from yolo_ema.engine.export.artifact_files import final_name, publish
from yolo_ema.engine.export.export_limits import check_detector
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import CheckFailedError
from yolo_ema.io.atomic_files import write_json
from yolo_ema.options.verify import VerifyOptions

__all__ = ["VerifyResult", "verify"]


@dataclass(frozen=True)
class VerifyResult:
    """What ``verify`` found.

    Attributes:
        parity: the comparison.
        accepted: where the file lies now, if it got its name.
    """

    parity: ParityReport
    accepted: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 only if the file passed."""
        return 0 if self.parity.passed else CheckFailedError.exit_code

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {**self.parity.as_json(), "accepted": str(self.accepted) if self.accepted else None}

    def as_text(self) -> str:
        """Return status, reasons and table."""
        return self.parity.as_text() + (f"\nnow {self.accepted}" if self.accepted else "")


def verify(options: VerifyOptions) -> VerifyResult:
    """Compare an exported file with its weights on this machine.

    Raises:
        WeightsError: the weights cannot be used, or the file is not there or is a program that is
            not trusted.
        DataError: images or dataset are not there.
        SourceError: an image cannot be read.
        ConfigError: classes of weights and data don't fit.
        DiskFullError: there is no room for the report.

    Examples:
        >>> from yolo_ema import VerifyOptions, verify
        >>> verify(VerifyOptions(artifact="best.onnx", weights="best.pt")).parity.passed
        True
    """
    loaded = load_model(options.weights, trust=options.trust)
    check_detector(loaded, options.weights)
    parity = prove(
        options.artifact,
        options.weights,
        loaded,
        GateLimits.of(options),
        images=options.images,
        data=options.data,
        device=options.device,
        trust_artifact=options.trust,
    )
    result = VerifyResult(parity)
    if options.accept and parity.passed:
        result = dataclasses.replace(result, accepted=_accept(options.artifact))
    if options.report is not None:
        write_json(options.report, result.as_json())
    return result


def _accept(artifact: Path) -> Path:
    final = final_name(artifact)
    publish(artifact, final)
    if artifact.is_dir() and not artifact.is_symlink():
        shutil.rmtree(artifact)
    else:
        artifact.unlink()
    return final
