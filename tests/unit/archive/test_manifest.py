"""The manifest: which jobs are to be done, and whose folder it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archive_files import archive_options, draw
from as_on_windows import end_lines_by_two_characters
from drawn_onnx import ROWS, write_onnx

from yolo_ema.archive.job import DONE, FAILED, INCOMPLETE, Job, Outcome
from yolo_ema.archive.manifest import Manifest, open_manifest, weights_digest, write_problem
from yolo_ema.archive.storage import Storage, open_storage
from yolo_ema.errors import ConfigError, MachineError
from yolo_ema.options.archive import ArchiveOptions


@pytest.fixture(params=["folder", "memory"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> ArchiveOptions:
    for number in range(7):
        draw(tmp_path / "images" / f"{number}.jpg", number)
    (tmp_path / "images" / "log.csv").write_text("")
    out = str(tmp_path / "out")
    if request.param == "memory":
        out = f"memory://{tmp_path.name}/out"
    return archive_options(tmp_path, tmp_path / "images", images_per_job=1, out=out)


def opened(options: ArchiveOptions) -> tuple[Manifest, Storage]:
    storage = open_storage(options.out)
    return open_manifest(options, storage, options.weights), storage


def names(manifest: Manifest, shard: tuple[int, int] = (0, 1), **more: bool) -> list[str]:
    pending = manifest.pending(shard, retry_failed=more.get("retry_failed", False))
    return [Path(order.job.name).stem for order in manifest.orders(pending)]


def put(storage: Storage, job: Job, state: str, attempts: int = 1) -> None:
    if state != DONE:
        write_problem(storage, Outcome(job.id, job.name, state, attempts=attempts, problem="so"))
    if state != FAILED:
        storage.write(f"detections/{job.id}.parquet", b"rows")


def test_pending_jobs(options: ArchiveOptions) -> None:
    manifest, storage = opened(options)
    orders = list(manifest.orders(manifest.pending((0, 1), retry_failed=False)))
    assert [order.attempts for order in orders] == [0] * 7
    jobs = [order.job for order in orders]
    assert names(manifest) == list("0123456")
    put(storage, jobs[0], DONE)
    put(storage, jobs[1], FAILED)
    put(storage, jobs[2], FAILED, attempts=2)
    put(storage, jobs[3], INCOMPLETE)
    put(storage, jobs[4], FAILED)
    put(storage, jobs[4], DONE)  # killed before it could take the row away
    storage.write("detections/.hidden", b"")
    manifest, _ = opened(options)
    assert [str(one) for one in manifest.left_out] == [
        f"{options.source[0]}: 1 left out: neither image nor video (1 .csv)"
    ]
    pending = manifest.pending((0, 1), retry_failed=False)
    assert names(manifest) == ["1", "5", "6"]
    assert pending.done == 3
    assert sorted(row["id"] for row in pending.left_alone) == sorted([jobs[2].id, jobs[3].id])
    assert pending.attempts == {jobs[1].id: 1}
    assert names(manifest, retry_failed=True) == ["1", "2", "3", "5", "6"]


def test_an_incomplete_job_whose_retry_fails_stays_incomplete(options: ArchiveOptions) -> None:
    manifest, storage = opened(options)
    [job, *_] = [
        order.job for order in manifest.orders(manifest.pending((0, 1), retry_failed=True))
    ]
    put(storage, job, INCOMPLETE)
    put(storage, job, FAILED, attempts=2)
    [row] = opened(options)[0].pending((0, 1), retry_failed=False).left_alone
    assert (row["id"], row["state"], row["attempts"]) == (job.id, INCOMPLETE, 2)
    assert names(opened(options)[0], retry_failed=True) == list("0123456")


def test_the_manifest_is_the_same_on_every_system(options: ArchiveOptions, monkeypatch) -> None:
    end_lines_by_two_characters(monkeypatch)
    manifest, _ = opened(options)
    assert names(manifest) == list("0123456")


def test_shards_cover_everything(options: ArchiveOptions) -> None:
    manifest, _ = opened(options)
    shards = [names(manifest, (number, 3)) for number in range(3)]
    assert shards == [["0", "3", "6"], ["1", "4"], ["2", "5"]]


def test_another_runs_folder_is_left_alone(options: ArchiveOptions, tmp_path: Path) -> None:
    _, storage = opened(options)
    before = storage.read("manifest.jsonl")
    other = write_onnx(tmp_path / "other.onnx", answer=ROWS.T[None] * np.float32(0.5))
    for change, message in (
        ({"weights": other}, "other weights"),
        (
            {"conf": 0.5, "tile": "64x64"},
            "--conf was not given and is 0.5; --tile was not given and is 64",
        ),
        ({"source": (str(tmp_path),)}, f"the sources were {tmp_path / 'images'}"),
        ({"save": ("csv",)}, r"--save was not given and is \['csv'\]"),
    ):
        with pytest.raises(ConfigError, match=f"belongs to another run: {message}"):
            opened(dataclasses.replace(options, **change))
    assert storage.read("manifest.jsonl") == before
    same = {"workers": 1, "cores": 2, "shard": "1/2", "device": "cpu", "retry_failed": True}
    opened(dataclasses.replace(options, **same))


def test_a_file_that_an_option_names_is_known_by_place_and_content(
    options: ArchiveOptions, tmp_path: Path, monkeypatch
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log.csv").write_text("time_s,latitude_deg,longitude_deg\n")
        (tmp_path / folder / "dem.tif").write_text("heights")
    how = {"telemetry": ("log.csv", "auto"), "dem": Path("dem.tif")}
    options = dataclasses.replace(options, **how)
    monkeypatch.chdir(tmp_path / "a")
    _, storage = opened(options)
    opened(options)
    words = ("../a/log.csv", "auto")
    opened(dataclasses.replace(options, telemetry=words))
    record = json.loads(storage.read("archive.json"))
    assert record["settings"]["telemetry"] == [str(tmp_path / "a" / "log.csv"), "auto"]
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"--dem was .*/a/dem.tif and is .*/b/dem.tif; --telem"):
        opened(options)
    monkeypatch.chdir(tmp_path / "a")
    Path("log.csv").write_text("time_s\n")
    with pytest.raises(ConfigError, match=r"another run: .*/a/log.csv is not the file that it was"):
        opened(options)
    # A record of a time when there were words alone.
    del record["files_sha256"]
    record["settings"] |= {"telemetry": ["log.csv", "auto"], "dem": "dem.tif"}
    storage.write("archive.json", json.dumps(record).encode())
    opened(options)
    with pytest.raises(ConfigError, match="--telemetry was"):
        opened(dataclasses.replace(options, telemetry=("auto",)))


def test_the_order_of_new_files_changes_nothing(options: ArchiveOptions, tmp_path: Path) -> None:
    opened(options)
    draw(tmp_path / "images" / "0a.jpg")
    assert names(opened(options)[0]) == list("0123456")


def test_a_folder_of_something_else(options: ArchiveOptions) -> None:
    storage = open_storage(options.out)
    storage.write("detections/somebodys.parquet", b"rows")
    with pytest.raises(ConfigError, match="holds detections/ of something else"):
        opened(options)
    for damaged in (b"{", b"", b"[1]", b"\xff"):
        storage.write("archive.json", damaged)
        with pytest.raises(ConfigError, match=r"archive.json is damaged: .*from a copy"):
            opened(options)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: b"", "it is empty or missing"),
        (lambda content: content[:-20], "line 7 is not a job"),
        (lambda content: content[:200] + b"\xff" + content[201:], r"line \d is not a job"),
        (lambda content: b"hello\n" + content, "line 1 is not a job"),
    ],
)
def test_a_damaged_manifest_is_not_a_shorter_one(
    options: ArchiveOptions, change: Callable[[bytes], bytes], why: str
) -> None:
    manifest, storage = opened(options)
    storage.write("manifest.jsonl", change(storage.read("manifest.jsonl")))
    with pytest.raises(ConfigError, match=rf"manifest.jsonl is damaged: {why}"):
        names(manifest)
    storage.remove("manifest.jsonl")
    with pytest.raises(ConfigError, match=r"manifest.jsonl is damaged: it is empty or missing"):
        names(manifest)


def test_files_of_others_among_the_results(options: ArchiveOptions) -> None:
    manifest, storage = opened(options)
    job = next(manifest.orders(manifest.pending((0, 1), retry_failed=False))).job
    storage.write("detections/sixteen-letters!.parquet", b"")
    storage.write(f"detections/{job.id} (1).parquet", b"")
    storage.write("problems/notes.txt", b"")
    assert names(manifest) == list("0123456")
    for damaged in (b"", b"{}", b"[]"):
        storage.write(f"problems/{job.id}.json", damaged)
        with pytest.raises(ConfigError, match=rf"{job.id}.json is damaged: .*remove it and run"):
            names(manifest)


def test_a_folder_in_which_nothing_was_done_can_go(options: ArchiveOptions) -> None:
    manifest, storage = opened(options)
    job = next(manifest.orders(manifest.pending((0, 1), retry_failed=False))).job
    other = dataclasses.replace(options, conf=0.5)
    with pytest.raises(ConfigError, match="Nothing has been done in it so far"):
        opened(other)
    put(storage, job, DONE)
    with pytest.raises(ConfigError, match=r"or another folder\.$"):
        opened(other)


def test_an_impossible_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    draw(tmp_path / "a.jpg")
    options = archive_options(tmp_path, tmp_path / "a.jpg", out=str(tmp_path / "file" / "out"))
    with pytest.raises(MachineError, match=r"--out .*file/out cannot be written to: Not a dir"):
        opened(options)


def test_digest_of_a_folder_of_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("a.bin", "deep/b.xml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    before = weights_digest(folder)
    assert weights_digest(folder) == before
    (folder / "deep" / "b.xml").rename(folder / "b.xml")
    assert weights_digest(folder) != before
