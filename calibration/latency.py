"""How long after its cause does each sensor show a motion? Delays from what turns alike.

A follows B by a delay d: A(t) ~ gain * B(t - d) + bias. B is an angle over its own stamps, so that
A's means over intervals (an encoder's period, the time between two frames) are met by B's exactly.
Correlation over a grid of delays first, then least squares over what is left of the delay: a
minimiser whose tolerance is relative to its argument must not see seconds. Tukey's weights, so that
a frame that was tracked wrongly counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from calibration.errors import DataError
from calibration.rate_alignment import alike

Floats = npt.NDArray[np.float64]
Angle = Callable[[Floats], Floats]  # of B at times [s]

REACH_S = (-0.1, 0.4)  # delays looked at
GRID_S = 0.004
STEP_S = 1e-4  # of the derivative by the delay
BLOCK_S = 1.0  # pieces whose own delays show jitter
LEAST_S = 8.0
LEAST_INTERVALS = 60
APART_S = 0.05  # another peak than the best one lies further off
CURVE_S = 0.06


@dataclass(frozen=True, slots=True)
class Means:
    """Mean rates (K,) [rad/s] over intervals from `start_s` to `end_s` (K,)."""

    start_s: Floats
    end_s: Floats
    rate_rad_s: Floats

    @classmethod
    def of_angle(cls, t_s: Floats, angle_rad: Floats, every: int = 1) -> Means:
        """Between every so many samples of an angle (N,)."""
        t, a = t_s[::every], angle_rad[::every]
        return cls(t[:-1], t[1:], np.diff(a) / np.diff(t))

    def part(self, keep: npt.NDArray[np.bool_]) -> Means:
        """Some of the intervals."""
        return Means(self.start_s[keep], self.end_s[keep], self.rate_rad_s[keep])

    @property
    def middle_s(self) -> Floats:
        """(K,) [s]."""
        return (self.start_s + self.end_s) / 2


@dataclass(frozen=True, slots=True)
class Delay:
    """A after B: seconds with std, p95 of the blocks' distance from it, and what speaks for it."""

    delay_s: float
    std_s: float
    gain: float
    correlation: float
    halves_s: tuple[float, float]
    blocks_s: Floats  # (M,) the delay of each second
    jitter_s: float  # p95 of the blocks' distance from the delay
    runner_up: float  # the next, different peak of the correlation, by the best
    curve: tuple[Floats, Floats]  # delays [s] and RMS of what is left [rad/s]
    compared: tuple[Floats, Floats, Floats]  # (K,) times [s], A, and B as A should be

    @property
    def halves_apart_s(self) -> float:
        """How far the halves of the recording disagree."""
        return abs(self.halves_s[0] - self.halves_s[1])


def held(t_s: Floats, value: Floats) -> Angle:
    """The integral of a command (N,) that stands until the next one."""
    sums = np.concatenate([[0.0], np.cumsum(np.diff(t_s) * value[:-1])])
    return lambda t: np.interp(t, t_s, sums)


def delay(a: Means, b: Angle, span_s: tuple[float, float]) -> Delay:
    """How long A follows B, whose samples lie within `span_s`; DataError where too little is shared."""
    low, high = span_s[0] + REACH_S[1], span_s[1] + REACH_S[0]
    used = a.part((a.start_s >= low) & (a.end_s <= high) & np.isfinite(a.rate_rad_s))
    length = float(used.end_s[-1] - used.start_s[0]) if len(used.start_s) else 0.0
    if length < LEAST_S:
        raise DataError(f"{length:.1f} s are common to both, {LEAST_S:.0f} needed; record 20 s")
    if len(used.start_s) < LEAST_INTERVALS:
        raise DataError(f"{len(used.start_s)} intervals or frames in {length:.0f} s, {LEAST_INTERVALS} needed; record 20 s, in good light")  # fmt: skip
    coarse, runner_up = _coarse(used, b)
    here, weight = _fine(used, b, coarse)
    whole = _described(used, b, here, weight, runner_up)
    middle = np.median(used.middle_s)
    halves = [_fine(used.part(h), b, here)[0] for h in (used.middle_s < middle, used.middle_s >= middle)]  # fmt: skip
    return replace(whole, halves_s=(halves[0], halves[1]))


def before(found: Delay) -> Delay:
    """B after A, of a fit of A after B: the one with less noise is the better B."""
    curve = (-found.curve[0][::-1], found.curve[1][::-1])
    return replace(
        found, delay_s=-found.delay_s, gain=1 / found.gain if found.gain else 0.0, blocks_s=-found.blocks_s,
        halves_s=(-found.halves_s[0], -found.halves_s[1]), curve=curve,
    )  # fmt: skip


def _mean(a: Means, b: Angle, delay_s: float) -> Floats:
    """B's mean rates over A's intervals, so much earlier."""
    found: Floats = (b(a.end_s - delay_s) - b(a.start_s - delay_s)) / (a.end_s - a.start_s)
    return found


