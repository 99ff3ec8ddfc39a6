"""A hand that holds the twin in the air and turns it, as a person does who calibrates its IMU.

The base hangs on the same weld as in `hands`; its attitude goes smoothly from one to the next and
then rests, so that gyro and accelerometer feel what they would.
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from calibration.rotations import matrices, product, quaternion, quaternions
from tools.twin.hands import Hands
from tools.twin.world import STEP_S, Ids

Floats = npt.NDArray[np.float64]
HEIGHT_M = 0.8  # clear of the floor whichever way up
RATE_RAD_S = 1.6  # in the mean of a move
LEAST_S = 0.8
ASIDE_RAD = 0.1  # how far a person misses what was asked for
SPIN_RAD = 0.6  # and turns it about the vertical on the way


class TurningHand(Hands):
    """Takes it at once; `turn_to` begins a move."""

    def __init__(self, ids: Ids, data: mujoco.MjData, rng: np.random.Generator) -> None:
        super().__init__(ids)
        self._rng, self._place = rng, ids.hands_mocap
        data.qpos[2] += HEIGHT_M
        self.take(data)
        self._up_m = 0.0
        self._from = _xyzw(data.qpos[3:7])
        self._turn = np.zeros(3)
        self._left_s = self._long_s = 0.0

    @property
    def moving(self) -> bool:
        """On the way to the next pose."""
        return self._left_s > 0

    def turn_to(self, target: Floats) -> None:
        """Turn it the shortest way until `target` (3,), in the base's axes, points up, more or less."""
        missed = target + self._rng.normal(0, ASIDE_RAD, 3)
        at = matrices(self._from) @ (missed / np.linalg.norm(missed))
        axis = np.cross(at, [0.0, 0.0, 1.0])
        sine = float(np.linalg.norm(axis))
        axis = axis / sine if sine > 1e-6 else np.array([1.0, 0.0, 0.0])
        tip = quaternions(axis * np.arctan2(sine, at[2]))
        spin = quaternions(np.array([0.0, 0.0, self._rng.uniform(-SPIN_RAD, SPIN_RAD)]))
        whole = matrices(product(spin, tip))
        q = quaternion(whole)
        half = float(np.linalg.norm(q[:3]))
        self._turn = q[:3] / max(half, 1e-12) * 2 * np.arctan2(half, q[3])
        self._long_s = self._left_s = max(LEAST_S, float(np.linalg.norm(self._turn)) / RATE_RAD_S)

    def step(self, data: mujoco.MjData) -> None:
        """Once per physics step; ease in and out (minimum jerk, Flash and Hogan 1985)."""
        if self._left_s <= 0:
            return
        self._left_s -= STEP_S
        s = min(1.0, 1 - self._left_s / self._long_s)
        share = s**3 * (10 - 15 * s + 6 * s * s)
        now = product(quaternions(share * self._turn), self._from)
        data.mocap_quat[self._place] = now[[3, 0, 1, 2]]
        if self._left_s <= 0:
            self._from = now


def _xyzw(wxyz: Floats) -> Floats:
    return np.array([wxyz[1], wxyz[2], wxyz[3], wxyz[0]])
