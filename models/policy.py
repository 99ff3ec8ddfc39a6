"""The policy at run time: belief, newest senses, skill and goal in, action out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.backend import Session

Float32 = npt.NDArray[np.float32]


class Policy(Protocol):
    """What the controller calls each control period."""

    def act(
        self,
        belief: Float32,
        age_s: float,
        proprio: Float32,
        imu: Float32,
        skill: int,
        goal: Float32,
    ) -> Float32:
        """Action (A,) in [-1, 1]; a view, valid until the next call."""


class GraphPolicy:
    """`policy.onnx` behind a session with fixed buffers.

    `scale` (A,): share of each joint's full speed that the graph's 1 means.
    """

    def __init__(self, session: Session, scale: Sequence[float]) -> None:
        self._session = session
        self._skill = session.inputs["skill"][0]
        self._scale = np.array(scale, np.float32)
        self._action: Float32 = np.zeros(session.outputs["action"].shape[1], np.float32)

    def act(
        self,
        belief: Float32,
        age_s: float,
        proprio: Float32,
        imu: Float32,
        skill: int,
        goal: Float32,
    ) -> Float32:
        """See `Policy.act`."""
        inputs = self._session.inputs
        inputs["belief"][0] = belief
        inputs["age_s"][0, 0] = age_s
        inputs["proprio"][0] = proprio
        inputs["imu"][0] = imu
        self._skill[:] = 0
        self._skill[skill] = 1
        inputs["goal"][0] = goal
        self._session.run()
        np.multiply(self._session.outputs["action"][0], self._scale, out=self._action)
        return self._action
