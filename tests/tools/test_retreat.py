"""The real loop on the twin: backwards it goes over the ground it came over, and no further."""

import numpy as np
import pytest

from runtime.trail import BESIDE_M
from tools.compose import RunSettings, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides
from tools.twin.scenario import EMPTY

AHEAD_S, AHEAD = 2.0, 0.4
BRAKING_M = 0.05  # from the speed that it may still have, at the end of the known way


class Retreating:
    """Ahead for a while, then backwards for good."""

    def __init__(self, ahead_s: float) -> None:
        self.left = round(ahead_s * 100)
        self.action = np.zeros(4, np.float32)

    def act(self, belief, age_s, proprio, imu, skill, goal):
        self.left -= 1
        self.action[:2] = AHEAD if self.left >= 0 else -AHEAD
        return self.action


@pytest.mark.parametrize("ahead_s", [0.0, AHEAD_S])
def test_it_backs_up_no_further_than_it_came(ahead_s: float) -> None:
    setup = prepare(RunSettings(lockstep=True))
    run = LockstepRun(setup, open_world(setup)[0], Retreating(ahead_s), Overrides(scenario=EMPTY))
    truth = run.run(ahead_s + 6.0).records["truth"]
    x, y, yaw = (truth[k][0] for k in ("x_m", "y_m", "yaw_rad"))
    along = (truth["x_m"] - x) * np.cos(yaw) + (truth["y_m"] - y) * np.sin(yaw)
    assert along.min() > -(BESIDE_M + BRAKING_M), "what is behind its start it never saw"
    if ahead_s:
        assert along.max() > 0.4
        assert along[-1] < 0.1, "the way back is free"
    assert abs(truth["speed_m_s"][-1]) < 0.02
