"""How the IMU sits in a robot that moves by itself: its axes against those of wheels and head.

Turning on the spot shows the base's z in the gyro, speeding up and braking shows its x in the
accelerometer: two regressions on what the encoders say, with errors that last a while (Newey and
West 1987). Base z is thus the axis it turns about on a level floor; gravity and its bias stay out of
it. The base rolls and pitches on no floor, so neither is asked of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.integrate import cumulative_trapezoid
from scipy.signal import savgol_filter

from calibration.errors import DataError

Floats = npt.NDArray[np.float64]
WINDOW_S = 0.06
EDGE_S = 0.02  # speeds are differences over this, each way
LAGS = 12
LEAST_WINDOWS = 40
SKEW_RAD = 0.003  # what a chip's gyro axis is off a right angle, where not calibrated
AXES_RAD = 0.004  # what accelerometer and gyro axes of one chip differ by, where not calibrated
UPRIGHT_DEG = 10.0


@dataclass(frozen=True, slots=True)
class Motion:
    """One recording on the board's clock [s]: N IMU samples, M joint samples, in S stretches.

    `wheels_rad` (M, 2), head angles (M,) [rad], positive pitch looks down; `phase` (M,) names what
    moved, `stretch` (M,) counts stretches without a gap.
    """

    imu_t_s: Floats
    gyro_rad_s: Floats  # (N, 3)
    accel_m_s2: Floats
    joint_t_s: Floats
    wheels_rad: Floats
    yaw_rad: Floats
    pitch_rad: Floats
    phase: npt.NDArray[np.str_]
    stretch: npt.NDArray[np.int64]

    def spans(self, phase: str = "") -> list[npt.NDArray[np.int64]]:
        """Joint samples of each stretch (of one phase)."""
        at = [np.flatnonzero(self.stretch == k) for k in np.unique(self.stretch)]
        return [a for a in at if not phase or self.phase[a[0]] == phase]


@dataclass(frozen=True, slots=True)
class Slope:
    """y = slope * x + level, of (3,) y; how alike both are; std of the slope."""

    slope: Floats
    covariance: Floats  # (3, 3)
    alike: float


@dataclass(frozen=True, slots=True)
class ImuMount:
    """The IMU's frame in the base's; std about the base's axes [rad]; bias of the gyro."""

    base_from_imu: Floats  # (3, 3)
    std_rad: Floats
    bias_rad_s: Floats
    turned: Slope  # gyro on the wheels' yaw rate
    driven: Slope  # accelerometer on the wheels' acceleration


def solve_mount(
    motion: Motion, radius_m: float, track_m: float, same_axes: bool = False, square: bool = False
) -> ImuMount:
    """Fit both axes; `same_axes`: gyro and accelerometer were brought into one frame before.

    `square`: the gyro's axes are known to be at right angles. If they are not, the one that turning
    shows may lean against the frame nearest to all three, and no motion of the base tells.
    DataError where the base hardly turned or drove, or the two sensors' axes are not of one frame.
    """
    turned = _slope(*_turning(motion, radius_m, track_m), "turned on the spot")
    driven = _slope(*driving(motion, radius_m), "drove ahead and back")
    z = turned.slope / np.linalg.norm(turned.slope)
    _require_upright(motion, z)
    x = driven.slope - z * float(driven.slope @ z)
    length = float(np.linalg.norm(x))
    x /= length
    y = np.cross(z, x)
    skew = 0.0 if same_axes or square else SKEW_RAD
    roll, pitch = (
        np.hypot(np.sqrt(a @ turned.covariance @ a) / np.linalg.norm(turned.slope), skew)
        for a in (y, x)
    )
    yaw = np.hypot(np.sqrt(y @ driven.covariance @ y) / length, 0 if same_axes else AXES_RAD)
    return ImuMount(np.stack((x, y, z)), np.array([roll, pitch, yaw]), _bias(motion), turned, driven)  # fmt: skip


def base_rates(motion: Motion, mount: ImuMount) -> Floats:
    """(N, 3) [rad/s] how the base turns, in its own axes."""
    found: Floats = (motion.gyro_rad_s - mount.bias_rad_s) @ mount.base_from_imu.T
    return found


def head_rates(motion: Motion, mount: ImuMount) -> Floats:
    """(N, 3) [rad/s] how the head turns, in its own axes (x forward, z up), at the IMU's times.

    The base's rate from the gyro, the head's own from its encoders.
    """
    base = base_rates(motion, mount)
    t = motion.imu_t_s
    yaw, pitch = (np.interp(t, motion.joint_t_s, a) for a in (motion.yaw_rad, motion.pitch_rad))
    yaw_rate, pitch_rate = (
        np.interp(t, motion.joint_t_s, _rate(motion, a)) for a in (motion.yaw_rad, motion.pitch_rad)
    )
    c, s = np.cos(yaw), np.sin(yaw)
    x, y = c * base[:, 0] + s * base[:, 1], c * base[:, 1] - s * base[:, 0] + pitch_rate
    z = base[:, 2] + yaw_rate
    c, s = np.cos(pitch), np.sin(pitch)
    return np.stack((c * x - s * z, y, s * x + c * z), axis=1)


