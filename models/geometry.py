"""The shape of what the networks compute: linear regions, gains, growth, and what they warn of.

A ReLU network cuts its inputs into regions, one per pattern of units that are on (Montufar et al.,
"On the number of linear regions of deep neural networks", 2014). Here normalisations bend the
regions' insides as well; the patterns are counted all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.layout import GOAL_SIZE, IMU_SLICES
from models.networks import Policy, Stats, WorldModel

Float = npt.NDArray[np.float64]
PatternOf = Callable[[Tensor], Tensor]  # points (N,D) -> which units are on (N,U)
# what stands before a ReLU on the way from an observation to the posterior
BEFORE_RELU = (
    "finder.net.0", "finder.net.2", "finder.net.4", "finder.net.6", "encoder.conv.0", "encoder.conv.2",
    "encoder.norm", "encoder.out", "post_net.1",
)  # fmt: skip
FRAME = (3, 64, 64)
PIXELS = 3 * 64 * 64
APART = 1e-3  # how far apart two rollouts start
DRAWS = 500  # of an interval


@contextmanager
def recorded(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The layers' outputs (N,...), one list entry each per forward pass."""
    out: list[Tensor] = []
    hooks = [m.register_forward_hook(lambda _m, _i, y: out.append(y.flatten(1))) for m in layers]
    try:
        yield out
    finally:
        for hook in hooks:
            hook.remove()


def flatten(frame: Tensor, imu: Tensor, proprio: Tensor, odometry: Tensor) -> Tensor:
    """Observations as points (N,D): pixels 0..1, then senses, all normalised."""
    return torch.cat([frame.flatten(1), imu.flatten(1), proprio, odometry.reshape(-1, 1)], -1)


