"""Where the base has been: the only ground behind it that is known to be free.

Nothing looks behind. Backwards it goes where its own hull has just passed, and nowhere else: a
robot that gives way to somebody in front must not find a table, or a child, with its back. What it
came over before its motors were last off does not count: it may have been carried since.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime.channels import Record
from runtime.odometry import Odometry, WheelGeometry

STEP_M = 0.02  # between two places that are kept
BESIDE_M = 0.03  # this far beside them the hull still goes over the ground it has gone over
LOOK_M = 0.45  # no further: enough for the speed that is allowed backwards
KEPT_S = 30.0  # later somebody may have put something there, or stands there
PLACES = 256

Floats = npt.NDArray[np.float64]


class Trail:
    """Feed it every sensor batch; `behind_m` is the free way straight back, 0 to LOOK_M."""

    def __init__(self, wheels: WheelGeometry) -> None:
        self._odometry = Odometry(wheels)
        self._xy = np.full((PLACES, 2), np.inf)
        self._t_s = np.full(PLACES, -np.inf)
        self._count = 0
        self._now_s = 0.0
        self._back_m = np.arange(STEP_M, LOOK_M + STEP_M / 2, STEP_M)

    def forget(self) -> None:
        """Begin anew, at the place where the base is."""
        self._t_s[:] = -np.inf
        self._count = 0

    def sense(self, sensors: Record) -> None:
        """One SENSORS record, in order of time."""
        self._odometry.step(sensors)
        x, y, _ = self._odometry.pose
        self._now_s = int(sensors["t_ns"]) / 1e9
        newest = (self._count - 1) % PLACES
        if self._count and math.hypot(x - self._xy[newest, 0], y - self._xy[newest, 1]) < STEP_M:
            self._t_s[newest] = self._now_s
            return
        place = self._count % PLACES
        self._xy[place] = x, y
        self._t_s[place] = self._now_s
        self._count += 1

    def behind_m(self) -> float:
        """How far straight back every place of the base is one where it has lately been."""
        x, y, yaw = self._odometry.pose
        places = self._xy[self._t_s > self._now_s - KEPT_S]
        wanted_x, wanted_y = x - self._back_m * math.cos(yaw), y - self._back_m * math.sin(yaw)
        away: Floats = np.hypot(wanted_x[:, None] - places[:, 0], wanted_y[:, None] - places[:, 1])
        free = away.min(1, initial=np.inf) < BESIDE_M
        return LOOK_M if free.all() else STEP_M * int(free.argmin())
