"""Overlapping Allan deviation of a sensor at rest, and the noise that its slopes speak for.

IEEE Std 952-1997 annex C for the slopes; Riley, "Handbook of Frequency Stability Analysis", NIST SP
1065 (2008), sections 5.2.4 and 5.4 for the estimator and its degrees of freedom. A density is read
only where the curve has its slope: a sum of five terms fitted over all times is wrong by far on
sensors with a filter inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.stats import chi2

Floats = npt.NDArray[np.float64]

PER_DECADE = 10
SLOPE_WIDTH = 2  # points on each side that a local slope is fitted through
SLOPE_BAND = 0.1
FLOOR_FACTOR = 0.664  # of the bias instability: the flat part's height, sqrt(2 ln 2 / pi)
LEAST_FREEDOM = 6.0
LEAST_SAMPLES = 8  # of a piece between gaps
NEIGHBOURS = 10  # neighbouring points of a curve are alike: so many count as one
SPANS = {"density": 3.0, "walk": 1.9}  # longest by shortest time of a slope that is believed


@dataclass(frozen=True, slots=True)
class Curve:
    """(T,) averaging times [s], deviations [unit of the data], degrees of freedom, local slopes."""

    tau_s: Floats
    deviation: Floats
    freedom: Floats
    slope: Floats


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure read off a curve: value, std, 95 % interval, and the times it was read at [s]."""

    value: float
    std: float
    low: float
    high: float
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Noise:
    """What a curve says in continuous units; None where it has no such region, and why.

    density: unit/sqrt(Hz); instability: unit; walk: unit/s/sqrt(Hz); `walk_limit` bounds the walk.
    """

    density: Reading | None
    instability: Reading | None
    walk: Reading | None
    walk_limit: float
    reasons: dict[str, str]


def curve(values: Floats, rate_hz: float, starts: Sequence[int] = ()) -> Curve:
    """(N,) samples at rest, evenly sampled -> its overlapping Allan deviation up to N / 4 samples.

    `starts`: first samples of the pieces that follow a gap. No difference is taken across one; pieces
    are pooled, each up to a fourth of its own length, and their degrees of freedom add up.
    """
    pieces = [p for p in np.split(values, starts) if len(p) >= LEAST_SAMPLES] or [values]
    phases = [np.concatenate(([0.0], np.cumsum(p - p.mean()))) / rate_hz for p in pieces]
    count = max(map(len, pieces))
    steps = np.unique(np.round(np.geomspace(1, count / 4, int(np.log10(count / 4) * PER_DECADE) + 1)).astype(int))  # fmt: skip
    deviations = []
    for m in steps:
        parts = [
            _second(phase, int(m)) for phase in phases if m == 1 or _long_enough(phase, int(m))
        ]
        second = np.concatenate(parts)
        deviations.append(np.sqrt(np.mean(second**2) / 2) * rate_hz / m)
    tau_s, deviation = steps / rate_hz, np.array(deviations)
    slope = _slopes(tau_s, deviation)
    freedom = np.zeros(len(steps))
    for phase in phases:
        long = np.array([m == 1 or _long_enough(phase, int(m)) for m in steps])
        freedom[long] += _freedom(len(phase), steps[long], slope[long])
    return Curve(tau_s, deviation, freedom, slope)


def _long_enough(phase: Floats, m: int) -> bool:
    return round((len(phase) - 1) / 4) >= m


