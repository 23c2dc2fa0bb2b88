"""The ground below a flight's sources: one for all stills and for the whole of a video, and a model
that does not fit costs its own source alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo_ema.detect.flight_poses import locate_flight, telemetry_of
from yolo_ema.detect.live_places import LivePlaces
from yolo_ema.detect.result_files import ResultSource
from yolo_ema.errors import ConfigError, DataError, DataNotFoundError, TelemetryError
from yolo_ema.geo.camera_heights import grounds_of_stills
from yolo_ema.geo.flight_map import map_flight
from yolo_ema.geo.pose import NoPose, Pose
from yolo_ema.geo.sightings import FrameBoxes
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.media.sources.stored_source import StoredSource
from yolo_ema.options.mapping import MapOptions, PlacingOptions

pyproj = pytest.importorskip("pyproj")
rasterio = pytest.importorskip("rasterio")

TO_UTM = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
EAST, NORTH = 467_000.0, 5_218_000.0
LOW_M, HIGH_M = 500.0, 600.0


def degrees(east_m: float, north_m: float = 0.0) -> tuple[float, float]:
    """Return latitude and longitude of a place from the middle of the model."""
    longitude, latitude = TO_UTM.transform(EAST + east_m, NORTH + north_m, direction="INVERSE")
    return latitude, longitude


@pytest.fixture
def step(tmp_path: Path) -> Path:
    """A model of 4 km that is 100 m higher in its eastern half."""
    heights = np.full((800, 800), LOW_M, np.float32)
    heights[:, 400:] = HIGH_M
    path = tmp_path / "step.tif"
    profile = {"driver": "GTiff", "width": 800, "height": 800, "count": 1, "dtype": "float32"}
    origin = rasterio.transform.from_origin(EAST - 2000, NORTH + 2000, 5, 5)
    with rasterio.open(path, "w", crs="EPSG:32632", transform=origin, **profile) as file:
        file.write(heights, 1)
    return path


def source(name: str, frames: int = 1, first: int = 0, picture: str = "") -> ResultSource:
    box = np.array([[950.0, 700, 970, 720]])
    boxes = [
        FrameBoxes(
            name, number, number * 0.5, (1920, 1080), box, ("car",), np.ones(1), np.full(1, -1),
            NoPose("not_found"), picture.format(number),
        )
        for number in range(first, first + frames)
    ]  # fmt: skip
    return ResultSource(name, boxes, is_whole=False)


def table(path: Path, key: str, rows: list[tuple]) -> str:
    columns = "latitude_deg,longitude_deg,height_takeoff_m,altitude_m,yaw_deg,pitch_deg,hfov_deg"
    lines = [",".join(map(str, (*row, 0, -60, 70))) for row in rows]
    path.write_text("\n".join([f"{key},{columns}", *lines]) + "\n")
    return str(path)


def test_stills_of_a_flight_share_its_take_off_and_one_piece_of_the_model(step, tmp_path):
    poses = table(
        tmp_path / "poses.csv",
        "image",
        [("0.jpg", *degrees(-800), 100, ""), ("1.jpg", *degrees(800), 150, "")],
    )
    options = MapOptions(telemetry=(poses,), dem=step)
    stills, _ = locate_flight([source("0.jpg"), source("1.jpg")], options)
    folder, _ = locate_flight([source("flight", 2, picture="{}.jpg")], options)
    apart = np.concatenate([still.sightings.places.latitude_deg for still in stills])
    assert apart == pytest.approx(folder[0].sightings.places.latitude_deg, abs=1e-9)
    # The second camera is at 500 + 150 m, 50 m above the ground to its north.
    away_m = (apart[1] - degrees(800)[0]) * 111_200
    assert away_m == pytest.approx(50 / np.tan(np.radians(60 + 10.0)), rel=0.25)
    assert stills[0].ground is stills[1].ground


def test_the_take_off_is_told_by_the_first_position_on_the_model(step, tmp_path):
    """The first still lies beyond the model's edge, which costs the others nothing."""
    places = [degrees(-2100), degrees(-1500), degrees(-1400)]
    poses = table(
        tmp_path / "poses.csv", "image", [(f"{n}.jpg", *at, 100, "") for n, at in enumerate(places)]
    )
    options = MapOptions(telemetry=(poses,), dem=step)
    located, problems = locate_flight([source(f"{number}.jpg") for number in range(3)], options)
    assert problems == {}
    assert [bool(one.sightings.placed.all()) for one in located] == [False, True, True]