def _rate(motion: Motion, angle_rad: Floats) -> Floats:
    """An encoder's rate; a parabola through 70 ms takes the steps of its counts out."""
    out = np.zeros(len(angle_rad))
    for at in motion.spans():
        if len(at) > 7:
            step = float(np.median(np.diff(motion.joint_t_s[at])))
            out[at] = savgol_filter(angle_rad[at], 7, 2, deriv=1, delta=step)
    return out


def _require_upright(motion: Motion, z: Floats) -> None:
    """At rest the accelerometer shows up what the gyro shows as the axis of turning: one set of axes."""
    up = motion.accel_m_s2.mean(axis=0)
    off = float(np.rad2deg(np.arccos(np.clip(up @ z / np.linalg.norm(up), -1, 1))))
    if off > UPRIGHT_DEG:
        raise DataError(
            f"the gyro's axis of turning and the accelerometer's up are {off:.0f} deg apart: axes of one of"
            " them are exchanged or mirrored, or the floor is a ramp; correct the axes, or record on level floor"
        )


def _bias(motion: Motion) -> Floats:
    """The gyro where only the head moves: the base is at rest, but for small shakes."""
    parts = []
    for at in motion.spans("nod") + motion.spans("look"):
        low, high = motion.joint_t_s[at[0]], motion.joint_t_s[at[-1]]
        parts.append(motion.gyro_rad_s[(motion.imu_t_s > low) & (motion.imu_t_s < high)])
    return np.concatenate(parts).mean(axis=0) if parts else np.zeros(3)


def _turning(motion: Motion, radius_m: float, track_m: float) -> tuple[Floats, Floats]:
    """(K,) yaw rates by the wheels, (K, 3) by the gyro, means over windows."""
    x, y = [], []
    for at in motion.spans("turn"):
        t = motion.joint_t_s[at]
        yaw = (motion.wheels_rad[at, 1] - motion.wheels_rad[at, 0]) * radius_m / track_m
        edges = np.arange(t[0], t[-1], WINDOW_S)
        x.append(np.diff(np.interp(edges, t, yaw)) / WINDOW_S)
        y.append(_means(motion.imu_t_s, motion.gyro_rad_s, edges))
    return _joined(x, y)


def driving(motion: Motion, radius_m: float) -> tuple[Floats, Floats]:
    """(K,) accelerations by the wheels, (K, 3) by the accelerometer, means over windows."""
    x, y = [], []
    for at in motion.spans("drive"):
        t = motion.joint_t_s[at]
        way = motion.wheels_rad[at].mean(axis=1) * radius_m
        edges = np.arange(t[0] + EDGE_S, t[-1] - EDGE_S, WINDOW_S)
        speed = (np.interp(edges + EDGE_S, t, way) - np.interp(edges - EDGE_S, t, way)) / (2 * EDGE_S)  # fmt: skip
        x.append(np.diff(speed) / WINDOW_S)
        y.append(_means(motion.imu_t_s, motion.accel_m_s2, edges))
    return _joined(x, y)


def _joined(x: list[Floats], y: list[Floats]) -> tuple[Floats, Floats]:
    if not x:
        return np.zeros(0), np.zeros((0, 3))
    return np.concatenate(x), np.concatenate(y)


def _means(t_s: Floats, xyz: Floats, edges: Floats) -> Floats:
    """(E - 1, 3) means of samples (N, 3) between edges."""
    total = cumulative_trapezoid(xyz, t_s, axis=0, initial=0)
    at = np.column_stack([np.interp(edges, t_s, c) for c in total.T])
    found: Floats = np.diff(at, axis=0) / np.diff(edges)[:, None]
    return found


def _slope(x: Floats, y: Floats, what: str) -> Slope:
    """Least squares of (K, 3) y on (K,) x and a constant."""
    if len(x) < LEAST_WINDOWS or float(x.std()) < 0.05:
        raise DataError(f"the base has not {what} in this recording; record again, with room for it")  # fmt: skip
    a = np.column_stack((x - x.mean(), np.ones(len(x))))
    fit = np.linalg.lstsq(a, y, rcond=None)[0]
    residual = y - a @ fit
    scores = a[:, :1] * residual  # (K, 3) of the slopes
    meat = scores.T @ scores
    for lag in range(1, LAGS):
        part = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / LAGS) * (part + part.T)
    covariance = meat / float((a[:, 0] ** 2).sum()) ** 2
    along = (y - y.mean(axis=0)) @ (fit[0] / np.linalg.norm(fit[0]))
    return Slope(fit[0], covariance, float(np.corrcoef(x, along)[0, 1]))
