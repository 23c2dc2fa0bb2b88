"""A worker: what it writes for a job, and what becomes of jobs that cannot be run."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from archive_files import PER_FRAME, archive_options, draw, record
from PIL import Image
from telemetry_files import xmp

from yolo_ema.archive.finding import JobFinder
from yolo_ema.archive.job import DONE, FAILED, INCOMPLETE, UNDONE, Job, Outcome
from yolo_ema.archive.result import ArchiveResult
from yolo_ema.archive.worker import Worker
from yolo_ema.errors import ConfigError, DiskFullError
from yolo_ema.options.archive import ArchiveOptions


def run_all(options: ArchiveOptions) -> tuple[list[Outcome], Path]:
    worker = Worker(options)
    return [worker.run(job) for job in JobFinder(options).jobs()], Path(options.out)


def rows_of(out: Path) -> list[dict]:
    rows = [row for file in out.glob("detections/*") for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: (row["source"], row["frame"], -row["score"]))


@pytest.mark.parametrize("segment", [0.7, 0])
def test_the_parts_of_a_video_add_up_to_the_video(tmp_path: Path, segment: float) -> None:
    clip = record(tmp_path / "clip.mp4", frames=33)
    outcomes, out = run_all(archive_options(tmp_path, clip, segment=segment))
    assert {outcome.state for outcome in outcomes} == {DONE}
    assert len(outcomes) == (1 if segment == 0 else 5)
    rows = rows_of(out)
    assert [row["frame"] for row in rows] == [n for n in range(33) for _ in range(PER_FRAME)]
    assert [row["time_s"] for row in rows[::PER_FRAME]] == pytest.approx(
        [number / 10 for number in range(33)]
    )
    assert {row["source"] for row in rows} == {str(clip)}
    files = list(out.glob("detections/*"))
    frames = [int(pq.read_metadata(file).metadata[b"yolo_ema.frames"]) for file in files]
    assert sum(frames) == 33
    assert sum(outcome.frames for outcome in outcomes) == 33
    assert sum(outcome.objects for outcome in outcomes) == len(rows)
    assert {path.name for path in out.iterdir()} == {"detections"}


def test_every_nth_frame_of_the_parts_is_that_of_the_whole(tmp_path: Path) -> None:
    clip = record(tmp_path / "clip.mp4", frames=33)
    more = {"segment": 0.7, "vid_stride": 4, "start": 1.2}
    outcomes, out = run_all(archive_options(tmp_path, clip, **more))
    assert {outcome.state for outcome in outcomes} == {DONE}
    assert [row["frame"] for row in rows_of(out)[::PER_FRAME]] == [12, 16, 20, 24, 28, 32]


def test_the_other_formats_are_next_to_it(tmp_path: Path) -> None:
    clip = record(tmp_path / "clip.mp4", frames=6)
    (outcome,), out = run_all(archive_options(tmp_path, clip, save=("csv", "annotated", "mot")))
    folder = out / "files" / outcome.id
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "detections.csv", "mot"]
    assert len((folder / "detections.csv").read_text().splitlines()) == 1 + 6 * PER_FRAME
    tracks = {row["track_id"] for row in rows_of(out)}
    assert len(tracks - {None}) == PER_FRAME


def test_what_can_be_read_is_written_and_the_rest_is_named(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        draw(tmp_path / "images" / name)
    (tmp_path / "images" / "3.jpg").write_bytes(b"no image")
    (outcome,), out = run_all(archive_options(tmp_path, tmp_path / "images"))
    assert (outcome.state, outcome.frames, outcome.attempts) == (INCOMPLETE, 2, 1)
    assert "3.jpg is not an image" in outcome.problem
    assert len(rows_of(out)) == 2 * PER_FRAME
    (row,) = out.glob("problems/*.json")
    assert json.loads(row.read_text())["problem"] == outcome.problem
    draw(tmp_path / "images" / "3.jpg")
    worker = Worker(archive_options(tmp_path, tmp_path / "images"))
    (job,) = JobFinder(archive_options(tmp_path, tmp_path / "images")).jobs()
    assert worker.run(job, attempts=1).state == DONE
    assert not list(out.glob("problems/*"))
    assert len(rows_of(out)) == 3 * PER_FRAME


def test_a_damaged_video(tmp_path: Path) -> None:
    clip = record(tmp_path / "clip.mp4")
    content = clip.read_bytes()
    (tmp_path / "nothing.mp4").write_bytes(b"no video")
    clip.write_bytes(content[: len(content) // 2])
    outcomes, out = run_all(archive_options(tmp_path, clip, tmp_path / "nothing.mp4"))
    assert [outcome.state for outcome in outcomes] == [FAILED, FAILED]
    assert all("cannot be opened as video" in outcome.problem for outcome in outcomes)
    assert not out.exists()
    changed = Job((str(tmp_path / "gone.mp4"),))
    assert "no video at" in Worker(archive_options(tmp_path, clip)).run(changed).problem


def test_sources_at_an_address(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    root = f"memory://{tmp_path.name}"
    memory.pipe_file(f"/{tmp_path.name}/in/clip.mp4", record(tmp_path / "clip.mp4").read_bytes())
    for name in ("1.jpg", "2.jpg"):
        memory.pipe_file(f"/{tmp_path.name}/in/{name}", draw(tmp_path / name).read_bytes())
    options = archive_options(tmp_path, f"{root}/in", out=f"{root}/out", segment=1, save=("csv",))
    outcomes, _ = run_all(options)
    assert [outcome.state for outcome in outcomes] == [DONE] * 3
    sources = set()
    for outcome in outcomes:
        with memory.open(f"/{tmp_path.name}/out/detections/{outcome.id}.parquet") as file:
            sources |= set(pq.read_table(file)["source"].to_pylist())
        assert memory.exists(f"/{tmp_path.name}/out/files/{outcome.id}/detections.csv")
    assert sources == {
        f"memory:///{tmp_path.name}/in/{name}" for name in ("clip.mp4", "1.jpg", "2.jpg")
    }
    memory.rm_file(f"/{tmp_path.name}/in/1.jpg")
    images = next(job for job in JobFinder(options).jobs() if "2.jpg" in job.files[0])
    lost = Job((images.files[0].replace("2.jpg", "1.jpg"), *images.files))
    outcome = Worker(options).run(lost)
    assert (outcome.state, outcome.frames) == (INCOMPLETE, 1)
    assert "no file at memory:///" in outcome.problem


def s3_refuses(code: str) -> Exception:
    """Return the error that s3fs makes of botocore's."""
    error = PermissionError(f"refused: {code}")
    error.__cause__ = ClientError(code)
    return error