def test_a_model_that_can_never_be_used_ends_the_map(step, tmp_path):
    with rasterio.open(step, "r+") as file:
        file.units = ("ft",)
    poses = table(tmp_path / "poses.csv", "image", [("0.jpg", *degrees(-800), 100, "")])
    with pytest.raises(DataError, match="are in ft; expected metres"):
        locate_flight([source("0.jpg"), source("1.jpg")], MapOptions(telemetry=(poses,), dem=step))


def test_photos_of_many_flights_take_no_time_on_level_ground():
    poses = [Pose(0.0, 40 + number / 100, 8.0, 60.0) for number in range(3000)]
    grounds = grounds_of_stills(MapOptions(), poses)
    assert len(grounds) == 3000
    assert len({id(ground) for ground in grounds}) == 1


def test_a_part_of_a_video_has_the_take_off_of_the_whole(step, tmp_path):
    rows = [(number * 0.5, *degrees(-800, number), number, 508 + number) for number in range(60)]
    table(tmp_path / "clip.csv", "time_s", rows)
    options = MapOptions(telemetry=("csv",), dem=step)
    clip = str(tmp_path / "clip.mp4")
    (whole,), _ = locate_flight([source(clip, 60)], options)
    (part,), _ = locate_flight([source(clip, 20, first=40)], options)
    assert part.sightings.places.latitude_deg == pytest.approx(
        whole.sightings.places.latitude_deg[40:], abs=1e-9
    )


def test_a_source_that_the_model_does_not_cover_fails_alone(step, tmp_path):
    poses = table(
        tmp_path / "poses.csv",
        "image",
        [("0.jpg", *degrees(-800), 100, ""), ("1.jpg", *degrees(0, 90_000), 100, "")],
    )
    options = MapOptions(telemetry=(poses,), dem=step)
    located, problems = locate_flight([source("0.jpg"), source("1.jpg")], options)
    assert "does not cover the place" in problems.pop("1.jpg")
    assert problems == {}
    assert [one.sightings.unplaced() for one in located] == [{}, {"outside_surface_model": 1}]
    assert map_flight(located, options).objects_per_class == {"car": 1}
    with pytest.raises(DataError, match="does not cover the place"):
        locate_flight([source("1.jpg")], options)
    with pytest.raises(DataNotFoundError):
        locate_flight([source("0.jpg")], MapOptions(telemetry=(poses,), dem=tmp_path / "no.tif"))


def test_coverage_is_seen_on_each_sources_own_ground(step, tmp_path):
    """Whatever else is in the run, and in whichever order: one without poses, one far away."""
    for name, east in (("a", -1500), ("b", -800), ("far", 1500)):
        rows = [(number * 0.5, *degrees(east), 60, 560) for number in range(3)]
        table(tmp_path / f"{name}.csv", "time_s", rows)
    options = MapOptions(telemetry=("csv",), dem=step)

    def covered(*names: str) -> dict[str, float]:
        sources = [source(str(tmp_path / f"{name}.mp4"), 3) for name in names]
        total = dict.fromkeys(names, 0.0)
        for area in map_flight(locate_flight(sources, options)[0], options).coverage:
            total[Path(area.sources[0]).stem] += area.square_metres
        return total

    alone = covered("b")["b"]
    assert alone > 1000
    assert covered("lost", "b") == {"lost": 0, "b": alone}
    assert covered("a", "b")["b"] == covered("far", "b")["b"] == alone


def test_a_live_drone_that_the_model_does_not_cover_goes_on_being_watched(step):
    class Telemetry:
        max_age_s = 2.0

        def __init__(self, *places: tuple[float, float]) -> None:
            self._places = list(places)

        def at(self, _: float) -> Pose:
            latitude, longitude = self._places.pop(0)
            return Pose(0, latitude, longitude, 60.0, 560.0, 0.0, -60.0, 0.0, 70.0)

        def age_s(self, *_: object) -> float:
            return 0.0

    frame = Frame(np.zeros((1080, 1920, 3), np.uint8), "rtsp://cam", 0, 0.0, 1.0)
    box = np.array([[950.0, 700, 970, 720]])
    found = FrameDetections(frame, box, np.ones(1), np.zeros(1, int), {0: "car"})
    telemetry = Telemetry(degrees(0, 90_000), degrees(-800), degrees(-800, 90_000), degrees(-800))
    places = LivePlaces(telemetry, MapOptions(dem=step))
    seen = [places.locate(found) for _ in range(4)]
    assert [bool(np.isfinite(one.detections.places).all()) for one in seen] == [
        False, True, False, True,
    ]  # fmt: skip
    assert "does not cover the place" in seen[0].on_map()["no_camera"]


