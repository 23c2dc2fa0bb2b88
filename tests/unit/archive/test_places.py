"""Paths and addresses as an archive's records have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_ema.archive.places import absolute, before_pattern, source_above


def test_a_path_from_the_root_on_keeps_its_links(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert absolute("link/../a.mp4") == absolute(Path("a.mp4")) == f"{tmp_path}/a.mp4"
    assert absolute("link/a.mp4") == f"{tmp_path}/link/a.mp4"


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/flights/a", "/flights/a"),
        ("/flights/20??/*.mp4", "/flights"),
        ("/*.mp4", "/"),
        ("s3://bucket/a/**/*.jpg", "s3://bucket/a"),
        ("bucket/*.jpg", "bucket"),
    ],
)
def test_what_stands_before_a_pattern(path: str, folder: str) -> None:
    assert before_pattern(path) == folder


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("/flights/a/1.mp4", "/flights/a"),
        ("/flights/ab/1.mp4", ""),
        ("/flights/b/x/1.mp4", "/flights/b/*/"),
        ("/list.txt", ""),
        ("s3://bucket/in/1.mp4", "s3a://bucket/in/"),
        ("memory:///in/1.mp4", "memory://in/*.mp4"),
        ("/disk/1.mp4", "file:///disk"),
        ("s3://other/1.mp4", ""),
    ],
)
def test_the_source_above_a_file(file: str, source: str) -> None:
    words = ["/flights/a", "/flights/b/*/", "/list.txt"]
    words += ["s3a://bucket/in/", "memory://in/*.mp4", "file:///disk"]
    assert source_above(file, words) == source


def test_everything_local_lies_below_the_root() -> None:
    assert source_above("/flights/1.mp4", ["/*/*.mp4"]) == "/*/*.mp4"
