"""``yolo-ema archive`` as users run it: once, again, in shards, killed, interrupted, on S3."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archive_files import PER_FRAME, archive_options, draw, record, record_unknown

from yolo_ema.archive.run import archive
from yolo_ema.errors import DiskFullError

duckdb = pytest.importorskip("duckdb")
pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow

FRAMES = {"a.mp4": 20, "b.mp4": 33}
IMAGES = 5
TOTAL = sum(FRAMES.values()) + IMAGES
WORDS = ("--segment", 1, "--images-per-job", 2)


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """Two videos, five images, a file that is not a video, and weights next to them."""
    root = tmp_path / "flights"
    for name, frames in FRAMES.items():
        record(root / name, frames=frames)
    for number in range(IMAGES):
        draw(root / "images" / f"{number}.jpg", number)
    (root / "broken.mp4").write_bytes(b"no video")
    archive_options(tmp_path, root)
    return root


def words(out: object, *more: object) -> list[object]:
    return ["archive", "flights", "--weights", "drawn.onnx", "--out", out, *WORDS, *more]


def results(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("detections/*.parquet")}


def test_to_the_end_and_again(flights: Path, yolo_ema_command: Callable) -> None:
    out = flights.parent / "out"
    run = yolo_ema_command(*words(out, "--workers", 2, "--json"))
    assert run.code == 5, run.err
    first = run.json
    assert (first["jobs"], first["done"], first["failed"], first["to_do"]) == (10, 9, 1, 0)
    assert (first["frames"], first["objects"]) == (TOTAL, TOTAL * PER_FRAME)
    (problem,) = first["problems"]
    assert problem["name"] == str(flights / "broken.mp4")
    assert "cannot be opened as video" in problem["problem"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("detections/*")}

    run = yolo_ema_command(*words(out))  # the failed one once more, nothing else
    assert run.code == 5
    assert re.search(r"^done before +9$", run.out, re.MULTILINE)
    assert re.search(r"^failed +1$", run.out, re.MULTILINE)
    third = yolo_ema_command(*words(out, "--json")).json
    assert (third["failed"], third["left_alone"], third["to_do"]) == (0, 1, 0)
    assert third["problems"][0]["attempts"] == 2
    record(flights / "broken.mp4", frames=4)
    last = yolo_ema_command(*words(out, "--retry-failed", "--json"))
    assert last.code == 0, last.err
    assert (last.json["done"], last.json["frames"]) == (1, 4)
    assert not list(out.glob("problems/*"))
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())


def test_shards_give_the_files_of_one_run(flights: Path, yolo_ema_command: Callable) -> None:
    whole, parts = flights.parent / "whole", flights.parent / "parts"
    yolo_ema_command(*words(whole, "--workers", 1))
    for number in (3, 1, 2):
        run = yolo_ema_command(*words(parts, "--shard", f"{number}/3", "--json"))
        assert run.json["jobs"] == (4 if number == 1 else 3)
    assert results(parts) == results(whole)
    assert len(results(whole)) == 9


def test_one_strange_video_does_not_end_the_others(
    tmp_path: Path, yolo_ema_command: Callable
) -> None:
    root = tmp_path / "flights"
    record(root / "a.mp4")
    titled = record(root / "b.mp4", latin_title="Überflug")
    record_unknown(root / "c.mp4")
    archive_options(tmp_path, root)
    run = yolo_ema_command(*words("out", "--segment", 0.5, "--json"))
    assert run.code == 5, run.err
    assert (run.json["failed"], run.json["frames"]) == (1, 40)
    (problem,) = run.json["problems"]
    assert "in a codec that FFmpeg does not know" in problem["problem"]
    run = yolo_ema_command("detect", titled, "--weights", "drawn.onnx", "--out", "o", "--json")
    assert run.code == 0, run.err
    assert run.json["sources"][0]["frames"] == 20


def test_a_disk_that_is_not_mounted_costs_nothing(
    flights: Path, yolo_ema_command: Callable
) -> None:
    out = flights.parent / "out"
    (flights / "broken.mp4").unlink()
    yolo_ema_command(*words(out, "--shard", "1/2"))
    before = results(out)
    flights.rename(flights.with_name("elsewhere"))
    flights.mkdir()  # as the empty place of a disk
    run = yolo_ema_command(*words(out, "--json"))
    assert run.code == 6
    assert (run.json["failed"], run.json["done_before"]) == (0, len(before))
    assert "is its disk mounted?" in run.out + run.err
    assert not list(out.glob("problems/*"))
    flights.rmdir()
    flights.with_name("elsewhere").rename(flights)
    assert yolo_ema_command(*words(out)).code == 0


def test_an_emptied_folder_beside_an_intact_one(tmp_path: Path, yolo_ema_command: Callable) -> None:
    for name in ("a", "b"):
        draw(tmp_path / name / "1.jpg")
        draw(tmp_path / name / "2.jpg")
    archive_options(tmp_path, "a")
    line = ["archive", "a", "b", "--weights", "drawn.onnx", "--out", "out", "--images-per-job", 1]
    yolo_ema_command(*line, "--shard", "1/4")
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").mkdir()
    run = yolo_ema_command(*line, "--json")
    assert run.code == 6
    assert (run.json["done_before"], run.json["done"], run.json["to_do"]) == (1, 2, 1)
    assert f"the source {tmp_path / 'a'} is empty" in run.json["machine_problem"]


def test_a_temporary_folder_that_is_full_is_named(
    flights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = Path.open

    def full(path: Path, *how: object, **more: object) -> object:
        if path.name == "manifest.jsonl" and path.is_relative_to(tempfile.gettempdir()):
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_open(path, *how, **more)

    monkeypatch.setattr(Path, "open", full)
    options = archive_options(flights.parent, flights)
    with pytest.raises(DiskFullError, match=r"temporary folder .*No space left.*TMPDIR"):
        archive(options)
    assert not (flights.parent / "out" / "archive.json").exists()
    assert not list((flights.parent / "out").rglob("*.jsonl"))


def test_duckdb_and_pandas_read_the_dataset(flights: Path, yolo_ema_command: Callable) -> None:
    out = flights.parent / "out"
    yolo_ema_command(*words(out))
    rows = duckdb.sql(
        f"select parse_filename(source) as file, count(distinct frame), count(*), "
        f"count(longitude) from '{out}/detections/*.parquet' where file like '%.mp4' "
        f"group by all order by file"
    ).fetchall()
    assert rows == [(name, n, n * PER_FRAME, 0) for name, n in sorted(FRAMES.items())]
    frame = pandas.read_parquet(out / "detections")
    assert len(frame) == TOTAL * PER_FRAME
    assert Counter(frame["class"]) == {"class 0": TOTAL, "class 1": TOTAL}


@pytest.fixture
def started(flights: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Return a function that starts a run which takes a while; whatever is left of it ends."""
    record(flights / "long.mp4", frames=4000, gop=250)
    begun: list[subprocess.Popen] = []

    def start(*more: object) -> subprocess.Popen:
        run = subprocess.Popen(
            [sys.executable, "-m", "yolo_ema", *map(str, words("out", *more))],
            cwd=flights.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(run)
        return run

    yield start
    for run in begun:
        run.kill()
        run.communicate()


def wait_for(condition: Callable[[], object], run: subprocess.Popen) -> None:
    while not condition():
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)