@pytest.mark.parametrize(
    ("entries", "taken"),
    [
        (("other.csv", "b.csv"), ("b.csv",)),
        (("a.csv", "other.csv"), ("other.csv",)),
        (("a.csv",), ("a.csv",)),
        (("srt", "a.csv", "flights/b.SRT", "auto"), ("srt", "flights/b.SRT", "auto")),
        (("auto",), ("auto",)),
    ],
)
def test_a_video_takes_the_telemetry_of_its_own_name(entries, taken):
    assert telemetry_of("films/b.mp4", ["films/a.mp4", "films/b.mp4"], entries) == taken


def test_of_videos_of_one_name_each_takes_the_telemetry_of_its_own_folder():
    videos = ["dcim/100/DJI_0001.MP4", "dcim/101/DJI_0001.MP4"]
    poses = ("logs/101/DJI_0001.csv", "logs/100/DJI_0001.csv", "logs/100/DJI_0001.SRT")
    assert telemetry_of(videos[0], videos, poses) == poses[1:]
    assert telemetry_of(videos[1], videos, poses) == poses[:1]
    assert telemetry_of(videos[0], videos, (*poses[:1], "auto")) == ("auto",)
    assert telemetry_of(videos[0], videos, (*poses[:1], "flight.tlog")) == ("flight.tlog",)
    for files in (("logs/DJI_0001.csv",), poses[:1]):
        with pytest.raises(TelemetryError, match="of another video that is called DJI_0001, or"):
            telemetry_of(videos[0], videos, files)


def test_results_without_a_suffix_are_of_no_photo_of_their_name(tmp_path):
    """As MOT's are."""
    (tmp_path / "a.csv").write_text(
        "time_s,latitude_deg,longitude_deg,height_takeoff_m,yaw_deg,pitch_deg,hfov_deg\n"
        "0,47,8.0,60,0,-90,70\n2,47,8.0,60,0,-90,70\n"
    )
    for name in ("a.mp4", "a.jpg"):
        (tmp_path / name).touch()
    video, photo = (str(tmp_path / name) for name in ("a.mp4", "a.jpg"))
    located, problems = locate_flight([source("a", 3)], MapOptions(), [video])
    assert problems == {}
    assert located[0].sightings.places.latitude_deg[0] == pytest.approx(47, abs=0.01)
    with pytest.raises(ConfigError, match="which of the sources called a is there"):
        locate_flight([source("a", 3)], MapOptions(), [photo, video])


def test_two_forms_of_one_video_share_its_telemetry():
    videos = ["a/x.mp4", "a/x.mov", "./a/x.mp4"]
    for video in videos:
        assert telemetry_of(video, videos, ("a/x.csv",)) == ("a/x.csv",)


def test_telemetry_for_a_fetched_video_is_told_by_its_address():
    """The file that is read lies in a folder of its own."""
    from yolo_ema.detect.stored_places import StoredPlaces

    sources = [StoredSource(Path("fetched/x.mp4"), given=f"s3://b/{day}/x.mp4") for day in "12"]
    words = telemetry_of(sources[0].name, [one.name for one in sources], ("logs/1/x.csv",))
    assert words == ("logs/1/x.csv",)
    places = StoredPlaces(sources[:1], PlacingOptions(telemetry=("logs/x.csv",)))
    assert "there is no file logs/x.csv" in str(places.problems)


def test_moved_videos_of_one_name_are_found_by_their_folders(tmp_path):
    for folder, latitude in (("100", 47.0), ("101", 47.5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").touch()
        rows = "".join(f"{second},{latitude},8.0,60,0,-90,70\n" for second in range(3))
        (tmp_path / folder / "a.csv").write_text(
            "time_s,latitude_deg,longitude_deg,height_takeoff_m,yaw_deg,pitch_deg,hfov_deg\n" + rows
        )
    places = [str(tmp_path / folder / "a.mp4") for folder in ("100", "101")]
    sources = [source("old/101/a.mp4", 3), source("old/100/a.mp4", 3)]
    located, problems = locate_flight(sources, MapOptions(), places)
    assert problems == {}
    latitudes = [float(part.sightings.places.latitude_deg[0]) for part in located]
    assert latitudes == pytest.approx([47.5, 47.0], abs=0.01)
    with pytest.raises(ConfigError, match=r"which of the sources called a\.mp4 is there"):
        locate_flight([source("elsewhere/a.mp4", 3)], MapOptions(), places)