def _second(phase: Floats, m: int) -> Floats:
    """Second differences over m samples."""
    stride = max(1, m // 256)  # neighbours that overlap almost wholly say nothing more
    found: Floats = phase[2 * m :: stride] - 2 * phase[m : len(phase) - m : stride] + phase[: len(phase) - 2 * m : stride]  # fmt: skip
    return found


def given_curve(tau_s: Floats, deviation: Floats, length_s: float | None = None) -> Curve:
    """A curve computed elsewhere; without the recording's length, the least it can have been."""
    order = np.argsort(tau_s)
    tau_s, deviation = tau_s[order], deviation[order]
    tau_s, deviation = _thinned(tau_s, deviation)
    slope = _slopes(tau_s, deviation)
    period = tau_s[0]
    count = round((length_s or 2 * tau_s[-1]) / period) + 1
    steps = np.maximum(np.round(tau_s / period), 1).astype(int)
    return Curve(tau_s, deviation, _freedom(count, steps, slope), slope)


def _thinned(tau_s: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """About as many points a decade as our own curves have."""
    place = np.round(np.log10(tau_s) * PER_DECADE)
    first = np.unique(place, return_index=True)[1]
    return tau_s[first], deviation[first]


def _slopes(tau_s: Floats, deviation: Floats) -> Floats:
    """Slope of the log-log curve through neighbours, at least over a factor of two in time."""
    x, y = np.log(tau_s), np.log(np.maximum(deviation, 1e-300))
    out = np.full(len(x), np.nan)
    half = SLOPE_WIDTH / PER_DECADE * np.log(10) + 1e-9
    for i in range(len(x)):
        near = np.abs(x - x[i]) <= max(half, np.log(2))
        if near.sum() >= 3:
            out[i] = np.polyfit(x[near], y[near], 1)[0]
    return out


def _freedom(n: int, m: npt.NDArray[np.int64], slope: Floats) -> Floats:
    """Equivalent degrees of freedom by the noise that the local slope speaks for (SP 1065, 5.4.1)."""
    k = m.astype(float)
    white = (3 * (n - 1) / (2 * k) - 2 * (n - 2) / n) * 4 * k**2 / (4 * k**2 + 5)
    flicker = np.where(m == 1, 2 * (n - 2) ** 2 / (2.3 * n - 4.9), 5 * n**2 / (4 * k * (n + 3 * k)))
    walk = (n - 2) / k * ((n - 1) ** 2 - 3 * k * (n - 1) + 4 * k**2) / (n - 3) ** 2
    kind = np.nan_to_num(slope, nan=-0.5)
    return np.maximum(np.where(kind < -0.25, white, np.where(kind < 0.25, flicker, walk)), 1.0)


def noise(found: Curve) -> Noise:
    """Read the three figures where their slopes are; see `Noise`."""
    reasons: dict[str, str] = {}
    density = _region(found, -0.5, found.deviation * np.sqrt(found.tau_s), "density")
    walk = _region(found, 0.5, found.deviation * np.sqrt(3 / found.tau_s), "walk")
    solid = found.freedom >= LEAST_FREEDOM
    solid[0] = True
    most = found.deviation * np.sqrt(found.freedom / chi2.ppf(0.025, found.freedom))
    limit = float((most * np.sqrt(3 / found.tau_s))[solid].min())
    floor = _floor(found, density)
    if isinstance(floor, str):
        reasons["instability"] = floor
    if density is None:
        reasons["density"] = _no_slope(found, "-1/2")
    if walk is None:
        reasons["walk"] = f"no region of slope +1/2 up to {found.tau_s[-1]:.0f} s"
    return Noise(density, None if isinstance(floor, str) else floor, walk, limit, reasons)


def _no_slope(found: Curve, name: str) -> str:
    short = found.slope[found.tau_s < 10]
    typical = float(np.nanmedian(short)) if np.isfinite(short).any() else float("nan")
    return f"no region of slope {name}: below 10 s the slope is {typical:+.2f}"


def _runs(inside: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], inside.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _region(found: Curve, wanted: float, value: Floats, kind: str) -> Reading | None:
    """The longest stretch with the wanted slope; its figure weighted by what each point is worth."""
    with np.errstate(invalid="ignore"):
        inside = (np.abs(found.slope - wanted) <= SLOPE_BAND) & (found.freedom >= LEAST_FREEDOM)
    runs = [r for r in _runs(inside) if found.tau_s[r[1] - 1] >= SPANS[kind] * found.tau_s[r[0]]]
    if not runs:
        return None
    first, end = max(runs, key=lambda r: found.tau_s[r[1] - 1] / found.tau_s[r[0]])
    part = np.s_[first:end]
    weight = found.freedom[part] * np.exp(-(((found.slope[part] - wanted) / (SLOPE_BAND / 2)) ** 2))
    weight /= weight.sum()
    level = float(np.exp(weight @ np.log(value[part])))
    scatter = float(np.sqrt(weight @ (np.log(value[part] / level)) ** 2))
    best = float(found.freedom[part].max())
    return _reading(level, float(np.hypot(1 / np.sqrt(2 * best), scatter)), found.tau_s[part])


def _reading(value: float, share: float, tau_s: Floats) -> Reading:
    """A value whose relative std is `share`, with the interval of as many degrees of freedom."""
    freedom = 1 / (2 * share**2)
    low, high = np.sqrt(freedom / chi2.ppf([0.975, 0.025], freedom))
    return Reading(value, value * share, value * float(low), value * float(high), float(tau_s[0]), float(tau_s[-1]))  # fmt: skip


def _floor(found: Curve, density: Reading | None) -> Reading | str:
    """The bias instability, where the curve is flat and white noise and walk do not explain it.

    All three terms are fitted to the curve from where it is white on: what a filter does to shorter
    times is not looked at.
    """
    solid = np.flatnonzero(found.freedom >= LEAST_FREEDOM)
    if len(solid) < 3:
        return "too short a recording"
    lowest = int(solid[np.argmin(found.deviation[solid])])
    with np.errstate(invalid="ignore"):
        flat = bool(np.abs(found.slope[lowest]) <= SLOPE_BAND)
    if not flat or lowest == solid[-1]:
        return f"the curve still falls at {found.tau_s[solid[-1]]:.0f} s"
    use = solid[found.tau_s[solid] >= (density.from_s if density else found.tau_s[lowest] / 3)]
    tau, variance = found.tau_s[use], found.deviation[use] ** 2
    weight = np.sqrt(found.freedom[use] / 2 / NEIGHBOURS) / variance
    terms = (
        np.column_stack((1 / tau, np.full(len(tau), FLOOR_FACTOR**2), tau / 3)) * weight[:, None]
    )
    square = nnls(terms, variance * weight)[0]
    active = square > 0
    std = np.zeros(3)
    std[active] = np.sqrt(np.diag(np.linalg.pinv(terms[:, active].T @ terms[:, active])))
    if square[1] < 2.5 * std[1] or square[1] == 0:
        bound = found.deviation[lowest] / FLOOR_FACTOR
        return (
            f"white noise and walk explain the lowest point, at {found.tau_s[lowest]:.0f} s;"
            f" it is below {bound:.2g}"
        )
    share = float(std[1] / square[1]) / 2
    return _reading(float(np.sqrt(square[1])), share, found.tau_s[[lowest]])
