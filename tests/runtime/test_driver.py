"""What the driver makes of the policy's word and foresight's."""

from typing import Any

import numpy as np
import pytest

from runtime.body import load_body
from runtime.channels import Channels
from runtime.driver import Driver
from runtime.inputs import Inputs
from runtime.modes import Mode
from runtime.skills import SKILLS

BODY = load_body("companion")
LAYOUT = BODY.layout()
FULL_M_S = BODY.geometry.wheel_radius_m * BODY.joint[0].velocity_max_rad_s
FOLLOW = SKILLS["follow"].index
S = 1_000_000_000


class Wants:
    """A policy that wants the same always."""

    def __init__(self, left: float, right: float) -> None:
        self.action = np.array([left, right, 0.25, 0], np.float32)

    def act(self, *_: Any) -> np.ndarray:
        return self.action


def driven(
    channels: Channels, wants: tuple[float, float], forward: float, cap_m_s: float = FULL_M_S, **correction: Any
) -> np.ndarray:  # fmt: skip
    intent, word = channels.writer("intent", "mind"), channels.writer("correction", "perception")
    intent.record["skill"], intent.record["allow"], intent.record["expires_ns"] = FOLLOW, 1, 9 * S
    intent.publish(S)
    fields = {"skill": FOLLOW, "expires_ns": 2 * S, "forward": forward, **correction}
    for name, value in fields.items():
        word.record[name] = value
    word.publish(S)
    inputs = Inputs(channels)
    inputs.read()
    driver = Driver(BODY, LAYOUT, Wants(*wants), inputs)
    driver.step(S, Mode.ACTIVE, cap_m_s)
    return driver.action


def test_a_correction_changes_how_fast_it_drives_and_nothing_else(channels: Channels) -> None:
    assert driven(channels, (0.2, 0.4), -0.25) == pytest.approx((-0.05, 0.15, 0.25, 0))


@pytest.mark.parametrize("of", [{"skill": SKILLS["approach"].index}, {"expires_ns": S}])
def test_a_correction_of_another_skill_or_moment_is_none(channels: Channels, of: Any) -> None:
    assert driven(channels, (0.2, 0.4), -0.25, **of) == pytest.approx((0.2, 0.4, 0.25, 0))


@pytest.mark.parametrize("forward", [-2.0, -0.1, 0.1, 2.0])
@pytest.mark.parametrize("wants", [(0.2, 0.4), (-0.6, 0.3), (1.0, 0.9), (3.0, 1.0)])
@pytest.mark.parametrize("cap_m_s", [0.0, 0.1, 0.2, FULL_M_S])
def test_no_correction_takes_a_wheel_beyond_the_cap_nor_turns_the_base(
    channels: Channels, forward: float, wants: tuple[float, float], cap_m_s: float
) -> None:
    left, right = driven(channels, wants, forward, cap_m_s)[:2]
    most = cap_m_s / FULL_M_S
    assert max(abs(left), abs(right)) <= most + 1e-6
    own = np.clip(np.array(wants), -1, 1)
    own *= min(1.0, most / np.abs(own).max())
    assert right - left == pytest.approx(own[1] - own[0], abs=1e-6)
    assert (left - own[0]) * np.sign(forward) >= -1e-6