def reads(path: Path) -> int:
    """Return the process that has a file open; 0 where none has."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == path:
                return int(link.parts[2])
        except OSError:
            continue
    return 0


def worker_at(path: Path, run: subprocess.Popen) -> int:
    """Wait until a worker of a run reads a file, and return its process."""
    found: list[int] = []
    wait_for(lambda: found.append(reads(path)) or found[-1], run)
    return found[-1]


def test_a_worker_that_is_killed_costs_nothing(flights: Path, started: Callable) -> None:
    run = started("--workers", 1, "--segment", 0, "--json")
    os.kill(worker_at(flights / "long.mp4", run), signal.SIGKILL)
    out, err = run.communicate(timeout=300)
    result = json.loads(out)
    assert (result["done"], result["failed"]) == (6, 1), err  # the file that is not a video
    assert result["frames"] == TOTAL + 4000


def test_a_job_that_kills_its_worker_twice_is_abandoned(flights: Path, started: Callable) -> None:
    run = started("--workers", 1, "--segment", 0, "--json")
    for _ in range(2):
        worker = worker_at(flights / "long.mp4", run)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda gone=worker: reads(flights / "long.mp4") != gone, run)
    out, err = run.communicate(timeout=300)
    result = json.loads(out)
    assert (result["done"], result["failed"]) == (5, 2), err
    problems = {Path(row["name"]).name: row["problem"] for row in result["problems"]}
    assert "died twice; the second time it was ended by SIGKILL" in problems["long.mp4"]
    assert result["frames"] == TOTAL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_resumes(
    flights: Path, started: Callable, yolo_ema_command: Callable, number: int
) -> None:
    run = started("--workers", 1, "--segment", 0)
    worker = worker_at(flights / "long.mp4", run)
    run.send_signal(number)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "run the same command again" in out
    assert not Path(f"/proc/{worker}").exists()
    before = results(flights.parent / "out")
    again = yolo_ema_command(*words("out", "--segment", 0, "--json")).json
    assert again["done_before"] == len(before)
    assert again["done"] + again["done_before"] == 6
    assert not list((flights.parent / "out").rglob(".*"))


BAD = {
    "shard": (("--shard", "4/3"), 2, "--shard is '4/3'; expected I/N with I from 1 to N"),
    "address": (("--address", "head:6379"), 2, "--address belongs to --engine ray"),
    "kind": (("--save", "parquet"), 2, "--save is 'parquet'; expected one of"),
    "weights": (("--weights", "no.onnx"), 4, "there is no weights file no.onnx"),
    "source": (("--classes", "car"), 5, "no file or folder at flights"),
    "out": (("--out", "drawn.onnx"), 2, "which is a file; expected a folder"),
    "read-only": (("--out", "/proc/out"), 6, "--out /proc/out cannot be written to"),
    "class": (("--classes", "bus"), 2, "the weights know no class 'bus'"),
}


def test_a_time_that_no_video_reaches_is_a_failure_in_parts_too(
    flights: Path, yolo_ema_command: Callable
) -> None:
    (flights / "broken.mp4").unlink()
    run = yolo_ema_command(*words("out", "--start", 2.5, "--json"))  # b.mp4 alone is as long
    assert run.code == 5
    assert (run.json["done"], run.json["failed"]) == (5, 1)
    assert run.json["frames"] == 8 + IMAGES
    (problem,) = run.json["problems"]
    assert problem["name"] == f"{flights / 'a.mp4'} from 1.0 s"
    assert "has no frame from 2.5 s; the last one read is at 1.90 s" in problem["problem"]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(flights: Path, yolo_ema_command: Callable, case: str) -> None:
    more, code, message = BAD[case]
    if case == "source":
        flights.rename(flights.with_name("elsewhere"))
    run = yolo_ema_command(*words("out", *more))
    assert run.code == code
    assert message in run.err
    assert run.err.count("\n") == 1
    assert not run.out
    assert not results(flights.parent / "out")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A server that speaks S3, with a bucket."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="archive")
    yield client
    server.stop()


def test_from_s3_to_s3(flights: Path, cold_yolo_ema_command: Callable, s3: object) -> None:
    for path in flights.rglob("*.*"):
        key = f"in/{path.relative_to(flights).as_posix()}"
        s3.upload_file(str(path), "archive", key)
    line = ["archive", "s3://archive/in", "--weights", "drawn.onnx", "--out", "s3://archive/out"]
    more = ["--images-per-job", 2, "--save", "csv", "--workers", 1, "--json"]
    result = cold_yolo_ema_command(*line, *more)
    assert result.code == 5, result.err
    assert (result.json["done"], result.json["failed"]) == (5, 1)
    assert result.json["frames"] == TOTAL
    listed = s3.list_objects_v2(Bucket="archive", Prefix="out/")["Contents"]
    folders = Counter(entry["Key"].split("/")[1] for entry in listed)
    assert folders == {
        "archive.json": 1,
        "manifest.jsonl": 1,
        "detections": 5,
        "files": 5,
        "problems": 1,
    }
    again = cold_yolo_ema_command(*line, *more).json
    assert (again["done_before"], again["failed"]) == (5, 1)
    missing = cold_yolo_ema_command(*line[:-1], "s3://no-such-bucket/out")
    assert missing.code == 6
    assert "--out" in missing.err or "s3://no-such-bucket/out" in missing.err
