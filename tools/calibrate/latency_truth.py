"""The twin's own delays during a chirp, from its physics every 2 ms, for the error that is shown.

Independent of the solver: no encoder, no gyro, no picture, no robust fit; the delay is the line's
slope of least squares on the motion and its derivative, repeated until it stands still.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tools.calibrate.rig import TwinRig
from tools.twin.twin import STEP_NS

Floats = npt.NDArray[np.float64]
STEP_S = STEP_NS / 1e9
# A step moves positions by the speed at its end, so a speed is that of the middle of the step before
# its row. MuJoCo's sensors are of the state before the step; the camera looks at the one after it.
SPEED_LATE_S = STEP_S / 2
ENCODER_LATE_S = STEP_S
GYRO_LATE_S = STEP_S + SPEED_LATE_S


class Truth:
    """Watches the physics of a rig from now on."""

    def __init__(self, rig: TwinRig) -> None:
        self._rig = rig
        self._rows: list[tuple[float, float, float, float]] = []
        self._sent = 0.0
        rig.on_physics = self._see

    def sent(self, target: Floats) -> None:
        """What was commanded just now (J,): it stands from here on."""
        self._sent = float(target[1] - target[0])

    def _see(self) -> None:
        twin, ids = self._rig.twin, self._rig.twin.ids
        v = twin.data.qvel
        wheels = float(v[ids.joint_v[1]] - v[ids.joint_v[0]])
        self._rows.append((twin.now_ns / 1e9, self._sent, wheels, float(v[5])))

    def delays_ms(self) -> Floats:
        """(3,) command to encoder, encoder to gyro, gyro to image stamp [ms]; empty without motion."""
        self._rig.on_physics = None
        t, asked, wheels, yaw = np.array(self._rows).T
        t = t - t[0]
        if np.ptp(asked) == 0 or t[-1] < 2:
            return np.zeros(0)
        # a command is first seen at the end of its first step: half of one late, between two rows
        driven = slope_delay(t, asked, wheels) + STEP_S / 2 - SPEED_LATE_S + ENCODER_LATE_S
        rolled = slope_delay(t, wheels, yaw) + GYRO_LATE_S - ENCODER_LATE_S
        seen = -self._rig.made.camera_offset_s - GYRO_LATE_S
        return 1e3 * np.array([driven, rolled, seen])


def slope_delay(t_s: Floats, cause: Floats, effect: Floats) -> float:
    """Delay [s] of an effect (N,) after its cause (N,), both at the times (N,)."""
    delay = 0.0
    inside = (t_s > 0.5) & (t_s < t_s[-1] - 0.5)
    for _ in range(20):
        moved = np.interp(t_s - delay, t_s, cause)
        smooth = np.convolve(moved, np.ones(5) / 5, "same")  # a held command has steps
        a = np.stack([moved, np.gradient(smooth, t_s), np.ones_like(t_s)], 1)[inside]
        gain, by_slope, _ = np.linalg.lstsq(a, effect[inside], rcond=None)[0]
        step = -by_slope / gain
        delay += float(step)
        if abs(step) < 1e-6:
            break
    return delay
