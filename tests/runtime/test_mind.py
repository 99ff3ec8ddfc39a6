"""The mind on real channels in memory, with the real planner at the other end of a real socket."""

import math
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import zmq

from models.layout import GOAL_MASKS, goal_vector
from runtime.body import load_body
from runtime.conditions import Condition
from runtime.events import Event
from runtime.goal import MASK, VALUES
from runtime.lockstep import START_NS
from runtime.mind import INTENT_LIFE_NS, RECOVERED_V, Mind
from runtime.modes import Mode
from runtime.planner_link import ZmqPlannerLink
from runtime.planner_wire import PlannedStep, Proposed, open_socket
from runtime.skills import SKILLS
from tests.runtime.mind_rig import CONFIG, FIT, GOAL, MS, Rig
from tools.planner import Planner


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


class Planned:
    """A mind and the real planner, which runs whenever the test lets it."""

    def __init__(self, goal: str, skill: str = "idle") -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{s.getsockname()[1]}"
        self.router = open_socket(zmq.ROUTER)
        self.router.bind(address)
        self.planner = Planner(self.router)
        self.planner_said: list[str] = []
        self.rig = Rig(replace(CONFIG, skill=skill), ZmqPlannerLink(address, goal, START_NS))
        self.mode(Mode.ACTIVE)

    def step(self, serve: bool = True, ms: int = 100) -> None:
        if serve:
            for _ in range(3):  # a beat, an observation and a request at most
                self.planner_said += self.planner.step(self.rig.now_ns, 1)
            time.sleep(0.001)
        self.rig.step(ms)

    def mode(self, mode: Mode) -> None:
        self.rig.status.record["mode"] = mode
        self.rig.status.publish(self.rig.now_ns)
        self.rig.clockwork.run(self.rig.now_ns)

    def until(self, event: Event, serve: bool = True) -> None:
        end = time.monotonic() + 5
        while event not in self.rig.said:
            assert time.monotonic() < end, f"{event.name} never came: {self.planner_said}"
            self.step(serve)

    def skills(self, seconds: float, serve: bool = True) -> list[str]:
        """The skill every 100 ms for some virtual time, without repeats."""
        seen: list[str] = []
        for _ in range(round(seconds * 10)):
            self.step(serve)
            if not seen or seen[-1] != self.rig.skill:
                seen.append(self.rig.skill)
        return seen

    def close(self) -> None:
        self.rig.mind.close()
        self.router.close()


@pytest.fixture
def planned() -> Iterator[Planned]:
    it = Planned("follow for 4 s, then wait 2 s, then follow for 3 s")
    yield it
    it.close()


def test_a_plan_is_carried_out_and_then_it_idles(planned: Planned) -> None:
    planned.until(Event.PLAN_STARTED)
    assert planned.rig.skill == "follow"
    assert int(planned.rig.health.record["plan_steps"]) == 3
    assert planned.skills(9.5) == ["follow", "idle", "follow", "idle"]
    assert planned.rig.said[-1] is Event.PLAN_DONE
    assert planned.rig.health.record["planner"] == 1


def test_a_plan_that_ends_in_waiting_is_not_followed_by_what_the_run_began_with() -> None:
    it = Planned("wait 2 s", skill="follow")
    it.until(Event.PLAN_STARTED)
    assert it.skills(4.0) == ["idle"]
    assert it.rig.said[-1] is Event.PLAN_DONE
    it.close()


def test_losing_the_planner_finishes_the_skill_and_then_idles(planned: Planned) -> None:
    planned.until(Event.PLAN_STARTED)
    assert planned.skills(3.0, serve=False) == ["follow"], "never frozen in mid-move"
    assert Event.PLANNER_LOST in planned.rig.said
    assert planned.skills(9.0, serve=False) == ["follow", "idle"], "no step after the present one"
    assert planned.rig.health.record["planner"] == 0


def test_without_a_plan_losing_the_planner_changes_nothing() -> None:
    it = Planned("")
    it.rig.mind.skill = "follow"
    it.until(Event.PLANNER_BACK)
    assert it.skills(4.0, serve=False) == ["follow"]
    assert it.rig.said == [Event.PLANNER_BACK, Event.PLANNER_LOST]
    it.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": (PlannedStep("dance", 3.0),)}, "no skill dance"),
        ({"based_on": 0}, "based on frame 0, now is frame 500"),
        ({"valid_s": 0.0}, "expired"),
        ({"steps": ()}, "0 steps"),
    ],
)
def test_a_bad_proposal_is_refused_with_a_reason_for_both_sides(planned, change, says) -> None:
    planned.rig.belief.record["number"] = 500
    planned.rig.belief.publish(planned.rig.now_ns)
    bad = {"steps": (PlannedStep("follow", 3.0),), "based_on": 500, "valid_s": 5.0, **change}
    honest = planned.planner._send

    def send(sender: bytes, message: object) -> None:
        if isinstance(message, Proposed):
            message = Proposed(id=message.id, **bad)
        honest(sender, message)  # type: ignore[arg-type]

    planned.planner._send = send
    planned.until(Event.PLAN_REJECTED)
    assert planned.skills(1.0) == ["idle"]
    assert any("the robot refuses" in line and says in line for line in planned.planner_said)


