"""Foresight on a toy world in which driving ahead ends at a wall."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.layout import GOAL_SIZE, SKILLS
from models.world import Imagined
from runtime.body import load_body
from runtime.foresight import Foresight, Search

BODY = load_body("companion")
LAYOUT = BODY.layout()
FOLLOW, GO_TO = SKILLS.index("follow"), SKILLS.index("go_to")
ROWS = 16


class ToyWorld:
    """Belief = [way driven in full-speed seconds]; a wall stands at `wall`; reward is the way."""

    candidates = ROWS

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.noise = 0.0  # of the reward
        self._rng = np.random.default_rng(0)
        self.goals: list[np.ndarray] = []
        self.innovation = np.zeros(LAYOUT.proprio_size + 6, "f4")

    def imagine(
        self, beliefs: Any, action: Any, skill: int, goal: Any, draws: Any = None
    ) -> Imagined:
        self.goals.append(np.array(goal))
        noise = self.noise * self._rng.normal(size=ROWS)
        if draws is not None:
            noise = noise[draws]
        state = np.broadcast_to(beliefs, (ROWS, 1)).copy()
        wheels = np.broadcast_to(action, (ROWS, 4))[:, :2]
        state[:, 0] += wheels.mean(1) * 0.05
        hit = (state[:, 0] > self.wall).astype(np.float32)
        senses = np.zeros((ROWS, LAYOUT.proprio_size + 6), np.float32)
        senses[:, :2] = wheels
        near = np.zeros((ROWS, 12), np.float32)
        return Imagined(state, senses, np.zeros((ROWS, 6, 5), "f4"), hit, near, state[:, 0] + noise)


class Ahead:
    """A policy that always drives ahead."""

    def act(self, *_: Any) -> np.ndarray:
        return np.array([0.5, 0.5, 0, 0], np.float32)


def foresight(wall: float, **search: Any) -> Foresight:
    world: Any = ToyWorld(wall)
    return Foresight(world, Ahead(), BODY, LAYOUT, replace(Search(), **search))


def correction(it: Foresight, skill: int = FOLLOW, goal: Any = None) -> np.ndarray:
    proprio, imu = np.zeros(LAYOUT.proprio_size, "f4"), np.zeros(6, "f4")
    goal = np.zeros(GOAL_SIZE, "f4") if goal is None else goal
    return it.step(np.zeros(1, "f4"), proprio, imu, skill, goal).copy()


def test_it_brakes_before_a_wall_that_the_policy_would_meet() -> None:
    assert correction(foresight(wall=0.15, candidates=64))[:2].mean() < -0.05


def test_it_leaves_a_policy_alone_that_it_cannot_better() -> None:
    assert not correction(foresight(wall=9.0, candidates=64, margin=0.5)).any()


def test_luck_alone_does_not_displace_the_policy() -> None:
    it = foresight(wall=9.0, candidates=128, margin=0.0, forward=0.0, turn=0.0)
    world: Any = it._world
    world.noise = (
        1.0  # as much as the whole reward; no candidate but braking differs from the policy
    )
    assert not any(correction(it).any() for _ in range(20))


def test_noise_does_not_hide_what_is_better() -> None:
    it = foresight(wall=0.15, candidates=64)
    world: Any = it._world
    world.noise = 1.0
    assert correction(it)[:2].mean() < -0.05, "all candidates had the same luck"


def test_what_the_winner_would_do_next_is_tried_again() -> None:
    it = foresight(wall=0.15, candidates=8)
    correction(it)
    assert it._left is not None
    kept = it._left.copy()
    correction(it)
    it._left = kept
    assert np.allclose(it._vary()[3], np.clip(it._nominal + kept, -1, 1))


def test_one_candidate_is_the_policy_alone() -> None:
    assert not correction(foresight(wall=0.1, candidates=1)).any()


@pytest.mark.parametrize("candidates", [1, 3, ROWS, 3 * ROWS + 1])
def test_any_number_of_candidates_fits_the_rows_of_the_graph(candidates: int) -> None:
    it = foresight(wall=0.15, candidates=candidates)
    assert np.isfinite(correction(it)).all()


def test_the_same_seed_foresees_the_same() -> None:
    one, two = (correction(foresight(wall=0.15)) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_place_comes_nearer_as_the_body_moves() -> None:
    it = foresight(wall=9.0, candidates=2)
    goal = np.zeros(GOAL_SIZE, "f4")
    goal[0], goal[8] = 2.0, 1.0
    correction(it, GO_TO, goal)
    world: Any = it._world
    full_m_s = BODY.geometry.wheel_radius_m * BODY.joint[0].velocity_max_rad_s
    nominal = world.goals[: it.search.horizon]
    assert nominal[0][0] == 2.0
    assert nominal[-1][0] == pytest.approx(2.0 - 0.5 * full_m_s * 0.05 * (it.search.horizon - 1), abs=1e-4)  # fmt: skip
