"""The experts drive every skill to success as the judge sees it, and the judge sees each failure."""

import math

import numpy as np
import pytest

pytest.importorskip("mujoco")

from firmware_bridge.plant import Plant
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.twin.direct import DirectDrive
from tools.twin.expert import Expert
from tools.twin.field import beside
from tools.twin.judge import judge, reward
from tools.twin.scenario import Scenario
from tools.twin.scene import ROOM_HALF_M, Obstacle
from tools.twin.specimen import scene_of
from tools.twin.task import PLACE_CLEAR_M, Task, scenario_named, tasks_of
from tools.twin.truth import TRUTH
from tools.twin.twin import Twin

BODY = load_body("companion")
MS = 1_000_000
SKILLS = ("follow", "approach", "look_at", "search", "go_to")


def turn_away(twin, angle_rad):
    """The robot starts turned by an angle, so that it does not see the person."""
    half, q = angle_rad / 2, twin.data.qpos
    w, z = float(q[3]), float(q[6])
    q[3] = math.cos(half) * w - math.sin(half) * z
    q[6] = math.cos(half) * z + math.sin(half) * w


def drive(seed, skill, seconds, turned_rad=0.0):
    plant = Plant.create()
    twin, direct = Twin(BODY, seed, plant), DirectDrive(BODY, plant)
    turn_away(twin, turned_rad)
    task = tasks_of(seed, twin.scene, twin.scenario)[skill]
    expert = Expert(twin)
    truth, actions = np.zeros(round(seconds * 20), TRUTH), []
    for row in truth:
        twin.count_person()
        expert.look()
        twin.truth(row)
        for _ in range(5):
            actions.append(expert.act(task))
            direct.act(actions[-1])
            twin.step_to(twin.now_ns + 10 * MS)
    return truth, task, np.array(actions)


@pytest.mark.parametrize("seed", [0, 3, 14, 2014])
@pytest.mark.parametrize("skill", SKILLS)
def test_the_expert_succeeds(skill, seed):
    truth, task, actions = drive(seed, skill, 20 if skill == "follow" else 12)
    result = judge(truth, task)
    assert result.success, result
    assert actions.dtype == np.float32 and np.abs(actions).max() <= 1
    assert np.abs(np.diff(actions, axis=0)).mean() < 0.02  # no chattering
    assert result.metrics["return"] > 0.4
    again, _, _ = drive(seed, skill, 1)
    assert again.tobytes() == truth[:20].tobytes(), "the same seed, the same run"


@pytest.mark.parametrize("skill", ["follow", "approach", "search"])
@pytest.mark.parametrize(("seed", "turned_rad"), [(101, 3.0), (104, -2.0)])
def test_an_expert_that_never_saw_the_person_finds_them(skill, seed, turned_rad):
    truth, _, actions = drive(seed, skill, 8, turned_rad)
    assert truth["person_px"][0] == 0
    assert actions[0, 0] < 0 < actions[0, 1], "left when it knows nothing"
    assert (truth["person_px"][-40:] > 20).mean() > 0.8
    assert not truth["bump"].any()


def test_what_it_does_tells_nothing_of_an_unseen_person():
    def labels(move):
        twin = Twin(BODY, 7, Plant.create())
        turn_away(twin, math.pi)
        twin.count_person()
        expert = Expert(twin)
        expert.look()
        twin.people.target.y += move
        tasks = tasks_of(7, twin.scene, twin.scenario)
        return [expert.act(tasks[s]).tolist() for s in ("follow", "approach", "look_at", "search")]

    assert labels(0.0) == labels(0.4)


def test_it_goes_on_a_moment_from_the_last_sight_and_then_searches():
    twin = Twin(BODY, 0, Plant.create())
    twin.count_person()
    expert = Expert(twin)
    expert.look()
    assert expert.sees and not expert.searching
    twin.camera.geom.fill(-1)  # something hides them
    task = tasks_of(0, twin.scene, twin.scenario)["follow"]
    searched = []
    for _ in range(50):
        expert.look()
        expert.act(task)
        searched.append(expert.searching)
        twin.step_to(twin.now_ns + 50 * MS)
    first = next(i for i, s in enumerate(searched) if s)
    assert 1.0 <= first * 0.05 <= 2.1
    assert len(set(searched[first:])) == 1, "one direction"


