"""From what the user names to jobs: all of it, once, in an order that stays."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
from archive_files import archive_options, draw, record, record_unknown
from hypothesis import given
from hypothesis import strategies as st

from yolo_ema.archive import finding, places
from yolo_ema.archive.finding import JobFinder
from yolo_ema.archive.job import Job
from yolo_ema.archive.manifest import open_manifest
from yolo_ema.archive.storage import open_storage
from yolo_ema.errors import ConfigError, SourceError
from yolo_ema.media.sources.video_cuts import CutVideo, VideoSpan

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0")
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),  # bytes that are no UTF-8
    min_size=1,
    max_size=8,
)
SPANS = st.builds(
    VideoSpan,
    st.floats(0, 1e5),
    st.floats(0, 1e5) | st.just(math.inf),
    st.integers(0, 10**9),
    st.integers(-(10**9), 10**12),
    st.floats(-10, 10),
)


@given(st.lists(NAMES, min_size=1, max_size=3), st.none() | SPANS, st.booleans())
def test_a_line_of_the_manifest_is_the_job(
    names: list[str], span: VideoSpan | None, is_sequence: bool
) -> None:
    job = Job(tuple(f"/archive/{name}" for name in names), span, is_sequence)
    line = job.as_line()
    assert Job.from_line(line) == job
    assert line[8:24] == job.id
    assert "\n" not in line


def test_long_videos_that_cannot_be_cut_are_counted_by_reason(tmp_path: Path) -> None:
    for name in "ab":
        record(tmp_path / "flights" / f"{name}.ts")
    finder = JobFinder(archive_options(tmp_path, tmp_path / "flights", segment=0.7))
    assert [job.span for job in finder.jobs()] == [None, None]
    (reason,) = finder.not_cut
    assert reason.startswith("mpegts")
    assert finder.not_cut[reason] == (2, str(tmp_path / "flights" / "a.ts"))


def test_a_video_that_cannot_be_gone_through_is_one_job(tmp_path: Path, monkeypatch) -> None:
    """Whoever runs it says what is wrong."""
    root = tmp_path / "flights"
    record(root / "a.mp4")
    record(root / "b.mp4", latin_title="Fläche")
    record_unknown(root / "c.mp4")
    really_cut = finding.cut_video

    def cut(path: Path, *how: object) -> object:
        if path.name == "d.mp4":
            raise RuntimeError("a bug")
        return really_cut(path, *how)

    monkeypatch.setattr(finding, "cut_video", cut)
    record(root / "d.mp4")
    finder = JobFinder(archive_options(tmp_path, root, segment=0.7))
    spans = [(Path(job.files[0]).name, job.span and job.span.start_s) for job in finder.jobs()]
    whole = [("c.mp4", None), ("d.mp4", None)]
    assert spans == [(name, s) for name in ("a.mp4", "b.mp4") for s in (0.0, 1.0, 1.5)] + whole
    assert list(finder.not_cut) == ["a codec that FFmpeg does not know"]


@pytest.mark.skipif(os.name == "nt", reason="no process can send itself SIGINT there")
def test_an_interruption_waits_for_no_video_to_be_read(tmp_path: Path, monkeypatch) -> None:
    for number in range(9):
        record(tmp_path / "flights" / f"{number}.mp4", frames=1)
    begun, ended = [], threading.Semaphore(0)

    def cut(path: Path, _segment_s: float, stopped: Callable[[], bool]) -> CutVideo:
        begun.append(path)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        while not stopped():
            time.sleep(0.01)
        ended.release()
        return CutVideo(())

    monkeypatch.setattr(finding, "cut_video", cut)
    monkeypatch.setattr(finding, "usable_cores", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        jobs_of(tmp_path, tmp_path / "flights", segment=0.7)
    assert ended.acquire(timeout=10)
    assert ended.acquire(timeout=10)
    assert len(begun) == 2


def jobs_of(tmp_path: Path, *sources: object, **more: object) -> tuple[list[Job], list[str]]:
    finder = JobFinder(archive_options(tmp_path, *sources, **more))
    return list(finder.jobs()), list(map(str, finder.left_out))


def test_videos_images_and_what_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "flights"
    for name in ("a/1.jpg", "a/2.jpg", "a/10.jpg", "b/1.png"):
        draw(root / name)
    record(root / "a" / "clip.mp4")
    (root / "log.csv").write_text("")
    jobs, left_out = jobs_of(tmp_path, root, images_per_job=2)
    short = [[file.removeprefix(f"{root}/") for file in job.files] for job in jobs]
    assert short == [["a/clip.mp4"], ["a/1.jpg", "a/2.jpg"], ["a/10.jpg"], ["b/1.png"]]
    assert left_out == [f"{root}: 1 left out: neither image nor video (1 .csv)"]


def test_a_folder_that_may_not_be_entered_is_refused(tmp_path: Path, monkeypatch) -> None:
    """The list of jobs is final: what lies there would never be picked up."""
    root = tmp_path / "flights"
    for folder in ("a", "b"):
        draw(root / folder / "1.jpg")
    (root / "a" / "loop").symlink_to("loop")
    options = archive_options(tmp_path, root)
    really_scan = os.scandir
    refused = [str(root / "b")]

    def scan(path: str | Path) -> object:
        if str(path) in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", scan)
    storage = open_storage(options.out)
    with pytest.raises(SourceError, match=rf"{refused[0]} cannot be read: permission denied; an"):
        open_manifest(options, storage, options.weights)
    assert not list(Path(options.out).rglob("*"))
    refused.clear()
    manifest = open_manifest(options, storage, options.weights)
    assert len(manifest.pending((0, 1), retry_failed=False).todo) == 2
    (loop,) = manifest.left_out
    assert loop.reason == "links that lead nowhere"


def test_a_file_named_by_several_arguments_is_one_job(tmp_path: Path) -> None:
    clip = record(tmp_path / "flights" / "clip.mp4")
    (tmp_path / "list.txt").write_text(f"{clip}\n")
    jobs, _ = jobs_of(tmp_path, clip, clip.parent, tmp_path / "list.txt", f"{clip.parent}/*.mp4")
    assert [job.files for job in jobs] == [(str(clip),)]


def test_long_videos_are_cut_unless_they_are_tracked(tmp_path: Path) -> None:
    clip = record(tmp_path / "clip.mp4")
    starts = [job.span.start_s for job in jobs_of(tmp_path, clip, segment=0.7)[0] if job.span]
    assert starts == [0.0, 1.0, 1.5]
    assert [job.span for job in jobs_of(tmp_path, clip, segment=0)[0]] == [None]
    assert [job.span for job in jobs_of(tmp_path, clip)[0]] == [None]  # shorter than 600 s
    assert archive_options(tmp_path, clip).segment_s(is_remote=False) == 600
    for tracked in ({"track": True}, {"save": ("mot",)}):
        assert archive_options(tmp_path, clip, **tracked).segment_s(is_remote=False) == 0
        assert len(jobs_of(tmp_path, clip, segment=0.7, **tracked)[0]) == 3


@pytest.mark.parametrize(
    ("selected", "starts"),
    [
        ({"start": 1.2}, [1.0, 1.5]),
        ({"end": 1.0}, [0.0]),
        ({"start": 0.99, "end": 1.01}, [0.0, 1.0]),
        ({"start": 20.0}, [1.5]),
    ],
)
def test_parts_outside_of_the_selected_time_are_no_jobs(
    tmp_path: Path, selected: dict[str, float], starts: list[float]
) -> None:
    clip = record(tmp_path / "clip.mp4")
    jobs, _ = jobs_of(tmp_path, clip, segment=0.7, **selected)
    assert [job.span.start_s for job in jobs if job.span] == starts


def test_tracked_images_of_a_folder_are_one_job(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        draw(tmp_path / "flight" / f"{number}.jpg")
    (job,), _ = jobs_of(tmp_path, tmp_path / "flight", track=True, images_per_job=2)
    assert job.is_sequence
    assert [Path(file).name for file in job.files] == ["1.jpg", "2.jpg", "10.jpg"]


def test_folders_are_told_apart_where_paths_have_backslashes(tmp_path: Path, monkeypatch) -> None:
    """As on Windows."""
    for name in ("one/1", "one/2", "two/1"):
        draw(tmp_path / f"{name}.jpg")
    windows_path = SimpleNamespace(
        abspath=lambda path: "C:" + os.path.abspath(path).replace("/", "\\")  # noqa: PTH100
    )
    monkeypatch.setattr(places, "os", SimpleNamespace(path=windows_path, sep="\\"))
    jobs, _ = jobs_of(tmp_path, tmp_path)
    names = [f"C:{tmp_path}/{folder}" for folder in ("one", "two")]
    assert [job.name for job in jobs] == [f"{names[0]} (2 images)", f"{names[1]}/1.jpg"]
    assert [Job.from_line(job.as_line()) for job in jobs] == jobs


def test_addresses(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a/clip.mp4", "a/1.jpg", "a/.hidden.jpg", "b/notes.txt"):
        memory.pipe_file(f"/{tmp_path.name}/{name}", b"x")
    root = f"memory://{tmp_path.name}"
    jobs, left_out = jobs_of(tmp_path, root)
    files = [job.files[0].partition(tmp_path.name)[2] for job in jobs]
    assert files == ["/a/clip.mp4", "/a/1.jpg"]
    assert [line.partition(": ")[2] for line in left_out] == [
        "1 left out: hidden, or files of an operating system",
        "1 left out: neither image nor video (1 .txt)",
    ]
    assert len(jobs_of(tmp_path, f"{root}/*/*.jpg")[0]) == 1
    assert len(jobs_of(tmp_path, f"{root}/a/clip.mp4")[0]) == 1


def test_what_is_hidden_at_an_address_is_what_is_hidden_on_a_disk(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    names = ("a/1.jpg", "a/.trash/2.jpg", "a/.trash/3.jpg", "@eaDir/4.jpg", "__MACOSX/b/5.jpg")
    names += (".6.jpg", ".DS_Store")
    for name in names:
        memory.pipe_file(f"/{tmp_path.name}/.all/in/{name}", b"x")
        path = tmp_path / ".all" / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    there, here = f"memory://{tmp_path.name}/.all/in", tmp_path / ".all" / "in"
    in_trash = ["a/.trash/2.jpg", "a/.trash/3.jpg"]
    for below, files in (
        ("", ["a/1.jpg"]),
        ("/**/*.jpg", ["a/1.jpg"]),
        ("/a/.trash/*.jpg", in_trash),
        ("/a/.t*/*.jpg", in_trash),
    ):
        for place in (there, here):
            jobs = jobs_of(tmp_path, f"{place}{below}")[0]
            assert [file.rpartition("/in/")[2] for job in jobs for file in job.files] == files
    reports = [jobs_of(tmp_path, place)[1][0].partition(": ")[2] for place in (there, here)]
    assert reports == ["4 left out: hidden, or files of an operating system"] * 2
    assert len(jobs_of(tmp_path, f"{there}/.6.jpg")[0]) == 1


def test_a_named_file_at_an_address_may_have_the_signs_of_a_pattern(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("clip[1].mp4", "clip1.mp4"):
        memory.pipe_file(f"/{tmp_path.name}/in/{name}", b"x")
    root = f"memory://{tmp_path.name}/in"
    for name in ("clip[1].mp4", "clip1.mp4"):
        (job,) = jobs_of(tmp_path, f"{root}/{name}")[0]
        assert job.files[0].endswith(f"/{name}")


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("flihgts", SourceError, "did you mean 'flights'"),
        ("flights", SourceError, "no image or video; it holds 1 .csv"),
        ("flights/*.mp4", SourceError, "matches no image or video"),
        ("flights.txt", SourceError, "no file or folder at .*lost.mp4"),
        ("0", SourceError, "is not a file; an archive is made of videos and images"),
        ("rtsp://10.0.0.1/live", ConfigError, "rtsp:// is not an address that fsspec can read"),
        ("memory://nothing-here", SourceError, "nothing at memory://nothing-here"),
    ],
)
def test_arguments_that_match_nothing(tmp_path: Path, monkeypatch, word, error, message) -> None:
    (tmp_path / "flights").mkdir()
    (tmp_path / "flights" / "log.csv").write_text("")
    (tmp_path / "flights.txt").write_text("flights/lost.mp4\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        jobs_of(tmp_path, word)
