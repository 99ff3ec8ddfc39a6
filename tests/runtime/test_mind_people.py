"""Whom the mind has the robot follow, look at and search for."""

from dataclasses import replace

import numpy as np
import pytest

from models.layout import goal_vector
from runtime.events import Event
from runtime.goal import MASK, VALUES
from runtime.modes import Mode
from runtime.sight import nearest_hue
from tests.runtime.mind_rig import CONFIG, GOAL, Rig


def see(rig: Rig, seen: float, seconds: float, mode: Mode = Mode.ACTIVE) -> None:
    """The belief says this of the person in red, for so long."""
    rig.status.record["mode"] = mode
    for _ in range(round(seconds * 10)):
        rig.people.record["count"] = 2
        rig.people.record["person"][:2] = (seen, 1.0, 0.0, 0.03, 0.0), (1.0, 2.0, 0.0, 0.03, 0.0)
        rig.people.publish(rig.now_ns)
        rig.status.publish(rig.now_ns)
        rig.clockwork.run(rig.now_ns)
        rig.step()


HUES = {"red": 0.0, "blue": 0.64}


def test_who_is_out_of_sight_is_looked_for_until_they_are_seen_again() -> None:
    rig = Rig(replace(CONFIG, hues=HUES))
    see(rig, 1.0, 1.0)
    assert rig.skill == "follow" and not rig.said
    see(rig, 0.1, 0.9)
    assert rig.skill == "follow"
    see(rig, 0.1, 2.0)
    assert rig.skill == "search" and rig.said == [Event.OUT_OF_SIGHT]
    assert rig.intent.record["goal"][MASK["appearance"]] and not rig.intent.record["goal"][MASK["distance"]]  # fmt: skip
    see(rig, 0.9, 0.2)
    assert rig.skill == "follow" and rig.said == [Event.OUT_OF_SIGHT]


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, hues=HUES, skill="idle"),
        replace(CONFIG, hues=HUES, skill="go_to"),
        replace(CONFIG, hues=HUES, skill="look_at"),
        replace(CONFIG, hues=HUES, skill="search"),
        replace(CONFIG, hues=HUES, skills=("idle", "follow")),
        CONFIG,
    ],
)
def test_nobody_is_looked_for_where_no_person_matters_or_nothing_can_search(config) -> None:
    rig = Rig(config)
    see(rig, 0.0, 3.0)
    assert rig.skill == config.skill and not rig.said


def test_while_it_is_parked_nobody_gets_lost() -> None:
    rig = Rig(replace(CONFIG, hues=HUES))
    see(rig, 0.0, 3.0, Mode.IDLE)
    assert rig.skill == "follow" and not rig.said
    see(rig, 0.0, 0.9)
    assert rig.skill == "follow", "the second begins when it may move"


ROBOT = replace(CONFIG, goal=goal_vector(distance_m=1.2), hues=HUES)  # whose goal names nobody
NEAR, FAR, HIDDEN = (1.0, 1.0, 0.0, 0.03, 0.0), (1.0, 2.0, 0.5, 0.03, 0.0), (0.1, 1.0, 0.0, 0.03, 0.0)  # fmt: skip


def among(
    rig: Rig, red: tuple, blue: tuple, seconds: float, mode: Mode = Mode.ACTIVE, count: int = 2
) -> list[str]:
    """The belief says this of both for so long; the skills that were asked for, without repeats."""
    skills: list[str] = []
    rig.status.record["mode"] = mode
    for _ in range(round(seconds * 20)):
        rig.people.record["count"] = count
        rig.people.record["person"][:2] = red, blue
        rig.people.publish(rig.now_ns)
        rig.status.publish(rig.now_ns)
        rig.clockwork.run(rig.now_ns)
        rig.step(50)
        if not skills or skills[-1] != rig.skill:
            skills.append(rig.skill)
    return skills


def meant(rig: Rig) -> str:
    """Whose colour the published goal has; empty: nobody's."""
    goal = rig.intent.record["goal"]
    if not goal[MASK["appearance"]]:
        assert not goal[VALUES["appearance"]].any()
        return ""
    return list(HUES)[nearest_hue(goal[VALUES["appearance"]], list(HUES.values()))]


def test_where_the_goal_names_nobody_somebody_is_looked_for_and_then_meant() -> None:
    rig = Rig(ROBOT)
    assert among(rig, HIDDEN, HIDDEN, 3.0) == ["search"]
    assert meant(rig) and rig.said == [Event.OUT_OF_SIGHT]
    assert among(rig, HIDDEN, FAR, 1.0) == ["search", "follow"]
    assert meant(rig) == "blue"
    assert rig.intent.record["goal"][VALUES["distance"]] == pytest.approx(1.2)
    assert rig.said == [Event.OUT_OF_SIGHT, Event.SOMEBODY] and rig.texts[-1] == "blue"
    assert among(rig, NEAR, FAR, 20.0) == ["follow"]
    assert meant(rig) == "blue", "a nearer newcomer does not take over"
    assert rig.said.count(Event.SOMEBODY) == 1


