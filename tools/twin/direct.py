"""Drive the twin without firmware: an action becomes the plant's outputs directly.

For tests and for collecting data where the link does not matter; acceleration limits are the
body's, but nothing here is the safety path of a robot.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.plant import Plant
from runtime.body import Body


class DirectDrive:
    """Plays the firmware: enables the motors and integrates actions at the control rate."""

    def __init__(self, body: Body, plant: Plant) -> None:
        self._plant = plant
        joints = body.joint
        self._count = len(joints)
        self._actions = list(body.action_joints)
        self._dt_s = 1 / body.control_hz
        self._velocity_max = np.array([joints[i].velocity_max_rad_s for i in self._actions])
        self._rate_max = np.array([j.acceleration_max_rad_s2 for j in joints]) * self._dt_s
        self._scale = np.array([j.scale for j in joints])
        self._velocity = np.array([j.command == "velocity" for j in joints])
        wheels = self._velocity
        self._low = np.array(
            [
                -j.velocity_max_rad_s if w else j.position_min_rad
                for j, w in zip(joints, wheels, strict=True)
            ]
        )
        self._high = np.array(
            [
                j.velocity_max_rad_s if w else j.position_max_rad
                for j, w in zip(joints, wheels, strict=True)
            ]
        )
        self.reset()

    def reset(self) -> None:
        """Start from the measured pose, at rest."""
        position = self._plant.sensors["position"][: self._count]
        self._target = np.where(self._velocity, 0.0, position * self._scale)
        self._rate = np.zeros(self._count)
        record = self._plant.outputs.record[0]
        record["current_limit_ma"] = np.iinfo(np.int16).max
        record["enable"] = 1
        self.act(np.zeros(len(self._actions), np.float32))

    def act(self, action: npt.NDArray[np.float32]) -> None:
        """One control period: (n,) in [-1, 1], as a policy gives it."""
        wish = np.zeros(self._count)
        wish[self._actions] = np.clip(action, -1, 1) * self._velocity_max
        now = np.where(self._velocity, self._target, self._rate)
        rate = now + np.clip(wish - now, -self._rate_max, self._rate_max)
        self._rate = rate
        self._target = np.where(self._velocity, rate, self._target + rate * self._dt_s)
        np.clip(self._target, self._low, self._high, out=self._target)
        self._plant.outputs.target[: self._count] = np.rint(self._target / self._scale)
        self._plant.outputs.record["tick_count"] += 1
        self._plant.write_outputs()
