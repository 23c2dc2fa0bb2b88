"""The folder that a run without --out makes for itself."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from yolo_ema.detect.run import fresh_folder
from yolo_ema.errors import MachineError


def made(base: Path, limit_s: float = 10) -> Path:
    """Return what `fresh_folder` makes, or raise what it raises; fails if it does neither."""
    came: list[Path | BaseException] = []

    def make() -> None:
        try:
            came.append(fresh_folder(base))
        except BaseException as error:  # raised again below
            came.append(error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    thread.join(limit_s)
    assert came, "it hangs"
    if isinstance(came[0], BaseException):
        raise came[0]
    return came[0]


def test_every_folder_is_another(tmp_path):
    base = tmp_path / "runs" / "detect"
    assert [made(base).name for _ in range(3)] == ["detect", "detect-2", "detect-3"]


def test_a_dangling_link_of_its_own_name_is_passed_over(tmp_path):
    (tmp_path / "detect").symlink_to("nowhere")
    assert made(tmp_path / "detect") == tmp_path / "detect-2"


@pytest.mark.parametrize("what", ["dangling link", "link to itself", "file", "below a file"])
def test_a_parent_that_is_no_folder_is_a_clear_error(tmp_path, what):
    runs = tmp_path / "runs"
    if what == "dangling link":
        runs.symlink_to(tmp_path / "not-mounted" / "runs")
    elif what == "link to itself":
        runs.symlink_to("runs")
    else:
        runs.write_text("x")
    base = runs / "more" / "detect" if what == "below a file" else runs / "detect"
    with pytest.raises(
        MachineError, match=r"runs.*: a file, or a link that .* in the way"
    ) as caught:
        made(base)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("name", ["runs", "detect"])
def test_a_folder_that_may_not_be_made_is_a_clear_error(tmp_path, monkeypatch, name):
    mkdir = os.mkdir

    def refuses(path, *rest, **named) -> None:
        if Path(path).name == name:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        mkdir(path, *rest, **named)

    monkeypatch.setattr(os, "mkdir", refuses)
    with pytest.raises(MachineError, match=f"{name}: read-only file system"):
        made(tmp_path / "runs" / "detect")
