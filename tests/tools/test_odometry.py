"""The mind's odometry against where the twin's robot really is, through the whole chain."""

import math

import numpy as np
import pytest

pytest.importorskip("mujoco")

from tools.compose import RunSettings, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides


class Curves:
    """Drives in circles of 1 m."""

    def act(self, belief, age_s, proprio, imu, skill, goal):
        return np.array([0.33, 0.57, 0, 0], np.float32)


@pytest.mark.parametrize("seed", [1, 6])
def test_it_drifts_less_than_5_cm_over_5_m(seed):
    setup = prepare(RunSettings(seed=seed, lockstep=True))
    world, _ = open_world(setup)
    run = LockstepRun(setup, world, None, Overrides(policy=Curves()))
    x0, y0, yaw0 = run.twin.pose()
    worst, way_m, before = 0.0, 0.0, (x0, y0)
    inner = run.mind.step

    def step(now_ns):
        nonlocal worst, way_m, before
        inner(now_ns)
        x, y, yaw = run.mind.odometry.pose
        real = run.twin.pose()
        found = (
            x0 + math.cos(yaw0) * x - math.sin(yaw0) * y,
            y0 + math.sin(yaw0) * x + math.cos(yaw0) * y,
        )
        way_m += math.dist(real[:2], before)
        before = real[:2]
        lag_m = 0.02 * abs(float(run.twin.data.qvel[0])) + 0.02 * abs(float(run.twin.data.qvel[1]))
        if way_m <= 5:
            worst = max(worst, math.dist(found, real[:2]) - lag_m)

    run.mind.step = step
    run.run(18.0)
    assert way_m > 5 and not run.memory.arrays()["truth"]["bump"].any()
    assert worst < 0.05
