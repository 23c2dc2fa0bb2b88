"""A tracker for small objects in drone footage: BoT-SORT without appearance, changed where such
footage needs something else. numpy in, numpy out.

Detections are matched in three rounds, as in ByteTrack (Zhang et al., ECCV 2022): strong ones with
confirmed and lost tracks, weak ones with what is left of the tracks that were followed until now,
and the strong ones that remain with tracks that were seen once. What differs from BoT-SORT (Aharon
et al., 2022):

- Boxes are widened before they are compared, so that boxes of a few pixels which do not overlap
  from frame to frame still match (Yang et al., "Hard to Track Objects with Irregular Motions and
  Similar Appearances? Make It Easier by Buffering the Matching Space", WACV 2023): by pixels, since
  that is what they miss each other by, and farther while a track's speed is unknown. Scores do not
  enter the cost: those of small objects are low, and would forbid nearly every match.
- The camera's motion is a homography from points outside the objects (`motion.CameraMotion`),
  applied at each track's place.
- The Kalman filter's noise has a floor in pixels and a scale in seconds (`kalman`).
- A step of the filter is a step of time: where frames were dropped, several are made at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import lap
import numpy as np
from numpy.typing import NDArray

from yolo_ema.boxes import box_iou
from yolo_ema.tracking.kalman import BoxKalmanFilter
from yolo_ema.tracking.motion import CameraMotion

__all__ = ["SmallObjectSettings", "SmallObjectTracker", "assign"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
_KEPT, _NEW, _FOUND_AGAIN, _STILL_LOST, _LOST_NOW, _DROPPED = range(6)


@dataclass(frozen=True)
class SmallObjectSettings:
    """The preset for small objects in drone footage; lengths are shares of a box's side unless
    named otherwise.

    Attributes:
        strong_score: detections from here on are matched first, also with lost tracks.
        weak_score: those between here and `strong_score` only keep a track that is followed.
        new_score: least score that starts a track.
        lost_s: seconds for which a lost track may be found again.
        buffer_px: by how much boxes are widened on each side before they are compared, pixels.
        wide_buffer: what is added for tracks that were seen once, deviations of where they are
            expected.
        worst_cost: 1 − overlap of the widened boxes, above which two do not match.
        worst_weak_cost: the same for weak detections.
        worst_new_cost: the same for tracks that were seen once.
        class_cost: added to the cost where the class differs from the track's last one.
        duplicate_iou: overlap with a lost track from which a followed one is the same object; the
            one that was followed for longer stays.
        noise: deviation of a detected position.
        noise_px: least deviation of a detected position.
        speed: deviation of an unknown speed, sides a second.
        acceleration: deviation of the speed's change, sides a second squared.

    Examples:
        >>> from yolo_ema import SmallObjectSettings, Tracker
        >>> tracker = Tracker(frame_rate=10, settings=SmallObjectSettings(buffer_px=3.0))
    """

    strong_score: float = 0.25
    weak_score: float = 0.1
    new_score: float = 0.25
    lost_s: float = 2.0
    buffer_px: float = 2.0
    wide_buffer: float = 1.5
    worst_cost: float = 0.8
    worst_weak_cost: float = 0.6
    worst_new_cost: float = 0.7
    class_cost: float = 0.1
    duplicate_iou: float = 0.85
    noise: float = 0.05
    noise_px: float = 1.0
    speed: float = 2.0
    acceleration: float = 3.0


@dataclass
class _Tracks:
    """N tracks, those that are followed before the lost ones.

    Attributes:
        mean, covariance: see `BoxKalmanFilter`.
        class_ids: (N,) class of the last detection.
        first_frame, last_frame: (N,) when each was seen first and last.
        confirmed: (N,) whether it was seen twice, or in the source's first frame.
        lost: (N,) whether it was missed in the last frame.
        track_ids: (N,) identities; −1 before one is given.
        detections: (N,) row of this frame's detection; −1 where there is none.
    """

    mean: Array
    covariance: Array
    class_ids: Ints
    first_frame: Ints
    last_frame: Ints
    confirmed: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    track_ids: Ints
    detections: Ints

    def __len__(self) -> int:
        return len(self.mean)

    def take(self, rows: np.ndarray) -> _Tracks:
        """Return some of the tracks, by row numbers or a mask."""
        return _Tracks(*(getattr(self, field.name)[rows] for field in fields(self)))

    def plus(self, more: _Tracks) -> _Tracks:
        """Return these tracks and others behind them."""
        names = [field.name for field in fields(self)]
        return _Tracks(
            *(np.concatenate([getattr(self, name), getattr(more, name)]) for name in names)
        )

    @property
    def boxes_xyxy(self) -> Array:
        """Where they are expected, or were last seen, (N, 4) pixels."""
        centres, halves = self.mean[:, :2], self.mean[:, 2:4] / 2
        return np.concatenate([centres - halves, centres + halves], axis=1)


class SmallObjectTracker:
    """The tracker behind the preset ``drone``.

    Identities start at 1, have no gaps and are never given twice. A track is confirmed, and gets
    its identity, in the second frame that shows it; in the very first frame at once.

    Examples:
        >>> tracker = SmallObjectTracker(frame_rate=25)
        >>> for index, (image_bgr, boxes_xyxy, scores, class_ids) in enumerate(frames):
        ...     track_ids = tracker.update(
        ...         boxes_xyxy, scores, class_ids, image_bgr=image_bgr, time_s=index / 25
        ...     )

    Attributes:
        homography: (3, 3) from the last frame's pixels to this one's; the identity where the camera
            is not followed.
    """

    def __init__(
        self,
        settings: SmallObjectSettings | None = None,
        *,
        compensate_motion: bool = True,
        frame_rate: float = 30.0,
    ) -> None:
        """Start without tracks.

        Args:
            settings: others than the defaults.
            compensate_motion: follow the camera's motion, seen in what lies between the objects.
            frame_rate: frames per second of the source.
        """
        self.settings = settings or SmallObjectSettings()
        self._frame_rate, self._compensate_motion = frame_rate, compensate_motion
        self._longest_gap = max(2, round(self.settings.lost_s * frame_rate))
        self._filter = BoxKalmanFilter(
            frame_rate,
            noise=self.settings.noise,
            noise_px=self.settings.noise_px,
            speed=self.settings.speed,
            acceleration=self.settings.acceleration,
        )
        self._identities_given = 0
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, as before another scene; identities count on from where they were."""
        self._frame = 0
        self._last_time_s: float | None = None
        self._motion = CameraMotion() if self._compensate_motion else None
        self.homography = np.eye(3)
        self._tracks = self._new_tracks(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int))

    def update(
        self,
        boxes_xyxy: np.ndarray,
        scores: np.ndarray,
        class_ids: np.ndarray,
        *,
        image_bgr: np.ndarray,
        time_s: float,
    ) -> Ints:
        """Take the next frame's detections, also where there are none.

        Args:
            boxes_xyxy: (N, 4) pixels.
            scores: (N,) in 0…1.
            class_ids: (N,).
            image_bgr: (H, W, 3) uint8, the frame.
            time_s: seconds since the source's start.

        Returns:
            (N,) identities; −1 where a detection has none yet.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        self._advance(boxes, image_bgr, time_s)
        scores, settings = np.asarray(scores, np.float32), self.settings
        valid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        strong = np.flatnonzero(valid & (scores >= settings.strong_score))
        weak = np.flatnonzero(
            valid & (scores > settings.weak_score) & (scores < settings.strong_score)
        )
        tracks = self._tracks
        seen_once = np.flatnonzero(~tracks.lost & ~tracks.confirmed)
        confirmed = np.flatnonzero(tracks.confirmed)
        left, strong = self._match(confirmed, boxes, class_ids, strong, settings.worst_cost)
        followed = left[~tracks.lost[left]]
        missed, _ = self._match(followed, boxes, class_ids, weak, settings.worst_weak_cost)
        dropped, strong = self._match(seen_once, boxes, class_ids, strong, settings.worst_new_cost)
        new = strong[scores[strong] >= settings.new_score]
        self._tracks = self._settled(missed, dropped, self._new_tracks(boxes, class_ids, new))
        return self._track_ids(len(boxes))

    def _advance(self, boxes_xyxy: Array, image_bgr: np.ndarray, time_s: float) -> None:
        """Move all tracks to where they are expected in this frame, those too old left out."""
        steps = 1
        if self._last_time_s is not None:
            passed = round((time_s - self._last_time_s) * self._frame_rate)
            steps = min(max(passed, 1), self._longest_gap + 1)
        self._last_time_s = time_s
        self._frame += steps
        tracks = self._tracks.take(self._frame - self._tracks.last_frame <= self._longest_gap)
        tracks.detections[:] = -1
        tracks.mean[tracks.lost, 6:] = 0  # the size of what is lost stays
        tracks.mean, tracks.covariance = self._filter.predict(tracks.mean, tracks.covariance, steps)
        if self._motion is not None:
            self.homography = self._motion.update(image_bgr, boxes_xyxy)
            tracks.mean, tracks.covariance = self._filter.warp(
                tracks.mean, tracks.covariance, self.homography
            )
        self._tracks = tracks

    def _match(
        self, rows: Ints, boxes_xyxy: Array, class_ids: np.ndarray, detections: Ints, worst: float
    ) -> tuple[Ints, Ints]:
        """Continue tracks by detections where they match; return the tracks and the detections that
        are left.
        """
        tracks = self._tracks
        chosen = tracks.take(rows)
        deviation = np.sqrt((chosen.covariance[:, 0, 0] + chosen.covariance[:, 1, 1]) / 2)
        seen_once = chosen.first_frame == chosen.last_frame
        margins = self.settings.buffer_px + self.settings.wide_buffer * deviation * seen_once
        cost = 1 - box_iou(
            chosen.boxes_xyxy[:, None], boxes_xyxy[detections], margin_px=margins[:, None]
        )
        cost += self.settings.class_cost * (chosen.class_ids[:, None] != class_ids[detections])
        pairs = assign(cost, worst)
        matched, continuing = rows[pairs[0]], detections[pairs[1]]
        tracks.mean[matched], tracks.covariance[matched] = self._filter.correct(
            tracks.mean[matched], tracks.covariance[matched], _xywh(boxes_xyxy[continuing])
        )
        tracks.class_ids[matched] = class_ids[continuing]
        tracks.last_frame[matched], tracks.confirmed[matched] = self._frame, True
        tracks.detections[matched] = continuing
        return np.delete(rows, pairs[0]), np.delete(detections, pairs[1])

    def _new_tracks(self, boxes_xyxy: Array, class_ids: np.ndarray, detections: Ints) -> _Tracks:
        mean, covariance = self._filter.start(_xywh(boxes_xyxy[detections]))
        count = len(detections)
        return _Tracks(
            mean,
            covariance,
            np.asarray(class_ids)[detections].astype(np.int64),
            first_frame=np.full(count, self._frame),
            last_frame=np.full(count, self._frame),
            confirmed=np.full(count, self._frame == 1),
            lost=np.zeros(count, bool),
            track_ids=np.full(count, -1),
            detections=detections,
        )

    def _settled(self, missed: Ints, dropped: Ints, new: _Tracks) -> _Tracks:
        """Return the tracks at the end of a frame, in the order in which ties are decided."""
        status = np.where(self._tracks.lost, _STILL_LOST, _KEPT)
        status[self._tracks.lost & (self._tracks.detections >= 0)] = _FOUND_AGAIN
        status[missed], status[dropped] = _LOST_NOW, _DROPPED
        status = np.concatenate([status, np.full(len(new), _NEW)])
        order = np.argsort(status, kind="stable")[: np.count_nonzero(status != _DROPPED)]
        tracks = self._tracks.plus(new).take(order)
        tracks.lost = status[order] >= _STILL_LOST
        return tracks.take(~self._duplicates(tracks))

    def _duplicates(self, tracks: _Tracks) -> NDArray[np.bool_]:
        """Return (N,) whether a track is the shorter one of a followed and a lost track at the same
        place; of equally long ones the lost one stays.
        """
        lost, boxes = tracks.lost, tracks.boxes_xyxy
        same = box_iou(boxes[~lost][:, None], boxes[lost]) > self.settings.duplicate_iou
        length = tracks.last_frame - tracks.first_frame
        followed_is_longer = length[~lost][:, None] > length[lost]
        duplicate = np.zeros(len(tracks), bool)
        duplicate[~lost] = (same & ~followed_is_longer).any(axis=1)
        duplicate[lost] = (same & followed_is_longer).any(axis=0)
        return duplicate

    def _track_ids(self, count: int) -> Ints:
        """Return (N,) identities, after giving one to each track that was just confirmed."""
        tracks = self._tracks
        nameless = np.flatnonzero(tracks.confirmed & (tracks.track_ids < 0))
        tracks.track_ids[nameless] = self._identities_given + 1 + np.arange(len(nameless))
        self._identities_given += len(nameless)
        track_ids = np.full(count, -1)
        seen = tracks.detections >= 0
        track_ids[tracks.detections[seen]] = tracks.track_ids[seen]
        return track_ids


def _xywh(boxes_xyxy: Array) -> Array:
    """Return centre x and y, width and height of boxes (N, 4)."""
    corner, far = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(corner + far) / 2, far - corner], axis=1)


def assign(cost: Array, worst: float) -> tuple[Ints, Ints]:
    """Return the rows and columns of the assignment with the least total cost, by Jonker and
    Volgenant's algorithm (1987).

    Args:
        cost: (N, M).
        worst: no pair that costs more is made; to leave both of a pair alone costs as much.

    Returns:
        Row and column of each pair, (K,) both, rows rising.
    """
    if not cost.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, columns, _ = lap.lapjv(cost, extend_cost=True, cost_limit=worst)
    rows = np.flatnonzero(columns >= 0)
    return rows, columns[rows].astype(np.int64)
