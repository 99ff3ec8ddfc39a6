"""Where the base is since the start, from wheel angles and the gyro; pure arithmetic.

The wheels say how far, the gyro says how it turned; what the two disagree about over seconds is
taken for the gyro's bias, what they disagree about at once for a slipping wheel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.body import Geometry
from runtime.channels import Record

BIAS_BATCHES = 500  # the bias is a mean over at most so many control periods
SLIP_RAD_S = 0.15  # a larger disagreement is a slip, not a bias
GAP_S = 0.05  # after a longer silence the gyro has not seen the turn: the wheels count

Pose = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class WheelGeometry:
    """Radii of the wheels and the track between them: as drawn, or as calibrated."""

    left_m: float
    right_m: float
    track_m: float

    @classmethod
    def drawn(cls, geometry: Geometry) -> WheelGeometry:
        """Of the body file."""
        return cls(geometry.wheel_radius_m, geometry.wheel_radius_m, geometry.track_width_m)

    @classmethod
    def calibrated(cls, geometry: Geometry, result: Mapping[str, Any]) -> WheelGeometry:
        """Of a wheel calibration; a gyro gave ratios alone, the mean diameter is then the drawing's.

        KeyError, TypeError or ValueError where the result is none.
        """
        lengths = result.get("wheel_diameters_m")
        diameter = sum(map(float, lengths)) / 2 if lengths else 2 * geometry.wheel_radius_m
        ratio, base = float(result["right_over_left"]), float(result["base_over_diameter"])
        if not (ratio > 0 and base > 0 and diameter > 0):
            raise ValueError(f"wheels of ratio {ratio} and base {base} roll nowhere")
        left = diameter / (1 + ratio)
        return cls(left, ratio * left, base * diameter)

    def turned_rad(self, left_rad: float, right_rad: float) -> float:
        """The base's turn when its wheels have rolled so far; left is positive."""
        return (self.right_m * right_rad - self.left_m * left_rad) / self.track_m

    def ahead_m(self, left_rad: float, right_rad: float) -> float:
        """How far the base went."""
        return (self.left_m * left_rad + self.right_m * right_rad) / 2


class Odometry:
    """Feed it every sensor batch; `pose` is x [m], y [m], yaw [rad] from where it began."""

    def __init__(self, wheels: WheelGeometry) -> None:
        self._wheels = wheels
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
        ahead_m = self._wheels.ahead_m(rolled_left, rolled_right)
        turned = self._wheels.turned_rad(rolled_left, rolled_right)
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
