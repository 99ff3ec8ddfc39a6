"""What may hold the robot's base: hands that lift it, or the stand it is brought up on."""

from __future__ import annotations

import mujoco
import numpy as np

from tools.twin.world import STEP_S, Ids

HEIGHT_M = 0.05  # wheels well off the ground
LIFT_M_S = 1.0


class Hands:
    """A weld between the base and a body that only this moves; let go of, it does nothing."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._up_m = 0.0
        self.holding = False

    def take(self, data: mujoco.MjData, at_once: bool = False) -> None:
        """Grip the base where it is and raise it, at the speed of hands or at once."""
        place = self._ids.hands_mocap
        data.mocap_pos[place] = data.qpos[:3]
        data.mocap_quat[place] = data.qpos[3:7]
        data.eq_active[self._ids.hands] = 1
        self._up_m = HEIGHT_M
        self.holding = True
        if at_once:
            data.mocap_quat[place] = _upright(data.qpos[3:7])
            data.mocap_pos[place, 2] += HEIGHT_M
            data.qpos[2] += HEIGHT_M
            self._up_m = 0.0

    def step(self, data: mujoco.MjData) -> None:
        """Once per physics step while holding; hands that lift go along with what rolls."""
        if self._up_m > 0:
            data.mocap_pos[self._ids.hands_mocap, :2] = data.qpos[:2]
        rise = min(self._up_m, LIFT_M_S * STEP_S)
        data.mocap_pos[self._ids.hands_mocap, 2] += rise
        self._up_m -= rise

    def let_go(self, data: mujoco.MjData) -> None:
        """The robot falls the rest of the way."""
        data.eq_active[self._ids.hands] = 0
        self.holding = False


def _upright(quat: np.ndarray) -> np.ndarray:
    """The same heading without roll and pitch."""
    yaw = np.array([quat[0], 0.0, 0.0, quat[3]])
    upright: np.ndarray = yaw / np.linalg.norm(yaw)
    return upright
