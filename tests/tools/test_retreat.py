"""The real loop on the twin: backwards it goes over the ground it came over, and no further."""

import numpy as np

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


def run_it(seconds: float, again_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Time [s] and way ahead [m] of the start; at `again_s` the motors go off and on."""
    setup = prepare(RunSettings(lockstep=True))
    world, _ = open_world(setup)
    run = LockstepRun(setup, world, Retreating(AHEAD_S), Overrides(scenario=EMPTY))
    if again_s:
        operator = run.channels.writer("operator", "console")

        def gesture(name: str) -> None:
            operator.record[name] += 1
            operator.record["present"] = 1
            operator.publish(run.clockwork.now_ns)

        at_ns = run.clockwork.now_ns + round(again_s * 1e9)
        run.clockwork.at(at_ns, "console", lambda: gesture("disengages"))
        run.clockwork.at(at_ns + 700_000_000, "console", lambda: gesture("engages"))
    truth = run.run(seconds).records["truth"]
    x, y, yaw = (truth[k][0] for k in ("x_m", "y_m", "yaw_rad"))
    along = (truth["x_m"] - x) * np.cos(yaw) + (truth["y_m"] - y) * np.sin(yaw)
    return (truth["t_ns"] - truth["t_ns"][0]) / 1e9, along


def test_it_backs_up_as_far_as_it_came_and_no_further() -> None:
    _, along = run_it(AHEAD_S + 6.0)
    assert along.max() > 0.4
    assert -(BESIDE_M + BRAKING_M) < along.min(), "what is behind its start it never saw"
    assert along[-1] < 0.1, "the way back is free"
    assert np.ptp(along[-20:]) < 0.005, "and there it stands"


def test_a_robot_whose_motors_were_off_may_have_been_carried() -> None:
    t_s, along = run_it(AHEAD_S + 8.0, again_s=AHEAD_S + 1.3)
    before = along[(t_s > AHEAD_S + 1.9) & (t_s < AHEAD_S + 2.0)].mean()
    assert before > 0.2, "it was on its way back"
    assert abs(along[-1] - before) < BESIDE_M + BRAKING_M, "and knows that way no longer"
