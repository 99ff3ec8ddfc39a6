"""What goes out: action -> targets with the speed cap -> gate -> drives -> MOTION, and what was really sent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from firmware_bridge.link import Link
from models.layout import Layout
from runtime.body import Body
from runtime.drives import Drives
from runtime.gate import Gate

# The base slows in front of things: no nearer than RANGE_STOP_M to the range sensor, and no faster
# than RANGE_GAIN_1_S times what is left; backwards, times the way that is known to be free. The host
# tightens; the bumper in the MCU stays behind it.
RANGE_STOP_M = 0.14
RANGE_GAIN_1_S = 1.3
REVERSE_MAX_M_S = 0.3


def slowing(
    action: npt.NDArray[np.float32], layout: Layout, radius_m: float, cap_m_s: float
) -> float:
    """The share of an action's (A,) wheel rates that leaves the faster wheel's rim at the cap."""
    fastest = max(
        (
            abs(float(a)) * joint.velocity_max_rad_s * radius_m
            for a, joint in zip(action, layout.joints, strict=True)
            if not joint.is_position
        ),
        default=0.0,
    )
    return cap_m_s / fastest if fastest > cap_m_s else 1.0


class Command:
    """Targets in counts of the joints' own angles and rates, one per joint of the body."""

    def __init__(self, body: Body, layout: Layout, link: Link, drives: Drives) -> None:
        n = len(body.joint)
        self._layout, self._link = layout, link
        self._drives = drives
        self._gate = Gate(drives.table)
        self._dt_s = 1 / body.control_hz
        self._radius_m = body.geometry.wheel_radius_m
        self._ttl_ms = body.motion.motion_ttl_ms
        self._scale = [joint.scale for joint in body.joint]
        self._is_position = [joint.command == "position" for joint in body.joint]
        self._wire = np.zeros(n, np.int16)
        self._all_joints = (1 << n) - 1
        self.target = [0] * n  # wanted, before the gate
        self.last = [0] * n  # sent, after the gate
        # what was sent, as an action (A,) in [-1, 1]: the model conditions on this
        self.sent: npt.NDArray[np.float32] = np.zeros(layout.action_size, np.float32)

    @property
    def limited(self) -> int:
        """Joints whose target was out of bounds in the last period."""
        return self._gate.limited.bit_count()

    def rest(self) -> None:
        """Enabling starts from the measured pose, whatever was commanded before."""
        position = self._link.sensors[0]["position_rad"]
        for i, is_position in enumerate(self._is_position):
            value = round(float(position[i]) / self._scale[i]) if is_position else 0
            self.target[i] = self.last[i] = value
        self._gate.start(self.target)
        self.sent[:] = 0

    def aim(
        self,
        action: npt.NDArray[np.float32],
        cap_m_s: float,
        behind_m: Callable[[], float] | None,
    ) -> None:
        """Action (A,) in [-1, 1] to targets; the base goes no faster than the cap.

        `behind_m` is asked where it would go backwards: the way that is known to be free. None: a
        person drives, and looks.
        """
        joints = self._layout.joints
        slow = slowing(action, self._layout, self._radius_m, cap_m_s)
        back_off = self._back_off_rad_s(action, slow, behind_m)
        for a, joint in zip(action, joints, strict=True):
            i = joint.index
            rate = float(a) * joint.velocity_max_rad_s
            if joint.is_position:
                self.target[i] = self.last[i] + self._gate.reach(i, rate / self._scale[i])
            else:
                self.target[i] = round((rate * slow - back_off) / self._scale[i])

    def _back_off_rad_s(
        self,
        action: npt.NDArray[np.float32],
        slow: float,
        behind_m: Callable[[], float] | None,
    ) -> float:
        """What both wheels give up: ahead for what the range sensor sees, backwards for what it cannot.

        Turning stays as it was wanted: the robot may turn away from what it must not touch.
        """
        rates = [
            float(a) * joint.velocity_max_rad_s * slow
            for a, joint in zip(action, self._layout.joints, strict=True)
            if not joint.is_position
        ]
        if not rates:
            return 0.0
        mean = sum(rates) / len(rates)
        if mean < 0:
            back_m_s = REVERSE_MAX_M_S
            if behind_m is not None:
                back_m_s = min(back_m_s, behind_m() * RANGE_GAIN_1_S)
            return min(0.0, mean + back_m_s / self._radius_m)
        range_m = float(self._link.sensors[0]["range_m"])
        if not np.isfinite(range_m):
            return 0.0
        allowed = max(0.0, range_m - RANGE_STOP_M) * RANGE_GAIN_1_S / self._radius_m
        return max(0.0, mean - allowed)

    def send(self, now_ns: int) -> bool:
        """Through the gate and out; False when the link took nothing."""
        limited = self._gate.limit(self.target)
        self._drives.translate(limited, self._wire)
        done = self._link.send_motion(now_ns, self._wire, self._all_joints, self._ttl_ms)
        for k, joint in enumerate(self._layout.joints):
            i = joint.index
            full = joint.velocity_max_rad_s / self._scale[i]
            if joint.is_position:
                self.sent[k] = (limited[i] - self.last[i]) / (full * self._dt_s)
            else:
                self.sent[k] = limited[i] / full
        self.last[:] = limited
        if not done:
            self.sent[:] = 0
        return done
