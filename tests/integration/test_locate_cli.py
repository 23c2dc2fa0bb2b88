"""``yolo-ema locate`` on files, with real telemetry formats, and its page in a browser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from flown_lot import fly, parking_lot, there_and_back

LOT = parking_lot(rows=1, bays=6)


def _moment(seconds: float) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"00:{whole // 60:02d}:{whole % 60:02d},{thousandths:03d}"


def _write(folder: Path) -> None:
    """Write a flight's detections and its subtitles."""
    frames = fly(LOT, there_and_back, seconds=56, fps=2, box_noise_px=1)
    lines, cues = [], []
    for frame in frames:
        boxes = zip(frame.boxes_xyxy.tolist(), frame.class_names, frame.track_ids, strict=True)
        found = [
            {"class_id": 3, "class": name, "score": 0.9, "box_xyxy": box, "track_id": int(number)}
            for box, name, number in boxes
        ]
        lines.append(
            {
                "source": "flight.mp4",
                "frame": frame.frame,
                "time_s": frame.time_s,
                "width": 1920,
                "height": 1080,
                "detections": found,
            }
        )
        pose = frame.pose
        cues.append(
            f"{frame.frame + 1}\n{_moment(frame.time_s)} --> {_moment(frame.time_s + 0.5)}\n"
            f"[focal_len: 24.00] [latitude: {pose.latitude_deg:.7f}] "
            f"[longitude: {pose.longitude_deg:.7f}] [rel_alt: {pose.height_takeoff_m:.3f} abs_alt: "
            f"{pose.height_takeoff_m + 400:.3f}] [gb_yaw: {(pose.yaw_deg + 180) % 360 - 180:.1f} "
            f"gb_pitch: {pose.pitch_deg:.1f} gb_roll: 0.0]\n"
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "detections.jsonl").write_text(text)
    (folder / "flight.SRT").write_text("\n".join(cues))


