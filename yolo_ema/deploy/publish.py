"""The ``export`` verb: files are made and proven, and only then get their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolo_ema.deploy.parity.gate import prove
from yolo_ema.deploy.parity.parity_report import NOT_PROVEN, GateLimits, ParityReport
from yolo_ema.engine.export.artifact_files import final_path, publish, size_of, unproven_path
from yolo_ema.engine.export.export_limits import check_detector, check_request
from yolo_ema.engine.export.exporting import Artifact, export_artifact
from yolo_ema.engine.weights.loading import LoadedModel, load_model
from yolo_ema.errors import CheckFailedError
from yolo_ema.io.atomic_files import write_json
from yolo_ema.io.scratch_folders import scratch_folder
from yolo_ema.options.export import ExportOptions

__all__ = ["ExportResult", "ExportedFile", "export"]


@dataclass(frozen=True)
class ExportedFile:
    """One file or folder that was made.

    Attributes:
        format: as Ultralytics names it.
        path: where it lies; where it would lie if it was refused.
        size: in bytes.
        seconds: how long making it took, without the proof.
        imgsz_hw: the input's height and width in pixels.
        parity: what the proof found; None without one.
    """

    format: str
    path: Path
    size: int
    seconds: float
    imgsz_hw: tuple[int, int]
    parity: ParityReport | None

    @property
    def refused(self) -> bool:
        """Whether it did not pass its proof."""
        return self.parity is not None and not self.parity.passed

    def as_json(self) -> dict[str, Any]:
        """Return the file as plain values."""
        return {
            "format": self.format,
            "path": str(self.path),
            "written": not self.refused,
            "bytes": self.size,
            "seconds": round(self.seconds, 3),
            "imgsz_hw": list(self.imgsz_hw),
            "proof": self.parity.as_json() if self.parity else None,
        }

    def as_text(self) -> str:
        """Return what was made, what was compared, and the table."""
        height, width = self.imgsz_hw
        line = (
            f"{self.path}: {self.format}, {height}x{width}, {self.size / 1e6:.1f} MB, "
            f"{self.seconds:.1f} s"
        )
        parity = self.parity
        if parity is None:
            return (
                f"{line}\n  not proven (--no-prove); to give it its final name: yolo-ema verify "
                f"{self.path} --weights … --accept"
            )
        if drop := parity.accuracy_drop:
            compared = (
                f"loses {drop.ap_drop:.2f} AP and {drop.ap50_drop:.2f} AP50 on {drop.images} images"
            )
        else:
            within = f"{parity.box_px:.2g} px and {parity.score:.2g} in score"
            compared = f"{parity.matched:,} boxes within {within}"
        table = [f"  {line}" if line else "" for line in parity.as_text().splitlines()[1:]]
        return "\n".join([line, f"  {parity.status}: {compared}", *table])


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
        return {"files": [file.as_json() for file in self.files]}

    def as_text(self) -> str:
        """Return what is worth reading about each file."""
        return "\n".join(file.as_text() for file in self.files)


def export(options: ExportOptions) -> ExportResult:
    """Write weights in each of the formats.

    A file appears under its name when it is whole and proven; one that was there before stays until
    then. The weights are read once.

    Raises:
        WeightsError: the weights cannot be used, or are not a detector's.
        ConfigError: an unknown setting, or one that the format does not take.
        MissingPackageError: a package that the format needs is not installed.
        CheckFailedError: a file does not give the boxes of the weights, or that cannot be proven;
            the other formats are written.
        DataError: images or dataset are not there.
        DiskFullError: there is no room; what was there before is intact.
        SourceError: an image cannot be read.
        MachineError: the format cannot be written on this machine.

    Examples:
        >>> from yolo_ema import ExportOptions, export
        >>> options = ExportOptions(weights="best.pt", format=("onnx",), prove=False, out="files")
        >>> result = export(options)
        >>> result.files[0].path.suffix
        '.onnx'
    """
    loaded = load_model(options.weights, trust=options.trust)
    check_detector(loaded, options.weights)
    for name in options.format:  # before any work: the last format may be the one that is refused
        check_request(name, options, loaded.model)
    files = []
    for name in tqdm(options.format, desc="export", unit="format", disable=None):
        with scratch_folder("export") as folder:
            artifact = export_artifact(name, options, loaded, folder)
            files.append(_finished(artifact, loaded, options))
    result = ExportResult(tuple(files))
    if options.report is not None:
        write_json(options.report, result.as_json())
    if refused := [file for file in files if file.refused]:
        raise CheckFailedError(_refusal(refused, options))
    return result


def _finished(artifact: Artifact, loaded: LoadedModel, options: ExportOptions) -> ExportedFile:
    """Prove a file and give it its name; a refused one is left in the folder that is removed."""
    final, size, parity = final_path(artifact.path, options), size_of(artifact.path), None
    if options.prove:
        parity = prove(
            artifact.path,
            options.weights,
            loaded,
            GateLimits.of(options),
            images=options.images,
            data=options.data if artifact.quantize else None,
            device=options.device,
            trust_artifact=True,  # this process made it
        )
    else:
        final = unproven_path(final)
    if parity is None or parity.passed:
        publish(artifact.path, final)
    return ExportedFile(artifact.format, final, size, artifact.seconds, artifact.imgsz_hw, parity)


def _refusal(refused: Sequence[ExportedFile], options: ExportOptions) -> str:
    sentences = []
    for path, parity in ((file.path, file.parity) for file in refused):
        reasons = "; ".join(parity.reasons) if parity else ""
        if parity and parity.status == NOT_PROVEN:
            sentences.append(
                f"{path} is not written because it is not proven: {reasons}; --no-prove writes it "
                f"under another name, to be proven where that is possible: yolo-ema verify … "
                f"--accept"
            )
        else:
            sentences.append(
                f"{path} is not written because it does not give the boxes of its weights: "
                f"{reasons}"
            )
    note = f" ({options.report} has the figures)" if options.report else ""
    return " | ".join(sentences) + note
