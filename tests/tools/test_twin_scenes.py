"""Hard scenes: people who stop, turn and hide, starts out of view, and nobody walks into the robot."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from firmware_bridge.plant import Plant
from runtime.body import load_body
from tools.twin.direct import DirectDrive
from tools.twin.people import ROBOT_KEEP_OUT_M, People
from tools.twin.scenario import EASY, HARD, OPEN, Scenario
from tools.twin.scene import draw_scene
from tools.twin.specimen import PEOPLE, scene_of
from tools.twin.twin import Twin
from tools.twin.world import PERSON_RADIUS_M

BODY = load_body("companion")
MS = 1_000_000
DT_S = 0.02


def crowd(seed: int, scenario: Scenario = HARD) -> tuple[People, tuple[float, float]]:
    """The people of a seed's scene and where the robot stands, without physics."""
    scene = scene_of(seed, scenario)
    return People(np.random.default_rng((seed, PEOPLE)), scene, scenario), scene.robot[:2]


def bearing(scene) -> float:
    x, y, yaw = scene.robot
    start = scene.people[0]
    return math.remainder(math.atan2(start.y_m - y, start.x_m - x) - yaw, 2 * math.pi)


def test_equal_seeds_give_equal_hard_scenes():
    assert scene_of(3, HARD) == scene_of(3, HARD) != scene_of(4, HARD)

    def bits() -> bytes:
        plant = Plant.create()
        twin, direct = Twin(BODY, 3, plant, HARD), DirectDrive(BODY, plant)
        for _ in range(50):
            direct.act(np.array((0.2, -0.2, 0, 0), np.float32))
            twin.step_to(twin.now_ns + 10 * MS)
        return twin.render().tobytes() + twin.data.qpos.tobytes() + plant.sensors.tobytes()

    assert bits() == bits()


@pytest.mark.parametrize("scenario", [EASY, OPEN])
def test_an_easy_scene_is_one_walking_person_in_view_among_low_things(scenario):
    for seed in range(30):
        scene = scene_of(seed, scenario)
        assert len(scene.people) == 1 and scene.pillars == 0
        assert 2 <= len(scene.obstacles) <= 6
        assert abs(bearing(scene)) <= 0.4
        people, robot = crowd(seed, scenario)
        for _ in range(50):
            people.step(DT_S, robot)
        assert math.hypot(people.target.vx, people.target.vy) > 0.03
    assert sum(Twin(BODY, s, Plant.create(), scenario).count_person() > 100 for s in range(6)) == 6


def test_a_hard_scene_has_screens_and_other_people():
    for seed in range(60):
        scene = scene_of(seed, HARD)
        occluders = scene.obstacles[-scene.pillars :]
        assert 1 <= len(occluders) <= 3 and 2 <= len(scene.people) <= 3
        assert occluders[0].kind == "box" and occluders[0].half_m[0] >= 0.3
        assert all(o.height_m >= 1.5 for o in occluders)
        assert 2 <= len(scene.obstacles) - scene.pillars <= 6
        hues = [p.look.hue for p in scene.people]
        assert len(set(hues)) == len(hues)


def test_nothing_stands_in_anything_else():
    for seed in range(60):
        scene = scene_of(seed, HARD)
        for i, a in enumerate(scene.obstacles):
            for b in scene.obstacles[:i]:
                assert math.hypot(a.x_m - b.x_m, a.y_m - b.y_m) > a.radius_m + b.radius_m + 0.4
            assert math.dist((a.x_m, a.y_m), scene.robot[:2]) > a.radius_m + 0.4
            for p in scene.people:
                assert math.dist((a.x_m, a.y_m), (p.x_m, p.y_m)) > a.radius_m + PERSON_RADIUS_M


def test_the_asked_share_of_starts_is_hidden():
    quarter = replace(HARD, start_hidden=0.25)
    aside = [abs(bearing(scene_of(seed, quarter))) > 0.9 for seed in range(400)]
    assert 0.08 < np.mean(aside) < 0.25
    assert not any(abs(bearing(scene_of(seed, Scenario()))) > 0.9 for seed in range(50))
    always = Scenario(screens=1.0, start_hidden=1.0, distractors=(0, 0))
    unseen = [Twin(BODY, seed, Plant.create(), always).count_person() < 20 for seed in range(30)]
    assert np.mean(unseen) > 0.9


def test_a_standing_robot_sees_the_target_come_and_go():
    """Looking straight at the target all the time: what is hidden is hidden by things."""
    hidden = []
    shy = replace(HARD, hides=0.6, screens=0.7)
    for seed in range(12):
        people, robot = crowd(seed, shy)
        scene = scene_of(seed, shy)
        screens = [o for o in scene.obstacles[-scene.pillars :] if o.kind == "box"]
        for i in range(1500):
            people.step(DT_S, robot)
            if i % 10 == 0:
                spot = people.target.x, people.target.y
                hidden.append(any(_between(robot, spot, o) for o in screens))
    assert 0.08 < np.mean(hidden) < 0.6


def _between(robot, spot, o) -> bool:
    """Whether the line of sight crosses the screen's long axis."""
    c, s = math.cos(o.yaw_rad), math.sin(o.yaw_rad)
    (ax, ay), (bx, by) = (
        (c * (x - o.x_m) + s * (y - o.y_m), -s * (x - o.x_m) + c * (y - o.y_m))
        for x, y in (robot, spot)
    )
    if ay * by >= 0:
        return False
    return abs(ax + (bx - ax) * ay / (ay - by)) < o.half_m[0]


def test_nobody_walks_into_the_robot():
    for seed in range(20):
        people, robot = crowd(seed)
        nearest = [math.dist((w.x, w.y), robot) for w in people.walkers]
        for _ in range(2000):
            people.step(DT_S, robot)
            for i, w in enumerate(people.walkers):
                gap = math.dist((w.x, w.y), robot)
                assert gap >= min(ROBOT_KEEP_OUT_M, nearest[i]) - 1e-9
                nearest[i] = min(nearest[i], gap)


def test_people_stop_turn_and_hide():
    stops, turns, hides, seconds = 0, 0, 0, 0.0
    for seed in range(15):
        people, robot = crowd(seed)
        w, paused, direction = people.target, False, None
        for i in range(1500):
            people.step(DT_S, robot)
            if w.pause_s > 0 and not paused:
                stops += w.pause_s > 0.9
                hides += w.screen is not None
                assert w.pause_s <= 3.0
            paused = w.pause_s > 0
            if i % 25 == 0:
                now = math.atan2(w.vy, w.vx) if math.hypot(w.vx, w.vy) > 0.1 else None
                if now is not None and direction is not None:
                    turns += abs(math.remainder(now - direction, 2 * math.pi)) > 1.0
                direction = now
        seconds += 30
    assert 1 / 30 < stops / seconds < 1 / 4
    assert 1 / 100 < hides / seconds < 1 / 8
    assert turns / seconds > 1 / 25


def test_the_plain_scenario_draws_no_surprise():
    people, robot = crowd(2, Scenario())
    for _ in range(1000):
        people.step(DT_S, robot)
        assert people.target.screen is None


def test_draw_scene_alone_is_the_plain_room():
    rng = np.random.default_rng
    assert draw_scene(rng((1, 0)), Scenario()) == scene_of(1, Scenario())
