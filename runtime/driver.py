"""What is wanted: the policy's action on the belief, or the operator's stick."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.layout import Layout
from models.policy import Policy
from runtime.body import Body
from runtime.channels import Record
from runtime.command import slowing
from runtime.gestures import is_driven
from runtime.inputs import Inputs
from runtime.modes import Mode

TELEOP_SPEED_M_S = 0.4
TELEOP_TURN_RAD_S = 1.5
IDLE_SKILL = 0


class Driver:
    """Fills `action` (A,) float32 in [-1, 1] of each joint's full speed."""

    def __init__(self, body: Body, layout: Layout, policy: Policy | None, inputs: Inputs) -> None:
        self._layout, self._policy, self._inputs = layout, policy, inputs
        self._geometry = body.geometry
        self._proprio = np.zeros(layout.proprio_size, np.float32)
        self._imu = np.zeros(6, np.float32)
        self.action: npt.NDArray[np.float32] = np.zeros(layout.action_size, np.float32)
        self.skill = IDLE_SKILL

    @property
    def finite(self) -> bool:
        """False when the policy gave numbers that are none."""
        return bool(np.isfinite(self.action).all())

    def sense(self, sensors: Record) -> None:
        """Take in a sensor batch."""
        layout = self._layout
        layout.proprio(
            sensors["position_rad"],
            sensors["velocity_rad_s"],
            float(sensors["range_m"]),
            self._proprio,
        )
        layout.imu(sensors["accel_m_s2"].mean(0), sensors["gyro_rad_s"].mean(0), self._imu)

    def rest(self) -> None:
        """Want nothing."""
        self.action[:] = 0

    def step(self, now_ns: int, mode: Mode, cap_m_s: float) -> None:
        """Decide the action of this period; the cap is that of the base's wheels at their rims."""
        intent = self._inputs.intent.record
        self.skill = int(intent["skill"]) if now_ns < int(intent["expires_ns"]) else IDLE_SKILL
        if mode is Mode.TELEOP:
            self._drive_by_hand(now_ns)
        elif self.skill == IDLE_SKILL or self._policy is None or not intent["allow"]:
            self.rest()
        else:
            belief = self._inputs.belief.record
            self.action[:] = self._policy.act(
                belief["belief"],
                (now_ns - int(belief["t_ns"])) / 1e9,
                self._proprio,
                self._imu,
                self.skill,
                intent["goal"],
            )
            np.clip(self.action, -1, 1, out=self.action)
            self._correct(now_ns, cap_m_s)

    def _correct(self, now_ns: int, cap_m_s: float) -> None:
        """Foresight's word on how fast: the same for both wheels, so that the turning stays.

        Neither wheel is taken beyond the cap: slowed down to it afterwards, both would turn less.
        """
        correction = self._inputs.correction.record
        if now_ns >= int(correction["expires_ns"]) or correction["skill"] != self.skill:
            return
        wheels, radius_m = self.action[:2], self._geometry.wheel_radius_m
        wheels *= slowing(self.action, self._layout, radius_m, cap_m_s)
        most = min(1.0, cap_m_s / (self._layout.joints[0].velocity_max_rad_s * radius_m))
        least, room = -most - wheels.min(), most - wheels.max()
        wheels += np.clip(float(correction["forward"]), min(0.0, least), max(0.0, room))

    def _drive_by_hand(self, now_ns: int) -> None:
        self.skill = IDLE_SKILL
        self.rest()
        if not is_driven(self._inputs, now_ns):
            return
        operator = self._inputs.operator.record
        forward = float(np.clip(operator["forward"], -1, 1)) * TELEOP_SPEED_M_S
        turn = float(np.clip(operator["turn"], -1, 1)) * TELEOP_TURN_RAD_S
        half_track_m = self._geometry.track_width_m / 2
        for i, side in ((0, -1.0), (1, 1.0)):
            rim = (forward + side * turn * half_track_m) / self._geometry.wheel_radius_m
            self.action[i] = rim / self._layout.joints[i].velocity_max_rad_s