class ClientError(Exception):
    def __init__(self, code: str) -> None:
        self.response = {"Error": {"Code": code, "Message": "refused"}}


@pytest.mark.parametrize(
    ("fault", "state", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UNDONE, "disk full while writing"),
        (ConnectionError("no route to the endpoint"), UNDONE, "no route to the endpoint"),
        (PermissionError(errno.EACCES, "Access Denied"), FAILED, "cannot be read: access denied"),
        (s3_refuses("AccessDenied"), FAILED, "cannot be read: refused: AccessDenied"),
        (s3_refuses("ExpiredToken"), UNDONE, "refused: ExpiredToken"),
        (s3_refuses("InvalidAccessKeyId"), UNDONE, "refused: InvalidAccessKeyId"),
        (s3_refuses("RequestTimeTooSkewed"), UNDONE, "refused: RequestTimeTooSkewed"),
    ],
)
def test_what_stops_every_fetch_is_not_blamed_on_the_job(
    tmp_path: Path, monkeypatch, fault: Exception, state: str, said: str
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/{tmp_path.name}/in/1.jpg", draw(tmp_path / "1.jpg").read_bytes())

    def fail(_system: object, _address: str, local: str) -> None:
        Path(local).write_bytes(b"half of it")
        raise fault

    monkeypatch.setattr(type(memory), "get_file", fail)
    (outcome,), out = run_all(archive_options(tmp_path, f"memory://{tmp_path.name}/in"))
    assert (outcome.state, outcome.attempts) == (state, int(state == FAILED))
    assert said in outcome.problem
    assert "was there before" not in outcome.problem
    assert not list(out.rglob("*"))


@pytest.mark.parametrize("left", ["an empty folder", "nothing", "other files"])
@pytest.mark.parametrize("named", ["flights", "flights/*.mp4"])
def test_the_place_of_a_disk_that_is_gone_is_not_blamed_on_the_jobs(
    tmp_path: Path, monkeypatch, left: str, named: str
) -> None:
    clip = record(tmp_path / "flights" / "clip.mp4", frames=2)
    options = archive_options(tmp_path, named)
    monkeypatch.chdir(tmp_path)
    worker, jobs = Worker(options), list(JobFinder(options).jobs())
    clip.rename(tmp_path / "elsewhere.mp4")
    if left == "nothing":
        clip.parent.rmdir()
    elif left == "other files":
        record(clip.with_name("b.mp4"))
    (outcome,) = (worker.run(job) for job in jobs)
    if left == "other files":
        assert (outcome.state, outcome.attempts) == (FAILED, 1)
    else:
        assert outcome.state == UNDONE
        assert f"the source {clip.parent} " in outcome.problem
        assert "is its disk mounted?" in outcome.problem
    (tmp_path / "elsewhere.mp4").rename(record(clip))
    assert worker.run(jobs[0]).state == DONE


@pytest.mark.parametrize("track", [False, True])
def test_images_at_an_address_have_the_positions_that_lie_inside(
    tmp_path: Path, track: bool
) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(2):
        packet = xmp(
            f'drone-dji:GpsLatitude="47.1234{number}" drone-dji:GpsLongitude="8.765432" '
            'drone-dji:GimbalPitchDegree="-90.0" drone-dji:GimbalYawDegree="+92.4" '
            'drone-dji:GimbalRollDegree="+0.50" drone-dji:RelativeAltitude="+42.10"'
        )
        Image.open(draw(tmp_path / "a.png")).save(tmp_path / "a.jpg", xmp=packet)
        content = (tmp_path / "a.jpg").read_bytes()
        memory.pipe_file(f"/{tmp_path.name}/in/{number}.jpg", content)
    how = {"telemetry": ("auto",), "hfov": 53.0, "track": track}
    (outcome,), out = run_all(archive_options(tmp_path, f"memory://{tmp_path.name}/in", **how))
    assert (outcome.state, outcome.no_positions, outcome.unplaced) == (DONE, {}, {})
    latitudes = [row["latitude"] for row in rows_of(out)]
    assert latitudes == pytest.approx([47.1234] * PER_FRAME + [47.12341] * PER_FRAME, abs=3e-4)
    assert latitudes[PER_FRAME] - latitudes[0] == pytest.approx(1e-5, abs=2e-7)


def test_a_surface_model_of_elsewhere_leaves_a_job_without_positions_and_is_named(
    tmp_path: Path,
) -> None:
    rasterio = pytest.importorskip("rasterio")
    clip = record(tmp_path / "clip.mp4")
    poses = "time_s,latitude_deg,longitude_deg,height_takeoff_m,yaw_deg,pitch_deg\n"
    poses += "".join(f"{second},47.1234,8.7654,42,92,-60\n" for second in range(3))
    (tmp_path / "clip.csv").write_text(poses)
    corner = rasterio.transform.from_origin(20.0, 50.0, 1e-4, 1e-4)
    profile = {"driver": "GTiff", "width": 9, "height": 9, "count": 1, "dtype": "float32"}
    with rasterio.open(
        tmp_path / "dem.tif", "w", crs="EPSG:4326", transform=corner, **profile
    ) as file:
        file.write(np.full((9, 9), 400, np.float32), 1)
    how = {"telemetry": ("csv",), "hfov": 53.0, "dem": tmp_path / "dem.tif"}
    (outcome,), out = run_all(archive_options(tmp_path, clip, **how))
    assert outcome.state == DONE
    assert "does not cover the place of the flight" in outcome.no_positions[str(clip)]
    assert outcome.unplaced == {"outside_surface_model": 20 * PER_FRAME}
    assert [row["longitude"] for row in rows_of(out)] == [None] * 20 * PER_FRAME


@pytest.mark.parametrize("place", ["scratch", "out"])
def test_a_full_disk_is_not_blamed_on_the_job(tmp_path: Path, monkeypatch, place: str) -> None:
    clip = record(tmp_path / "clip.mp4")
    options = archive_options(tmp_path, clip)

    def full(*_: object, **__: object) -> None:
        raise DiskFullError("disk full while writing something")

    where = {
        "scratch": "yolo_ema.archive.worker.detect",
        "out": "yolo_ema.archive.storage.LocalStorage.put_file",
    }
    with monkeypatch.context() as patch:
        patch.setattr(where[place], full)
        (outcome,), out = run_all(options)
        assert outcome.state == UNDONE
        assert "disk full" in outcome.problem
        assert not list(out.rglob("*.parquet"))
    assert run_all(options)[0][0].state == DONE


def test_weights_that_do_not_match_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="know no class 'bus'"):
        Worker(archive_options(tmp_path, tmp_path, classes=("bus",)))


def test_what_a_job_leaves_out_is_in_the_result() -> None:
    result = ArchiveResult("out", jobs=2, to_do=2)
    result.add(Outcome("a", "a.mp4", "done", 9, 5, crops_left_out=3, frames_at_max_det=2))
    result.add(Outcome("b", "b.mp4", "done", 9, 5, crops_left_out=1))
    assert "4 objects got no crop" in result.as_text()
    assert "2 frames reached --max-det" in result.as_text()
    assert (result.as_json()["crops_left_out"], result.as_json()["frames_at_max_det"]) == (4, 2)


@pytest.mark.skipif(os.name == "nt", reason="a child does not see its parent's end on Windows")
def test_a_workers_process_ends_with_its_parent() -> None:
    child = (
        "import os\n"
        "from yolo_ema.archive.worker_process import _end_with\n"
        "parent = os.getppid()\n"
        "print(os.getpid(), flush=True)\n"
        "_end_with(parent)"
    )
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "print(int(child.stdout.readline()), flush=True)\n"
        "sys.stdin.read(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        number = int(process.stdout.readline())
        assert is_running(number)
        process.kill()
    deadline = time.monotonic() + 30
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not is_running(number)


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{number}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
