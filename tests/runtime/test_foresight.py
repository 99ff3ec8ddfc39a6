"""Foresight on a toy world in which driving ahead ends at a wall."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.layout import GOAL_SIZE, SKILLS
from models.world import Imagined
from runtime.body import load_body
from runtime.command import REVERSE_MAX_M_S
from runtime.foresight import Foresight, Moment, Search

BODY = load_body("companion")
LAYOUT = BODY.layout()
FOLLOW, GO_TO = SKILLS.index("follow"), SKILLS.index("go_to")
ROWS = 16
FULL_M_S = BODY.geometry.wheel_radius_m * BODY.joint[0].velocity_max_rad_s


class ToyWorld:
    """Belief = [way driven in full-speed seconds]; a wall stands at `wall`; worth is the way."""

    candidates = ROWS

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.noise = 0.0  # of the worth, the same for rows of one draw
        self.luck = 0.0  # of the worth, of every row for itself
        self.belief = np.zeros(1, "f4")
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
        noise = noise + self.luck * self._rng.normal(size=ROWS)
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


def correction(it: Foresight, skill: int = FOLLOW, cap_m_s: float = FULL_M_S) -> float:
    proprio, imu, goal = np.zeros(LAYOUT.proprio_size, "f4"), np.zeros(6, "f4"), np.zeros(GOAL_SIZE, "f4")  # fmt: skip
    policy: Any = it._policy
    return it.step(Moment(np.zeros(1, "f4"), proprio, imu, skill, goal, policy.action, cap_m_s))


def test_it_brakes_before_a_wall_that_the_policy_would_meet() -> None:
    assert correction(foresight(wall=0.15, candidates=64)) < -0.05


def test_it_leaves_a_policy_alone_that_it_cannot_better() -> None:
    assert correction(foresight(wall=9.0, candidates=64, margin=0.5)) == 0


def test_noise_that_all_share_does_not_displace_the_policy() -> None:
    it = foresight(wall=9.0, candidates=128, margin=0.0, forward=0.0)
    world: Any = it._world
    world.noise = 1.0  # as much as the whole reward; no candidate but braking differs
    assert not any(correction(it) for _ in range(20))


def test_luck_alone_seldom_displaces_the_policy() -> None:
    """Every candidate is worth the same, and differs by chance alone: the best of many looks better."""

    def misled(**search: float) -> float:
        it = foresight(wall=9.0, candidates=64, margin=0.0, **search)
        world: Any = it._world
        world.luck = 30.0  # the way driven differs by far less
        return float(np.mean([correction(it) != 0 for _ in range(60)]))

    assert misled(doubt=2.0) < 0.35 < 0.6 < misled(doubt=0.0)


def test_noise_does_not_hide_what_is_better() -> None:
    it = foresight(wall=0.15, candidates=64)
    world: Any = it._world
    world.noise = 1.0
    assert correction(it) < -0.05, "all candidates had the same luck"


def test_what_the_winner_would_do_next_is_tried_again(monkeypatch) -> None:
    it = foresight(wall=0.15, candidates=8)
    tried = []
    vary = it._vary
    monkeypatch.setattr(it, "_vary", lambda left: tried.append((left, vary(left))) or tried[-1][1])
    correction(it)
    kept = it._left
    correction(it)
    assert kept is not None and tried[0][0] is None and tried[1][0] is kept
    assert np.allclose(tried[1][1][2, 1:], kept[1:]), "within what the wheels can"


def test_the_frame_under_way_is_driven_as_it_is_sent() -> None:
    """A correction comes too late for it: what it would do there says nothing."""
    it = foresight(wall=9.0, candidates=64, forward=2.0)
    policy: Any = it._policy
    sent = np.array([-0.25, 0.25, 0, 0], np.float32)
    goal, imu = np.zeros(GOAL_SIZE, "f4"), np.zeros(6, "f4")
    proprio = np.zeros(LAYOUT.proprio_size, "f4")
    found = it.step(Moment(np.zeros(1, "f4"), proprio, imu, FOLLOW, goal, sent, FULL_M_S))
    assert np.array_equal(it._nominal[0], sent)
    assert np.array_equal(it._nominal[1], policy.action)
    assert not it._vary()[:, 0].any() and it._left is not None
    assert found == pytest.approx(0.5), "as fast as the wheels can, from the next frame on"


@pytest.mark.parametrize("cap_m_s", [0.1, 0.2])
def test_nothing_is_imagined_that_the_cap_forbids(cap_m_s: float) -> None:
    it = foresight(wall=9.0, candidates=64, forward=2.0)
    policy: Any = it._policy
    policy.action[:2] = 0.25, 0.5
    correction(it, cap_m_s=cap_m_s)
    most = cap_m_s / FULL_M_S
    assert it._nominal[:, 1] == pytest.approx(most) and it._nominal[:, 0] == pytest.approx(most / 2)
    wheels = it._nominal[1, :2] + it._vary()[..., None]
    assert np.abs(wheels).max() <= most + 1e-6


def test_what_it_takes_is_measured_before_it_is_used() -> None:
    """One rollout of 5 ms: 25 ms buy five, of which two are the policy's own and the second look."""
    it = foresight(wall=9.0, candidates=8)
    clock = iter(np.arange(0, 1e6, 5_000))
    took_us, most = it.fits(lambda: float(next(clock)))
    assert took_us == 5_000 * (2 + 3), "seven candidates in three batches, four draws each"
    assert most == 1 + 3 * 3
    slow = iter(np.arange(0, 1e7, 20_000))
    assert it.fits(lambda: float(next(slow)))[1] == 0, "for none at all"


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
    slowest = min(np.mean(action), -REVERSE_MAX_M_S / FULL_M_S)
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
    assert not correction(it, GO_TO) and not world.imagined
    worth: Any = it._worth
    worth.blind = True
    assert not correction(it) and not world.imagined
    worth.blind = False
    assert correction(it) and it._left is not None and it.gain > 0
    worth.blind = True
    assert not correction(it) and it._left is None and it.gain == 0, "of another moment"


def test_one_candidate_is_the_policy_alone() -> None:
    assert correction(foresight(wall=0.1, candidates=1)) == 0


@pytest.mark.parametrize("candidates", [1, 3, ROWS, 3 * ROWS + 1])
def test_any_number_of_candidates_fits_the_rows_of_the_graph(candidates: int) -> None:
    it = foresight(wall=0.15, candidates=candidates)
    found = correction(it)
    assert np.isfinite(found)
    if candidates > 1:
        assert found < 0, "braking is among them"


def test_the_same_seed_foresees_the_same() -> None:
    one, two = (correction(foresight(wall=0.15)) for _ in range(2))
    assert one == two != 0
