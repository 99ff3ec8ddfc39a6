"""What the watch makes of a robot's own senses: blocks at rest, of driving, and of turning pictures.

Nothing here reads a clock or keeps a picture longer than until the next one; memory does not grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Told = Callable[[str, int, float, float], None]  # gauge, t_ns, value, std

REST_BATCHES = 200  # 2 s
REST_ROLLED_RAD = 0.003  # of a wheel within a batch: it stands
REST_GYRO_RAD_S = 0.08  # spread: nobody carries or turns it
REST_ACCEL_M_S2 = 0.6
NEW_PLACE_RAD = 4.0  # a wheel has rolled 0.3 m: another spot of floor, another slope
STRIDE_NS = 200_000_000  # of driving: one row of the regression
GAP_NS = 50_000_000
LEAST_ROWS = 100  # 20 s that moved
MOST_ROWS = 900  # after three minutes without an answer the conditions were no good
SLIPPED_RAD_S = 0.15  # wheels and gyro further apart: a slip, not a drift
RATIO_STD, BASE_STD = 0.0012, 0.005
FRAMES = 200  # turning frames to a block


class Regression:
    """Least squares that takes row after row (normal equations): `solve` gives values and stds."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._ata = np.zeros((self._size, self._size))
        self._atb = np.zeros(self._size)
        self._bb = 0.0
        self.rows = 0

    def add(self, a: Floats, b: Floats) -> None:
        """Rows (R, P) and what they should give (R,)."""
        self._ata += a.T @ a
        self._atb += a.T @ b
        self._bb += float(b @ b)
        self.rows += len(b)

    def solve(self) -> tuple[Floats, Floats]:
        """(P,) values and stds; what was not excited has a std without bound."""
        scale = np.sqrt(np.maximum(np.diag(self._ata), 1e-18))
        inverse = np.linalg.pinv(self._ata / np.outer(scale, scale), rcond=1e-6)
        x = inverse @ (self._atb / scale)
        left = max(self._bb - float(x @ (self._atb / scale)), 0.0) / max(self.rows - self._size, 1)
        std = np.sqrt(left * np.maximum(np.diag(inverse), 0.0)) / scale
        hidden = np.diag(inverse @ (self._ata / np.outer(scale, scale))) < 0.99
        return x / scale, np.where(hidden, np.inf, std)


class RestBlocks:
    """At rest the gyro tells its bias, the accelerometer where gravity is."""

    def __init__(self, tell: Told) -> None:
        self._tell = tell
        self._rolled = NEW_PLACE_RAD
        self._gyro: list[Floats] = []
        self._accel: list[Floats] = []
        self.bias: Floats | None = None  # (3,) rad/s of the newest block

    def add(self, t_ns: int, rolled_rad: float, gyro: Floats, accel: Floats) -> None:
        """One control period: how far wheels (and head) went, IMU samples (5, 3)."""
        self._rolled += rolled_rad
        if rolled_rad > REST_ROLLED_RAD:
            self._gyro.clear()
            self._accel.clear()
            return
        self._gyro.append(gyro.mean(0))
        self._accel.append(accel.mean(0))
        if len(self._gyro) < REST_BATCHES:
            return
        g, a = np.array(self._gyro), np.array(self._accel)
        self._gyro.clear()
        self._accel.clear()
        if g.std(0).max() < REST_GYRO_RAD_S and a.std(0).max() < REST_ACCEL_M_S2:
            self._close(t_ns, g, a)

    def _close(self, t_ns: int, gyro: Floats, accel: Floats) -> None:
        root = math.sqrt(len(gyro))
        self.bias = gyro.mean(0)
        for axis, mean, std in zip("xyz", self.bias, gyro.std(0), strict=True):
            self._tell(f"gyro_bias_{axis}", t_ns, float(mean), float(std) / root)
        if self._rolled < NEW_PLACE_RAD:
            return  # the slope of one spot counts once, however long it stands there
        self._rolled = 0.0
        x, y, z = accel.mean(0)
        std = float(accel.std(0).max()) / root
        norm = math.sqrt(x * x + y * y + z * z)
        self._tell("gravity", t_ns, norm, std)
        self._tell("imu_roll", t_ns, math.atan2(y, z), std / norm)
        self._tell("imu_pitch", t_ns, math.atan2(-x, math.hypot(y, z)), std / norm)