def test_who_was_chosen_and_is_lost_is_looked_for_as_one_who_was_named() -> None:
    rig = Rig(ROBOT)
    among(rig, NEAR, HIDDEN, 1.0, Mode.IDLE)
    among(rig, NEAR, HIDDEN, 1.0)
    assert among(rig, HIDDEN, FAR, 0.9) == ["follow"]
    assert among(rig, HIDDEN, FAR, 5.0) == ["follow", "search"]
    assert meant(rig) == "red", "whoever else is there"
    assert among(rig, NEAR, FAR, 1.0)[-1] == "follow"
    assert meant(rig) == "red"
    assert among(rig, HIDDEN, FAR, 12.0) == ["follow", "search", "follow"]
    assert meant(rig) == "blue", "red is long gone"
    assert rig.said == [Event.SOMEBODY, Event.OUT_OF_SIGHT, Event.OUT_OF_SIGHT, Event.SOMEBODY]


def test_who_is_there_when_it_sets_off_is_meant_from_the_first_moment() -> None:
    rig = Rig(ROBOT)
    among(rig, HIDDEN, FAR, 1.0, Mode.IDLE)
    assert rig.skill == "follow" and meant(rig) == "" and not rig.said
    assert among(rig, HIDDEN, FAR, 1.0) == ["follow"]
    assert meant(rig) == "blue" and rig.said == [Event.SOMEBODY]


@pytest.mark.parametrize(
    ("mode", "who"),
    [(Mode.IDLE, "red"), (Mode.TELEOP, "red"), (Mode.STOPPED, "red"), (Mode.HOLD, "blue")],
)
def test_parked_it_chooses_anew_and_a_pause_changes_nothing(mode: Mode, who: str) -> None:
    rig = Rig(ROBOT)
    among(rig, HIDDEN, FAR, 1.0)
    among(rig, NEAR, FAR, 1.0, mode)
    assert meant(rig) == ("" if who == "red" else "blue")
    assert among(rig, NEAR, FAR, 1.0) == ["follow"]
    assert meant(rig) == who
    assert rig.texts == (["blue", "red"] if who == "red" else ["blue"])


@pytest.mark.parametrize("skill", ["idle", "go_to"])
def test_where_no_person_matters_nobody_is_chosen(skill: str) -> None:
    rig = Rig(replace(ROBOT, skill=skill))
    assert among(rig, HIDDEN, HIDDEN, 2.0) == among(rig, NEAR, FAR, 2.0) == [skill]
    assert meant(rig) == "" and not rig.said


def test_waiting_in_between_it_still_means_the_same() -> None:
    rig = Rig(ROBOT)
    among(rig, HIDDEN, FAR, 1.0)
    rig.mind.skill = "idle"
    assert among(rig, NEAR, FAR, 5.0) == ["idle"] and meant(rig) == ""
    rig.mind.skill = "approach"
    assert among(rig, NEAR, FAR, 1.0) == ["approach"] and meant(rig) == "blue"


@pytest.mark.parametrize("skill", ["look_at", "search"])
def test_who_is_looked_at_or_searched_for_is_chosen_too(skill: str) -> None:
    rig = Rig(replace(ROBOT, skill=skill))
    assert among(rig, HIDDEN, HIDDEN, 1.0) == ["search"]
    among(rig, FAR, HIDDEN, 1.0)
    assert rig.skill == skill and meant(rig) == "red"


def test_no_colour_is_invented_where_nobody_can_be_chosen_or_searched_for() -> None:
    fewer = Rig(ROBOT)
    assert among(fewer, NEAR, FAR, 3.0, count=1)[-1] == "follow"
    assert meant(fewer) == "" and Event.SOMEBODY not in fewer.said
    nameless = Rig(replace(ROBOT, hues={}))
    assert among(nameless, NEAR, FAR, 3.0) == ["follow"]
    assert meant(nameless) == "" and not nameless.said
    unable = Rig(replace(ROBOT, skills=("idle", "follow")))
    assert among(unable, HIDDEN, HIDDEN, 3.0) == ["follow"]
    assert meant(unable) == "" and not unable.said
    assert among(unable, HIDDEN, FAR, 1.0) == ["follow"]
    assert meant(unable) == "blue" and unable.said == [Event.SOMEBODY]


def test_a_goal_that_names_somebody_means_nobody_else() -> None:
    rig = Rig(replace(CONFIG, hues=HUES))
    assert among(rig, HIDDEN, NEAR, 20.0) == ["follow", "search"]
    assert np.array_equal(rig.intent.record["goal"][VALUES["appearance"]], GOAL[VALUES["appearance"]])  # fmt: skip
    assert rig.said == [Event.OUT_OF_SIGHT]
