"""Plans in the mind, with the real planner at the other end of a real socket; who ends them, and death."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import zmq

from runtime.events import Event
from runtime.lockstep import START_NS
from runtime.mind import Mind
from runtime.modes import Mode
from runtime.planner_link import ZmqPlannerLink
from runtime.planner_wire import PlannedStep, Proposed, open_socket
from runtime.skills import SKILLS
from tests.runtime.mind_rig import CONFIG, Rig
from tools.planner import Planner


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
