"""The tracker for small objects as it was first written, on Ultralytics' BoT-SORT: one object a
track, its hooks overridden. What it does is said in `yolo_ema.tracking.small_object_tracker`, which
must give the same identities.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from ultralytics.trackers.basetrack import TrackState
from ultralytics.trackers.bot_sort import BOTSORT
from ultralytics.trackers.utils import matching
from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYWH

from yolo_ema.tracking.motion import CameraMotion, warp_points

__all__ = ["SmallObjectSettings", "SmallObjectTracker"]


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
        class_cost: added to the cost where the class differs from the track's last one.
        noise: deviation of a detected position.
        noise_px: least deviation of a detected position.
        speed: deviation of an unknown speed, sides a second.
        acceleration: deviation of the speed's change, sides a second squared.
    """

    strong_score: float = 0.25
    weak_score: float = 0.1
    new_score: float = 0.25
    lost_s: float = 2.0
    buffer_px: float = 2.0
    wide_buffer: float = 1.5
    worst_cost: float = 0.8
    worst_weak_cost: float = 0.6
    class_cost: float = 0.1
    noise: float = 0.05
    noise_px: float = 1.0
    speed: float = 2.0
    acceleration: float = 3.0


class _Filter(KalmanFilterXYWH):
    """Ultralytics' filter of centre, width, height and their speeds, with noise by box size and
    time.
    """

    def __init__(self, settings: SmallObjectSettings, frame_rate: float) -> None:
        super().__init__()
        self._settings, self._frame_rate = settings, frame_rate

    def initiate(self, measurement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (8,) and covariance (8, 8) of a new track at rest."""
        position, side = self._deviations(measurement[None])
        speed = np.full(4, side[0] * self._settings.speed / self._frame_rate) * (1, 1, 0.3, 0.3)
        deviation = np.concatenate([2 * position[0], speed])
        return np.concatenate([measurement, np.zeros(4)]).astype(float), np.diag(deviation**2)

    def project(
        self, mean: np.ndarray, covariance: np.ndarray, confidence: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected detection (4,) and its covariance (4, 4)."""
        position, _ = self._deviations(mean[None])
        return mean[:4].copy(), covariance[:4, :4] + np.diag(position[0] ** 2)

    def multi_predict(
        self, mean: np.ndarray, covariance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return means (N, 8) and covariances (N, 8, 8) one frame later."""
        _, side = self._deviations(mean)
        change = side * self._settings.acceleration / self._frame_rate**2
        step = np.outer(change, (0.5, 0.5, 0.2, 0.2, 1.0, 1.0, 0.2, 0.2))
        noise = np.zeros_like(covariance)
        noise[:, range(8), range(8)] = step**2
        return mean @ self._motion_mat.T, self._motion_mat @ covariance @ self._motion_mat.T + noise

    def _deviations(self, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the deviation of detections (N, 4) and the side (N,) of boxes (N, 4 or 8),
        pixels.
        """
        sides = np.maximum(mean[:, 2:4], 1.0)
        deviation = np.hypot(self._settings.noise * sides, self._settings.noise_px)
        return np.concatenate([deviation, deviation * 1.4], axis=1), np.sqrt(sides.prod(axis=1))


class SmallObjectTracker(BOTSORT):
    """The tracker behind the preset ``drone``."""

    tracked_stracks: list[Any]
    lost_stracks: list[Any]

    def __init__(
        self, settings: SmallObjectSettings, *, compensate_motion: bool, frame_rate: float
    ) -> None:
        """Start without tracks; ``frame_rate`` in frames per second."""
        self.settings, self.frame_rate = settings, frame_rate
        self.steps = 1
        self.motion = CameraMotion() if compensate_motion else None
        self.homography = np.eye(3)
        self._objects_xyxy = np.zeros((0, 4), np.float32)
        super().__init__(
            SimpleNamespace(
                track_high_thresh=settings.strong_score,
                track_low_thresh=settings.weak_score,
                new_track_thresh=settings.new_score,
                track_buffer=max(2, round(settings.lost_s * frame_rate)),
                match_thresh=settings.worst_cost,
                fuse_score=False,
                gmc_method="none",
                proximity_thresh=0.5,
                appearance_thresh=0.8,
                with_reid=False,
            )
        )

    def advance(self, detections: Any, image_bgr: np.ndarray, seconds: float) -> None:
        """Take the next frame's detections, ``seconds`` after the last frame's."""
        longest = self.max_frames_lost + 1
        self.steps = (
            int(np.clip(round(seconds * self.frame_rate), 1, longest)) if self.frame_id else 1
        )
        self.frame_id += self.steps - 1
        self._drop_stale()
        self._objects_xyxy = detections.xyxy
        self.update(detections, image_bgr)

    def _drop_stale(self) -> None:
        """Forget what is too old to be found again before this frame is matched; Ultralytics does
        so only after.
        """
        oldest = self.frame_id + 1 - self.max_frames_lost
        self.tracked_stracks = [
            track for track in self.tracked_stracks if track.end_frame >= oldest
        ]
        self.lost_stracks = [track for track in self.lost_stracks if track.end_frame >= oldest]

    def get_kalmanfilter(self) -> KalmanFilterXYWH:
        """Return the filter that new tracks get."""
        return _Filter(self.settings, self.frame_rate)

    def multi_predict(self, tracks: list[Any]) -> None:
        """Move tracks to where they are expected in this frame."""
        if not tracks:
            return
        mean = np.stack([track.mean for track in tracks])
        covariance = np.stack([track.covariance for track in tracks])
        mean[[track.state != TrackState.Tracked for track in tracks], 6:] = (
            0  # the size of what is lost stays
        )
        for _ in range(self.steps):
            mean, covariance = self.kalman_filter.multi_predict(mean, covariance)
        mean[:, 2:4] = np.maximum(mean[:, 2:4], 1.0)
        for track, one_mean, one_covariance in zip(tracks, mean, covariance, strict=True):
            track.mean, track.covariance = one_mean, one_covariance

    def get_dists(self, tracks: list[Any], detections: list[Any]) -> np.ndarray:
        """Return the cost (tracks, detections) of each match, 0 to 1 and a little more where
        classes differ.
        """
        if not tracks or not detections:
            return np.zeros((len(tracks), len(detections)), np.float32)
        boxes = [
            np.stack([one.xyxy for one in some]).astype(float) for some in (tracks, detections)
        ]
        cost = 1 - _overlap(boxes[0], boxes[1], self._margins(tracks))
        classes = [np.array([one.cls for one in some]) for some in (tracks, detections)]
        cost += self.settings.class_cost * (classes[0][:, None] != classes[1])
        return cost.astype(np.float32)

    def _margins(self, tracks: list[Any]) -> np.ndarray:
        """Return by how much boxes are widened for each track (N,), pixels."""
        deviation = np.sqrt(
            [(track.covariance[0, 0] + track.covariance[1, 1]) / 2 for track in tracks]
        )
        seen_once = np.array([track.start_frame == track.end_frame for track in tracks])
        return self.settings.buffer_px + self.settings.wide_buffer * deviation * seen_once

    def _pre_first_associate(
        self,
        strack_pool: list[Any],
        unconfirmed: list[Any],
        img: np.ndarray | None,
        results_high: Any,
    ) -> None:
        self.multi_predict(unconfirmed)  # Ultralytics leaves these where they were seen
        if self.motion is not None and img is not None:
            self.homography = self.motion.update(img, self._objects_xyxy)
            _warp([*strack_pool, *unconfirmed], self.homography)

    def _second_association(
        self,
        strack_pool: list[Any],
        u_track: Any,
        detections_second: list[Any],
        activated: list[Any],
        refind: list[Any],
        lost: list[Any],
    ) -> None:
        """Let weak detections keep tracks that were followed until now."""
        followed = [strack_pool[i] for i in u_track if strack_pool[i].state == TrackState.Tracked]
        cost = self.get_dists(followed, detections_second)
        matches, missed, _ = matching.linear_assignment(cost, thresh=self.settings.worst_weak_cost)
        self._apply_matches(matches, followed, detections_second, activated, refind)
        for i in missed:
            followed[i].mark_lost()
            lost.append(followed[i])


def _overlap(first_xyxy: np.ndarray, second_xyxy: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) of boxes (N, 4) with boxes (M, 4), all widened by
    ``margins`` (N,) on each side.
    """
    both = 2 * margins[:, None]
    corner = np.maximum(first_xyxy[:, None, :2], second_xyxy[:, :2])
    across = np.minimum(first_xyxy[:, None, 2:], second_xyxy[:, 2:]) - corner + both[:, :, None]
    inside = np.clip(across, 0, None).prod(axis=2)
    areas = [
        (sides[..., 0] + both) * (sides[..., 1] + both)
        for sides in (
            first_xyxy[:, None, 2:] - first_xyxy[:, None, :2],
            (second_xyxy[:, 2:] - second_xyxy[:, :2])[None],
        )
    ]
    return inside / (areas[0] + areas[1] - inside)


def _warp(tracks: list[Any], homography: np.ndarray) -> None:
    """Move tracks with the ground: their centres by the homography, speeds and sizes by its
    derivative there.
    """
    if not tracks:
        return
    mean = np.stack([track.mean for track in tracks])
    covariance = np.stack([track.covariance for track in tracks])
    centres = mean[:, :2]
    moved = warp_points(centres, homography)
    depth = centres @ homography[2, :2] + homography[2, 2]
    turn = (homography[:2, :2] - moved[:, :, None] * homography[2, :2]) / depth[
        :, None, None
    ]  # (N, 2, 2)
    zoom = np.sqrt(np.abs(np.linalg.det(turn)))
    change = np.zeros((len(tracks), 8, 8))
    change[:, 0:2, 0:2] = change[:, 4:6, 4:6] = turn
    change[:, [2, 3, 6, 7], [2, 3, 6, 7]] = zoom[:, None]
    mean = (change @ mean[:, :, None])[:, :, 0]
    mean[:, :2] = moved
    covariance = change @ covariance @ change.transpose(0, 2, 1)
    for track, one_mean, one_covariance in zip(tracks, mean, covariance, strict=True):
        track.mean, track.covariance = one_mean, one_covariance