def test_following_it_goes_to_see_where_it_lost_them_and_searching_it_turns():
    twin = Twin(BODY, 0, Plant.create())
    twin.count_person()
    expert = Expert(twin)
    expert.look()
    tasks = tasks_of(0, twin.scene, twin.scenario)
    twin.step_to(twin.now_ns + 2100 * MS)
    twin.camera.geom.fill(-1)
    expert.look()
    assert expert.searching
    ahead, turn = expert.act(tasks["follow"]), expert.act(tasks["search"])
    assert ahead[0] + ahead[1] > 0.3 and turn[0] + turn[1] == pytest.approx(0, abs=1e-6)
    twin.step_to(twin.now_ns + 4000 * MS)
    expert.look()
    given_up = expert.act(tasks["follow"])
    assert given_up[0] + given_up[1] == pytest.approx(0, abs=1e-6)


def pillar(x_m, y_m):
    return Obstacle("cylinder", x_m, y_m, 0.0, (0.1, 0.1), 2.0, (0.5, 0.5, 0.5))


def between(twin, share, left_m):
    """A pillar on the way to the person, this far to the left of the line."""
    x, y, _ = twin.pose()
    dx, dy = twin.people.target.x - x, twin.people.target.y - y
    size = math.hypot(dx, dy)
    return pillar(x + share * dx - left_m * dy / size, y + share * dy + left_m * dx / size)


@pytest.mark.parametrize(
    ("x_m", "y_m", "gap_m", "side"),
    [(1.0, 0.3, 0.2, 1), (1.0, -0.4, 0.3, -1), (1.0, 0.05, -0.05, 1), (-0.2, 0, math.inf, 1), (2.3, 0, math.inf, 1)],
)  # fmt: skip
def test_how_far_a_thing_is_from_the_line_of_sight(x_m, y_m, gap_m, side):
    assert beside(pillar(x_m, y_m), (0.0, 0.0), (2.0, 0.0)) == pytest.approx((gap_m, side))


def test_a_screen_hides_as_much_as_it_is_wide_across_the_line():
    def screen(yaw):
        return Obstacle("box", 1.0, 0.5, yaw, (0.4, 0.1), 2.0, (0.5, 0.5, 0.5))

    for yaw, half_m in ((0.0, 0.1), (math.pi / 2, 0.4)):
        assert beside(screen(yaw), (0.0, 0.0), (2.0, 0.0))[0] == pytest.approx(0.5 - half_m)


def test_it_waits_longer_for_who_went_behind_something():
    def patience_s(*tall):
        twin = Twin(BODY, 0, Plant.create())
        twin.count_person()
        expert = Expert(twin)
        expert.look()
        expert._tall = [between(twin, *t) for t in tall]
        expert._head_yaw = expert._bearing  # it looks there
        return expert._patience_s()

    assert patience_s((0.5, 0.0)) > patience_s((0.5, 0.5)) == patience_s()


@pytest.mark.parametrize("left_m", [0.2, -0.2])
def test_following_it_keeps_tall_things_out_of_the_line_of_sight(left_m):
    twin = Twin(BODY, 0, Plant.create())
    twin.count_person()
    expert = Expert(twin)
    expert.look()
    expert._person_v = 0.0, 0.0
    expert._tall = [between(twin, 0.5, left_m)]
    ux, uy = expert._toward
    vx, vy = expert._view()
    assert (ux * vy - uy * vx) * left_m < 0, "to the other side"
    assert abs(ux * vx + uy * vy) < 1e-9, "and neither nearer nor further away"
    expert._tall = [between(twin, 0.5, 4 * left_m)]
    assert expert._view() == (0.0, 0.0)


def test_searching_it_turns_the_way_its_head_leads():
    twin = Twin(BODY, 0, Plant.create())
    turn_away(twin, math.pi)
    twin.count_person()
    expert = Expert(twin)
    task = tasks_of(0, twin.scene, twin.scenario)["search"]
    for head_rad, side in ((0.3, 1), (-0.3, -1), (0.0, -1)):
        twin.data.qpos[twin.ids.joint_q[BODY.joint_names.index("head_yaw")]] = head_rad
        twin.step_to(twin.now_ns + 2 * MS)
        expert.look()
        action = expert.act(task)
        assert expert.searching == side and (action[1] - action[0]) * side > 0