@dataclass(frozen=True, slots=True)
class Base:
    """Wheels as calibrated, or as drawn [m]."""

    left_m: float
    right_m: float
    track_m: float


class WheelBlocks:
    """Turn by the gyro against turn by the wheels: bias, ratio of the wheels, base over diameter.

    gyro - wheels = bias dt + ratio * ahead / track - base * turn + lead * change of the wheels' rate;
    the last takes up what inertia and latency do when a turn speeds up.
    """

    def __init__(self, base: Base, tell: Told) -> None:
        self._base, self._tell = base, tell
        self._ratio, self._turn = Regression(4), Regression(4)
        self._from: tuple[int, float, float, float, float] | None = None

    def pause(self) -> None:
        """A gap: what comes next does not follow what was before."""
        self._from = None

    def add(self, t_ns: int, left_rad: float, right_rad: float, yaw_rad: float, rate_rad_s: float) -> None:  # fmt: skip
        """One control period: wheel angles, the gyro's integral, and the wheels' turn rate now."""
        now = (t_ns, left_rad, right_rad, yaw_rad, rate_rad_s)
        if self._from is None:
            self._from = now
            return
        if t_ns - self._from[0] < STRIDE_NS:
            return
        start, self._from = self._from, now
        dt = (t_ns - start[0]) / 1e9
        left, right = left_rad - start[1], right_rad - start[2]
        b = self._base
        ahead = (b.left_m * left + b.right_m * right) / 2
        turn = (b.right_m * right - b.left_m * left) / b.track_m
        apart = yaw_rad - start[3] - turn
        if abs(apart) > SLIPPED_RAD_S * dt:
            return
        row = np.array([[dt, ahead / b.track_m, -turn, rate_rad_s - start[4]]])
        for part, index, name, std in ((self._ratio, 1, "wheel_ratio", RATIO_STD), (self._turn, 2, "wheel_base", BASE_STD)):  # fmt: skip
            part.add(row, np.array([apart]))
            self._close(t_ns, part, index, name, std)

    def _close(self, t_ns: int, part: Regression, index: int, name: str, enough: float) -> None:
        if part.rows < LEAST_ROWS or part.rows % 10:
            return
        value, std = part.solve()
        if std[index] <= enough:
            self._tell(name, t_ns, float(value[index]), float(std[index]))
            part.clear()
        elif part.rows >= MOST_ROWS:
            part.clear()


class CameraBlocks:
    """What pictures turned more than foretold, against what was foretold: mount and focal length.

    A camera whose mount is off by a small rotation d sees a turn p as p + p x d; one whose focal
    length is off sees it scaled. A constant takes up the gyro's bias. A turn sideways is fitted and
    not told: a base that turns about the vertical shows none of it (`course.py` does).
    """

    NAMES = ("camera_pitch", None, "camera_roll", "focal")  # optical x, y, z; scale

    def __init__(self, tell: Told) -> None:
        self._tell = tell
        self._fit = Regression(7)

    def add(self, t_ns: int, foretold_rad: Floats, more_rad: Floats) -> None:
        """Between two frames, rotation vectors (3,) in the later frame's optical axes."""
        x, y, z = foretold_rad
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        self._fit.add(np.column_stack([cross, foretold_rad, np.eye(3)]), more_rad)
        if self._fit.rows < 3 * FRAMES:
            return
        value, std = self._fit.solve()
        self._fit.clear()
        for name, v, s in zip(self.NAMES, value[:4], std[:4], strict=True):
            if name is not None:
                self._tell(name, t_ns, float(v), float(s))