def unflatten(points: Tensor, proprio: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points (N,D) as `WorldModel.embedding` takes them."""
    frame, imu, p, odometry = points.split([PIXELS, IMU_SLICES * 6, proprio, 1], -1)
    return frame.reshape(-1, *FRAME), imu.reshape(-1, IMU_SLICES, 6), p, odometry


def pattern_of(world: WorldModel, h: Tensor) -> PatternOf:
    """Which units are on for observations, given h (1,deter)."""
    layers = [world.get_submodule(name) for name in BEFORE_RELU]

    def patterns(points: Tensor) -> Tensor:
        with torch.no_grad(), recorded(layers) as outputs:
            embed, _ = world.embedding(
                *unflatten(points, world.s.proprio), points.new_ones(len(points), 3)
            )
            world.posterior(h.expand(len(points), -1), embed)
        return torch.cat(outputs, -1) > 0

    return patterns


def crossings(patterns: PatternOf, a: Tensor, b: Tensor, pieces: int = 32) -> int:
    """Units that switch along the straight way from a to b (D,): a lower bound, seen at `pieces`."""
    share = torch.linspace(0, 1, pieces + 1)[:, None]
    on = patterns(a * (1 - share) + b * share)
    return int((on[1:] != on[:-1]).sum())


def rarity(hidden: Tensor, on_rate: Tensor) -> Tensor:
    """How seldom a pattern of the posterior net is, as `observe` says it: (N,hidden) -> (N,) nats."""
    p = on_rate.clamp(1e-3, 1 - 1e-3)
    on = (hidden > 0).float()
    return (on * -p.log() + (1 - on) * -(1 - p).log()).mean(-1)


def hidden_of(world: WorldModel, h: Tensor, points: Tensor) -> Tensor:
    """The posterior net's hidden units before their ReLU (N,hidden), for h (N,deter)."""
    with torch.no_grad():
        embed, _ = world.embedding(
            *unflatten(points, world.s.proprio), points.new_ones(len(points), 3)
        )
        out: Tensor = world.post_net[1](world.post_net[0](torch.cat([h, embed], -1)))
        return out


def soft_steps(world: WorldModel, actions: Tensor) -> Callable[[Tensor], Tensor]:
    """Beliefs' cores (N,core) after the K steps of actions (N,K,A), expected samples instead of drawn.

    The core alone: slots do not feed it, and their places are metres of the room.
    """

    def steps(core: Tensor) -> Tensor:
        for k in range(actions.shape[1]):
            h, z = core.split([world.s.deter, world.s.stoch], -1)
            h = world.cell(h, z, actions[:, k])
            core = torch.cat([h, world.prior(h).expected()], -1)
        return core

    return steps


def gain(step: Callable[[Tensor], Tensor], x: Tensor, iterations: int = 6, seed: int = 0) -> Tensor:
    """Largest singular value of each row's Jacobian (N,), by power iteration; rows must not mix."""
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    v = v / v.norm(dim=-1, keepdim=True)
    _, back = torch.func.vjp(step, x)
    found = x.new_zeros(len(x))
    for _ in range(iterations):
        _, u = torch.func.jvp(step, (x,), (v,))
        found = u.norm(dim=-1)
        (w,) = back(u)
        v = w / w.norm(dim=-1, keepdim=True).clamp(min=1e-20)
    return found.detach()


@dataclass(frozen=True)
class Growth:
    """Rollouts of N beliefs and of N more that start APART, with the same noise: (steps,N) each."""

    h: Float  # largest |h|
    person_m: Float  # farthest place that any person is said to be at
    apart: Float  # distance of the two beliefs


def grow(
    world: WorldModel,
    beliefs: Tensor,
    drive: Callable[[Tensor, int], Tensor],
    steps: int,
    seed: int,
) -> Growth:
    """Sampled rollouts; `drive` gives actions (N,A) for beliefs (N,B) and a step."""
    g = torch.Generator().manual_seed(seed)
    n, s = len(beliefs), world.s
    push = torch.randn(beliefs.shape, generator=g)
    push[:, s.deter : s.deter + s.onehot] = 0  # classes are whole
    both = torch.cat([beliefs, beliefs + APART * push / push.norm(dim=-1, keepdim=True)])
    rows: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    with torch.no_grad():
        for k in range(steps):
            noise = torch.randn(n, s.stoch, generator=g)
            uniform = torch.rand(n, s.onehot, generator=g).clamp(1e-12, 1 - 1e-7)
            noise[:, : s.onehot] = -(-uniform.log()).log()
            twice = noise.repeat(2, 1)
            both, _ = world.step(both, drive(both, k), partial(Stats.noisy, noise=twice))
            person = world.who(both[:n])
            rows[0].append(both[:n, : s.deter].abs().amax(-1))
            rows[1].append(person[..., 1:3].norm(dim=-1).amax(-1))
            rows[2].append((both[:n] - both[n:]).norm(dim=-1))
    return Growth(*(torch.stack(r).double().numpy() for r in rows))


def random_drive(actions: int, pairs: int, seed: int) -> Callable[[Tensor, int], Tensor]:
    """Random actions that stay for 10 steps, the same for both of a pair."""
    g = torch.Generator().manual_seed(seed)
    held = torch.zeros(pairs, actions)

    def drive(_both: Tensor, k: int) -> Tensor:
        nonlocal held
        if k % 10 == 0:
            held = torch.rand(pairs, actions, generator=g) * 2 - 1
        return held.repeat(2, 1)

    return drive


def policy_drive(world: WorldModel, policy: Policy, skill: int) -> Callable[[Tensor, int], Tensor]:
    """What the policy does on imagined senses, with an empty goal."""

    def drive(both: Tensor, _k: int) -> Tensor:
        n, s = len(both), world.s
        senses = world.sense(world.trunk(both[:, : s.core]))
        one = both.new_zeros(n, s.skills)
        one[:, skill] = 1
        age, goal = both.new_zeros(n, 1), both.new_zeros(n, GOAL_SIZE)
        out: Tensor = policy(both, age, senses[:, : s.proprio], senses[:, s.proprio :], one, goal)
        return out

    return drive


def auroc(low: Float, high: Float) -> float:
    """How often a value of `high` is above one of `low`; ties count half."""
    ranks = ranked(np.concatenate([low, high]))[len(low) :]
    n, m = len(low), len(high)
    return float((ranks.sum() - m * (m + 1) / 2) / (n * m)) if n and m else float("nan")


def ranked(values: Float) -> Float:
    """Ranks from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    out: Float = ((ends - counts + 1 + ends) / 2)[inverse]
    return out


def spearman(a: Float, b: Float) -> float:
    """Rank correlation over the pairs where both are numbers; nan with fewer than 8 or no spread."""
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < 8:
        return float("nan")
    x, y = ranked(a[good]), ranked(b[good])
    if x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def spearman_ci95(a: Float, b: Float, groups: npt.NDArray[np.int64]) -> tuple[float, float]:
    """95 % percentile interval of `spearman`, resampling whole groups (Efron 1979).

    From -1 to 1, which says nothing, where there is one group alone or a resample has no correlation.
    """
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    drawn = []
    for _ in range(DRAWS):
        index = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        drawn.append(spearman(a[index], b[index]))
    if len(members) < 2 or not np.isfinite(drawn).all():
        return -1.0, 1.0
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
