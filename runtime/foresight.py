"""Foresight: the policy proposes, the world model tries variations of it, the best is a correction.

Once per frame, while somebody in clear view is followed: roll the policy out in imagination (its
nominal actions, after that of the frame under way, which nothing changes any more), vary how fast it
drives, its turning left alone, imagine every candidate over the horizon, and score it by what its
moments are worth (`runtime/worth.py`) and the bumps foreseen. The best few are imagined again, many
times, beside the nominal and under the same noise as it: only what is better beyond doubt displaces
the policy's own plan, for the best of many draws is luck. What the winner wants otherwise than the
nominal is published as a correction that the controller adds to the policy's action, which keeps its
own 100 Hz feedback; its rest is a candidate of the next frame.
The search starts from a policy, as TD-MPC2 (Hansen et al. 2024) seeds its own; never from noise. It
leaves steering to the policy: the belief hardly knows furniture, and other ways led into it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from models.layout import Layout
from models.policy import Policy
from models.since import Senses, Since
from models.world import World
from runtime.body import Body
from runtime.command import REVERSE_MAX_M_S, slowing
from runtime.goal import VALUES
from runtime.skills import SKILLS
from runtime.worth import Worth

Float32 = npt.NDArray[np.float32]
FOLLOW = SKILLS["follow"].index
LEAST_ROWS = 16  # of the imagine graph: with fewer, what is luck cannot be told from what is better
BUDGET_US = 25_000.0  # of a frame's 50 ms: the rest is for seeing, and for who shares the core


@dataclass(frozen=True, slots=True)
class Search:
    """How it searches; times in frames of 50 ms."""

    candidates: int = 32
    horizon: int = 12
    hold: int = 4  # frames for which a variation stays the same
    forward: float = 0.25  # standard deviation of the variations, of full speed
    discount: float = 0.97
    after: float = 8.0  # the last moment counts for so many more
    bump_cost: float = 6.0
    near_cost: float = 0.3
    near_from: float = 0.75  # of nearness: 0.3 m from the body
    margin: float = 0.003  # a correction must be worth this much, or the policy is left alone
    draws: int = (
        4  # of each candidate in the first look, however many there are; more where rows are left
    )
    finalists: int = 4  # with the nominal: what is imagined again
    doubt: float = 2.0  # standard errors of the paired gain that it must exceed


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known as it searches."""

    belief: Float32  # (B,) newest posterior
    proprio: Float32  # (P,) senses at its frame
    imu: Float32  # (6,) mean of its window, normalised
    skill: int
    goal: Float32  # (12,) at its frame
    sent: Float32  # (A,) the action being sent, which goes on until the correction is there
    cap_m_s: float  # the fastest that the rim of a wheel may go now


