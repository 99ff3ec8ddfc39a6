"""The plan runner: what it refuses, how it steps, how it ends."""

from dataclasses import replace

import pytest

from models.bundle import find_bundle, load_bundle
from models.layout import GOAL_MASKS, goal_vector
from runtime.body import load_body
from runtime.skills import (
    MAX_AGE_FRAMES,
    MAX_STEP_S,
    MAX_STEPS,
    SKILLS,
    PlanRunner,
    Proposal,
    Step,
    possible,
)

S = 1_000_000_000
PLAN = Proposal(
    "goal-1", "follow, wait, follow", (Step("follow", 4), Step("idle", 2), Step("follow", 3)), 100, 5 * S
)  # fmt: skip


def test_the_bundles_skills_are_ours_in_our_order() -> None:
    bundle = load_bundle(find_bundle("companion-follow"), load_body("companion").layout())
    names = [s.name for s in sorted(SKILLS.values(), key=lambda s: s.index)]
    assert names[: len(bundle.manifest.skills)] == list(bundle.manifest.skills)


@pytest.mark.parametrize("skill", SKILLS.values(), ids=list(SKILLS))
def test_every_skill_is_declared_whole(skill) -> None:
    assert SKILLS[skill.name] is skill and list(SKILLS).index(skill.name) == skill.index
    assert set(skill.requires) <= set(skill.needs) <= set(GOAL_MASKS)
    assert skill.does and skill.precondition and skill.expected and skill.success
    assert 0 <= skill.cost <= skill.timeout_s <= MAX_STEP_S
    assert skill.driven_by == ("script" if skill.name == "idle" else "policy")
    assert (skill.distance_m is not None) == ("distance" in skill.needs)


@pytest.mark.parametrize("place", [None, (0.0, 0.0)])
def test_without_a_place_no_skill_drives_to_one(place) -> None:
    goal = goal_vector(distance_m=1.2, position_m=place)
    skills = possible(tuple(SKILLS), goal)
    assert ("go_to" in skills) is (place is not None)
    assert set(SKILLS) - set(skills) <= {"go_to"}
    assert possible(("idle", "search"), goal) == ("idle", "search"), "of the bundle's alone"


def test_a_plan_with_a_skill_that_the_bundle_lacks_is_refused() -> None:
    plan = replace(PLAN, steps=(Step("search", 5),))
    assert PlanRunner().check(plan, 0, 100) == ""
    reason = PlanRunner(("idle", "follow")).check(plan, 0, 100)
    assert reason == "no skill search: known are idle, follow"


@pytest.mark.parametrize(
    ("change", "now_ns", "frame", "says"),
    [
        ({}, 0, 100, ""),
        ({}, 5 * S, 100 + MAX_AGE_FRAMES, ""),
        ({"steps": ()}, 0, 100, "0 steps, allowed 1 to 32"),
        ({"steps": (Step("idle", 1),) * (MAX_STEPS + 1)}, 0, 100, "33 steps"),
        ({"steps": (Step("idle", 1),) * MAX_STEPS}, 0, 100, ""),
        ({"steps": (Step("follow", 1), Step("dance", 1))}, 0, 100, "no skill dance: known are idle, follow"),
        ({"steps": (Step("idle", 0),)}, 0, 100, "idle for 0 s"),
        ({"steps": (Step("idle", -1),)}, 0, 100, "idle for -1 s"),
        ({"steps": (Step("idle", MAX_STEP_S + 1),)}, 0, 100, "allowed up to 600 s"),
        ({"steps": (Step("idle", float("nan")),)}, 0, 100, "idle for nan s"),
        ({"steps": (Step("idle", float("inf")),)}, 0, 100, "idle for inf s"),
        ({}, 5 * S + 1, 100, "expired"),
        ({}, 0, 101 + MAX_AGE_FRAMES, "based on frame 100, now is frame 161"),
        ({}, 0, 99, "based on frame 100, now is frame 99"),
    ],
)  # fmt: skip
def test_a_proposal_is_refused_with_its_reason(change, now_ns: int, frame: int, says: str) -> None:
    reason = PlanRunner().check(replace(PLAN, **change), now_ns, frame)
    assert says in reason
    assert bool(reason) == bool(says)


@pytest.mark.parametrize(
    ("after_s", "skill", "progress"),
    [
        (0.0, "follow", (3, 1)),
        (3.999, "follow", (3, 1)),
        (4.0, "idle", (3, 2)),
        (6.0, "follow", (3, 3)),
        (8.999, "follow", (3, 3)),
        (9.0, None, (0, 0)),
        (99.0, None, (0, 0)),
    ],
)
def test_each_step_lasts_its_time_even_when_nobody_looks(after_s: float, skill, progress) -> None:
    runner = PlanRunner()
    runner.start(PLAN, 10 * S)
    assert runner.skill(10 * S + round(after_s * 1e9)) == skill
    assert runner.progress() == progress
    assert runner.running == (skill is not None)


def test_a_plans_time_passes_only_while_the_robot_goes_on() -> None:
    runner = PlanRunner()
    runner.start(PLAN, 0)
    assert runner.skill(90 * S, goes_on=False) == "follow", "it waits to be engaged"
    assert runner.skill(93 * S) == "follow"
    assert runner.skill(193 * S, goes_on=False) == "follow", "a pause"
    assert runner.skill(194 * S - 1) == "follow"
    assert runner.skill(194 * S) == "idle"
    assert runner.skill(199 * S) is None is not runner.finished()


def test_the_end_is_told_once() -> None:
    runner = PlanRunner()
    runner.start(PLAN, 0)
    assert runner.finished() == ""
    runner.skill(9 * S)
    assert runner.finished() == PLAN.goal
    assert runner.finished() == ""


def test_losing_the_planner_finishes_the_present_step_and_no_more() -> None:
    runner = PlanRunner()
    runner.start(PLAN, 0)
    assert runner.skill(5 * S) == "idle"
    runner.finish_current()
    assert runner.skill(6 * S - 1) == "idle"
    assert runner.skill(6 * S) is None
    assert runner.finished() == PLAN.goal


def test_a_new_plan_replaces_the_running_one_and_a_dropped_one_is_silent() -> None:
    runner = PlanRunner()
    runner.start(PLAN, 0)
    runner.start(replace(PLAN, id="goal-2", steps=(Step("idle", 7),)), 2 * S)
    assert runner.skill(8 * S) == "idle"
    runner.drop()
    assert runner.skill(8 * S) is None
    assert runner.finished() == ""


def test_nothing_runs_at_first() -> None:
    runner = PlanRunner()
    runner.finish_current()
    assert (runner.skill(0), runner.progress(), runner.finished()) == (None, (0, 0), "")
