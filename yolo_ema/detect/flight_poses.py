"""The poses of a flight's sources: each frame with where its camera was, or why nobody knows."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolo_ema.detect.result_files import ResultSource
from yolo_ema.errors import ConfigError, DataError, OutOfReachError, TelemetryError
from yolo_ema.geo.camera_heights import (
    FlightGround,
    ground_below,
    ground_of_video,
    grounds_of_stills,
)
from yolo_ema.geo.pose import NoPose, Pose, PoseTrack
from yolo_ema.geo.sightings import FrameBoxes, LocatedSource, locate_source
from yolo_ema.geo.telemetry.kinds import KINDS
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
from yolo_ema.io.namesakes import counterparts
from yolo_ema.media.frames import FrameDetections
from yolo_ema.options.mapping import MapOptions


def frame_boxes(found: FrameDetections, pose: Pose | NoPose, picture: str = "") -> FrameBoxes:
    """Return what was detected in a frame, without its image, with the pose of its camera: to the
    digits that files of results have, so that ``locate`` makes the same map of these.
    """
    line = found.as_json()
    objects = line["detections"]
    return FrameBoxes(
        found.frame.source,
        found.frame.index,
        line["time_s"],
        found.frame.image_wh,
        np.array([item["box_xyxy"] for item in objects], float).reshape(-1, 4),
        tuple(item["class"] for item in objects),
        np.array([item["score"] for item in objects], float),
        np.full(len(found), -1) if found.track_ids is None else found.track_ids.astype(np.int64),
        pose,
        picture,
    )


def locate_flight(
    sources: Sequence[ResultSource], options: MapOptions, places: Sequence[str] = ()
) -> tuple[list[LocatedSource], dict[str, str]]:
    """Return the sources with their sightings placed, and by source why it has no places.

    Videos and images are looked for in ``places``, by file name and folder.

    Raises:
        ConfigError: the telemetry asked for cannot be, or which of several sources of one name a
            file belongs to is unknown; or no source has places, and the calibrated
            camera of one is for frames of another shape.
        DataNotFoundError: the surface model is not there.
        OutOfReachError: no source has places, and the surface model does not cover one.
        DataError: the surface model cannot be used anywhere.
    """
    now_at = _now_at([source.name for source in sources], places)
    names = [source.name for source in sources if source.is_video]
    stills = [source for source in sources if not source.is_video]
    posed = dict(_posed_stills(stills, options, now_at))
    located: list[LocatedSource] = []
    problems: dict[str, str] = {}
    errors: list[ConfigError | OutOfReachError] = []
    for source in sources:
        known = posed.get(source.name) or _posed_video(source, names, options, now_at)
        try:
            located.append(_placed(source, known, options))
        except (ConfigError, OutOfReachError) as error:
            errors.append(error)
            known = _Posed(source.frames, unusable(error), None)
            located.append(_placed(source, known, options))
        if isinstance(known.track, NoPose):
            problems[source.name] = known.track.words
    if errors and len(problems) == len(sources):
        raise errors[0]
    return located, problems


def _now_at(names: Sequence[str], places: Sequence[str]) -> dict[str, str]:
    """Return the place of each source that is in one of the places; results in MOT's format name
    a video without its suffix.
    """
    if not places:
        return {}
    called: dict[str, list[str]] = defaultdict(list)
    for name in names:
        called[Path(name).name].append(name)
    at: dict[str, list[str]] = defaultdict(list)
    for place in places:
        words = {Path(place).name} & called.keys() or {Path(place).stem} & called.keys()
        for word in words:
            at[word].append(place)
    now_at = {}
    for word, there in at.items():
        for name, found in counterparts(called[word], there).items():
            if found is None or len(set(map(os.path.abspath, found))) > 1:
                raise ConfigError(
                    f"--source has {', '.join(there[:3])}: which of the sources called {word} is "
                    "there the folders do not tell; locate them one after the other"
                )
            if found:
                now_at[name] = found[0]
    return now_at


class _Posed(NamedTuple):
    """A source's frames with their poses, the track that these are of, or why there is none, and
    the ground below.
    """

    frames: Sequence[FrameBoxes]
    track: PoseTrack | NoPose | None
    ground: FlightGround | DataError | None


def _placed(source: ResultSource, known: _Posed, options: MapOptions) -> LocatedSource:
    """Return a source located. Raises what the ground is, if that is an error."""
    if isinstance(known.ground, DataError):
        raise known.ground
    frames, said = known.frames, []
    if isinstance(known.track, NoPose):
        frames = [replace(frame, pose=known.track) for frame in source.frames]
    elif known.track is not None:
        lacks = _lacks(known.track)
        lacking = [f"the telemetry does not state the {fact}: give {opt}" for fact, opt in lacks]
        said = [*known.track.assumptions, *lacking]
    return locate_source(
        frames, options, is_video=source.is_video, assumptions=said, ground=known.ground
    )


def _posed_stills(
    stills: Sequence[ResultSource], options: MapOptions, now_at: dict[str, str]
) -> Iterator[tuple[str, _Posed]]:
    if not stills:
        return
    paths = [now_at.get(still.name, still.name) for still in stills]
    track = open_telemetry(paths, options, images=True)
    if not isinstance(track, PoseTrack):
        yield from ((still.name, _Posed(still.frames, no_pose_of(track), None)) for still in stills)
        return
    framed = [_with_poses(still, track) for still in stills]
    poses = [frames[0].pose if frames else NoPose("not_found") for frames in framed]
    grounds = grounds_of_stills(options, poses)
    for still, frames, ground in zip(stills, framed, grounds, strict=True):
        yield still.name, _Posed(frames, track, ground)


def _posed_video(
    source: ResultSource, names: Sequence[str], options: MapOptions, now_at: dict[str, str]
) -> _Posed:
    """Return a video, a live source, or a folder of images that is one sequence."""
    if source.has_poses:
        ground = ground_below(options, (frame.pose for frame in source.frames))
        return _Posed(source.frames, None, ground)
    try:
        words = telemetry_of(source.name, names, options.telemetry)
    except TelemetryError as error:
        return _Posed(source.frames, NoPose(error.reason, str(error)), None)
    track = _track_of(source, replace(options, telemetry=words), now_at)
    if not isinstance(track, PoseTrack):
        return _Posed(source.frames, no_pose_of(track), None)
    frames = _with_poses(source, track)
    if track.stills:
        return _Posed(frames, track, ground_below(options, (frame.pose for frame in frames)))
    return _Posed(frames, track, ground_of_video(options, track))


def _with_poses(source: ResultSource, track: PoseTrack) -> list[FrameBoxes]:
    poses: Iterable[Pose | NoPose]
    if track.stills:
        poses = (track.still(frame.picture or source.name) for frame in source.frames)
    else:
        poses = track.at_each(frame.time_s for frame in source.frames)
    return [replace(frame, pose=pose) for frame, pose in zip(source.frames, poses, strict=True)]


def telemetry_of(video: str, names: Sequence[str], entries: Sequence[str]) -> tuple[str, ...]:
    """Return the entries of ``--telemetry`` for a video: of the files, those that bear its name, in
    the folder that is most like its own; without one, those that do not bear the name of another of
    the videos, or all where no others are left.

    Raises:
        TelemetryError: there are only files of the videos' names, and those of its own belong to
            another video of that name, or to which of them is unknown.
    """
    files = [word for word in entries if word not in KINDS and word != "auto"]
    own = Path(video).stem
    stems = {own, *(Path(name).stem for name in names)}
    of_its_name = [word for word in files if Path(word).stem == own]
    of_no_name = [word for word in files if Path(word).stem not in stems]
    if of_its_name:
        namesakes = [name for name in names if Path(name).stem == own]
        left = _own_files(video, namesakes, of_its_name) or of_no_name
    else:
        left = of_no_name or files
    left_out = {*files} - {*left}
    words = tuple(word for word in entries if word not in left_out)
    if entries and not words:
        raise TelemetryError(
            f"{', '.join(of_its_name[:3])}: of another video that is called {own}, or of which one "
            "the folders do not tell; expected a file beside each, or in folders of the same names",
            "other_clip",
        )
    return words


def _own_files(video: str, namesakes: Sequence[str], files: Sequence[str]) -> list[str]:
    """Return the files of a video's name that are its own: of each kind of file those in the folder
    that is most like its own.
    """
    own: list[str] = []
    for suffix in dict.fromkeys(Path(file).suffix.lower() for file in files):
        same = [file for file in files if Path(file).suffix.lower() == suffix]
        found = counterparts([video, *namesakes], same)[video]
        if found is None and set(namesakes) <= {video}:
            found = same  # of which the first that can be read is taken
        own += found or []
    return own


def _track_of(
    source: ResultSource, options: MapOptions, now_at: dict[str, str]
) -> PoseTrack | tuple[NoPose, ...]:
    if source.pictures:
        folder = now_at.get(source.name)
        pictures = [
            str(Path(folder) / Path(name).name) if folder else name for name in source.pictures
        ]
        return open_telemetry(pictures, options, images=True)
    path = now_at.get(source.name, source.name)
    return open_telemetry(path, options, duration_s=_length_s(Path(path), source), images=False)


def _length_s(video: Path, source: ResultSource) -> float | None:
    """Return how long a video is: as its file states, since what was detected may be a part of it;
    without one, or where it says nothing, as the frames tell.
    """
    if not video.is_file():
        return source.duration_s
    from yolo_ema.media.sources.video_cuts import stated_duration_s  # brings PyAV

    return stated_duration_s(video) or source.duration_s


def no_pose_of(tried: Sequence[NoPose]) -> NoPose:
    """Return the pose that the frames of a source without telemetry lack, in the words, and where
    one alone was tried by the reason, of each kind that was tried.
    """
    reason = tried[-1].reason if len(tried) == 1 else "not_found"
    return NoPose(reason, "; ".join(map(str, tried)))


def unusable(error: ConfigError | DataError) -> NoPose:
    """Return the pose that the frames of a source lack of whose surface model, or calibrated
    camera, an error says that it cannot be used.
    """
    code = "other_clip" if isinstance(error, ConfigError) else "outside_surface_model"
    return NoPose(code, str(error))


def _lacks(track: PoseTrack) -> Iterator[tuple[str, str]]:
    """Yield what no pose has, and how the user gives it."""
    for name, fact, opt in (
        ("yaw", "camera's direction", "--yaw"),
        ("pitch", "camera's pitch", "--pitch"),
        ("hfov", "field of view", "--hfov or --camera"),
    ):
        if name in track.missing:
            yield fact, opt