def test_a_goal_that_the_planner_refuses_is_told_once() -> None:
    it = Planned("sing a song")
    it.until(Event.PLAN_REJECTED)
    assert it.skills(4.0) == ["idle"]
    assert it.rig.said.count(Event.PLAN_REJECTED) == 1
    it.close()


def choose(rig: Rig, skill: str) -> None:
    """The operator's page says so."""
    rig.operator.record["skill"] = SKILLS[skill].index
    rig.operator.record["skill_changes"] += 1
    rig.operator.publish(rig.now_ns)
    rig.clockwork.run(rig.now_ns)


def test_the_operator_wins_over_a_plan(planned: Planned) -> None:
    planned.until(Event.PLAN_STARTED)
    choose(planned.rig, "idle")
    assert planned.skills(5.0) == ["idle"]
    assert not planned.rig.mind.runner.running


def test_a_plan_waits_for_the_robot_to_be_engaged(planned: Planned) -> None:
    planned.mode(Mode.IDLE)
    planned.until(Event.PLAN_STARTED)
    assert planned.skills(30.0) == ["follow"]
    planned.mode(Mode.ACTIVE)
    assert planned.skills(9.5) == ["follow", "idle", "follow", "idle"]


@pytest.mark.parametrize("gesture", ["stops", "disengages", "press", "bumper"])
def test_stop_disengage_and_a_hand_on_the_stick_end_a_plan(planned: Planned, gesture: str) -> None:
    """Else the rest of it would go on whenever somebody engages again."""
    planned.until(Event.PLAN_STARTED)
    planned.skills(0.5)
    if gesture == "bumper":
        planned.mode(Mode.STOPPED)
    else:
        planned.rig.operator.record[gesture] += 1
        planned.rig.operator.publish(planned.rig.now_ns)
        planned.rig.clockwork.run(planned.rig.now_ns)
    planned.step()
    planned.mode(Mode.ACTIVE)
    assert planned.skills(5.0) == ["idle"] and Event.PLAN_ENDED in planned.rig.said
    assert not planned.rig.mind.runner.running


def test_a_stop_before_the_plan_is_made_ends_it_too() -> None:
    it = Planned("follow for 4 s", skill="look_at")
    it.until(Event.PLANNER_BACK, serve=True)
    it.rig.operator.record["stops"] += 1
    it.rig.operator.publish(it.rig.now_ns)
    it.rig.clockwork.run(it.rig.now_ns)
    it.step(serve=False)
    assert it.skills(5.0) == ["look_at"] and Event.PLAN_STARTED not in it.rig.said
    it.close()


@pytest.mark.parametrize(
    ("config", "chosen", "last", "goes_on_with"),
    [
        ("follow", None, "follow", "follow"),
        ("follow", None, "search", "follow"),
        ("follow", None, "idle", "idle"),
        ("follow", "look_at", "look_at", "look_at"),
        ("go_to", None, "go_to", "idle"),
        ("follow", "go_to", "go_to", "idle"),
    ],
)
def test_a_mind_that_died_goes_on_with_what_needs_none_of_its_memory(
    config: str, chosen: str | None, last: str, goes_on_with: str
) -> None:
    rig = Rig(replace(CONFIG, skill=config))
    if chosen:
        choose(rig, chosen)
    rig.step()
    rig.mind._intent.record["skill"] = SKILLS[last].index
    rig.mind._intent.publish(rig.now_ns)
    rig.clockwork.run(rig.now_ns)
    rig.mind = Mind(rig.channels, replace(CONFIG, skill=config), rig.machine)
    rig.step()
    assert rig.skill == goes_on_with and rig.mind.skill == goes_on_with
    choose(rig, "go_to")
    rig.step()
    assert rig.skill == goes_on_with and rig.said[-1] is Event.SKILL_REFUSED, "its place is lost"


def test_a_mind_that_died_does_not_make_its_plan_again(planned: Planned) -> None:
    planned.until(Event.PLAN_STARTED)
    planned.skills(0.5)
    link = ZmqPlannerLink("tcp://127.0.0.1:9", "follow for 4 s", planned.rig.now_ns)
    again = Mind(planned.rig.channels, replace(CONFIG, skill="follow"), planned.rig.machine, link)
    planned.rig.mind.close()
    planned.rig.mind = again
    planned.rig.step()
    assert planned.rig.skill == "idle" and not link.withdraw()


def test_the_operator_wins_over_a_plan_that_is_still_being_made(planned: Planned) -> None:
    """The planner has been asked, and answers only after the operator has chosen."""
    honest, held = planned.planner._send, []

    def send(sender: bytes, message: object) -> None:
        if isinstance(message, Proposed):
            held.append((sender, message))
        else:
            honest(sender, message)  # type: ignore[arg-type]

    planned.planner._send = send  # type: ignore[method-assign]
    end = time.monotonic() + 5
    while not held:
        assert time.monotonic() < end, "the robot never asked"
        planned.step()
    choose(planned.rig, "look_at")
    planned.step()
    honest(*held[0])
    assert planned.skills(5.0) == ["look_at"]
    assert Event.PLAN_STARTED not in planned.rig.said
    assert len(held) == 1, "and the goal is asked no more"
