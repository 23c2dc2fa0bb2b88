"""Counts of tracked objects: of each class, over lines, and in zones.

An object is one point: its box's centre or the middle of its lower border. A detected box jitters,
so an object that waits on a line would cross it in every frame: a side counts as reached only when
the point is a quarter of the box's shorter side, and at least 2 pixels, beyond the border; less in
a zone too narrow for that. An object is counted as the class that it had most often.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from yolo_ema.errors import ConfigError
from yolo_ema.tracking.clipping import clip_segment, homogeneous, oriented, window_around
from yolo_ema.tracking.placed_shapes import PlacedLine, PlacedZone
from yolo_ema.tracking.shapes import CountLine, Zone

__all__ = ["Counter"]

Array = NDArray[np.float64]
Anchor = Literal["centre", "bottom"]

_MARGIN = 0.25
_LEAST_MARGIN_PX = 2.0
_FORGET_AFTER = 1000
"""Updates after which an object that was not seen is forgotten: its identity never returns."""


@dataclass
class _Seen:
    """What is known of an identity."""

    classes: Tally[int] = field(default_factory=Tally)
    point: Array | None = None
    """(3,) homogeneous: what it was last seen at may have gone behind the camera."""
    update: int = 0
    """When it was last seen, in updates."""

    @property
    def class_id(self) -> int:
        """The class that it had most often; of equally frequent ones the first."""
        return self.classes.most_common(1)[0][0]


class Counter:
    """Counts the tracked objects of one source.

    Examples:
        >>> from yolo_ema import Counter, CountLine, Detector
        >>> detector = Detector("best.onnx", track=True)
        >>> gate = CountLine.from_text("gate=0.1,0.5,0.9,0.5", "line 1")
        >>> counter = Counter([gate], image_wh=(320, 240), names=detector.names)
        >>> for detections in detector.stream_detections("flight.mp4"):
        ...     counter.update(detections.boxes_xyxy, detections.class_ids, detections.track_ids)
        >>> sorted(counter.as_json())
        ['lines', 'objects', 'zones']
    """

    def __init__(
        self,
        lines: Sequence[CountLine] = (),
        zones: Sequence[Zone] = (),
        *,
        image_wh: tuple[int, int],
        names: Mapping[int, str],
        anchor: Anchor = "centre",
    ) -> None:
        """Start at zero.

        Args:
            lines: where crossings are counted.
            zones: where entries, exits and visitors are counted.
            image_wh: size of the source's frames, pixels.
            names: the classes' names by id.
            anchor: the point of a box that counts: its ``centre``, or the middle of its lower
                border, ``bottom``.

        Raises:
            ConfigError: a line or zone outside the image, two with one name, or an unknown anchor.
        """
        if anchor not in {"centre", "bottom"}:
            raise ConfigError(f"anchor is {anchor!r}; expected 'centre' or 'bottom'")
        twice = [
            name
            for name, count in Tally(shape.name for shape in (*lines, *zones)).items()
            if count > 1
        ]
        if twice:
            raise ConfigError(
                f"several lines or zones are called {', '.join(map(repr, twice))}; give each its "
                f"own name"
            )
        self.anchor, self.names = anchor, names
        self._lines = {line.name: PlacedLine(line.points_in(image_wh)) for line in lines}
        self._zones = {zone.name: PlacedZone(zone.points_in(image_wh), image_wh) for zone in zones}
        self._image_wh = image_wh
        self._ground = np.eye(3)  # from the first frame's pixels to this one's, of any scale
        self._in_image = True  # nothing but the image's size has changed
        self._place(np.zeros((0, 2)))
        self._seen: dict[int, _Seen] = {}
        self._gone: Tally[int] = Tally()
        self._updates = 0
        self._now: list[int] = []

    def update(
        self,
        boxes_xyxy: np.ndarray,
        class_ids: np.ndarray,
        track_ids: np.ndarray,
        homography: np.ndarray | None = None,
    ) -> None:
        """Count a frame's objects; those without an identity are left out.

        Args:
            boxes_xyxy: (N, 4) pixels.
            class_ids: (N,).
            track_ids: (N,), −1 where there is no identity.
            homography: (3, 3) from the last frame's pixels to this one's, of any scale, if lines
                and zones are to stay on the ground while the camera moves; without it they stay in
                place in the image.
        """
        self._updates += 1
        if homography is not None:
            self._follow(homography)
        boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
        points = (boxes[:, :2] + boxes[:, 2:]) / 2
        if self.anchor == "bottom":
            points[:, 1] = boxes[:, 3]
        margins = np.maximum(
            _MARGIN * (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf), _LEAST_MARGIN_PX
        )
        self._now = []
        rows = np.flatnonzero(np.asarray(track_ids) >= 0)
        self._place(points[rows])
        anchors = homogeneous(points)
        for row in rows.tolist():
            self._count(int(track_ids[row]), anchors[row], float(margins[row]), int(class_ids[row]))
        if self._updates % _FORGET_AFTER == 0:
            self._forget()

    def as_json(self) -> dict[str, Any]:
        """Return all counts as plain values: identities by class, crossings of each line, and what
        each zone saw and holds.
        """
        total = self._gone + Tally(seen.class_id for seen in self._seen.values())
        return {
            "objects": self._named(total),
            "lines": {
                name: {direction: self._named(count) for direction, count in line.counts.items()}
                for name, line in self._lines.items()
            },
            "zones": {
                name: {"now": self._named(self._within(zone))}
                | {event: self._named(count) for event, count in zone.counts.items()}
                for name, zone in self._zones.items()
            },
        }

    @property
    def overlays(self) -> list[tuple[str, Array, str]]:
        """Lines and zones to draw: ``line`` or ``zone``, points (P, 2) in pixels of this frame, and
        a label with counts. They are cut half a frame beyond the image, so that one farther off or
        behind the camera has no points.
        """
        lines = [
            (
                "line",
                clip_segment(line.now, self._window),
                f"{name}: {line.counts['in'].total()} in, {line.counts['out'].total()} out",
            )
            for name, line in self._lines.items()
        ]
        zones = [
            (
                "zone",
                zone.outline,
                (
                    f"{name}: {self._within(zone).total()} now, "
                    f"{zone.counts['visitors'].total()} in all"
                ),
            )
            for name, zone in self._zones.items()
        ]
        return [*lines, *zones]

    def _count(self, track_id: int, point: Array, margin: float, class_id: int) -> None:
        seen = self._seen.setdefault(track_id, _Seen())
        seen.classes[class_id] += 1
        for line in self._lines.values():
            line.update(track_id, seen.point, point, margin, seen.class_id)
        for zone in self._zones.values():
            zone.update(track_id, point, margin, seen.class_id)
        seen.point, seen.update = point, self._updates
        self._now.append(track_id)

    def _within(self, zone: PlacedZone) -> Tally[int]:
        return Tally(
            self._seen[track_id].class_id for track_id in self._now if zone.inside.get(track_id)
        )

    def _named(self, count: Tally[int]) -> dict[str, int]:
        """Return counts by name, the most frequent first."""
        named: Tally[str] = Tally()
        for class_id, number in sorted(count.items()):  # several classes may share a name
            named[self.names.get(class_id, str(class_id))] += number
        return dict(named.most_common())

    def _follow(self, homography: np.ndarray) -> None:
        """Move lines, zones and the objects' last points with the ground."""
        homography = oriented(homography)
        self._in_image &= not np.any(homography - np.diag(np.diag(homography)))
        ground = homography @ self._ground
        self._ground = ground / np.linalg.norm(ground)
        for seen in self._seen.values():
            if seen.point is not None:
                moved = homography @ seen.point
                seen.point = moved / np.linalg.norm(moved)

    def _place(self, points_xy: Array) -> None:
        """Find where lines and zones are in this frame, whose objects are at points (N, 2). Always
        from where they were first: what was cut off in one frame may come back in the next.
        """
        # with the objects, since a stream may have grown
        self._window = window_around(self._image_wh, points_xy)
        for line in self._lines.values():
            line.place(self._ground)
        for zone in self._zones.values():
            zone.place(self._ground, self._window, in_image=self._in_image)

    def _forget(self) -> None:
        """Keep the count, but not the track, of what has long been gone."""
        for track_id in [
            track_id
            for track_id, seen in self._seen.items()
            if self._updates - seen.update >= _FORGET_AFTER
        ]:
            self._gone[self._seen.pop(track_id).class_id] += 1
            for line in self._lines.values():
                line.sides.pop(track_id, None)
                line.through.pop(track_id, None)
            for zone in self._zones.values():
                zone.inside.pop(track_id, None)
                zone.visited.discard(track_id)
