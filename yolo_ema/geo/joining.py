"""Which tracklets are one object: seen again after the camera turned away, in another video of the
flight, or in overlapping images.

Two tracklets may be one object where their classes allow it, no frame shows both (but as one box
found twice, as a car and as a van), and a chi-square test at 99 % does not tell their positions
apart, given what their errors share. Of several that may, the assignment with the smallest sum of
test values counts, one to one. Places of a later pass are shifted against those of an earlier one
by their poses' errors, all alike: the shift that brings most of them together is taken out first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lap
import numpy as np
from numpy.typing import NDArray

from yolo_ema.geo.fixes import Fixes, at_its_height, correlation
from yolo_ema.geo.motion_fit import Motion, motion_of, strayed
from yolo_ema.geo.tracklets import Tracklet
from yolo_ema.geo.uncertainty import CHI2_99

Array = NDArray[np.float64]

_ALIKE = (
    {"pedestrian", "people", "person"},
    {"car", "van", "truck", "bus"},
    {"bicycle", "motor", "motorcycle", "tricycle", "awning-tricycle"},
)
_BATCH_S = 10.0
_CONTINUES_WITHIN_S = 3.0
_LEAST_VOTES = 3
_MOST_SHIFTS = 1500
_LEFT_AFTER_SHIFT = 0.1
_IMPOSSIBLE = 1e6
_ONE_BOX_IOU = 0.6


def may_be_one(first: str, second: str) -> bool:
    """Say whether detectors may take one object for the two classes."""
    return first == second or any({first, second} <= alike for alike in _ALIKE)


@dataclass
class GroundObject:
    """What tracklets have been joined to.

    Attributes:
        tracklets: in order of time.
        fixes: all their positions.
        motion: of its last tracklet.
    """

    tracklets: list[Tracklet]
    fixes: Fixes
    motion: Motion

    def __post_init__(self) -> None:
        self._summarise()

    def _summarise(self) -> None:
        """Keep the mean of the positions, and of what they are made of."""
        scores: dict[str, float] = {}
        for tracklet in self.tracklets:
            for name, score in tracklet.class_scores.items():
                scores[name] = scores.get(name, 0.0) + score
        self.class_scores = dict(sorted(scores.items(), key=lambda pair: -pair[1]))
        self.class_name = next(iter(self.class_scores))
        self.fixes = fixes = at_its_height(self.fixes, self.class_name)
        weights = np.linalg.inv(fixes.covariances() + np.eye(2) * 1e-8)
        weights = np.linalg.inv(weights.sum(axis=0)) @ weights
        self.mean = np.einsum("nij,nj->i", weights, fixes.metres_en)
        self.root = np.einsum("nij,njk->ik", weights, fixes.pose_roots)
        self.box = fixes.combined_boxes(weights)
        self.reach = float(np.sqrt(np.trace(self.box + self.root @ self.root.T)))

    def add(self, other: GroundObject) -> None:
        """Join another object to this one, which began earlier."""
        self.tracklets += other.tracklets
        self.fixes = self.fixes.and_(other.fixes).thinned()
        self.motion = other.motion if other.motion.is_moving is not None else self.motion
        self._summarise()

    def seen_beside(self, other: GroundObject) -> bool:
        """Say whether one frame shows both, as two boxes."""
        return any(
            _beside(first, second)
            for first in self.tracklets
            for second in other.tracklets
            if first.source == second.source
        )


def _beside(one: Tracklet, two: Tracklet) -> bool:
    """Say whether frames show two objects, and not in most of them one box found twice."""
    shared = sorted(one.boxes.keys() & two.boxes.keys())
    if not shared:
        return False
    first, second = (
        np.array([boxes[frame] for frame in shared]) for boxes in (one.boxes, two.boxes)
    )
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    areas = (first[:, 2:] - first[:, :2]).prod(axis=1) + (second[:, 2:] - second[:, :2]).prod(
        axis=1
    )
    return bool(np.median(common / np.maximum(areas - common, 1e-9)) < _ONE_BOX_IOU)


def join(tracklets: Sequence[Tracklet]) -> list[GroundObject]:
    """Return the objects that tracklets are of, in order of their first sighting."""
    objects: list[GroundObject] = []
    for batch in _batches(tracklets):
        new = [GroundObject([track], track.fixes, motion_of(track.fixes)) for track in batch]
        matches = _assign(new, objects)
        fresh: list[GroundObject] = []
        for number, joined in enumerate(new):
            if number in matches:
                objects[matches[number]].add(joined)
                continue
            again = _assign([joined], fresh)
            if again:
                fresh[again[0]].add(joined)
            else:
                fresh.append(joined)
        objects += fresh
    return objects


def _batches(tracklets: Sequence[Tracklet]) -> Iterator[list[Tracklet]]:
    """Yield tracklets that begin in the same ten seconds of a source; those of single sightings by
    frame.
    """
    batches: dict[tuple[int, float, int], list[Tracklet]] = {}
    for tracklet in tracklets:
        start = float(tracklet.fixes.moments_s[0])
        frame = min(tracklet.boxes) if tracklet.track_id < 0 else -1
        batches.setdefault((tracklet.source, start // _BATCH_S, frame), []).append(tracklet)
    for key in sorted(batches):
        yield sorted(batches[key], key=lambda tracklet: float(tracklet.fixes.moments_s[0]))


def _assign(new: Sequence[GroundObject], old: Sequence[GroundObject]) -> dict[int, int]:
    """Return which of the old objects each of the new ones is, where it is one."""
    if not new or not old:
        return {}
    pairs = _Pairs(new, old)
    costs = np.full((len(new), len(old)), _IMPOSSIBLE)
    costs[pairs.new, pairs.old] = pairs.tests()
    allowed = costs <= CHI2_99
    for row, column in np.argwhere(allowed).tolist():
        if new[row].seen_beside(old[column]):
            allowed[row, column] = False
    _, columns, _ = lap.lapjv(np.where(allowed, costs, CHI2_99), extend_cost=True)
    return {
        row: int(column)
        for row, column in enumerate(columns)
        if column >= 0 and allowed[row, column]
    }


class _Pairs:
    """New and old objects that are near and alike enough to be one.

    Attributes:
        new, old: (k,) their numbers.
        off: (k, 2) metres from the old to the new.
        own: (k, 2, 2) covariance of that by boxes.
        shared: (k, 2, 2) by poses, which shift what was seen together alike.
    """

    def __init__(self, new: Sequence[GroundObject], old: Sequence[GroundObject]) -> None:
        rows, columns, off, own, shared = [], [], [], [], []
        old_mean = np.array([joined.mean for joined in old])
        old_reach = np.array([joined.reach for joined in old])
        for number, newcomer in enumerate(new):
            near = np.hypot(*(old_mean - newcomer.mean).T) <= 3.5 * (
                old_reach + newcomer.reach
            ) + 50 * (np.array([bool(joined.motion.is_moving) for joined in old]))
            for index in np.flatnonzero(near).tolist():
                difference = _difference(newcomer, old[index])
                if difference is not None and may_be_one(
                    newcomer.class_name, old[index].class_name
                ):
                    rows.append(number)
                    columns.append(index)
                    off.append(difference[0])
                    own.append(difference[1])
                    shared.append(difference[2])
        self.new, self.old = np.array(rows, int), np.array(columns, int)
        self.off = np.array(off).reshape(-1, 2)
        self.own = np.array(own).reshape(-1, 2, 2) + np.eye(2) * 1e-6
        self.shared = np.array(shared).reshape(-1, 2, 2)

    def tests(self) -> Array:
        """Return the test value (k,) of each pair, the common shift taken out."""
        plain = _chi2(self.off, self.own + self.shared)
        shifted = np.trace(self.shared, axis1=1, axis2=2) > np.trace(self.own, axis1=1, axis2=2)
        shift = self._shift(plain, shifted)
        if shift is None:
            return plain
        rest = _chi2(self.off - shift, self.own + _LEFT_AFTER_SHIFT * self.shared)
        return np.where(shifted & (plain <= CHI2_99), rest, plain)

    def _shift(self, plain: Array, shifted: NDArray[np.bool_]) -> Array | None:
        """Return the shift (2,) that leaves the least between new objects and the old ones nearest
        to them; None where it brings fewer than three together.
        """
        usable = np.flatnonzero(shifted & (plain <= CHI2_99))
        _, new = np.unique(self.new[usable], return_inverse=True)
        off = self.off[usable]
        tight = np.linalg.inv(self.own[usable] + _LEFT_AFTER_SHIFT * self.shared[usable])
        best: tuple[float, Array] | None = None
        for candidate in np.argsort(plain[usable], kind="stable")[:_MOST_SHIFTS].tolist():
            rest = off - off[candidate]
            tests = np.einsum("ni,nij,nj->n", rest, tight, rest)
            least = np.full(int(new.max()) + 1, CHI2_99)
            np.minimum.at(least, new, tests)
            cost = float(least.sum() + plain[usable[candidate]])
            if (least < CHI2_99).sum() >= _LEAST_VOTES and (best is None or cost < best[0]):
                nearest = (tests == least[new]) & (tests < CHI2_99)
                best = cost, np.median(off[nearest], axis=0)
        return None if best is None else best[1]


def _chi2(off: Array, covariances: Array) -> Array:
    return np.einsum("ni,nij,nj->n", off, np.linalg.inv(covariances), off)


def _difference(new: GroundObject, old: GroundObject) -> tuple[Array, Array, Array] | None:
    """Return how far a new object lies from an old one (2,), and the covariances of that by boxes
    and by poses; None where one moves too long ago.
    """
    same_clock = new.fixes.clocks[0] == old.fixes.clocks[-1]
    gap_s = float(new.fixes.moments_s[0] - old.fixes.moments_s[-1]) if same_clock else np.inf
    correlated = float(correlation(np.array(max(gap_s, 0.0))))
    cross = new.root @ old.root.T
    shared = new.root @ new.root.T + old.root @ old.root.T - correlated * (cross + cross.T)
    if not (new.motion.is_moving or old.motion.is_moving):
        return new.mean - old.mean, new.box + old.box, shared
    line = old.motion.last
    if line is None or new.motion.is_moving is False or not 0 < gap_s <= _CONTINUES_WITHIN_S:
        return None
    expected = line.end_m + line.metres_s * gap_s
    off_line = line.covariance * gap_s**2 + strayed(gap_s)
    covariance = new.fixes.joint_of_boxes[0, :, 0] + old.box + off_line
    return new.fixes.metres_en[0] - expected, covariance, np.zeros((2, 2))
