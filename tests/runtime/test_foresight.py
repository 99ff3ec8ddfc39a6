"""Foresight on a toy world in which driving ahead ends at a wall."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.layout import GOAL_SIZE, SKILLS
from models.world import Imagined
from runtime.body import load_body
from runtime.command import REVERSE_MAX_M_S
from runtime.foresight import Foresight, Search

BODY = load_body("companion")
LAYOUT = BODY.layout()
FOLLOW, GO_TO = SKILLS.index("follow"), SKILLS.index("go_to")
ROWS = 16


class ToyWorld:
    """Belief = [way driven in full-speed seconds]; a wall stands at `wall`; worth is the way."""

    candidates = ROWS

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.noise = 0.0  # of the worth
        self._rng = np.random.default_rng(0)
        self.imagined = 0
        self.innovation = np.zeros(LAYOUT.proprio_size + 6, "f4")

    def people(self) -> Any:
        return np.zeros((6, 5), "f4")

    def imagine(self, beliefs: Any, action: Any, draws: Any = None) -> Imagined:
        self.imagined += 1
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


class Way:
    """Worth of a moment: its way, whoever is followed; None is in clear view where `blind`."""

    blind = False

    def person(self, people: Any, goal: Any) -> int | None:
        return None if self.blind else 0

    def of(self, imagined: Imagined, person: int, distance_m: float) -> Any:
        return imagined.reward


class Ahead:
    """A policy that always drives ahead, or as it is told."""

    def __init__(self) -> None:
        self.action = np.array([0.5, 0.5, 0, 0], np.float32)

    def act(self, *_: Any) -> np.ndarray:
        return self.action


def foresight(wall: float, **search: Any) -> Foresight:
    world: Any = ToyWorld(wall)
    worth: Any = Way()
    return Foresight(world, Ahead(), BODY, LAYOUT, replace(Search(), **search), worth)


def correction(it: Foresight, skill: int = FOLLOW, goal: Any = None) -> np.ndarray:
    proprio, imu = np.zeros(LAYOUT.proprio_size, "f4"), np.zeros(6, "f4")
    goal = np.zeros(GOAL_SIZE, "f4") if goal is None else goal
    return it.step(np.zeros(1, "f4"), proprio, imu, skill, goal).copy()


def test_it_brakes_before_a_wall_that_the_policy_would_meet() -> None:
    assert correction(foresight(wall=0.15, candidates=64))[:2].mean() < -0.05


def test_it_leaves_a_policy_alone_that_it_cannot_better() -> None:
    assert not correction(foresight(wall=9.0, candidates=64, margin=0.5)).any()


def test_luck_alone_does_not_displace_the_policy() -> None:
    it = foresight(wall=9.0, candidates=128, margin=0.0, forward=0.0)
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


def test_what_the_winner_would_do_next_is_tried_again(monkeypatch) -> None:
    it = foresight(wall=0.15, candidates=8)
    tried = []
    vary = it._vary
    monkeypatch.setattr(it, "_vary", lambda left: tried.append((left, vary(left))) or tried[-1][1])
    correction(it)
    kept = it._left
    correction(it)
    assert kept is not None and tried[0][0] is None and tried[1][0] is kept
    assert np.allclose(tried[1][1][2], kept), "within what the wheels can"


@pytest.mark.parametrize("action", [(0.5, 0.5), (0.9, 0.5), (-0.9, 0.2), (1.0, -1.0)])
def test_only_the_speed_is_varied_within_what_wheels_and_command_allow(action) -> None:
    it = foresight(wall=9.0, candidates=64, forward=2.0, margin=9.0)
    policy: Any = it._policy
    policy.action[:2] = action
    correction(it)
    forward = it._vary(np.full(it.search.horizon, -3.0, "f4"))
    assert forward.shape == (63, it.search.horizon)
    wheels = np.array(action) + forward[..., None]
    assert np.abs(wheels).max() <= 1 + 1e-6, "a wheel that cannot would turn the base"
    full_m_s = BODY.geometry.wheel_radius_m * BODY.joint[0].velocity_max_rad_s
    slowest = min(np.mean(action), -REVERSE_MAX_M_S / full_m_s)
    assert wheels.mean(-1).min() >= slowest - 1e-6


def test_more_candidates_than_rows_are_each_told_from_the_policy_under_the_same_noise() -> None:
    it = foresight(wall=9.0, candidates=4 * ROWS, forward=0.0, margin=0.0)
    world: Any = it._world
    world.noise = 1.0
    correction(it)
    forward = np.zeros((ROWS - 1, it.search.horizon), "f4")
    gains = it._gains(np.zeros(1, "f4"), 0, 1.2, forward)
    assert np.array_equal(gains, np.zeros((ROWS - 1, 1))), "another draw passed for a gain"


def test_only_following_somebody_in_clear_view_is_imagined() -> None:
    it = foresight(wall=0.15, candidates=64)
    world: Any = it._world
    assert not correction(it, GO_TO).any() and not world.imagined
    worth: Any = it._worth
    worth.blind = True
    assert not correction(it).any() and not world.imagined
    worth.blind = False
    assert correction(it).any() and it._left is not None and it.gain > 0
    worth.blind = True
    assert not correction(it).any() and it._left is None and it.gain == 0, "of another moment"


def test_one_candidate_is_the_policy_alone() -> None:
    assert not correction(foresight(wall=0.1, candidates=1)).any()


@pytest.mark.parametrize("candidates", [1, 3, ROWS, 3 * ROWS + 1])
def test_any_number_of_candidates_fits_the_rows_of_the_graph(candidates: int) -> None:
    it = foresight(wall=0.15, candidates=candidates)
    found = correction(it)
    assert np.isfinite(found).all() and found[0] == found[1] and not found[2:].any()
    if candidates > 1:
        assert found[0] < 0, "braking is among them"


def test_the_same_seed_foresees_the_same() -> None:
    one, two = (correction(foresight(wall=0.15)) for _ in range(2))
    assert np.array_equal(one, two)
