"""Which of the user's images a file is compared on."""

from __future__ import annotations

from pathlib import Path

from yolo_ema.deploy.parity.proof_images import sampled_files


def test_hidden_files_of_a_folder_are_no_images_and_named_ones_are(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "._a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in sampled_files([tmp_path], 20)] == ["a.jpg", "b.png"]
    twice = [tmp_path, tmp_path / "a.jpg", tmp_path / "." / "b.png"]
    assert [file.name for file in sampled_files(twice, 20)] == ["a.jpg", "b.png"]
    backwards = [tmp_path / "b.png", tmp_path / "a.jpg", tmp_path / "b.png"]
    assert [file.name for file in sampled_files(backwards, 20)] == ["b.png", "a.jpg"]
    named = tmp_path / "._a.jpg"
    assert sampled_files([named], 20) == [named]
