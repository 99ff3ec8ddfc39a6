"""A sensor at rest: its bias, its noise, what shakes it, and whether it was at rest at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import welch

from calibration.allan import Curve, Noise, curve, noise
from calibration.errors import DataError

Floats = npt.NDArray[np.float64]

LEAST_S = 10.0
LINE_TIMES = 8.0  # a line stands so many times above its surroundings
LINE_SHARE = 0.05  # and holds so much of the variance
BLOCK_S = 0.5
GAP_PERIODS = 5.0  # a longer step is a gap
MOVED_SPREAD = 3.0  # times the typical spread of a block
MOVED_SIGMA = 8.0
STEP_BLOCKS = 5  # level before against level after


@dataclass(frozen=True, slots=True)
class Line:
    """Something periodic: where [Hz], how strong (RMS, unit of the data), share of the variance."""

    frequency_hz: float
    rms: float
    share: float


@dataclass(frozen=True, slots=True)
class Still:
    """What (N, 3) samples at rest say; arrays (3,) in the unit of the data."""

    bias: Floats
    bias_std: Floats
    spread: Floats
    curves: tuple[Curve, ...]
    noise: tuple[Noise, ...]
    lines: tuple[Line | None, ...]
    moved_s: tuple[float, ...]  # when it moved
    longest_s: float  # of the pieces between gaps
    frequency_hz: Floats
    density: Floats  # (F, 3) amplitude spectral density, unit/sqrt(Hz)


def solve(t_s: Floats, xyz: Floats) -> Still:
    """(N,) [s], (N, 3) of one sensor at rest, any unit; DataError where it is too short.

    A gap (cut power, an exchanged cable) parts it into pieces: their rate, noise and movement are their own.
    """
    length_s = float(t_s[-1] - t_s[0])
    if length_s < LEAST_S:
        raise DataError(
            f"{length_s:.4g} s recorded, at least {LEAST_S:.0f} s at rest needed (60 s wanted)"
        )
    starts = piece_starts(t_s)
    inside = np.delete(np.diff(t_s), starts - 1)
    length_s = length_s if not len(starts) else float(inside.sum())
    rate_hz = (len(t_s) - 1 - len(starts)) / length_s
    curves = tuple(curve(axis, rate_hz, starts.tolist()) for axis in xyz.T)
    frequency_hz, power = welch(
        xyz, rate_hz, nperseg=min(len(xyz), max(256, int(4 * rate_hz))), axis=0
    )
    read = tuple(noise(c) for c in curves)
    pieces = [(t, x) for t, x in zip(np.split(t_s, starts), np.split(xyz, starts), strict=True) if len(t) > 1]  # fmt: skip
    bias_std = np.array([_mean_std(c, n, length_s) for c, n in zip(curves, read, strict=True)])
    return Still(
        bias=xyz.mean(axis=0), bias_std=bias_std, spread=xyz.std(axis=0, ddof=1), curves=curves,
        noise=read,
        lines=tuple(line(frequency_hz, p) for p in power.T),
        moved_s=tuple(m for t, x in pieces for m in moved(t, x)),
        longest_s=max(float(t[-1] - t[0]) for t, _ in pieces), frequency_hz=frequency_hz, density=np.sqrt(power),
    )  # fmt: skip


def piece_starts(t_s: Floats) -> npt.NDArray[np.int64]:
    """Indices of the first sample after each gap."""
    steps = np.diff(t_s)
    return np.flatnonzero(steps > GAP_PERIODS * np.median(steps)) + 1


def _mean_std(found: Curve, read: Noise, length_s: float) -> float:
    """How well a mean over the whole is known: white noise, or what the curve's end carries on to."""
    last = np.flatnonzero(found.freedom >= 6)
    at = int(last[-1]) if len(last) else 0
    ahead = np.sqrt(found.tau_s[at] / length_s) if found.slope[at] < -0.25 else 1.0
    white = read.density.value / np.sqrt(length_s) if read.density else 0.0
    return float(max(found.deviation[at] * ahead, white))


def line(frequency_hz: Floats, power: Floats) -> Line | None:
    """The strongest periodic part of a spectrum, if one stands out of its surroundings."""
    step = float(frequency_hz[1] - frequency_hz[0])
    inside = np.arange(2, len(power) - 1)
    if len(inside) < 20:
        return None
    reach = max(8, len(power) // 16)
    level = np.array([np.median(power[max(1, i - reach) : i + reach + 1]) for i in inside])
    level = np.maximum(level, power.max() * 1e-12)
    best = int(np.argmax(power[inside] - LINE_TIMES * level))
    at = int(inside[best])
    near = power[max(0, at - 2) : at + 3]
    extra = float((near - level[best]).clip(0).sum() * step)
    share = min(1.0, extra / max(float(power[1:].sum() * step), 1e-300))
    if power[at] < LINE_TIMES * level[best] or share < LINE_SHARE:
        return None
    centre = float(near @ frequency_hz[max(0, at - 2) : at + 3] / near.sum())
    return Line(centre, float(np.sqrt(extra)), share)


def moved(t_s: Floats, xyz: Floats) -> tuple[float, ...]:
    """Times [s] at which a block's spread grows or the level steps; neighbours told once.

    Slow drift is no movement: a level is compared with those just before it.
    """
    rate_hz = (len(t_s) - 1) / float(t_s[-1] - t_s[0])
    size = max(8, round(BLOCK_S * rate_hz))
    count = len(xyz) // size
    if count < 2 * STEP_BLOCKS + 1:
        return ()
    blocks = xyz[: count * size].reshape(count, size, 3)
    spread = blocks.std(axis=1)
    typical = np.maximum(np.median(spread, axis=0), _quantum(xyz) / 2)
    loud = (spread > MOVED_SPREAD * typical).any(axis=1)
    beside = np.lib.stride_tricks.sliding_window_view(blocks.mean(axis=1), STEP_BLOCKS, axis=0)
    level = np.median(beside, axis=-1)  # one loud block steps nothing
    step = np.abs(level[STEP_BLOCKS:] - level[:-STEP_BLOCKS])
    usual = np.maximum(1.4826 * np.median(step, axis=0), typical / np.sqrt(size * STEP_BLOCKS))
    stepped = (step > MOVED_SIGMA * usual).any(axis=1)
    bad = loud.copy()
    bad[STEP_BLOCKS : STEP_BLOCKS + len(stepped)] |= stepped
    first = np.flatnonzero(bad & ~np.concatenate(([False], bad[:-1])))
    return tuple(float(t_s[i * size]) for i in first)


def _quantum(xyz: Floats) -> Floats:
    """(3,) smallest step of each axis' values: a coarse sensor is not still, only coarse."""
    steps = np.abs(np.diff(xyz[:20000], axis=0))
    least = np.where(steps > 0, steps, np.inf).min(axis=0)
    return np.where(np.isfinite(least), least, 0.0)
