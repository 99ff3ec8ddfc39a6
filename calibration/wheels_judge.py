"""Gates of a wheel calibration. Proposals of the design; fitted to no recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.verdict import Finding, Level
from calibration.wheels import LEAST, Stretches, Wheels, solve_wheels

Floats = npt.NDArray[np.float64]
BASE_STD, RATIO_STD = 0.003, 0.003  # relative
HALVES = 0.003  # relative, or three sigma
SLIPPED = 0.1
TURNS_RAD = 2 * np.pi  # each way
BASES = (0.5, 15.0)  # base over diameter of anything that drives
RATIOS = (0.8, 1.25)
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Trust:
    """What says whether to trust a fit."""

    held_out_rad: float  # RMS heading error of a stretch that was left out
    halves: tuple[float, float]  # relative change of the two ratios between the halves
    turned_rad: tuple[float, float]  # left, right
    slipped: float  # share of stretches left out


def trust(data: Stretches, fit: Wheels) -> Trust:
    """Held-out error, agreement of halves, excitation."""
    good = data.of(fit.kept)
    count = len(good.turn)
    errors = []
    for fold in range(FOLDS):
        out = np.arange(count) % FOLDS == fold
        if (~out).sum() < LEAST:
            return Trust(np.inf, (np.inf, np.inf), _turned(good), 1 - float(fit.kept.mean()))
        part = solve_wheels(good.of(~out))
        errors.append(good.turn[out] - _predicted(good.of(out), part))
    halves = [solve_wheels(good.of(h)) for h in _halves(count)] if count >= 2 * LEAST else []
    apart = (np.inf, np.inf)
    if halves:
        one, other = halves
        apart = (
            abs(one.base_over_diameter / other.base_over_diameter - 1),
            abs(one.right_over_left / other.right_over_left - 1),
        )
    held = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
    return Trust(held, apart, _turned(good), 1 - float(fit.kept.mean()))


def _halves(count: int) -> list[npt.NDArray[np.bool_]]:
    """Interleaved in blocks, so that both halves hold all kinds of driving."""
    block = np.arange(count) // max(1, count // 20)
    return [block % 2 == k for k in (0, 1)]


def _turned(data: Stretches) -> tuple[float, float]:
    return float(data.turn[data.turn > 0].sum()), float(-data.turn[data.turn < 0].sum())


def _predicted(data: Stretches, fit: Wheels) -> Floats:
    total = 1 / fit.base_over_diameter
    left = total / (1 + fit.right_over_left)
    out: Floats = (total - left) * data.right - left * data.left + fit.bias_rad_s * data.dt_s
    return out


def judge(fit: Wheels, seen: Trust) -> list[Finding]:
    """What speaks against the fit."""
    moved = _moved(seen)
    if any(f.level == "FAIL" for f in moved):  # whatever else there is comes of it
        return moved
    return [*_traps(fit), *moved, *_sure(fit, seen)]


def _traps(fit: Wheels) -> list[Finding]:
    b, r = fit.base_over_diameter, fit.right_over_left
    if b < 0 and r > 0:
        return [Finding("FAIL", "the robot turned the other way than its wheels say: left and right are exchanged, or the heading counts to the right", "exchange the two columns, or the heading's sign (left is positive)")]  # fmt: skip
    if r < 0:
        return [Finding("FAIL", "one wheel counts backwards", "change the sign of that wheel's column (forward is positive)")]  # fmt: skip
    out = []
    if not BASES[0] <= b <= BASES[1]:
        degrees = b * 180 / np.pi if b < BASES[0] else b * np.pi / 180
        if BASES[0] <= degrees <= BASES[1]:
            what = "heading is in degrees" if b < BASES[0] else "wheels are in degrees"
            out.append(Finding("FAIL", f"base over diameter is {b:.3g}, which no robot has; it looks as if the {what}", "give radians"))  # fmt: skip
        else:
            out.append(Finding("FAIL", f"base over diameter is {b:.3g}, which no robot has; the wheels seem to be in ticks", "give --ticks-per-turn, or wheel columns in radians"))  # fmt: skip
    if not RATIOS[0] <= r <= RATIOS[1]:
        out.append(Finding("FAIL", f"the right wheel is {r:.3g} of the left, which no robot has", "check that both wheels are logged in one unit and that neither encoder loses counts"))  # fmt: skip
    return out


def _moved(seen: Trust) -> list[Finding]:
    left, right = seen.turned_rad
    out = []
    if min(left, right) < TURNS_RAD:
        level: Level = "FAIL" if left + right < TURNS_RAD else "MARGINAL"
        way = "left" if left < right else "right"
        both = f"{np.degrees(left):.0f} deg to the left and {np.degrees(right):.0f} to the right"
        out.append(Finding(level, f"not enough turning: {both}", f"drive squares both ways; more turns to the {way}"))  # fmt: skip
    if seen.slipped > SLIPPED:
        level = "FAIL" if seen.slipped > 3 * SLIPPED else "MARGINAL"
        out.append(Finding(level, f"{seen.slipped:.0%} of the driving does not fit: wheels slipped, or the reference jumped", "drive slower, on a hard clean floor"))  # fmt: skip
    return out


def _sure(fit: Wheels, seen: Trust) -> list[Finding]:
    out = []
    values = (fit.base_over_diameter, fit.right_over_left)
    names = ("base over diameter", "right wheel over left")
    limits = (BASE_STD, RATIO_STD)
    for name, value, std, apart, limit in zip(names, values, fit.ratio_std, seen.halves, limits, strict=True):  # fmt: skip
        relative = std / abs(value)
        if not relative <= limit:
            level: Level = "FAIL" if not relative <= 5 * limit else "MARGINAL"
            out.append(Finding(level, f"{name} is known to {relative:.2%} only", "drive longer, with more turns and more straight stretches"))  # fmt: skip
        elif not apart <= max(HALVES, 3 * np.sqrt(4) * relative):
            out.append(Finding("MARGINAL", f"{name}: the two halves of the driving differ by {apart:.2%}", "drive on one even floor, without load shifting, and repeat"))  # fmt: skip
    return out