class Foresight:
    """See the module's text; bodies whose first two actions are the wheels."""

    def __init__(
        self,
        world: World,
        policy: Policy,
        body: Body,
        layout: Layout,
        search: Search,
        worth: Worth,
        seed: int = 0,
    ) -> None:
        self.search, self._worth = search, worth
        self._world, self._policy, self._layout = world, policy, layout
        self._senses = Senses.of(layout)
        self._rng = np.random.default_rng([seed, 0xF0])
        self._radius_m = body.geometry.wheel_radius_m
        self._full_m_s = self._radius_m * layout.joints[0].velocity_max_rad_s
        self._rows = world.candidates
        self._most = 1.0  # of full speed: what the cap of the moment leaves a wheel
        self._nominal = np.zeros((search.horizon, layout.action_size), np.float32)
        self._left: Float32 | None = None  # (H,) what the last winner would add next
        self.forward = 0.0  # the correction: what to add to both wheels, of full speed
        self.gain = 0.0  # how much better than the policy's own the correction is foreseen to be

    @staticmethod
    def batches(search: Search, rows: int) -> int:
        """Rollouts of all rows that one frame takes: the policy's own, the first look, the second."""
        return 2 + -(-(search.candidates - 1) // (rows // search.draws - 1))

    def fits(self, now_us: Callable[[], float]) -> tuple[float, int]:
        """Microseconds that one frame's imagining takes here, and how many candidates `BUDGET_US` buys.

        Measured, on the graphs as they are loaded: median of five rollouts.
        """
        belief = np.zeros(self._world.belief.shape, np.float32)
        actions = np.zeros((self._rows, *self._nominal.shape), np.float32)
        took = []
        for _ in range(6):
            start = now_us()
            self._rollout(belief, actions, 0, 1.0, np.arange(self._rows))
            took.append(now_us() - start)
        one = float(np.median(took[1:]))  # the first warms up
        chunks = int(BUDGET_US / max(one, 1.0)) - 2
        each = self._rows // self.search.draws - 1
        most = 1 + chunks * each if chunks > 0 else 0
        return one * self.batches(self.search, self._rows), most

    def step(self, now: Moment) -> float:
        """The correction to both wheels, of full speed; 0 where nothing better is foreseen."""
        s = self.search
        self.forward = self.gain = 0.0
        left, self._left = self._left, None
        person = self._worth.person(self._world.people(), now.goal) if now.skill == FOLLOW else None
        if s.candidates < 2 or person is None:
            return 0.0  # the policy alone
        self._roll_policy(now)
        forward = self._vary(left)
        ask = partial(self._gains, now.belief, person, float(now.goal[VALUES["distance"]][0]))
        chunks = np.array_split(forward, self.batches(s, self._rows) - 2)
        score = np.concatenate([ask(chunk).mean(1) for chunk in chunks])
        if score.max() <= 0:
            return 0.0
        again = forward[np.argsort(score)[::-1][: s.finalists - 1]]
        gains = ask(again)
        sure = gains.mean(1) - s.doubt * gains.std(1, ddof=1) / np.sqrt(gains.shape[1])
        winner = int(sure.argmax())
        gain = float(gains.mean(1)[winner])
        if sure[winner] > 0 and gain > s.margin:
            self.gain, self.forward = gain, float(again[winner, 1])
            self._left = np.concatenate([again[winner, 1:], again[winner, -1:]])
        return self.forward

    def _roll_policy(self, now: Moment) -> None:
        """Fill the nominal actions (H,A), slowed to the cap as the controller does."""
        belief, proprio, imu = now.belief, now.proprio, now.imu
        since = Since(self._senses)
        since.start(proprio, self._world.innovation)
        size = self._layout.proprio_size
        self._most = min(1.0, now.cap_m_s / self._full_m_s)
        for k, nominal in enumerate(self._nominal):
            action = now.sent
            if k:
                action = self._policy.act(belief, 0.06, proprio, imu, now.skill, now.goal)
            nominal[:] = np.clip(action, -1, 1)
            nominal[:2] *= slowing(nominal, self._layout, self._radius_m, now.cap_m_s)
            imagined = self._world.imagine(belief, nominal)
            since.step(imagined.senses.mean(0))
            belief = imagined.beliefs.mean(0)
            proprio, imu = since.senses[:size].copy(), since.senses[size:].copy()

    def _vary(self, left: Float32 | None = None) -> Float32:
        """(C-1,H) to add to both wheels: none ahead, half of it, what was `left`, smooth variations.

        No wheel is asked for more than it may, so that the turning stays, and the base for no faster
        way back than the command allows. What the range sensor and the way that is known to be free
        forbid is not known here. In the first frame all are the same: it is under way.
        """
        s = self.search
        noise = self._rng.normal(0, s.forward, (s.candidates - 1, -(-s.horizon // s.hold)))
        forward = np.repeat(noise, s.hold, 1)[:, : s.horizon].astype(np.float32)
        wheels = self._nominal[:, :2]
        ahead = wheels.mean(1)
        if s.candidates > 2:
            forward[0], forward[1] = -ahead, -0.5 * ahead
        if s.candidates > 3 and left is not None:
            forward[2] = left
        slowest = np.minimum(ahead, -REVERSE_MAX_M_S / self._full_m_s)
        least = np.maximum(slowest - ahead, -self._most - wheels.min(1))
        np.clip(forward, least, self._most - wheels.max(1), out=forward)
        forward[:, 0] = 0
        return forward

    def _gains(
        self, belief: Float32, person: int, distance_m: float, forward: Float32
    ) -> npt.NDArray[np.float64]:
        """(N,S) what each of `forward` (N,H) is better than the nominal by, per draw of S.

        All in one batch and under the same noise row for row (common random numbers).
        """
        samples = self._rows // (len(forward) + 1)
        actions = np.repeat(self._nominal[None], len(forward) + 1, 0)
        actions[1:, :, :2] += forward[..., None]
        picked = np.resize(np.repeat(np.arange(len(actions)), samples), self._rows)
        draws = np.resize(np.tile(np.arange(samples), len(actions)), self._rows)
        values = self._rollout(belief, actions[picked], person, distance_m, draws)
        each = values[: len(actions) * samples].reshape(len(actions), samples)
        return each[1:] - each[:1]

    def _rollout(
        self,
        belief: Float32,
        actions: Float32,
        person: int,
        distance_m: float,
        draws: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float64]:
        """(N,) discounted mean worth, less what bumps and nearness cost."""
        s = self.search
        beliefs = np.repeat(belief[None], len(actions), 0)
        value, safe = np.zeros(len(actions)), np.ones(len(actions))
        weights = s.discount ** np.arange(s.horizon)
        weights[-1] *= 1 + s.after  # as it ends, it is thought to go on
        for k, weight in enumerate(weights / weights.sum()):
            out = self._world.imagine(beliefs, actions[:, k], draws=draws)
            near = np.maximum(out.near.max(1) - s.near_from, 0) / (1 - s.near_from)
            value += weight * (self._worth.of(out, person, distance_m) - s.near_cost * near)
            safe *= 1 - out.bump
            beliefs[...] = out.beliefs
        return value - s.bump_cost * (1 - safe)