def test_searching_it_goes_on_the_way_it_turns():
    twin = Twin(BODY, 0, Plant.create())
    turn_away(twin, math.pi)
    twin.count_person()
    expert = Expert(twin)
    for turning_rad_s, side in ((1.0, 1), (-1.0, -1)):
        twin.data.qvel[5] = turning_rad_s
        expert._step = -1
        expert.look()
        assert expert.searching == side


def test_where_it_may_not_back_up_it_turns():
    """Furniture before it, a person lost behind it: the way out is a turn, not a push at a closed door."""
    actions = []
    for behind_m in (1.0, 0.0):
        twin = Twin(BODY, 0, Plant.create())
        turn_away(twin, math.pi)
        twin.count_person()
        expert = Expert(twin, lambda behind_m=behind_m: behind_m)
        expert.look()
        expert._goes = True
        expert._things = [(-expert._ahead[0], -expert._ahead[1], 0.5, 0.05)]
        actions.append(expert.act(tasks_of(0, twin.scene, twin.scenario)["follow"]))
    (free_left, free_right, *_), (left, right, *_) = actions
    assert free_left + free_right < -0.3, "backs up where it came from"
    assert abs(left + right) < 1e-6 and abs(left - right) > 0.2, "turns where it did not"


def test_idle_wants_nothing():
    twin = Twin(BODY, 0, Plant.create())
    assert not Expert(twin).act(Task("idle")).any()


@pytest.mark.parametrize("seed", range(12))
def test_a_place_is_free_and_the_tasks_are_the_seeds(seed):
    scene = scene_of(seed, Scenario())
    tasks = tasks_of(seed, scene, Scenario())
    assert tasks == tasks_of(seed, scene, Scenario()) and set(tasks) == {"idle", *SKILLS}
    x, y = tasks["go_to"].place_xy_m
    assert 1.0 <= math.dist((x, y), scene.robot[:2]) <= 2.5
    assert max(abs(x), abs(y)) <= ROOM_HALF_M - PLACE_CLEAR_M
    for o in scene.obstacles:
        assert math.dist((x, y), (o.x_m, o.y_m)) >= o.radius_m + PLACE_CLEAR_M


def test_a_goal_stands_in_the_base_frame():
    task = Task("go_to", place_xy_m=(1.0, 2.0), heading_rad=0.0)
    goal = task.goal((1.0, 1.0, math.pi / 2))
    assert goal[[0, 1, 6, 7]] == pytest.approx([1, 0, -1, 0], abs=1e-6)
    assert list(goal[8:]) == [1, 0, 0, 1]


def test_scenarios_have_names():
    assert scenario_named("default") == Scenario()
    assert scenario_named("easy").occluders == (0, 0)
    with pytest.raises(ConfigError, match="no scenario lunar: known are default, "):
        scenario_named("lunar")


def run_of(seconds=20, **values):
    """A person 0.8 m ahead in the middle of the view, a robot at rest at the place (1, 0)."""
    truth = np.zeros(seconds * 20, TRUTH)
    truth["t_ns"] = 5 * 10**9 + np.arange(len(truth)) * 50 * MS
    truth["distance_m"], truth["person_px"], truth["gap_m"] = 0.8, 500, 1.0
    truth["person_base_m"], truth["x_m"] = (0.8, 0.0), 1.0
    for key, value in values.items():
        truth[key] = value
    return truth


def only(start_s, end_s, **values):
    """`values` everywhere but between two times."""
    truth = run_of(**values)
    truth[round(start_s * 20) : round(end_s * 20)] = run_of()[
        round(start_s * 20) : round(end_s * 20)
    ]
    return truth


def within(start_s, end_s, **values):
    """`values` between two times only."""
    truth = run_of()
    for key, value in values.items():
        truth[key][round(start_s * 20) : round(end_s * 20)] = value
    return truth


TASKS = {
    "approach": Task("approach", distance_m=0.8),
    "look_at": Task("look_at"),
    "search": Task("search"),
    "go_to": Task("go_to", place_xy_m=(1.0, 0.0)),
    "idle": Task("idle"),
}
ASIDE = (0.8, 0.8 * math.tan(math.radians(27)))


