"""Foresight: the policy proposes, the world model tries variations of it, the best is a correction.

Once per frame: roll the policy out in imagination (its nominal actions), vary them, imagine every
candidate over the horizon, and score it by reward and bumps foreseen. The best few are imagined
again, many times, beside the nominal and under the same noise as it: only what is better beyond
doubt displaces the policy's own plan, for the best of many single draws is luck. What the winner
wants otherwise than the nominal is published as a correction that the controller adds to the
policy's action, which keeps its own 100 Hz feedback; its rest is a candidate of the next frame. The
search starts from a policy, as TD-MPC2 (Hansen et al. 2024) seeds its own; never from noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.layout import Layout
from models.policy import Policy
from models.since import Senses, Since
from models.world import World
from runtime.body import Body
from runtime.goal import goal_now
from runtime.skills import TABLE

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Search:
    """How it searches; times in frames of 50 ms."""

    candidates: int = 32
    horizon: int = 12
    hold: int = 4  # frames for which a variation stays the same
    forward: float = 0.35  # standard deviation of the variations, of full speed
    turn: float = 0.25
    discount: float = 0.97
    bump_cost: float = 6.0
    near_cost: float = 0.3
    near_from: float = 0.75  # of nearness: 0.3 m from the body
    margin: float = 0.02  # a correction must be worth this much, or the policy is left alone
    finalists: int = 4  # with the nominal: what is imagined again
    doubt: float = 2.0  # standard errors of the paired gain that it must exceed


class Foresight:
    """See the module's text; bodies whose first two actions are the wheels."""

    def __init__(
        self,
        world: World,
        policy: Policy,
        body: Body,
        layout: Layout,
        search: Search,
        seed: int = 0,
    ) -> None:
        self.search = search
        self._world, self._policy, self._layout = world, policy, layout
        self._senses = Senses.of(layout)
        self._rng = np.random.default_rng([seed, 0xF0])
        self._full_m_s = body.geometry.wheel_radius_m * layout.joints[0].velocity_max_rad_s
        self._rows = world.candidates
        self._nominal = np.zeros((search.horizon, layout.action_size), np.float32)
        self._left: Float32 | None = None  # what the last winner would do next, less the nominal
        self.correction: Float32 = np.zeros(layout.action_size, np.float32)
        self.gain = 0.0  # how much better than the policy's own the correction is foreseen to be

    def step(
        self, belief: Float32, proprio: Float32, imu: Float32, skill: int, goal: Float32
    ) -> Float32:
        """The correction (A,) to the policy's action; zeros where nothing better is foreseen.

        Args:
            belief: (B,) newest posterior.
            proprio: (P,) senses at its frame.
            imu: (6,) mean of its window, normalised.
            skill: index of the skill.
            goal: (12,) at its frame.
        """
        s = self.search
        if s.candidates < 2:
            return self.correction  # the policy alone
        goals = self._roll_policy(belief, proprio, imu, skill, goal)
        varied = self._vary()
        score = self._values(belief, varied, skill, goals, self._rows // len(varied)).mean(1)
        best = np.argsort(score[1:])[::-1][: s.finalists - 1] + 1
        again = varied[np.concatenate([[0], best])]
        value = self._values(belief, again, skill, goals, self._rows // len(again))
        gains = value[1:] - value[:1]  # paired: row for row the same noise
        sure = gains.mean(1) - s.doubt * gains.std(1) / np.sqrt(gains.shape[1])
        winner = int(sure.argmax())
        self.gain = float(gains.mean(1)[winner])
        self.correction[:], self._left = 0, None
        if sure[winner] > 0 and self.gain > s.margin:
            otherwise = again[1 + winner] - self._nominal
            self.correction[:] = otherwise[0]
            self._left = np.concatenate([otherwise[1:], otherwise[-1:]])
        return self.correction

    def _roll_policy(
        self, belief: Float32, proprio: Float32, imu: Float32, skill: int, goal: Float32
    ) -> list[Float32]:
        """Fill the nominal actions (H,A); the goal as the body moves, (12,) per step."""
        since = Since(self._senses)
        since.start(proprio, self._world.innovation)
        beliefs, here = belief, goal
        goals = []
        size = self._layout.proprio_size
        needs = TABLE[skill].needs
        for k in range(self.search.horizon):
            action = self._policy.act(beliefs, 0.06, proprio, imu, skill, here)
            self._nominal[k] = np.clip(action, -1, 1)
            imagined = self._world.imagine(beliefs, self._nominal[k], skill, here)
            since.step(imagined.senses.mean(0))
            sensed = since.senses
            turned = since.turned_rad
            moved = self._full_m_s * since.value[3], self._full_m_s * since.value[4], turned
            here = goal_now(goal, moved, needs)
            goals.append(here)
            beliefs = imagined.beliefs.mean(0)
            proprio, imu = sensed[:size].copy(), sensed[size:].copy()
        return goals

    def _vary(self) -> Float32:
        """(C,H,A): the nominal, braking, and smooth variations of both wheels."""
        s = self.search
        parts = -(-s.horizon // s.hold)
        noise = self._rng.normal(0, 1, (s.candidates, parts, 2))
        forward = np.repeat(noise[..., 0] * s.forward, s.hold, 1)[:, : s.horizon]
        turn = np.repeat(noise[..., 1] * s.turn, s.hold, 1)[:, : s.horizon]
        varied = np.repeat(self._nominal[None], s.candidates, 0)
        varied[..., 0] += forward - turn
        varied[..., 1] += forward + turn
        varied[0] = self._nominal
        if s.candidates > 2:
            varied[1, :, :2] = 0
            varied[2, :, :2] = 0.5 * self._nominal[:, :2]
        if s.candidates > 3 and self._left is not None:
            varied[3] = self._nominal + self._left
        return np.clip(varied, -1, 1, out=varied)

    def _values(
        self, belief: Float32, varied: Float32, skill: int, goals: list[Float32], samples: int
    ) -> npt.NDArray[np.float64]:
        """(C,S) discounted reward less what bumps and nearness cost, per candidate and draw."""
        rows, samples = self._rows, max(1, samples)
        picked = np.repeat(np.arange(len(varied)), samples)
        drawn = np.tile(np.arange(samples), len(varied))
        values = np.zeros(len(picked))
        for start in range(0, len(picked), rows):
            part = slice(start, start + rows)
            chosen, draws = np.resize(picked[part], rows), np.resize(drawn[part], rows)
            found = self._rollout(belief, varied[chosen], skill, goals, draws)
            values[part] = found[: len(values[part])]
        return values.reshape(len(varied), samples)

    def _rollout(
        self,
        belief: Float32,
        actions: Float32,
        skill: int,
        goals: list[Float32],
        draws: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float64]:
        s = self.search
        beliefs = np.repeat(belief[None], len(actions), 0)
        value, safe = np.zeros(len(actions)), np.ones(len(actions))
        weight = 1.0
        for k in range(s.horizon):
            out = self._world.imagine(beliefs, actions[:, k], skill, goals[k], draws)
            near = np.maximum(out.near.max(1) - s.near_from, 0) / (1 - s.near_from)
            value += weight * (out.reward - s.near_cost * near)
            safe *= 1 - out.bump
            beliefs[...] = out.beliefs
            weight *= s.discount
        return value / s.horizon - s.bump_cost * (1 - safe)
