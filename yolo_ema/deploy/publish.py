"""The ``export`` verb: made, proven, and only then given its name."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolo_ema.deploy.artifact_names import unproven_path
from yolo_ema.deploy.parity.gate import prove
from yolo_ema.deploy.parity.parity_report import NOT_PROVEN, GateLimits, Verdict
from yolo_ema.engine.export.export_limits import check_request
from yolo_ema.engine.export.exporting import Artifact, export_artifact, final_path, publish
from yolo_ema.engine.weights.loading import load_model
from yolo_ema.errors import CheckFailedError
from yolo_ema.io.atomic_files import write_json
from yolo_ema.options.export import ExportOptions

__all__ = ["ExportResult", "ExportedFile", "export"]


@dataclass(frozen=True)
class ExportedFile:
    """One file (or folder) that was made.

    Attributes:
        format: as Ultralytics names it.
        path: where it lies; of one that was refused, where it would.
        size: in bytes.
        seconds: what making it took, the proof not counted.
        imgsz_hw: the input's height and width in pixels.
        verdict: what the gate says; None where it was not asked.
    """

    format: str
    path: Path
    size: int
    seconds: float
    imgsz_hw: tuple[int, int]
    verdict: Verdict | None

    @property
    def refused(self) -> bool:
        """Whether the gate did not let it pass."""
        return self.verdict is not None and not self.verdict.passed

    def as_json(self) -> dict[str, Any]:
        """Return the file as plain values."""
        return {
            "format": self.format,
            "path": str(self.path),
            "written": not self.refused,
            "bytes": self.size,
            "seconds": round(self.seconds, 3),
            "imgsz_hw": list(self.imgsz_hw),
            "proof": self.verdict.as_json() if self.verdict else None,
        }

    def as_text(self) -> str:
        """Return what was made, what was compared, and the table."""
        height, width = self.imgsz_hw
        first = (
            f"{self.path}: {self.format}, {height}x{width}, {self.size / 1e6:.1f} MB, "
            f"{self.seconds:.1f} s"
        )
        if self.verdict is None:
            return (
                f"{first}\n  not proven: --no-prove; yolo-ema verify {self.path} --weights … "
                f"--accept gives it its name"
            )
        verdict = self.verdict
        if (
            loss := verdict.loss
        ):  # rounded weights are judged by what they cost, not by how far single boxes move
            compared = (
                f"  {verdict.status}: loses {loss.ap_loss:.2f} AP and {loss.ap50_loss:.2f} "
                f"AP50 on {loss.images} images"
            )
        else:
            within = f"{verdict.box_px:.2g} px and {verdict.score:.2g} in score"
            compared = f"  {verdict.status}: {verdict.matched:,} boxes within {within}"
        table = "\n".join(
            "  " + line if line else "" for line in verdict.as_text().splitlines()[1:]
        )
        return f"{first}\n{compared}\n{table}"


@dataclass(frozen=True)
class ExportResult:
    """What ``export`` wrote, in the order of the formats asked for."""

    files: tuple[ExportedFile, ...]

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {"files": [one.as_json() for one in self.files]}

    def as_text(self) -> str:
        """Return what is worth reading of each file."""
        return "\n".join(one.as_text() for one in self.files)


def export(options: ExportOptions) -> ExportResult:
    """Write weights in each of the formats.

    A file appears under its name when it is whole and proven; one that was there before stays until
    then.

    Raises:
        WeightsError: the weights cannot be used.
        ConfigError: an unknown setting, or one that the format does not take.
        MissingPackageError: a package that the format needs is not installed.
        CheckFailedError: a file's boxes are not those of the weights, or that cannot be proven; the
            other formats are written.
        DataError: images or dataset are not there.
        DiskFullError: there is no room; what was there before is intact.
        SourceError: an image cannot be read.
        MachineError: the format cannot be written on this machine.
    """
    loaded = load_model(options.weights, trust=options.trust)
    for (
        name
    ) in options.format:  # the last format's refusal should not come after the first one's proof
        check_request(name, options, loaded.model)
    files: list[ExportedFile] = []
    for name in tqdm(
        options.format,
        desc="export",
        unit="format",
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
    ):
        with tempfile.TemporaryDirectory(prefix="yolo-ema-export-") as folder:
            files.append(_finished(export_artifact(name, options, loaded, Path(folder)), options))
    result = ExportResult(tuple(files))
    if options.report is not None:
        write_json(options.report, result.as_json())
    if refused := [one for one in files if one.refused]:
        raise CheckFailedError(_refusal(refused, options))
    return result


def _finished(made: Artifact, options: ExportOptions) -> ExportedFile:
    """Prove a file and give it its name, or leave it where it vanishes."""
    final = final_path(made.path, options)
    parts = made.path.rglob("*") if made.path.is_dir() else [made.path]
    size = sum(part.stat().st_size for part in parts if part.is_file())
    verdict = _verdict(made, options) if options.prove else None
    if verdict is None:
        final = unproven_path(final)
    if verdict is None or verdict.passed:
        publish(made.path, final)
    return ExportedFile(made.format, final, size, made.seconds, made.imgsz_hw, verdict)


def _verdict(made: Artifact, options: ExportOptions) -> Verdict:
    return prove(
        made.path,
        options.weights,
        GateLimits(
            options.tolerance_px,
            options.tolerance_score,
            options.max_ap_loss,
            options.max_ap50_loss,
        ),
        images=options.images,
        data=options.data if made.quantize else None,
        device=options.device,
        trust=options.trust,
        made_here=True,
    )


def _refusal(refused: Sequence[ExportedFile], options: ExportOptions) -> str:
    sentences = []
    for path, verdict in ((one.path, one.verdict) for one in refused):
        reasons = "; ".join(verdict.reasons) if verdict else ""
        if verdict and verdict.status == NOT_PROVEN:
            advice = (
                "--no-prove writes it under another name, to be proven where it can be: "
                "yolo-ema verify … --accept"
            )
            sentences.append(f"{path} is not written, it is not proven: {reasons}; {advice}")
        else:
            sentences.append(
                f"{path} is not written, it does not give the boxes of its weights: {reasons}"
            )
    told = f" ({options.report} has the figures)" if options.report else ""
    return " | ".join(sentences) + told
