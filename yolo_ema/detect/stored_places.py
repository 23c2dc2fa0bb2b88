"""Places of stored sources' objects, frame by frame, by the telemetry of each source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from yolo_ema.detect.flight_poses import no_pose_of
from yolo_ema.detect.frame_places import check_surface_model, place_frame
from yolo_ema.errors import ConfigError, DataError, DataNotFoundError
from yolo_ema.geo.camera_heights import FlightGround, flight_ground
from yolo_ema.geo.pose import NoPose, Pose, PoseTrack
from yolo_ema.geo.telemetry.completion import PoseMaker
from yolo_ema.geo.telemetry.kinds import KINDS
from yolo_ema.geo.telemetry.live import is_live
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry, telemetry_words
from yolo_ema.media.frames import FrameDetections
from yolo_ema.media.sources.image_sequence import ImageSequence
from yolo_ema.media.sources.source import Source
from yolo_ema.media.sources.stored_source import StoredSource
from yolo_ema.options.mapping import PlacingOptions


class _Flight(NamedTuple):
    """Where a source's camera was at each frame, and the ground below; None without a pose."""

    pose_of: Callable[[FrameDetections], Pose | NoPose]
    ground: FlightGround | None


class StoredPlaces:
    """Puts the objects of videos and images on the ground, each frame by itself.

    Attributes:
        problems: by source, why it has no places.
        unplaced: how many objects have none, by the code of the reason.
    """

    def __init__(self, sources: Sequence[Source], options: PlacingOptions) -> None:
        """Read the telemetry of all sources: each video's own, and the images' as one.

        A part of a video has the poses and the ground of the whole.

        Raises:
            ConfigError: the telemetry asked for cannot be.
            DataNotFoundError: the surface model is not there.
        """
        self.problems: dict[str, str] = {}
        self.unplaced: Counter[str] = Counter()
        self._options = options
        self._flights: dict[str, _Flight] = {}
        check_surface_model(options)
        pictures = {
            source.name: [image.path for image in _images_of(source)]
            for source in sources
            if isinstance(source, StoredSource | ImageSequence)
        }
        files = [path for paths in pictures.values() for path in paths]
        stills = open_telemetry(files, options, images=True) if files else ()
        for source in sources:
            if source.name in pictures:
                self._add(source, stills, pictures[source.name])

    def locate(self, found: FrameDetections) -> FrameDetections:
        """Return a frame's objects with their places."""
        name = found.frame.source
        flight = self._flights[name]
        try:
            placed, located = place_frame(
                found, flight.pose_of(found), self._options, flight.ground
            )
        except (ConfigError, DataError) as error:  # the camera is one for other frames
            self._lack(name, str(error))
            return self.locate(found)
        self.unplaced.update(located.sightings.unplaced())
        return placed

    def _add(
        self, source: Source, stills: PoseTrack | tuple[NoPose, ...], paths: Sequence[Path]
    ) -> None:
        track = stills
        if not paths and isinstance(source, StoredSource):
            from yolo_ema.media.sources.video_cuts import stated_duration_s  # brings PyAV

            options = replace(self._options, telemetry=_own(source.path, self._options.telemetry))
            length_s = stated_duration_s(source.path)
            track = open_telemetry(source.path, options, duration_s=length_s, images=False)
        if not isinstance(track, PoseTrack):
            self._lack(source.name, *no_pose_of(track))
            return
        at, poses = track.at, [track.still(path) for path in paths]
        # A video's from its first frame on, which tells the point of take-off.
        all_poses = poses or [at(0.0), *(pose for pose in track.poses if pose.time_s > 0)]
        known = [pose for pose in all_poses if isinstance(pose, Pose)]
        try:
            ground = flight_ground(self._options, known) if known else None
        except DataNotFoundError:
            raise
        except DataError as error:  # the model lies elsewhere: of this source alone
            self._lack(source.name, str(error), NoPose("outside_surface_model", str(error)))
            return
        # Times to the digits that files of results have, from which ``locate`` makes maps.
        self._flights[source.name] = _Flight(
            (lambda detected: poses[detected.frame.index])
            if poses
            else (lambda detected: at(round(detected.frame.time_s, 6))),
            ground,
        )

    def _lack(self, name: str, problem: str, pose: NoPose | None = None) -> None:
        """Note why a source has no places: none of its frames has a pose."""
        no_pose = pose or NoPose("other_clip", problem)
        self.problems.setdefault(name, problem)
        self._flights[name] = _Flight(lambda _: no_pose, None)


def check_telemetry(options: PlacingOptions) -> None:
    """Refuse what no stored source could use, before any is read.

    Raises:
        ConfigError: an entry of ``--telemetry`` is an address, or neither a kind nor a file that is
            there; ``--camera`` is unknown.
        DataNotFoundError: the surface model is not there.
    """
    check_surface_model(options)
    for word in telemetry_words(options.telemetry, images=False):
        if is_live(word):
            raise ConfigError(
                f"--telemetry has {word}, an address of live telemetry; expected auto, a kind or a "
                "file, as videos and images in files have it"
            )
        if word not in KINDS and not Path(word).is_file():
            raise ConfigError(f"--telemetry has {word}; there is no such file")
    PoseMaker(options, "")


def _images_of(source: StoredSource | ImageSequence) -> Sequence[StoredSource]:
    if isinstance(source, ImageSequence):
        return source.images
    return () if source.is_video else (source,)


def _own(video: Path, entries: Sequence[str]) -> tuple[str, ...]:
    """Return the entries of ``--telemetry`` for a video: of the files, where one bears its name,
    that one alone.
    """
    others = {word for word in entries if word not in KINDS and word != "auto"}
    matching = {word for word in others if Path(word).stem == video.stem}
    return tuple(word for word in entries if not matching or word in matching or word not in others)
