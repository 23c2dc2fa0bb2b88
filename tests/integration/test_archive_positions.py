"""``yolo-ema archive --telemetry``: the positions in the dataset are those that ``detect`` puts on
the map.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archive_files import PER_FRAME, archive_options, draw, record
from PIL import Image
from telemetry_files import xmp

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("onnxruntime")

FRAMES = 33
HOW = ("--hfov", 53, "--sigma-yaw", 0.5)


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """A video of four parts whose drone flies north-east and turns, with subtitles; one without;
    images with and without XMP; weights next to them.
    """
    root = tmp_path / "flights"
    record(root / "flight.mp4", frames=FRAMES)
    cues = [
        f"{number + 1}\n{clock(number)} --> {clock(number + 1)}\n"
        f"[latitude: {47.1234 + number * 3e-6:.6f}] [longitude: {8.7654 + number * 5e-6:.6f}] "
        f"[rel_alt: {42 + number / 10:.3f} abs_alt: {450 + number / 10:.3f}] "
        f"[gb_yaw: {number * 2 % 180}.0 gb_pitch: -60.0 gb_roll: 0.0]\n"
        for number in range(FRAMES)
    ]
    (root / "flight.SRT").write_text("\n".join(cues))
    record(root / "silent.mp4", frames=4)
    for number in range(2):
        draw(root / "stills" / f"{number}.png", number)
    picture = Image.open(root / "stills" / "0.png")
    packet = xmp(
        'drone-dji:GpsLatitude="47.12345" drone-dji:GpsLongitude="8.765432" '
        'drone-dji:GimbalPitchDegree="-60.0" drone-dji:GimbalYawDegree="+92.4" '
        'drone-dji:GimbalRollDegree="+0.50" drone-dji:RelativeAltitude="+42.10"'
    )
    picture.save(root / "stills" / "2.jpg", xmp=packet)
    archive_options(tmp_path, root)
    return root


def clock(number: int) -> str:
    return f"00:00:{number // 10:02d},{number % 10}00"


def words(out: object, *more: object) -> list[object]:
    line = ["archive", "flights", "--weights", "drawn.onnx", "--out", out, "--segment", 1]
    return [*line, "--workers", 1, *more]


def rows_of(out: Path) -> dict[tuple, dict]:
    """Return the rows by file, frame and left edge."""
    rows = [row for file in out.glob("detections/*") for row in pq.read_table(file).to_pylist()]
    return {(Path(row["source"]).name, row["frame"], round(row["x1"], 2)): row for row in rows}


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("detections/*")}


def slope(path: Path) -> Path:
    """Write a surface model of ground that rises to the east."""
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("pyproj")
    size, cell = 400, 1e-5
    corner = rasterio.transform.from_origin(8.7654 - 200 * cell, 47.1234 + 200 * cell, cell, cell)
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=corner, **profile) as file:
        file.write(np.tile(np.linspace(380, 420, size, dtype=np.float32), (size, 1)), 1)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("ground", ["level", "model"])
def test_positions_are_those_of_detect(
    flights: Path, yolo_ema_command: Callable, ground: str
) -> None:
    here = flights.parent
    how = (*HOW, "--dem", slope(here / "slope.tif")) if ground == "model" else HOW
    done = yolo_ema_command(*words("out", "--telemetry", "auto", *how, "--json"))
    assert done.code == 0, done.err
    assert done.json["done"] >= 4
    assert len(list((here / "out").glob("detections/*"))) == done.json["jobs"]
    rows = rows_of(here / "out")
    assert len(rows) == (FRAMES + 4 + 3) * PER_FRAME

    own = ("detect", "flights/flight.mp4", "flights/stills/2.jpg", "--weights", "drawn.onnx")
    maps = yolo_ema_command(*own, *how, "--save", "positions", "--out", "map", "--json")
    assert maps.code == 0, maps.err
    with (here / "map" / "positions.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    assert len(expected) == (FRAMES + 1) * PER_FRAME
    for one in expected:
        row = rows[Path(one["source"]).name, int(one["frame"]), round(float(one["x1"]), 2)]
        assert row["longitude"] == pytest.approx(float(one["longitude_deg"]), abs=1e-7)
        assert row["latitude"] == pytest.approx(float(one["latitude_deg"]), abs=1e-7)
        assert row["position_error_m"] == pytest.approx(float(one["error_major_m"]), abs=0.01)
    placed = Counter(name for (name, *_), row in rows.items() if row["longitude"] is not None)
    assert placed == {"flight.mp4": FRAMES * PER_FRAME, "2.jpg": PER_FRAME}

    assert done.json["jobs_without_positions"] == 1
    ((source, why),) = done.json["no_positions"].items()
    assert source == str(flights / "silent.mp4")
    assert "silent.srt" in why
    assert sum(done.json["unplaced"].values()) == 6 * PER_FRAME

    if ground == "model":
        return
    for number in (2, 1):
        yolo_ema_command(*words("parts", "--telemetry", "auto", *HOW, "--shard", f"{number}/2"))
    assert content(here / "parts") == content(here / "out")
    said = yolo_ema_command(*words("again", "--telemetry", "auto", *HOW))
    assert f"no positions in 1 job; the first: {source}: " in said.out
    assert "objects have no position: the file is not there, or holds no telemetry" in said.out


@pytest.mark.slow
def test_without_telemetry_nothing_is_placed_and_the_run_is_that_of_before(
    flights: Path, yolo_ema_command: Callable
) -> None:
    done = yolo_ema_command(*words("out", "--json"))
    assert done.code == 0, done.err
    assert all(row["longitude"] is None for row in rows_of(flights.parent / "out").values())
    assert done.json["unplaced"] == done.json["no_positions"] == {}
    record_of_run = json.loads((flights.parent / "out" / "archive.json").read_text())
    assert record_of_run["settings"] == {"segment": 1.0}
    other = yolo_ema_command(*words("out", "--telemetry", "auto"))
    assert other.code == 2
    assert "--telemetry was not given and is ['auto']" in other.err


REFUSED = {
    "live": (("--telemetry", "udp:127.0.0.1:14550"), 2, "an address of live telemetry; expected"),
    "file": (("--telemetry", "no.srt"), 2, "--telemetry has no.srt; there is no such file"),
    "kind": (("--telemetry", "xpm"), 2, "did you mean 'xmp'"),
    "camera": (("--telemetry", "auto", "--camera", "mavik3"), 2, "mavik3"),
    "model": (("--telemetry", "auto", "--dem", "no.tif"), 3, "there is no surface model no.tif"),
    "alone": (("--hfov", 53), 2, "--hfov is about positions, which need --telemetry"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_file_could_use_is_refused_before_any_work(
    flights: Path, yolo_ema_command: Callable, case: str
) -> None:
    more, code, message = REFUSED[case]
    done = yolo_ema_command(*words("out", *more))
    assert (done.code, done.out) == (code, ""), done.err
    assert message in done.err
    assert not (flights.parent / "out").exists()
