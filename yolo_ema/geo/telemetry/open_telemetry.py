"""The one way from a video or images to the poses of their camera."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from yolo_ema.errors import ConfigError, MissingPackageError, TelemetryError, did_you_mean
from yolo_ema.geo.pose import NoPose, Pose, PoseTrack
from yolo_ema.geo.telemetry.cleaning import cleaned, without_place
from yolo_ema.geo.telemetry.completion import PoseMaker
from yolo_ema.geo.telemetry.containers import creation_utc
from yolo_ema.geo.telemetry.fitting import on_video_clock, without_future
from yolo_ema.geo.telemetry.kinds import AUTO, KINDS, read_file
from yolo_ema.geo.telemetry.live import is_live
from yolo_ema.geo.telemetry.reading import Reading, Sample
from yolo_ema.io.namesakes import counterparts
from yolo_ema.options.telemetry import TelemetryOptions

__all__ = ["open_telemetry", "telemetry_words"]


def open_telemetry(
    source: str | Path | Sequence[str | Path],
    options: TelemetryOptions | None = None,
    *,
    duration_s: float | None = None,
    start_utc: datetime | None = None,
    images: bool | None = None,
) -> PoseTrack | tuple[NoPose, ...]:
    """Return where the camera of a video or of images was, from the first kind of telemetry in the
    user's order that tells it.

    Args:
        source: a video, or one or several images.
        options: the user's word; by default `TelemetryOptions()`, which looks everywhere.
        duration_s: length of the video, to find telemetry of another clip.
        start_utc: when the video begins; by default as its file says.
        images: whether the source is images; by default, where a list is given or no kind of
            telemetry of videos reads such a suffix.

    Returns:
        The track, or, where no kind tells anything, the reason of each that was tried.

    Raises:
        ConfigError: ``--telemetry`` has an unknown kind or file, or ``--camera`` is unknown.

    Examples:
        >>> from yolo_ema import open_telemetry
        >>> found = open_telemetry("flight.mp4")
        >>> [reason.source for reason in found]
        ['srt', 'subtitles', 'klv', 'exiftool', 'csv', 'mavlink']
    """
    options = options or TelemetryOptions()
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(name) for name in source]
    if not paths:
        return (NoPose("not_found", "there are no images"),)
    if images is None:
        images = not isinstance(source, str | Path) or _is_image(paths[0])
    reasons = []
    for word in telemetry_words(options.telemetry, images=images):
        maker = PoseMaker(options, word)
        try:
            reading = _read(word, paths, images=images)
            if images:
                return _still_track(reading, paths, maker)
            if start_utc is None and reading.clock == "utc":
                start_utc = creation_utc(paths[0])
            return _track(reading, maker, options, duration_s, start_utc)
        except MissingPackageError as error:
            reasons.append(NoPose("missing_package", str(error), word))
        except TelemetryError as error:
            reasons.append(NoPose(error.reason, str(error), word))
        except OSError as error:
            reasons.append(NoPose("unreadable", f"it cannot be read: {error}", word))
    return tuple(reasons)


def _is_image(path: Path) -> bool:
    from yolo_ema.constants import IMAGE_SUFFIXES

    return path.suffix.lower() in IMAGE_SUFFIXES


def telemetry_words(asked: Sequence[str], *, images: bool) -> list[str]:
    """Return kinds and files in the user's order, each once, with ``auto`` written out.

    Raises:
        ConfigError: an entry is neither a kind nor a file.
    """
    words: dict[str, None] = {}
    for word in asked or ("auto",):
        if word == "auto":
            words |= dict.fromkeys(AUTO[images])
        elif word in KINDS or is_live(word) or Path(word).exists() or Path(word).suffix:
            words[word] = None
        else:
            raise ConfigError(
                f"--telemetry has {word!r}, which is neither a kind nor a file"
                f"{did_you_mean(word, KINDS)}; kinds are auto, {', '.join(KINDS)}"
            )
    return list(words)


def _read(word: str, paths: Sequence[Path], *, images: bool) -> Reading:
    if is_live(word):
        raise TelemetryError("it is live, and the source is stored", "no_common_clock")
    if word in KINDS:
        return KINDS[word].read(paths, images=images)
    return read_file(Path(word), paths[0])


def _track(
    reading: Reading,
    maker: PoseMaker,
    options: TelemetryOptions,
    duration_s: float | None,
    start_utc: datetime | None,
) -> PoseTrack:
    """Return the poses of a clip."""
    if not reading.samples and reading.stills:
        raise TelemetryError("it is about images, and the source is a video", "unknown_image")
    reading = without_future(
        on_video_clock(cleaned(reading), options.telemetry_offset, duration_s, start_utc)
    )
    maker.source, maker.position_step_m = reading.source, reading.position_step_m
    poses = maker.poses(reading.samples)
    return PoseTrack(
        poses,
        reading.source,
        (*reading.assumptions, *maker.assumptions),
        lost=tuple(reading.lost),
        hold_s=reading.hold_s,
    )


def _still_track(reading: Reading, paths: Sequence[Path], maker: PoseMaker) -> PoseTrack:
    """Return the poses of images."""
    maker.source = reading.source
    stills = _by_path(reading.stills, paths) or _by_order(reading, paths)
    posed = {path: _still(still, maker) for path, still in stills.items()}
    poses = [pose for pose in posed.values() if isinstance(pose, Pose)]
    if not poses:
        first = next(iter(posed.values()))
        reason = first.reason if isinstance(first, NoPose) else "unknown_image"
        raise TelemetryError(f"none of the {len(paths)} images has a pose: {first}", reason)
    names = Counter(path.name for path in posed)
    by_name = {path.name: pose for path, pose in posed.items() if names[path.name] == 1}
    assumptions = [*reading.assumptions, *maker.assumptions]
    if len(poses) < len(posed) and reading.source not in {"xmp", "exif"}:  # these say it themselves
        assumptions.append(f"{len(posed) - len(poses)} of {len(posed)} images have no pose")
    return PoseTrack(
        (),
        reading.source,
        tuple(assumptions),
        stills={**by_name, **{str(path): pose for path, pose in posed.items()}},
    )


def _still(still: Sample | str, maker: PoseMaker) -> Pose | NoPose:
    if isinstance(still, str):
        return NoPose(still, source=maker.source)
    reason = without_place(still)
    if reason:
        return NoPose(reason, source=maker.source)
    return maker.pose(replace(still, time_s=0.0))


def _by_path(stills: Mapping[str, Sample | str], paths: Sequence[Path]) -> dict[Path, Sample | str]:
    """Return what telemetry tells of each image, by its path, its file name, or its name without
    suffix, as OpenSfM writes it; a name that several have tells nothing where no folder does.
    """
    if not stills:
        return {}
    images: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        images[path.name].append(str(path))
    told: dict[str, list[str]] = defaultdict(list)
    for key in stills:
        told[Path(key).name].append(key)
    samples: dict[str, Sample | str] = {}
    for name, of_name in images.items():
        keys = told.get(name) or told.get(Path(name).stem) or []
        for image, found in counterparts(of_name, keys).items():
            tells = {image} & stills.keys() or set(found or ())
            samples[image] = stills[tells.pop()] if len(tells) == 1 else "unknown_image"
    return {path: samples[str(path)] for path in paths}


def _by_order(reading: Reading, paths: Sequence[Path]) -> dict[Path, Sample | str]:
    """Return a log's pictures for images in the order of their names, where their number agrees."""
    if not reading.pictures:
        raise TelemetryError("it is about a clip, and the source is images", "unknown_image")
    if len(reading.pictures) != len(paths):
        raise TelemetryError(
            f"it has {len(reading.pictures)} photos (CAMERA_FEEDBACK), and there are "
            f"{len(paths)} images: which is which is unknown",
            "other_clip",
        )
    reading.assumptions.append("photos of the log are the images in the order of their names")
    return dict(zip(sorted(paths), reading.pictures, strict=True))
