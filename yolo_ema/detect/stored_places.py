"""Places of stored sources' objects, frame by frame, by the telemetry of each source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from yolo_ema.detect.flight_poses import no_pose_of, telemetry_of, unusable
from yolo_ema.detect.frame_places import check_surface_model, place_frame
from yolo_ema.errors import ConfigError, DataError, TelemetryError
from yolo_ema.geo.camera_heights import (
    FlightGround,
    ground_below,
    ground_of_video,
    grounds_of_stills,
)
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
        images = {
            source.name: [image.path for image in _images_of(source)]
            for source in sources
            if isinstance(source, ImageSequence)
            or (isinstance(source, StoredSource) and not source.is_video)
        }
        if images:
            self._add_images(images)
        videos = [
            source for source in sources if isinstance(source, StoredSource) and source.is_video
        ]
        for video in videos:
            self._add_video(video, [source.name for source in videos])

    def locate(self, found: FrameDetections) -> FrameDetections:
        """Return a frame's objects with their places."""
        name = found.frame.source
        flight = self._flights[name]
        try:
            placed, located = place_frame(
                found, flight.pose_of(found), self._options, flight.ground
            )
        except (ConfigError, DataError) as error:
            self._lack(name, unusable(error))
            return self.locate(found)
        self.unplaced.update(located.sightings.unplaced())
        return placed

    def _add_video(self, source: StoredSource, names: Sequence[str]) -> None:
        from yolo_ema.media.sources.video_cuts import stated_duration_s  # brings PyAV

        try:
            words = telemetry_of(source.name, names, self._options.telemetry)
        except TelemetryError as error:
            self._lack(source.name, NoPose(error.reason, str(error)))
            return
        options = replace(self._options, telemetry=words)
        length_s = stated_duration_s(source.path)
        track = open_telemetry(source.path, options, duration_s=length_s, images=False)
        if not isinstance(track, PoseTrack):
            self._lack(source.name, no_pose_of(track))
            return
        # Times to the digits that files of results have, from which ``locate`` makes maps.
        self._keep(
            source.name,
            lambda found: track.at(round(found.frame.time_s, 6)),
            ground_of_video(self._options, track),
        )

    def _add_images(self, images: Mapping[str, Sequence[Path]]) -> None:
        """Take the images of each source; single ones share the ground of their flight."""
        files = [path for paths in images.values() for path in paths]
        track = open_telemetry(files, self._options, images=True)
        if not isinstance(track, PoseTrack):
            for name in images:
                self._lack(name, no_pose_of(track))
            return
        poses = {name: [track.still(path) for path in paths] for name, paths in images.items()}
        single = [name for name, of_source in poses.items() if len(of_source) == 1]
        grounds = grounds_of_stills(self._options, [poses[name][0] for name in single])
        shared = dict(zip(single, grounds, strict=True))
        for name, of_source in poses.items():
            ground = shared.get(name) or ground_below(self._options, of_source)
            self._keep(name, partial(_pose_in, of_source), ground)

    def _keep(
        self,
        name: str,
        pose_of: Callable[[FrameDetections], Pose | NoPose],
        ground: FlightGround | DataError,
    ) -> None:
        if isinstance(ground, DataError):  # the model lies elsewhere: of this source alone
            self._lack(name, unusable(ground))
        else:
            self._flights[name] = _Flight(pose_of, ground)

    def _lack(self, name: str, no_pose: NoPose) -> None:
        """Note why a source has no places: none of its frames has a pose."""
        self.problems.setdefault(name, no_pose.words)
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


def _pose_in(poses: Sequence[Pose | NoPose], found: FrameDetections) -> Pose | NoPose:
    return poses[found.frame.index]


def _images_of(source: StoredSource | ImageSequence) -> Sequence[StoredSource]:
    if isinstance(source, ImageSequence):
        return source.images
    return () if source.is_video else (source,)
