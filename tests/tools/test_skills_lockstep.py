"""Every skill through the whole chain: the mind's goal, the firmware, the judge, the report."""

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("mujoco")

from models.layout import goal_vector
from runtime.events import Event
from runtime.goal import MASK, VALUES
from runtime.skills import SKILLS
from tools.compose import RunSettings, open_policy, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides
from tools.report import RunFacts, build_report
from tools.twin.expert import Expert
from tools.twin.judge import judge
from tools.twin.scenario import EASY
from tools.twin.specimen import scene_of


class ExpertPolicy:
    """The expert in the policy's place, with what it was asked beside."""

    def __init__(self):
        self.expert, self.task = None, None
        self.asked = []

    def act(self, belief, age_s, proprio, imu, skill, goal):
        self.asked.append((skill, goal.copy()))
        return self.expert.act(self.task)


def run_skill(skill, seconds):
    setup = prepare(RunSettings(seed=3, lockstep=True, scenario="easy"))
    # the committed bundle need not know the skill: the expert drives
    setup = dataclasses.replace(setup, settings=dataclasses.replace(setup.settings, skill=skill))
    world, _ = open_world(setup)
    policy = ExpertPolicy()
    looks = Overrides(policy=policy, on_render=lambda _twin: policy.expert.look())
    run = LockstepRun(setup, world, None, looks)
    policy.expert, policy.task = Expert(run.twin, run.controller.behind_m), run.task
    return setup, run, policy, run.run(seconds)


@pytest.mark.parametrize("skill", ["approach", "look_at", "search", "go_to"])
def test_a_skill_from_goal_to_report(skill):
    setup, run, policy, result = run_skill(skill, 15 if skill == "approach" else 8)
    assert run.twin.scenario == setup.scenario()
    assert result.skill.success, result.skill
    assert result.skill.metrics["return"] > 0.4
    assert {s for s, _ in policy.asked} == {SKILLS[skill].index}
    _, goal = policy.asked[-1]
    wanted = run.task.goal(run.twin.pose())
    assert np.array_equal(goal[8:], wanted[8:]), "what the task gives is what the skill is given"
    assert goal == pytest.approx(wanted, abs=0.05), "and it is carried along"
    report = build_report(setup, result.records, RunFacts())["skill"]
    assert report["name"] == skill and report["success"]
    assert report["metrics"]["return"] == pytest.approx(result.skill.metrics["return"], abs=1e-3)


def test_who_is_not_in_view_at_first_is_searched_for_and_then_followed():
    setup = prepare(RunSettings(seed=4, lockstep=True))
    run = LockstepRun(
        setup, open_world(setup)[0], open_policy(setup)[0],
        Overrides(scenario=dataclasses.replace(EASY, start_hidden=1.0)),
    )  # fmt: skip
    records = run.run(8).records
    asked = [int(s) for s in records["intent"]["skill"]]
    search, follow = SKILLS["search"].index, SKILLS["follow"].index
    first = asked.index(search)
    assert set(asked[:first]) == {follow}
    assert asked[-1] == follow, "found, and followed again"
    told = [(int(r["code"]), int(r["active"])) for r in records["event.mind"]]
    assert told[:2] == [(Event.OUT_OF_SIGHT, 1), (Event.OUT_OF_SIGHT, 0)]


@pytest.mark.parametrize(("hidden", "skills"), [(0.0, ["follow"]), (1.0, ["follow", "search", "follow"])])  # fmt: skip
def test_where_the_goal_names_nobody_who_is_there_is_found_and_followed(hidden, skills):
    setup = prepare(RunSettings(seed=4, lockstep=True))
    run = LockstepRun(
        setup, open_world(setup)[0], open_policy(setup)[0],
        Overrides(scenario=dataclasses.replace(EASY, start_hidden=hidden)),
    )  # fmt: skip
    run.mind.config = dataclasses.replace(run.mind.config, goal=goal_vector(distance_m=1.2))
    result = run.run(8)
    asked = result.records["intent"]["skill"]
    changes = asked[np.flatnonzero(np.diff(asked, prepend=255))]
    assert changes.tolist() == [SKILLS[name].index for name in skills]
    (somebody,) = [r for r in result.records["event.mind"] if r["code"] == Event.SOMEBODY]
    (person,) = scene_of(4, run.twin.scenario).people
    assert somebody["text"].decode() == person.look.hue
    assert result.skill.success


def test_the_place_moves_in_the_base_frame_as_the_robot_goes_there():
    _, run, policy, result = run_skill("go_to", 8)
    first, last = policy.asked[0][1], policy.asked[-1][1]
    assert first[MASK["position"]] == last[MASK["position"]] == 1
    away = math.hypot(*first[VALUES["position"]])
    start = result.records["truth"][0]
    assert away == pytest.approx(
        math.dist(run.task.place_xy_m, (start["x_m"], start["y_m"])), abs=0.05
    )
    assert math.hypot(*last[VALUES["position"]]) < 0.2
    assert judge(result.records["truth"], run.task).metrics["distance_m"] < 0.2


class HeadTurns:
    """A policy that turns the head at a share of its full rate, for so many periods."""

    def __init__(self, share, first, last):
        self.share, self.first, self.last, self.asked = share, first, last, 0

    def act(self, *_):
        self.asked += 1
        turns = self.first <= self.asked < self.last
        return np.array([0, 0, self.share if turns else 0, 0], np.float32)


@pytest.mark.parametrize("share", [0.25, -0.5])
def test_the_heads_joint_turns_as_fast_as_it_is_told_and_ends_where_it_was_told(share):
    setup = prepare(RunSettings(seed=1, lockstep=True, skill="look_at"))
    run = LockstepRun(
        setup, open_world(setup)[0], None, Overrides(policy=HeadTurns(share, 50, 100))
    )
    records = run.run(3).records
    truth, sent = records["truth"], records["sent"]
    full, full_s = 3.0, 0.01
    told_rad = float(sent["action"][:, 2].sum()) * full * full_s
    assert abs(told_rad) == pytest.approx(abs(share) * full * 0.5, rel=0.1)
    angle, t_s = truth["head_yaw_rad"], truth["t_ns"] / 1e9
    assert angle[-1] == pytest.approx(told_rad, abs=0.02)
    assert np.abs(angle).max() < abs(told_rad) + 0.03, "it swung past"
    part = (np.abs(angle) > 0.4 * abs(told_rad)) & (np.abs(angle) < 0.7 * abs(told_rad))
    rate = np.polyfit(t_s[part], angle[part], 1)[0]
    assert rate == pytest.approx(share * full, rel=0.1)
