"""A flight on the map: sightings, objects, coverage, and all that was assumed for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from yolo_ema.geo.footprint import COVERAGE_DEPRESSION_DEG, CoverageArea, coverage_of
from yolo_ema.geo.objects import MapObject, map_objects
from yolo_ema.geo.sightings import LocatedSource
from yolo_ema.geo.uncertainty import PoseSigmas
from yolo_ema.options.mapping import MapOptions

_UNITS = {"m": "m", "deg": "°"}
_BASES = {
    "auto": "a box stands in the middle of an upright body, as high as its class, that touches its "
    "four edges; for classes of unknown height, at its lower edge in flat views and its middle "
    "from straight above",
    "bottom": "a box stands at the middle of its lower edge",
    "centre": "a box stands at its middle",
}


@dataclass(frozen=True)
class FlightMap:
    """What the videos and images of one flight show, on the map.

    Attributes:
        sources: the videos and images with their sightings.
        objects: each once.
        coverage: the ground that was seen.
        assumptions: everything that was assumed, each once.
    """

    sources: tuple[LocatedSource, ...]
    objects: tuple[MapObject, ...]
    coverage: tuple[CoverageArea, ...]
    assumptions: tuple[str, ...]

    @property
    def sightings(self) -> int:
        """How many sightings there are, placed or not."""
        return sum(len(source.sightings) for source in self.sources)

    @property
    def not_placed(self) -> dict[str, int]:
        """How many sightings have no place, by the code of the reason, most frequent first."""
        total: Counter[str] = Counter()
        for source in self.sources:
            total.update(source.sightings.unplaced())
        return dict(total.most_common())

    @property
    def objects_per_class(self) -> dict[str, int]:
        """How many objects of each class there are, most frequent first."""
        return dict(Counter(item.class_name for item in self.objects).most_common())


def map_flight(sources: Sequence[LocatedSource], options: MapOptions) -> FlightMap:
    """Return the map of one flight's located videos and images."""
    coverage, cell_m = coverage_of(sources, most_gsd_m=options.coverage_gsd)
    notes = dict.fromkeys(
        sentence for source in sources for sentence in _of_source(source)
    ) | dict.fromkeys(_of_options(sources, options, cell_m))
    return FlightMap(
        tuple(sources),
        tuple(map_objects(sources, unique=options.unique)),
        tuple(coverage),
        tuple(notes),
    )


def _of_source(source: LocatedSource) -> Iterator[str]:
    yield from source.assumptions
    yield f"standard deviations of the camera: {_in_words(source.sigmas)}"


def _in_words(sigmas: PoseSigmas) -> str:
    words = []
    for field in fields(sigmas):
        name, _, unit = field.name.rpartition("_")
        words.append(f"{name} {getattr(sigmas, field.name):g} {_UNITS[unit]}")
    return ", ".join(words)


def _of_options(
    sources: Sequence[LocatedSource], options: MapOptions, cell_m: float
) -> Iterator[str]:
    yield _BASES[options.base]
    yield (
        f"the point of a box has a standard deviation of {options.sigma_box:g} pixels in each "
        "direction; heights and shapes of classes have those of yolo_ema/geo/class_sizes.py"
    )
    yield "refraction and the curvature of the earth within a line of view are left out"
    yield (
        "of the variance of a pose a tenth changes from one position to the next, and of the rest "
        "half is the same throughout a flight, and half fades within a minute; half of that of a "
        "box is the same throughout a track; an object has one height"
    )
    if options.unique:
        yield (
            "what is seen again is one object where class and position allow it: a chi-square test "
            "at 99 %, one to one, and never two in one frame (but as one box found twice); moving "
            "objects are followed for up to 3 s after they were lost"
        )
    else:
        yield "every identity of every video is an object of its own (--no-unique)"
    if any((source.sightings.track_ids >= 0).any() for source in sources):
        yield "of tracked videos, sightings with an identity alone make objects"
    if any(source.is_video and not (source.sightings.track_ids >= 0).any() for source in sources):
        yield "in videos without identities, two frames per second make objects"
    if any(source.is_video and source.start_s is None for source in sources) and len(sources) > 1:
        yield "the telemetry has no UTC: times of different videos cannot be compared"
    if cell_m:
        yield (
            f"ground counts as covered where a pixel spans at most {options.coverage_gsd:g} m and "
            f"the line of view goes down by {COVERAGE_DEPRESSION_DEG:g}° or more, in cells of "
            f"at most {cell_m:.3g} m; of videos two frames per second count"
        )
