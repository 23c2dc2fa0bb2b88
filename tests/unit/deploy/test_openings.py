"""For an export the weights are read once, and for its proof the file is opened once; trusting the
one does not mean trusting the other.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from yolo_ema.deploy import publish
from yolo_ema.deploy.publish import export
from yolo_ema.deploy.verify import verify
from yolo_ema.engine.export import exporting
from yolo_ema.engine.weights import loading
from yolo_ema.inference.exported import ExportedPredictor
from yolo_ema.options.export import ExportOptions
from yolo_ema.options.verify import VerifyOptions


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the files that were read as weights or opened by a runtime, in order."""
    names: list[str] = []
    read, start = loading._read, ExportedPredictor.__init__

    def read_noted(path: Path) -> bytes:
        names.append(Path(path).name)
        return read(path)

    def start_noted(self: ExportedPredictor, weights: Path, config: object) -> None:
        names.append(Path(weights).name)
        start(self, weights, config)

    monkeypatch.setattr(loading, "_read", read_noted)
    monkeypatch.setattr(ExportedPredictor, "__init__", start_noted)
    return names


@pytest.fixture
def options(gate_weights, gate_pictures, tmp_path) -> ExportOptions:
    weights = tmp_path / "tiny.pt"
    weights.write_bytes(gate_weights.read_bytes())
    return ExportOptions(
        weights=weights,
        out=tmp_path / "out",
        imgsz=(192, 320),
        images=(gate_pictures,),
        dynamic=True,
        settings={"simplify": "false"},
    )


@pytest.mark.slow
def test_an_export_reads_the_weights_once_and_a_proof_opens_the_file_once(
    options, opened, tmp_path
):
    """In batches, at a second size and in tiles, too: the file is dynamic."""
    result = export(options)
    assert result.files[0].parity.passed, result.files[0].parity.reasons
    assert len(result.files[0].parity.cases) == 6
    assert opened == ["tiny.pt", "tiny.onnx"]
    opened.clear()
    proof = verify(
        VerifyOptions(artifact=result.path, weights=options.weights, images=options.images)
    )
    assert proof.parity.passed
    assert opened == ["tiny.pt", "tiny.onnx"]


@pytest.mark.slow
def test_weights_that_change_after_they_were_read_are_not_read_again(options, monkeypatch):
    """Neither for the proof nor for what the file says of itself."""
    before = options.weights.read_bytes()

    def swap_and_export(*arguments: object) -> object:
        options.weights.write_bytes(b"import os; os.system('true')")
        return exporting.export_artifact(*arguments)

    monkeypatch.setattr(publish, "export_artifact", swap_and_export)
    result = export(dataclasses.replace(options, dynamic=False))
    assert result.files[0].parity.passed, result.files[0].parity.reasons
    options.weights.write_bytes(before)
    proof = verify(
        VerifyOptions(artifact=result.path, weights=options.weights, images=options.images)
    )
    assert proof.parity.passed, "the file names the weights that were read"