@pytest.fixture(scope="module")
def flown(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("flown")
    _write(folder)
    return folder


@pytest.fixture
def here(flown, tmp_path) -> Path:
    shutil.copytree(flown, tmp_path, dirs_exist_ok=True)
    return tmp_path


LOCATE = ("locate", "detections.jsonl", "--telemetry", "flight.SRT", "--hfov", "64.01")


def test_a_flight_becomes_a_map_in_every_format(yolo_ema_command, here):
    names = ("objects.geojson", "map.gpkg", "map.kml", "map.html", "map.csv")
    done = yolo_ema_command(*LOCATE, "--json", "--out", *names)
    assert done.code == 0, done.err
    assert done.json["files"] == list(names)
    assert done.json["objects_per_class"] == {"car": len(LOT)}
    assert done.json["sightings_not_placed"] == {}
    assert all((here / name).stat().st_size > 1000 for name in names)
    objects = json.loads((here / "objects.geojson").read_text())["features"]
    assert sum(one["properties"]["layer"] == "objects" for one in objects) == len(LOT)


def test_what_is_not_placed_is_counted_by_reason(yolo_ema_command, here):
    done = yolo_ema_command(*LOCATE, "--max-error", "0.1")
    assert done.code == 0, done.err
    assert "error_too_large: the error ellipse exceeds --max-error" in done.out
    done = yolo_ema_command(*LOCATE, "--pitch", "40", "--json")
    assert set(done.json["sightings_not_placed"]) == {"above_horizon"}
    assert done.json["objects"] == 0


def test_csv_and_mot_files_give_the_same_objects(yolo_ema_command, here):
    rows = ["source,frame,time_s,width,height,track_id,class_id,class,score,x1,y1,x2,y2"]
    mot = []
    for line in map(json.loads, (here / "detections.jsonl").read_text().splitlines()):
        for one in line["detections"]:
            x1, y1, x2, y2 = one["box_xyxy"]
            rows.append(
                f"flight.mp4,{line['frame']},{line['time_s']},1920,1080,{one['track_id']},3,car,0.9,"
                f"{x1},{y1},{x2},{y2}"
            )
            mot.append(
                f"{line['frame'] + 1},{one['track_id']},{x1},{y1},{x2 - x1},{y2 - y1},0.9,4,0,0"
            )
    (here / "detections.csv").write_text("\n".join(rows) + "\n")
    (here / "flight.txt").write_text("\n".join(mot) + "\n")
    rest = (*LOCATE[2:], "--json")
    by_csv = yolo_ema_command("locate", "detections.csv", *rest)
    by_mot = yolo_ema_command(
        "locate", "flight.txt", *rest, "--frame-size", "1920,1080", "--fps", "2"
    )
    assert by_csv.json["objects_per_class"] == by_mot.json["objects_per_class"] == {"car": len(LOT)}
    assert by_csv.json["remarks"] == [
        "detections.csv has no frames without objects: coverage is of the others alone"
    ]


def test_a_table_of_poses_is_not_overwritten_and_one_of_sightings_is_no_telemetry(
    yolo_ema_command, here
):
    """Both have the video's name: one is telemetry that is found by it, the other a result."""
    assert yolo_ema_command(*LOCATE, "--out", "flight.csv").code == 0
    (here / "flight.SRT").rename(here / "other.SRT")
    done = yolo_ema_command("locate", "detections.jsonl")
    assert done.code == 3
    assert "csv: it holds the sightings of a map, not poses" in done.err
    poses = "time_s,latitude_deg,longitude_deg,height_takeoff_m,yaw_deg,pitch_deg,hfov_deg\n"
    (here / "flight.csv").write_text(poses + "".join(f"{s},47,8,60,0,-50,70\n" for s in range(57)))
    done = yolo_ema_command("locate", "detections.jsonl", "--out", "flight.csv")
    assert done.code == 2
    assert "--out has flight.csv, which holds poses; expected another file" in done.err
    assert (here / "flight.csv").read_text().startswith(poses)


def test_a_name_that_is_not_unicode_is_shown_escaped(yolo_ema_command, here):
    lines = (here / "detections.jsonl").read_text()
    (here / "detections.jsonl").write_text(lines.replace("flight.mp4", "fl\\udce9ge.mp4"))
    names = ("objects.geojson", "map.gpkg", "map.kml", "map.html", "map.csv")
    done = yolo_ema_command(*LOCATE, "--json", "--out", *names)
    assert done.code == 0, done.err
    features = json.loads((here / "objects.geojson").read_text(encoding="utf-8"))["features"]
    assert "fl\\udce9ge.mp4 #" in features[0]["properties"]["seen_in"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("locate", "nowhere.jsonl"), 3, "there is no file of results nowhere.jsonl"),
        (("locate", "detections.jsonl", "--telemetry", "no.SRT"), 3, "no places for flight.mp4"),
        ((*LOCATE, "--out", "map.shp"), 2, "expected a name that ends in .geojson"),
        (("locate", "a.csv", "--out", "./a.csv"), 2, "--out has a.csv, which is read"),
        ((*LOCATE, "--dem", "no.tif"), 3, "there is no surface model no.tif"),
        ((*LOCATE, "--map-tiles", "tiles"), 2, "expected an address with {z}, {x} and {y}"),
        (("locate", "bad.jsonl", *LOCATE[2:]), 3, "bad.jsonl, line 1: 'frame' is missing"),
        (("locate", "flight.SRT", *LOCATE[2:]), 2, "is none of detect's results"),
        (("locate", "mot.txt", *LOCATE[2:]), 2, "--frame-size WIDTH,HEIGHT and --fps RATE"),
        (
            ("locate", "detections.jsonl", "detections2.jsonl", *LOCATE[2:]),
            3,
            "expected each frame once",
        ),
    ],
)
def test_bad_input_gets_a_clear_error(yolo_ema_command, here, words, code, says):
    (here / "bad.jsonl").write_text('{"source": "a.mp4", "detections": []}\n')
    (here / "mot.txt").write_text("1,1,10,10,5,5,0.9,4,0,0\n")
    shutil.copy(here / "detections.jsonl", here / "detections2.jsonl")
    done = yolo_ema_command(*words)
    assert done.code == code, done.err
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_line_truncated_by_a_kill_is_named(yolo_ema_command, here):
    path = here / "detections.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    done = yolo_ema_command(*LOCATE, "--json", "--telemetry-offset", "0")
    assert done.code == 0, done.err
    assert done.json["remarks"] == ["detections.jsonl, line 112: cut off, left out"]


@pytest.mark.slow
def test_the_page_draws_and_fetches_nothing(yolo_ema_command, here, browser):
    assert yolo_ema_command(*LOCATE, "--out", "map.html").code == 0
    page = here / "map.html"
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if url.startswith("http")] == []
    ink = (
        "const c = document.getElementById('canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n"
    )
    before = browser.execute_script(ink)
    assert before > 1000
    assert browser.find_element("id", "length").text.endswith("m")
    assert f"car ({len(LOT)})" in browser.find_element("id", "legend").text
    browser.execute_script("document.querySelectorAll('#legend input').forEach(b => b.click())")
    assert browser.execute_script(ink) != before
