"""What goes out: a commanded rate is the rate that is reached, and the model hears of just that."""

from typing import Any

import numpy as np
import pytest

from runtime.body import load_body
from runtime.command import Command
from runtime.drives import drives_of

BODY = load_body("companion")
LAYOUT = BODY.layout()
JOINTS = {j.name: k for k, j in enumerate(LAYOUT.joints)}
DT_S = 1 / BODY.control_hz


class Wire:
    """A link that takes everything; every joint stands at 0, nothing is ahead."""

    def __init__(self) -> None:
        sensors: dict[str, Any] = {"position_rad": np.zeros(16), "range_m": np.inf}
        self.sensors = [sensors]

    def send_motion(self, *_: Any) -> bool:
        return True


@pytest.fixture
def command() -> Command:
    link: Any = Wire()
    it = Command(BODY, LAYOUT, link, drives_of(BODY, {}))
    it.rest()
    return it


def drive(command: Command, name: str, share: float, steps: int) -> list[float]:
    """Angles [rad] or rates [rad/s] sent while one joint's action is `share`."""
    action = np.zeros(LAYOUT.action_size, np.float32)
    action[JOINTS[name]] = share
    joint = LAYOUT.joints[JOINTS[name]]
    out = []
    for step in range(steps):
        command.aim(action, cap_m_s=9.0, behind_m=None)
        assert command.send(step)
        out.append(command.last[joint.index] * BODY.joint[joint.index].scale)
    return out


@pytest.mark.parametrize("name", ["head_yaw", "head_pitch"])
@pytest.mark.parametrize("share", [0.02, 0.25, -0.6, 1.0, -1.0])
def test_the_head_turns_as_fast_as_it_is_told(command: Command, name: str, share: float) -> None:
    full = LAYOUT.joints[JOINTS[name]].velocity_max_rad_s
    ramp, reached = 16, 22  # control periods: it has sped up by then; the bound is still far
    angles = drive(command, name, share, reached)
    rate = (angles[-1] - angles[ramp]) / ((reached - 1 - ramp) * DT_S)
    assert rate == pytest.approx(share * full, rel=0.05, abs=0.01)
    assert command.sent[JOINTS[name]] == pytest.approx(share, rel=0.08, abs=0.01)


def test_a_head_that_is_told_nothing_more_comes_to_rest_where_it_is(command: Command) -> None:
    turned = drive(command, "head_yaw", 1.0, 20)[-1]
    after = drive(command, "head_yaw", 0.0, 40)
    full, slows = 3.0, 25.0  # rad/s, rad/s2 of the body
    assert after[-1] - turned < 2 * full**2 / (2 * slows), "it overshot by more than it takes"
    assert after[-1] == pytest.approx(after[-10], abs=1e-3)


def test_the_head_stops_at_its_bound(command: Command) -> None:
    angles = drive(command, "head_yaw", 1.0, 200)
    bound = BODY.joint[LAYOUT.joints[JOINTS["head_yaw"]].index].position_max_rad
    assert max(angles) <= bound + 1e-6 and angles[-1] == pytest.approx(bound, abs=0.01)