def _coarse(a: Means, b: Angle) -> tuple[float, float]:
    """The delay of the strongest correlation, of either sign, and the next other peak by it."""
    grid = np.arange(*REACH_S, GRID_S)
    score = np.array([abs(_correlation(a.rate_rad_s, _mean(a, b, d))) for d in grid])
    best = int(np.argmax(score))
    inner = score[1:-1]
    peak = np.flatnonzero((inner >= score[:-2]) & (inner >= score[2:])) + 1
    apart = score[peak[np.abs(grid[peak] - grid[best]) > APART_S]]
    best_score = float(score[best])
    other_score = float(np.max(apart, initial=0.0))
    return float(grid[best]), other_score / max(best_score, 1e-9)


def _correlation(x: Floats, y: Floats) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / max(size, 1e-300)


def _match(a: Floats, b: Floats, weight: Floats) -> tuple[float, float]:
    """Weighted gain and bias."""
    w = weight / weight.sum()
    mean_a, mean_b = float(w @ a), float(w @ b)
    gain = float(w @ ((a - mean_a) * (b - mean_b)) / max(float(w @ (b - mean_b) ** 2), 1e-300))
    return gain, mean_a - gain * mean_b


def _cost(a: Means, b: Angle, delay_s: float, weight: Floats) -> float:
    rate = _mean(a, b, delay_s)
    gain, bias = _match(a.rate_rad_s, rate, weight)
    return float(weight @ (a.rate_rad_s - gain * rate - bias) ** 2)


def _fine(a: Means, b: Angle, start_s: float) -> tuple[float, Floats]:
    """Bounded searches around the start, in seconds from it; weights (K,) of the last."""
    weight = np.ones(len(a.start_s))
    here, reach = start_s, 2 * GRID_S
    for _ in range(3):
        found = minimize_scalar(
            lambda d: _cost(a, b, here + d, weight), bounds=(-reach, reach), method="bounded",  # noqa: B023
            options={"xatol": 1e-7},
        )  # fmt: skip
        here += float(found.x)
        rate = _mean(a, b, here)
        gain, bias = _match(a.rate_rad_s, rate, weight)
        off = np.abs(a.rate_rad_s - gain * rate - bias)
        limit = 4.685 * max(1.4826 * float(np.median(off)), 1e-9)
        weight = (1 - np.minimum(off / limit, 1) ** 2) ** 2
    return here, weight


def _described(a: Means, b: Angle, here: float, weight: Floats, runner_up: float) -> Delay:
    rate = _mean(a, b, here)
    gain, bias = _match(a.rate_rad_s, rate, weight)
    residual = a.rate_rad_s - gain * rate - bias
    slope = gain * (_mean(a, b, here + STEP_S) - _mean(a, b, here - STEP_S)) / (2 * STEP_S)
    jacobian = np.stack([slope, rate, np.ones_like(rate)], 1) * np.sqrt(weight)[:, None]
    freedom = max(float(weight.sum()) - 3, 1.0)
    variance = float(weight @ residual**2) / freedom * alike(residual[:, None])
    formal = float(np.sqrt(variance * np.linalg.pinv(jacobian.T @ jacobian)[0, 0]))
    blocks, information = _blocks(a, residual, slope, weight)
    blocks = here + blocks
    spread = _spread(blocks, information)
    use = weight > 0.05
    curve = here + np.linspace(-CURVE_S, CURVE_S, 81)
    left = [np.sqrt(_cost(a, b, d, weight) / weight.sum()) for d in curve]
    return Delay(
        here, max(formal, spread), gain, _correlation(a.rate_rad_s[use], rate[use]), (here, here), blocks,
        float(np.percentile(np.abs(blocks - here), 95)) if len(blocks) else np.inf, runner_up,
        (curve, np.array(left)), (a.middle_s, a.rate_rad_s, gain * rate + bias),
    )  # fmt: skip


def _blocks(a: Means, residual: Floats, slope: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Each second's own delay less the whole's (one step of Gauss and Newton), and its information."""
    which = ((a.middle_s - a.start_s[0]) / BLOCK_S).astype(np.int64)
    power = np.bincount(which, weight * slope**2)
    own = np.bincount(which, weight * slope * residual)
    enough = power > 0.2 * np.median(power[power > 0])
    found: Floats = own[enough] / power[enough]
    return found, np.asarray(power[enough], np.float64)


def _spread(blocks: Floats, information: Floats) -> float:
    """Std of the mean of the blocks, by how they differ; they differ by what no residual tells."""
    if len(blocks) < 3:
        return 0.0
    share = information / information.sum()
    apart = blocks - share @ blocks
    return float(np.sqrt((share**2 @ apart**2) * len(blocks) / (len(blocks) - 1)))
