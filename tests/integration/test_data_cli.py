"""``yolo-ema data`` through the real command line: real files, a server that drops
connections, archives that lie.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.io.atomic_files import locked


def _split(parent: Path, split: str, count: int = 3) -> Path:
    folder = parent / f"VisDrone2019-DET-{split}"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(count):
        Image.effect_noise((200, 100), 60 + number).convert("RGB").save(
            folder / "images" / f"{split}{number}.jpg"
        )
        rows = f"10,20,30,40,1,4,0,0\n{number},0,50,60,0,0,0,0\n"
        (folder / "annotations" / f"{split}{number}.txt").write_text(rows)
    return folder


def _zipped(folder: Path) -> bytes:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    return archive.read_bytes()


class Mirror:
    """Serves archives by name; the first transfer of each is cut off half way."""

    def __init__(self, archives: dict[str, bytes]) -> None:
        self.archives, self.asked = archives, []
        broken: set[str] = set()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_) -> None:
                pass

            def _head(self) -> bytes:
                name = self.path.rpartition("/")[2]
                if name not in mirror.archives:
                    self.send_error(404)
                    return b""
                content = mirror.archives[name]
                start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
                mirror.asked.append((self.command, name, start))
                self.send_response(206 if start else 200)
                if start:
                    self.send_header(
                        "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                    )
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                return content[start:]

            def do_HEAD(self) -> None:
                self._head()

            def do_GET(self) -> None:
                content = self._head()
                name = self.path.rpartition("/")[2]
                if name not in broken:
                    broken.add(name)
                    content = content[: len(content) // 2]
                    self.close_connection = True
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/some/where"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    splits = ("train", "val", "test-dev")
    one = Mirror(
        {
            f"VisDrone2019-DET-{split}.zip": _zipped(_split(tmp_path / "server", split))
            for split in splits
        }
    )
    yield one
    one.http.shutdown()
    one.http.server_close()


@pytest.mark.slow
def test_fetching_announces_resumes_and_happens_once(
    mirror: Mirror, yolo_ema_command, tmp_path: Path
) -> None:
    done = yolo_ema_command("data", "prepare", "visdrone", "--mirror", mirror.url, "--json")
    assert done.code == 0, done.err
    splits = done.json["splits"]
    assert {split: one["images"] for split, one in splits.items()} == {
        "train": 3,
        "val": 3,
        "test-dev": 3,
    }
    assert Path(done.json["data_yaml"]) == tmp_path / "datasets/visdrone/visdrone.yaml"
    for name, content in mirror.archives.items():
        half = len(content) // 2
        assert [(command, start) for command, one, start in mirror.asked if one == name] == [
            ("HEAD", 0),
            ("GET", 0),
            ("GET", half),
        ]
    # what, how large and under which licence stands before the first transfer
    said = done.err.splitlines()
    terms = next(place for place, line in enumerate(said) if "non-commercial" in line)
    assert terms < next(place for place, line in enumerate(said) if line.startswith("fetched"))
    assert sum("MB" in line and mirror.url in line for line in said) >= 6
    assert len(splits["val"]["archive"]["sha256"]) == 64
    assert not list((tmp_path / "datasets/visdrone").glob("**/*.zip"))
    mirror.asked.clear()
    again = yolo_ema_command("data", "prepare", "visdrone", "--offline")
    assert again.code == 0
    assert "nothing to do" in again.out
    assert mirror.asked == []


@pytest.mark.slow
def test_a_pinned_hash_that_does_not_fit_is_refused(
    mirror: Mirror, yolo_ema_command, tmp_path: Path
) -> None:
    archive = tmp_path / "server" / "VisDrone2019-DET-val.zip"
    pin = f"VisDrone2019-DET-val.zip={'0' * 64}"
    done = yolo_ema_command("data", "prepare", "visdrone", "--source", archive, "--sha256", pin)
    assert done.code == 3
    assert "expected 0000" in done.err
    assert done.out == ""


@pytest.mark.slow
def test_offline_forbids_the_download(yolo_ema_command, tmp_path: Path) -> None:
    done = yolo_ema_command("data", "prepare", "visdrone", "--offline")
    assert done.code == 6
    assert "--source" in done.err
    assert not (tmp_path / "datasets").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "images/../../evil.jpg"])
def test_an_archive_that_escapes_its_folder_is_refused_in_one_line(
    yolo_ema_command, tmp_path: Path, name: str
) -> None:
    with zipfile.ZipFile(tmp_path / "VisDrone2019-DET-val.zip", "w") as archive:
        archive.writestr("images/a.jpg", b"x")
        archive.writestr(name, b"evil")
    done = yolo_ema_command(
        "data",
        "prepare",
        "visdrone",
        "--source",
        tmp_path / "VisDrone2019-DET-val.zip",
        "--root",
        "root",
    )
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert "is refused" in done.err
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.slow
def test_anomalies_do_not_stop_it_unless_strict(yolo_ema_command, tmp_path: Path) -> None:
    source = _split(tmp_path, "val")
    notes = source / "annotations" / "val1.txt"
    notes.write_text("10,20,30,40,1,4,0,0,\n1,2,3\n5,5,0,9,1,1,0,0\n")
    done = yolo_ema_command("data", "prepare", "visdrone", "--source", source, "--root", "root")
    assert done.code == 0
    assert f"{notes}, row 2: 3 fields, expected 8" in done.out
    assert f"{notes}, row 3: the box of category 1 is 0x9 pixels" in done.out
    strict = yolo_ema_command(
        "data", "prepare", "visdrone", "--source", source, "--root", "strict", "--strict"
    )
    assert strict.code == 3
    assert f"{notes}, row 2" in strict.err
    assert notes.read_text().startswith("10,20,30,40,1,4,0,0,\n1,2,3\n")


@pytest.mark.slow
def test_what_cannot_be_prepared_is_named_and_the_rest_is_ready(
    yolo_ema_command, tmp_path: Path
) -> None:
    _split(tmp_path, "train")
    damaged = tmp_path / "VisDrone2019-DET-val.zip"
    damaged.write_bytes(_zipped(_split(tmp_path / "mine", "val"))[:-50])
    words = ("data", "prepare", "visdrone", "--source", "VisDrone2019-DET-train", damaged)
    done = yolo_ema_command(*words, "--root", "root")
    assert done.code == 3
    assert f"{damaged} could not be prepared: " in done.out
    assert "root/visdrone.yaml is ready" in done.out
    again = yolo_ema_command(*words, "--root", "root", "--json")
    assert again.code == 3
    assert list(again.json["splits"]) == ["train"]
    assert "is damaged" in again.json["failures"][str(damaged)]


@pytest.mark.slow
def test_what_is_left_out_is_in_the_table_and_json(yolo_ema_command, tmp_path: Path) -> None:
    source = _split(tmp_path, "val", 4)
    (source / "annotations/val0.txt").unlink()
    (source / "annotations/val1.txt").write_text("no row\n")
    (source / "images/val2.jpg").write_bytes(b"no image")
    with (source / "annotations/val3.txt").open("a") as file:
        file.write("1,2,3\n5,5,0,5,1,4,0,0\n")
    words = ("data", "prepare", "visdrone", "--source", source, "--root", "root")
    done = yolo_ema_command(*words)
    rows = {line.rsplit(None, 1)[0]: line.split()[-1] for line in done.out.splitlines() if line}
    counts = [rows[name] for name in ("images", "images left out", "annotations left out")]
    assert counts == ["1", "3", "3"]
    split = yolo_ema_command(*words, "--json").json["splits"]["val"]
    assert split["images_left_out"] == {
        "missing-annotation": 1,
        "unreadable-annotations": 1,
        "unreadable-image": 1,
    }
    assert split["annotations_left_out"] == {"field-count": 2, "no-area": 1}


@pytest.mark.slow
def test_nothing_prints_the_password_of_a_mirror(
    mirror: Mirror, yolo_ema_command, tmp_path: Path
) -> None:
    secret = mirror.url.replace("://", "://user:geheim@")
    words = ("data", "prepare", "visdrone", "--splits", "val", "--json", "--mirror")
    done = yolo_ema_command(*words, secret)
    assert done.code == 0, done.err
    wrong = yolo_ema_command(*words, secret.replace("http", "ftp"), "--root", "other")
    assert wrong.code == 2
    for text in (done.out, done.err, wrong.err):
        assert "geheim" not in text
    for file in (tmp_path / "datasets").rglob("*"):
        assert not file.is_file() or b"geheim" not in file.read_bytes()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_is_finished_by_the_next(
    yolo_ema_command, tmp_path: Path
) -> None:
    source = _split(tmp_path, "val", 150)
    words = ("data", "prepare", "visdrone", "--source", str(source), "--root")
    assert yolo_ema_command(*words, "whole").code == 0

    def content(root: str) -> dict[str, bytes]:
        folder = tmp_path / root
        files = [path for path in folder.rglob("*") if path.is_file() and path.parent != folder]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    cut_short = 0
    for wanted in (1, 40, 200, 440):
        run = subprocess.Popen(
            [sys.executable, "-m", "yolo_ema", *words, "torn"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
        )
        while run.poll() is None and len(list((tmp_path / "torn").rglob("*.*"))) < wanted:
            time.sleep(0.002)
        run.kill()
        cut_short += run.wait() < 0
        assert yolo_ema_command(*words, "torn").code == 0
        assert content("torn") == content("whole")
        shutil.rmtree(tmp_path / "torn")
    assert cut_short >= 2


@pytest.mark.slow
def test_a_root_that_another_process_prepares_is_waited_for(
    yolo_ema_command, tmp_path: Path
) -> None:
    source, root = _split(tmp_path / "source", "train", 3).parent, tmp_path / "root"
    words = ("data", "prepare", "visdrone", "--source", str(source), "--root", str(root))
    root.mkdir()
    with (tmp_path / "err.txt").open("w+", encoding="utf-8") as said:
        with locked(root / ".lock", pytest.fail):
            waiting = subprocess.Popen(
                [sys.executable, "-m", "yolo_ema", *words], stdout=subprocess.DEVNULL, stderr=said
            )
            while "waiting for it" not in Path(said.name).read_text():
                assert waiting.poll() is None
                time.sleep(0.05)
            assert list(root.iterdir()) == [root / ".lock"]
        assert waiting.wait(60) == 0
    assert yolo_ema_command(*words, "--json").json["up_to_date"]


def test_a_mistyped_split_names_the_closest(yolo_ema_command) -> None:
    done = yolo_ema_command("data", "prepare", "visdrone", "--splits", "vall", "--offline")
    assert done.code == 2
    assert "did you mean 'val'" in done.err


@pytest.mark.slow
def test_coco_files_become_the_same_layout(yolo_ema_command, tmp_path: Path) -> None:
    source = _split(tmp_path, "val")
    content = {
        "images": [{"id": 1, "file_name": "val0.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 100, 50]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [100, 50, 100, 50], "iscrowd": 1},
        ],
        "categories": [{"id": 2, "name": "boat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    words = (
        "data",
        "prepare",
        "coco",
        "--annotations",
        "a.json",
        "--images",
        source / "images",
        "--root",
        "boats",
        "--splits",
        "train",
    )
    done = yolo_ema_command(*words, "--json")
    assert done.code == 0, done.err
    assert done.json["splits"]["train"]["boxes_per_class"] == {"boat": 1}
    assert (
        tmp_path / "boats/ignored/train/val0.txt"
    ).read_text() == "0.750000 0.750000 0.500000 0.500000\n"
    looked = yolo_ema_command("data", "inspect", "boats", "--no-plots", "--json")
    assert looked.code == 0, looked.err
    assert looked.json["splits"]["train"]["ignored_regions"] == 1


@pytest.mark.slow
def test_inspect_takes_a_folder_in_the_official_layout(yolo_ema_command, tmp_path: Path) -> None:
    _split(tmp_path / "survey", "train")
    _split(tmp_path / "survey", "val", 2)
    done = yolo_ema_command("data", "inspect", "survey", "--imgsz", "320", "--json")
    assert done.code == 0, done.err
    assert done.json["imgsz"] == 320
    assert done.json["splits"]["train"]["boxes_per_class"]["car"] == 3
    assert done.json["splits"]["val"]["ignored_regions"] == 2
    # 30x40 px in an image of 200x100 is 48x64 at 320
    assert done.json["splits"]["val"]["box_sizes"]["median_px"] == pytest.approx(
        (48 * 64) ** 0.5, abs=0.01
    )
    assert all((tmp_path / picture).is_file() for picture in done.json["pictures"])
    gone = yolo_ema_command("data", "inspect", "surfey")
    assert gone.code == 3
    assert gone.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.realdata
def test_the_sample_prepares_without_a_false_warning(
    yolo_ema_command, shared: Path, tmp_path: Path
) -> None:
    sample = shared / "data" / "visdrone-sample"
    done = yolo_ema_command(
        "data", "prepare", "visdrone", "--source", sample, "--root", "root", "--json"
    )
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.json["anomalies"] == []
    for split, images in (("train", 368), ("val", 97)):
        plain: Counter[int] = Counter()
        for file in (sample / f"VisDrone2019-DET-{split}" / "annotations").glob("*.txt"):
            plain.update(int(row.split(",")[5]) for row in file.read_text().split())
        found = done.json["splits"][split]
        assert found["images"] == images
        assert found["boxes_per_class"] == {
            name: plain[number] for number, name in enumerate(VISDRONE_CLASSES, start=1)
        }
        assert (found["ignored_regions"], found["others"]) == (plain[0], plain[11])
        assert found["official"] == "not an official split: nothing to compare with"
        written = sum(
            len(file.read_text().splitlines())
            for file in (tmp_path / "root/labels" / split).iterdir()
        )
        assert written == sum(plain[number] for number in range(1, 11))
    again = yolo_ema_command(
        "data", "prepare", "visdrone", "--source", sample, "--root", "root", "--json"
    )
    assert again.json["up_to_date"] is True
    assert again.json["seconds"] < 2


@pytest.mark.slow
@pytest.mark.realdata
def test_the_samples_boxes_are_where_their_rows_say(
    yolo_ema_command, shared: Path, tmp_path: Path
) -> None:
    folder = shared / "data" / "visdrone-sample" / "VisDrone2019-DET-val"
    assert (
        yolo_ema_command("data", "prepare", "visdrone", "--source", folder, "--root", "root").code
        == 0
    )
    for notes in sorted((folder / "annotations").glob("*.txt"))[:20]:
        with Image.open(folder / "images" / f"{notes.stem}.jpg") as image:
            width, height = image.size
        rows = [list(map(int, row.split(",")[:6])) for row in notes.read_text().split()]
        labels = [
            list(map(float, row.split()))
            for row in (tmp_path / "root/labels/val" / notes.name).read_text().splitlines()
        ]
        objects = [row for row in rows if 1 <= row[5] <= 10]
        assert len(labels) == len(objects)
        for (number, x, y, w, h), (left, top, box_width, box_height, _, category) in zip(
            labels, objects, strict=True
        ):
            assert number == category - 1
            found = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
            assert found == pytest.approx((left, top, box_width, box_height), abs=0.003)


@pytest.mark.slow
@pytest.mark.realdata
def test_the_samples_sizes_match_a_plain_count(yolo_ema_command, shared: Path) -> None:
    folder = shared / "data" / "visdrone-sample" / "VisDrone2019-DET-val"
    sizes = []
    for notes in (folder / "annotations").glob("*.txt"):
        with Image.open(folder / "images" / f"{notes.stem}.jpg") as image:
            scale = 1280 / max(image.size)
        rows = [list(map(int, row.split(",")[:6])) for row in notes.read_text().split()]
        sizes += [scale * (row[2] * row[3]) ** 0.5 for row in rows if 1 <= row[5] <= 10]
    assert (
        yolo_ema_command("data", "prepare", "visdrone", "--source", folder, "--root", "root").code
        == 0
    )
    looked = yolo_ema_command(
        "data", "inspect", "root", "--imgsz", "1280", "--no-plots", "--no-duplicates", "--json"
    )
    found = looked.json["splits"]["val"]["box_sizes"]
    assert found["median_px"] == pytest.approx(sorted(sizes)[len(sizes) // 2], abs=0.02)
    for edge in (8, 16, 32):
        assert found[f"below_{edge}_px"] == pytest.approx(
            100 * sum(size < edge - 1e-6 for size in sizes) / len(sizes), abs=0.006
        )
