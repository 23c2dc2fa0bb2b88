"""Standing or moving: velocities fitted to positions, with their deviations."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_ema.geo.fixes import Fixes
from yolo_ema.geo.uncertainty import CHI2_99

Array = NDArray[np.float64]

_ACCELERATION = 1.5  # m/s², of what is taken to go straight on
_LEAST_SPEED = 0.3
_WINDOW_S = 2.0
_LEAST_SPAN_S = 1.0


@dataclass(frozen=True)
class Velocity:
    """A straight line through positions.

    Attributes:
        end_s: the last moment.
        end_m: (2,) position at that moment.
        metres_s: (2,) to the east and north, per second.
        joint: (4, 4) covariance of both.
        freedom: degrees of freedom of the scatter that the deviations were widened by; infinite
            where positions scatter no more than they should.
    """

    end_s: float
    end_m: Array
    metres_s: Array
    joint: Array
    freedom: float = np.inf

    @property
    def covariance(self) -> Array:
        """(2, 2) of the velocity."""
        return self.joint[2:, 2:]

    def after(self, seconds: float) -> tuple[Array, Array]:
        """Return the position (2,) so long after the last moment, and its covariance (2, 2)."""
        steps = np.hstack([np.eye(2), seconds * np.eye(2)])
        covariance = steps @ self.joint @ steps.T + strayed(seconds)
        return self.end_m + seconds * self.metres_s, covariance

    def differs(self, metres_s: ArrayLike, *, by: float = 1.0) -> bool:
        """Say whether it is another velocity, at 99 %, or ``by`` times that limit."""
        off = self.metres_s - np.asarray(metres_s, float)
        test = off @ np.linalg.solve(self.covariance + np.eye(2) * 1e-9, off)
        limit = CHI2_99
        if np.isfinite(self.freedom):  # twice the quantile of F with 2 and so many degrees
            limit = self.freedom * (0.01 ** (-2 / self.freedom) - 1)
        return bool(test > by * limit)

    @property
    def is_moving(self) -> bool:
        """Whether the speed differs from 0 at 99 %, and is more than 0.3 m/s."""
        return self.differs((0, 0)) and float(np.hypot(*self.metres_s)) > _LEAST_SPEED

    @property
    def speed_sigma(self) -> float:
        """Standard deviation of the speed, m/s."""
        along = self.metres_s / max(float(np.hypot(*self.metres_s)), 1e-9)
        return float(np.sqrt(along @ self.covariance @ along))

    @property
    def heading_sigma_deg(self) -> float:
        """Standard deviation of the direction, degrees, at most that of an unknown one, 104."""
        speed = max(float(np.hypot(*self.metres_s)), 1e-9)
        across = np.array([-self.metres_s[1], self.metres_s[0]]) / speed
        sigma = float(np.sqrt(across @ self.covariance @ across)) / speed
        return float(min(np.degrees(sigma), 180 / np.sqrt(3)))


def strayed(seconds: float) -> Array:
    """Return the covariance (2, 2) of where a thing is off its straight line after so long."""
    return (_ACCELERATION * seconds**2 / 2) ** 2 * np.eye(2)


def fit_velocity(fixes: Fixes) -> Velocity:
    """Return the straight line that fits best; its deviations grow where positions scatter more
    than their own deviations say.
    """
    weights = 1 / np.maximum(np.trace(fixes.covariances(), axis1=1, axis2=2), 1e-9)
    weights /= weights.sum()
    times = fixes.moments_s - weights @ fixes.moments_s
    spread = max(float(weights @ times**2), 1e-12)
    parts = weights * times / spread
    metres_s = parts @ fixes.metres_en
    middle = weights @ fixes.metres_en
    residuals = fixes.metres_en - middle - times[:, None] * metres_s
    shares = np.stack([weights + parts * times[-1], parts])  # of end and velocity
    joint = fixes.combined(np.einsum("kn,ij->nkij", shares, np.eye(2)).reshape(-1, 4, 2))
    freedom = 2.0 * len(fixes) - 4
    variance = np.trace(fixes.box_covariances, axis1=1, axis2=2) / 2
    excess = float(((residuals**2).sum(axis=1) / np.maximum(variance, 1e-6)).sum())
    if freedom > 0 and excess > freedom:
        scatter = np.einsum("n,ni,nj->ij", weights, residuals, residuals) * 2 * len(fixes) / freedom
        joint = joint + np.kron(shares @ shares.T, scatter)
    else:
        freedom = np.inf
    end_s, end_m = float(fixes.moments_s[-1]), middle + times[-1] * metres_s
    return Velocity(end_s, end_m, metres_s, joint, freedom)


@dataclass(frozen=True)
class Motion:
    """How an object moves.

    Attributes:
        is_moving: None where it was seen for less than a second.
        speed_m_s: mean along its path; 0 where it stands.
        speed_sigma_m_s: its standard deviation.
        heading_deg: at the end, clockwise from north; None where it does not move.
        heading_sigma_deg: its standard deviation.
        last: the straight line through the last two seconds.
    """

    is_moving: bool | None
    speed_m_s: float | None = None
    speed_sigma_m_s: float | None = None
    heading_deg: float | None = None
    heading_sigma_deg: float | None = None
    last: Velocity | None = None


def motion_of(fixes: Fixes) -> Motion:
    """Return whether and how the object of one tracklet moves.

    It moves where the straight line through all its positions does, or, for what stops and goes,
    one through two seconds at more than twice the test's limit and 1 m/s.
    """
    if float(np.ptp(fixes.moments_s)) < _LEAST_SPAN_S:
        return Motion(None)
    whole = fit_velocity(fixes)
    windows = _windows(fixes)
    lines = [fit_velocity(fixes[window]) for window in windows]
    if not (whole.is_moving or any(map(_goes, lines))):
        return Motion(False, 0.0, whole.speed_sigma)
    spans = np.array([np.ptp(fixes.moments_s[window]) for window in windows])
    shares = spans / spans.sum()
    straight = len(lines) == 1 or _is_straight(lines, whole)
    speeds = np.array([np.hypot(*line.metres_s) for line in lines])
    sigmas = np.array([line.speed_sigma for line in lines])
    last = lines[-1]
    towards = whole if straight else last
    heading = float(np.degrees(np.arctan2(*towards.metres_s))) % 360
    return Motion(
        True,
        float(np.hypot(*whole.metres_s)) if straight else float(shares @ speeds),
        whole.speed_sigma if straight else float(np.sqrt(shares**2 @ sigmas**2)),
        heading,
        towards.heading_sigma_deg,
        last,
    )


def _goes(line: Velocity) -> bool:
    return line.differs((0, 0), by=2) and float(np.hypot(*line.metres_s)) > 1


def _is_straight(lines: list[Velocity], whole: Velocity) -> bool:
    """Say whether no part differs from the whole beyond chance."""
    return not any(line.differs(whole.metres_s) for line in lines)


def _windows(fixes: Fixes) -> list[slice]:
    """Return slices of two seconds or more, with at least two positions each."""
    edges = [0]
    for row in range(1, len(fixes)):
        if fixes.moments_s[row] - fixes.moments_s[edges[-1]] >= _WINDOW_S:
            edges.append(row)
    if len(edges) > 1:
        edges[-1] = len(fixes) - 1
    else:
        edges.append(len(fixes) - 1)
    return [slice(a, b + 1) for a, b in itertools.pairwise(edges)]
