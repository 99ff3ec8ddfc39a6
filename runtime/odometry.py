"""Where the base is since the start, from wheel angles and the gyro; pure arithmetic.

The wheels say how far, the gyro says how it turned; what the two disagree about over seconds is
taken for the gyro's bias, what they disagree about at once for a slipping wheel.
"""

from __future__ import annotations

import math

from runtime.body import Geometry
from runtime.channels import Record

BIAS_BATCHES = 500  # the bias is a mean over at most so many control periods
SLIP_RAD_S = 0.15  # a larger disagreement is a slip, not a bias
GAP_S = 0.05  # after a longer silence the gyro has not seen the turn: the wheels count

Pose = tuple[float, float, float]


class Odometry:
    """Feed it every sensor batch; `pose` is x [m], y [m], yaw [rad] from where it began."""

    def __init__(self, geometry: Geometry) -> None:
        self._radius_m, self._track_m = geometry.wheel_radius_m, geometry.track_width_m
        self.pose: Pose = (0.0, 0.0, 0.0)
        self.bias_rad_s = 0.0
        self._batches = 0
        self._last: tuple[int, float, float] | None = None  # t_ns, left, right

    def step(self, sensors: Record) -> None:
        """One SENSORS record, in order of time."""
        t_ns = int(sensors["t_ns"])
        left, right = float(sensors["position_rad"][0]), float(sensors["position_rad"][1])
        last, self._last = self._last, (t_ns, left, right)
        if last is None or t_ns <= last[0]:
            return
        dt_s = (t_ns - last[0]) / 1e9
        rolled_left, rolled_right = left - last[1], right - last[2]
        ahead_m = self._radius_m * (rolled_left + rolled_right) / 2
        turned = self._radius_m * (rolled_right - rolled_left) / self._track_m
        if dt_s < GAP_S:
            turned = self._turned(float(sensors["gyro_rad_s"][:, 2].mean()), turned, dt_s)
        x, y, yaw = self.pose
        middle = yaw + turned / 2
        x, y = x + ahead_m * math.cos(middle), y + ahead_m * math.sin(middle)
        self.pose = (x, y, math.remainder(yaw + turned, math.tau))

    def _turned(self, gyro_rad_s: float, by_wheels: float, dt_s: float) -> float:
        """The gyro's turn without its bias."""
        residual = gyro_rad_s - by_wheels / dt_s
        if abs(residual - self.bias_rad_s) < SLIP_RAD_S:
            self._batches = min(self._batches + 1, BIAS_BATCHES)
            self.bias_rad_s += (residual - self.bias_rad_s) / self._batches
        return (gyro_rad_s - self.bias_rad_s) * dt_s
