"""The mind on real channels in memory: the machine, the goal, the operator's choice."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.layout import GOAL_MASKS, goal_vector
from runtime.body import load_body
from runtime.conditions import Condition
from runtime.events import Event
from runtime.goal import MASK, VALUES
from runtime.mind import INTENT_LIFE_NS, RECOVERED_V
from runtime.skills import SKILLS
from tests.runtime.mind_rig import CONFIG, FIT, GOAL, MS, Rig


def test_an_intent_says_skill_goal_and_how_long_it_holds() -> None:
    rig = Rig()
    rig.step()
    r = rig.intent.record
    assert rig.skill == "follow"
    assert np.array_equal(r["goal"], GOAL)
    assert r["allow"] == 1 and r["engage"] == 1
    assert int(r["expires_ns"]) - rig.now_ns == INTENT_LIFE_NS
    assert not rig.lacking and not rig.said


def test_where_nothing_may_move_nothing_asks_to() -> None:
    rig = Rig(replace(CONFIG, allow_motion=False))
    rig.step()
    assert rig.intent.record["allow"] == 0 and rig.intent.record["engage"] == 0


@pytest.mark.parametrize(
    ("state", "event", "condition"),
    [
        (replace(FIT, memory_mb=199.0), Event.MEMORY_LOW, Condition.MEMORY),
        (replace(FIT, disk_mb=199.0), Event.DISK_LOW, Condition.DISK),
        (replace(FIT, temperature_c=90.5), Event.TOO_HOT, Condition.TEMPERATURE),
    ],
)
def test_an_unfit_machine_is_an_event_and_a_named_condition(state, event, condition) -> None:
    rig = Rig()
    rig.machine.state = state
    for _ in range(3):
        rig.step()
    assert rig.said == [event], "told once"
    assert rig.lacking == condition
    rig.machine.state = FIT
    rig.step()
    assert not rig.lacking


def test_an_absent_thermometer_is_no_reason_to_stop() -> None:
    rig = Rig()
    rig.machine.state = replace(FIT, temperature_c=None)
    rig.step()
    assert not rig.lacking and not rig.said


def charge(rig: Rig, volt: float) -> Condition:
    """The motor controller tells this voltage; what is lacking then."""
    rig.status.record["battery_v"] = volt
    rig.status.publish(rig.now_ns)
    rig.clockwork.run(rig.now_ns)
    rig.step()
    return rig.lacking


LOW_V = load_body("companion").battery.low_v


@pytest.mark.parametrize(("least_v", "volt", "lacking"), [(LOW_V, LOW_V - 0.1, Condition.BATTERY), (LOW_V, LOW_V + 0.1, Condition(0)), (LOW_V, 0.0, Condition(0)), (0.0, 1.0, Condition(0))])  # fmt: skip
def test_a_low_battery_counts_and_an_unknown_one_does_not(least_v, volt, lacking) -> None:
    assert charge(Rig(replace(CONFIG, min_battery_v=least_v)), volt) == lacking


def test_a_battery_that_recovers_at_rest_is_still_low() -> None:
    rig = Rig(replace(CONFIG, min_battery_v=LOW_V))
    for volt in (LOW_V - 0.1, LOW_V + 0.1, LOW_V + RECOVERED_V - 0.1, LOW_V - 0.1):
        assert charge(rig, volt) == Condition.BATTERY
    assert rig.said == [Event.BATTERY_LOW], "told once"
    assert not charge(rig, LOW_V + RECOVERED_V + 0.1)
    assert not charge(rig, LOW_V + 0.1)


def test_the_mind_pauses_before_the_motor_controller_stops() -> None:
    battery = load_body("companion").battery
    assert battery.low_v > battery.brown_out_v > 0


def test_the_operator_chooses_the_skill() -> None:
    rig = Rig()
    rig.step()
    rig.operator.record["skill"] = SKILLS["idle"].index
    rig.operator.record["skill_changes"] = 1
    rig.operator.publish(rig.now_ns)
    rig.clockwork.run(rig.now_ns)
    rig.step()
    assert rig.skill == "idle" and rig.said == [Event.SKILL_CHANGED]
    rig.step()
    assert rig.said == [Event.SKILL_CHANGED]


def test_a_skill_that_does_not_exist_changes_nothing() -> None:
    rig = Rig()
    rig.operator.record["skill"] = 77
    rig.operator.record["skill_changes"] = 1
    rig.operator.publish(rig.now_ns)
    rig.clockwork.run(rig.now_ns)
    rig.step()
    assert rig.skill == "follow"


WHOLE = goal_vector(
    distance_m=1.2, appearance=(0.9, 0.1, 0.1), position_m=(2.0, 1.0), heading_rad=math.pi / 2
)


@pytest.mark.parametrize("skill", list(SKILLS))
def test_each_skill_is_given_what_it_needs_of_the_goal_and_no_more(skill: str) -> None:
    rig = Rig(replace(CONFIG, goal=WHOLE, skill=skill))
    rig.step()
    goal = rig.intent.record["goal"]
    for part in GOAL_MASKS:
        needed = part in SKILLS[skill].needs
        assert goal[MASK[part]] == needed
        assert np.array_equal(goal[VALUES[part]], WHOLE[VALUES[part]] * needed)


def test_place_and_heading_are_carried_along_with_the_base() -> None:
    rig = Rig(replace(CONFIG, goal=WHOLE, skill="go_to"))
    half_track_m, radius_m = (
        load_body("companion").geometry.track_width_m / 2, load_body("companion").geometry.wheel_radius_m
    )  # fmt: skip
    left = right = 0.0
    # 1 m straight on, a quarter to the left, and a moment at rest: speed, turn, periods
    for speed, turn, periods in (
        (0.0, 0.0, 1),
        (0.5, 0.0, 200),
        (0.0, math.pi / 2, 100),
        (0.0, 0.0, 1),
    ):
        for _ in range(periods):
            left += (speed - turn * half_track_m) * 0.01 / radius_m
            right += (speed + turn * half_track_m) * 0.01 / radius_m
            rig.sensors.record["position_rad"][:2] = left, right
            rig.sensors.record["gyro_rad_s"][:, 2] = turn
            rig.sensors.publish(rig.now_ns + 10 * MS)
            rig.step(10)
    rig.step()
    x, y, yaw = rig.mind.odometry.pose
    assert (x, y, yaw) == pytest.approx((1.0, 0.0, math.pi / 2), abs=0.01)
    goal = rig.intent.record["goal"]
    assert goal[VALUES["position"]] == pytest.approx((1.0, -1.0), abs=0.02)
    assert goal[VALUES["heading"]] == pytest.approx((0.0, 1.0), abs=0.01)


def test_another_skill_than_the_goals_keeps_its_own_distance() -> None:
    rig = Rig()
    rig.mind.skill = "approach"
    rig.step()
    assert rig.intent.record["goal"][VALUES["distance"]] == pytest.approx(0.8)


def test_a_skill_that_the_bundle_does_not_know_is_not_chosen() -> None:
    rig = Rig(replace(CONFIG, skills=("idle", "follow")))
    rig.operator.record["skill"] = SKILLS["search"].index
    rig.operator.record["skill_changes"] = 1
    rig.operator.publish(rig.now_ns)
    rig.clockwork.run(rig.now_ns)
    rig.step()
    assert rig.skill == "follow"
