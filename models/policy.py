"""The policy at run time: belief, newest senses, skill and goal in, action out."""

from __future__ import annotations

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
    """`policy.onnx` behind a session with fixed buffers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._skill = session.inputs["skill"][0]

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
        action: Float32 = self._session.outputs["action"][0]
        return action