@pytest.mark.parametrize(
    ("skill", "truth", "success"),
    [
        ("approach", run_of(), True),
        ("approach", run_of(distance_m=1.09), True),
        ("approach", run_of(distance_m=1.11), False),
        ("approach", run_of(distance_m=0.49), False),
        ("approach", run_of(person_px=19), False),
        ("approach", run_of(person_base_m=ASIDE), False),
        ("approach", run_of(speed_m_s=-0.11), False),
        ("approach", only(5, 6.1, distance_m=2.0), True),
        ("approach", only(5, 5.9, distance_m=2.0), False),
        ("approach", only(15, 20, distance_m=2.0), False),  # too late
        ("approach", only(13.9, 20, distance_m=2.0), True),
        ("approach", within(0.5, 0.6, bump=1), False),
        ("approach", within(5, 6, bump=1), True),  # it was done before
        ("look_at", run_of(), True),
        ("look_at", run_of(off_axis_rad=0.28), False),
        ("look_at", within(0, 3, off_axis_rad=1.0), True),
        ("look_at", within(3, 5.4, off_axis_rad=0.4), True),
        ("look_at", within(3, 5.7, off_axis_rad=0.4), False),
        ("look_at", within(3, 12, off_axis_rad=0.4, person_px=0), True),  # something in between
        ("look_at", within(3, 12, off_axis_rad=0.6, person_px=0), False),  # looked away
        ("look_at", within(8, 9, x_m=1.14), True),
        ("look_at", within(8, 9, x_m=1.16), False),
        ("look_at", within(8, 8.1, bump=1), False),
        ("search", run_of(), True),
        ("search", run_of(off_axis_rad=0.36), False),
        ("search", run_of(person_px=19), False),
        ("search", only(6, 7.1, person_px=0), True),
        ("search", only(6, 6.9, person_px=0), False),
        ("search", only(14.5, 20, person_px=0), False),
        ("search", within(0, 0.1, bump=1), False),
        ("go_to", run_of(), True),
        ("go_to", run_of(x_m=1.19), True),
        ("go_to", run_of(x_m=1.21), False),
        ("go_to", run_of(speed_m_s=0.06), False),
        ("go_to", only(6, 6.6, x_m=3.0), True),
        ("go_to", only(6, 6.4, x_m=3.0), False),
        ("go_to", only(15, 20, x_m=3.0), False),
        ("go_to", within(0.2, 0.3, bump=1), False),
        ("idle", run_of(), True),
        ("idle", within(1, 1.1, bump=1), False),
        *((skill, run_of()[:0], False) for skill in TASKS),
    ],
)  # fmt: skip
def test_the_judge(skill, truth, success):
    assert judge(truth, TASKS[skill]).success is success


def test_metrics_say_when_it_was_done_and_how_well():
    metrics = judge(only(5, 20, x_m=2.0), TASKS["go_to"]).metrics
    assert metrics["time_s"] == pytest.approx(5.5)
    assert metrics["bumps"] == 0 and metrics["distance_m"] == 0
    assert 0.7 < metrics["return"] < 1


@pytest.mark.parametrize(
    ("task", "values", "value"),
    [
        (Task("follow", distance_m=1.2), {"distance_m": 1.2}, 1.0),
        (Task("follow", distance_m=1.2), {"distance_m": 1.7}, 0.5),
        (Task("follow", distance_m=1.2), {"distance_m": 3.0}, 0.0),
        (Task("follow", distance_m=1.2), {"distance_m": 1.2, "person_px": 0}, 0.0),
        (TASKS["approach"], {}, 1.0),
        (TASKS["approach"], {"speed_m_s": 0.2}, 0.7),
        (TASKS["look_at"], {}, 1.0),
        (TASKS["search"], {"off_axis_rad": math.pi / 6}, 0.5),
        (TASKS["search"], {"off_axis_rad": 1.2}, 0.0),
        (TASKS["go_to"], {}, 1.0),
        (TASKS["go_to"], {"x_m": 2.0}, 0.35),
        (TASKS["go_to"], {"x_m": 9.0}, 0.0),
        (TASKS["idle"], {}, 1.0),
        (TASKS["go_to"], {"gap_m": 0.05}, 0.9),
        (TASKS["go_to"], {"bump": 1}, -1.0),
    ],
)
def test_a_moments_reward(task, values, value):
    found = reward(run_of(**values), task)
    assert found.dtype == np.float32 and found == pytest.approx(value, abs=1e-5)
