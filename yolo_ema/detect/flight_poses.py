"""The poses of a flight's sources: each frame with where its camera was, or why nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from yolo_ema.detect.result_files import ResultSource
from yolo_ema.geo.pose import NoPose, Pose, PoseTrack
from yolo_ema.geo.sightings import FrameBoxes, LocatedSource, locate_source
from yolo_ema.geo.telemetry.open_telemetry import open_telemetry
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
    """Return the sources with their sightings placed, and by source why it has no poses.

    Videos and images are looked for in ``places``, by file name.

    Raises:
        ConfigError: the telemetry asked for cannot be.
        DataError: the surface model cannot be used.
    """
    now_at = {Path(path).name: path for path in places}
    videos = [source for source in sources if source.is_video]
    stills = [source for source in sources if not source.is_video]
    located: list[LocatedSource] = []
    problems: dict[str, str] = {}
    names = [Path(source.name).stem for source in videos]
    for source in videos:
        if source.has_poses:
            located.append(locate_source(source.frames, options))
            continue
        opts = replace(options, telemetry=_telemetry_of(source.name, names, options.telemetry))
        track = _track_of(source, opts, now_at)
        located.append(_located(source, track, opts, problems))
    if stills:
        paths = [now_at.get(Path(still.name).name, still.name) for still in stills]
        images = open_telemetry(paths, options, images=True)
        located += [_located(source, images, options, problems) for source in stills]
    order = {source.name: number for number, source in enumerate(sources)}
    return sorted(located, key=lambda source: order[source.name]), problems


def _telemetry_of(name: str, names: Sequence[str], entries: Sequence[str]) -> tuple[str, ...]:
    """Return the entries of ``--telemetry`` for one of several videos: those that do not bear
    another video's name, or all where no others are left.
    """
    others = {other for other in names if other != Path(name).stem}
    return tuple(word for word in entries if Path(word).stem not in others) or tuple(entries)


def _track_of(
    source: ResultSource, options: MapOptions, now_at: dict[str, str]
) -> PoseTrack | tuple[NoPose, ...]:
    if source.pictures:
        folder = now_at.get(Path(source.name).name)
        pictures = [
            str(Path(folder) / Path(name).name) if folder else name for name in source.pictures
        ]
        return open_telemetry(pictures, options, images=True)
    path = now_at.get(Path(source.name).name, source.name)
    return open_telemetry(path, options, duration_s=_length_s(Path(path), source), images=False)


def _length_s(video: Path, source: ResultSource) -> float | None:
    """Return how long a video is: as its file states, since what was detected may be a part of it;
    without one, or where it says nothing, as the frames tell.
    """
    if not video.is_file():
        return source.duration_s
    from yolo_ema.media.sources.video_cuts import stated_duration_s  # brings PyAV

    return stated_duration_s(video) or source.duration_s


def no_pose_of(tried: Sequence[NoPose]) -> tuple[str, NoPose]:
    """Return in words why a source has no telemetry, and the pose that its frames lack, by the
    reason of each kind that was tried.
    """
    words = "; ".join(map(str, tried))
    return words, tried[-1] if len(tried) == 1 else NoPose("not_found", words)


def _located(
    source: ResultSource,
    track: PoseTrack | tuple[NoPose, ...],
    options: MapOptions,
    problems: dict[str, str],
) -> LocatedSource:
    if not isinstance(track, PoseTrack):
        problems[source.name], reason = no_pose_of(track)
        frames = [replace(frame, pose=reason) for frame in source.frames]
        return locate_source(frames, options, is_video=source.is_video)
    poses: Iterable[Pose | NoPose]
    if track.stills:
        poses = (track.still(frame.picture or source.name) for frame in source.frames)
    else:
        poses = track.at_each(frame.time_s for frame in source.frames)
    frames = [replace(frame, pose=pose) for frame, pose in zip(source.frames, poses, strict=True)]
    lacks = [f"the telemetry does not state the {fact}: give {opt}" for fact, opt in _lacks(track)]
    return locate_source(
        frames, options, is_video=source.is_video, assumptions=[*track.assumptions, *lacks]
    )


def _lacks(track: PoseTrack) -> Iterator[tuple[str, str]]:
    """Yield what no pose has, and how the user gives it."""
    for name, fact, opt in (
        ("yaw", "camera's direction", "--yaw"),
        ("pitch", "camera's pitch", "--pitch"),
        ("hfov", "field of view", "--hfov or --camera"),
    ):
        if name in track.missing:
            yield fact, opt
