"""Wheel odometry of a differential drive from stretches of driving whose true motion is known.

Two ratios come first, for they repeat to 0.02 % where a diameter repeats to 1 %: the base over the
mean diameter, and the right wheel over the left. A gyro gives both. A pose sensor (scan matching,
a camera that sees a board) gives diameters, base and where it is mounted as well: Censi, Franchi,
Marchionni, Oriolo, Simultaneous calibration of odometry and sensor parameters (2013). Stretches in
which a wheel slipped are found and left out (Huber weights, then a cut).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult, least_squares

from calibration.errors import DataError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LEAST = 20  # stretches
CUT = 4.5  # times the robust spread: left out
PASSES = 6
TINY = 1e-9


@dataclass(frozen=True)
class Stretches:
    """N stretches of driving: seconds, rotation of the wheels [rad], motion of the sensor.

    `turn` (N,) [rad], left positive; `shift` (N, 2) [m] in the sensor's frame at its start, or None.
    `biased`: the turn is an integrated gyro, whose bias is to be found.
    """

    dt_s: Floats
    left: Floats
    right: Floats
    turn: Floats
    shift: Floats | None
    biased: bool

    def of(self, keep: Bools) -> Stretches:
        """Some of them."""
        shift = None if self.shift is None else self.shift[keep]
        return Stretches(self.dt_s[keep], self.left[keep], self.right[keep], self.turn[keep], shift, self.biased)  # fmt: skip


@dataclass(frozen=True)
class Wheels:
    """A fit. `mount`: the sensor's x, y [m] and heading [rad] on the base; stds beside all of it."""

    base_over_diameter: float
    right_over_left: float
    ratio_std: tuple[float, float]
    diameters_m: tuple[float, float] | None
    base_m: float | None
    length_std: tuple[float, float, float]  # left, right diameter, base
    mount: Floats | None
    bias_rad_s: float
    kept: Bools
    turn_error: Floats  # (N,) [rad] of all stretches
    shift_error: Floats | None  # (N, 2) [m]
    parameters: Floats


def solve_wheels(data: Stretches) -> Wheels:
    """Fit, leaving out what slipped. DataError where there is too little."""
    if len(data.turn) < LEAST:
        raise DataError(
            f"{len(data.turn)} stretches of driving, at least {LEAST} are needed; drive longer"
        )
    keep = np.ones(len(data.turn), np.bool_)
    fit = _fit(data, keep)
    for _ in range(PASSES):
        fresh = _near(fit)
        if fresh.sum() < LEAST or (fresh == keep).all():
            break
        keep = fresh
        fit = _fit(data, keep)
    return fit


def _near(fit: Wheels) -> Bools:
    """Stretches that fit, in heading and in place."""
    near = np.abs(fit.turn_error) < CUT * _spread(fit.turn_error[fit.kept])
    if fit.shift_error is not None:
        apart = np.abs(fit.shift_error)
        scale = np.array([_spread(fit.shift_error[fit.kept, k]) for k in (0, 1)])
        near &= (apart < CUT * scale).all(1)
    return near


def _spread(values: Floats) -> float:
    return max(1.4826 * float(np.median(np.abs(values))), 1e-12)


def _heading(data: Stretches) -> tuple[Floats, Floats]:
    """Columns of the heading's linear model (N, 2 or 3), and a robust fit of it."""
    columns = [data.left, data.right] + ([data.dt_s] if data.biased else [])
    a = np.stack(columns, 1)
    x = np.linalg.lstsq(a, data.turn, rcond=None)[0]
    for _ in range(12):  # Huber's weights by iteration
        r = data.turn - a @ x
        w = np.sqrt(np.minimum(1, 1.345 * _spread(r) / np.maximum(np.abs(r), 1e-15)))
        x = np.linalg.lstsq(a * w[:, None], data.turn * w, rcond=None)[0]
    return a, np.asarray(x, np.float64)


def _fit(data: Stretches, keep: Bools) -> Wheels:
    some = data.of(keep)
    a, x = _heading(some)
    full_a = np.stack([data.left, data.right] + ([data.dt_s] if data.biased else []), 1)
    if some.shift is None:
        r = some.turn - a @ x
        covariance = _sandwich(a, r)
        ratios, jacobian = _ratios(-x[0], x[1])
        jacobian = jacobian * [-1.0, 1.0]  # by x
        std = np.sqrt(np.abs(np.einsum("ij,jk,ik->i", jacobian, covariance[:2, :2], jacobian)))
        return Wheels(
            *ratios, (float(std[0]), float(std[1])), None, None, (0.0, 0.0, 0.0), None,
            float(x[2]) if data.biased else 0.0, keep, data.turn - full_a @ x, None, x,
        )  # fmt: skip
    return _full(data, some, keep, x)


def _full(data: Stretches, some: Stretches, keep: Bools, x: Floats) -> Wheels:
    """Radii, base and mounting from turns and shifts together."""
    assert some.shift is not None and data.shift is not None
    start = _first(some, x)
    for _ in range(3):
        spreads = np.array([_spread(c) for c in _errors(some, start).T])
        found = _descend(some, spreads, start)
        start = found.x
    covariance = _sandwich(found.jac, (_errors(some, start) / spreads).ravel(), 3)
    rl, rr, base = start[:3]
    ratios, by = _ratios(rl / base, rr / base)
    chain = np.array([[1 / base, 0, -rl / base**2], [0, 1 / base, -rr / base**2]])
    by = by @ chain
    std = np.sqrt(np.einsum("ij,jk,ik->i", by, covariance[:3, :3], by))
    length = np.sqrt(np.diag(covariance)[:3]) * [2, 2, 1]
    everything = _errors(data, start)
    return Wheels(
        *ratios, (float(std[0]), float(std[1])), (float(2 * rl), float(2 * rr)), float(base),
        (float(length[0]), float(length[1]), float(length[2])), start[3:6], float(start[6]) if data.biased else 0.0, keep,
        everything[:, 0], everything[:, 1:], start,
    )  # fmt: skip


def _descend(some: Stretches, spreads: Floats, start: Floats) -> OptimizeResult:
    """Least squares; what slipped has been left out before, so no loss is needed here."""

    def scaled(p: Floats) -> Floats:
        out: Floats = (_errors(some, p) / spreads).ravel()
        return out

    return least_squares(scaled, start, x_scale=np.maximum(np.abs(start), 1e-3))


def _ratios(left: float, right: float) -> tuple[tuple[float, float], Floats]:
    """(base over diameter, right over left) of radius over base of each wheel, and the Jacobian."""
    left = left or TINY  # driven straight only: the gates say so
    total = left + right or TINY
    jacobian = np.array([[-1 / total**2, -1 / total**2], [-right / left**2, 1 / left]])
    return (float(1 / total), float(right / left)), jacobian


def _first(data: Stretches, x: Floats) -> Floats:
    """Radii, base, mounting to start from: the base by the length of straight stretches."""
    assert data.shift is not None
    j_left, j_right = -x[0], x[1]
    rolled = (j_left * data.left + j_right * data.right) / 2  # shift of the base, over the base
    straight = np.abs(data.turn) <= np.median(np.abs(data.turn))
    far = np.linalg.norm(data.shift, axis=1)
    base = float(np.sum(far[straight] * np.abs(rolled[straight])) / max(np.sum(rolled[straight] ** 2), 1e-12))  # fmt: skip
    forward = data.shift[straight] * np.sign(rolled[straight])[:, None]
    heading = -float(np.arctan2(forward[:, 1].sum(), forward[:, 0].sum()))
    start = [j_left * base, j_right * base, base, 0.0, 0.0, heading]
    return np.array(start + ([float(x[2])] if data.biased else []))


def _errors(data: Stretches, p: Floats) -> Floats:
    """(N, 3) turn and shift of the sensor, measured less predicted."""
    assert data.shift is not None
    rl, rr, base, lx, ly, heading = p[:6]
    turn = (rr * data.right - rl * data.left) / base
    travel = (rr * data.right + rl * data.left) / 2
    half = turn / 2
    chord = travel * np.sinc(half / np.pi)
    x, y = chord * np.cos(half), chord * np.sin(half)
    c, s = np.cos(turn), np.sin(turn)
    x, y = x + c * lx - s * ly - lx, y + s * lx + c * ly - ly
    c, s = np.cos(heading), np.sin(heading)
    predicted = np.stack([turn + (p[6] * data.dt_s if data.biased else 0), c * x + s * y, -s * x + c * y], 1)  # fmt: skip
    out: Floats = np.concatenate([data.turn[:, None], data.shift], 1) - predicted
    return out


def _sandwich(a: Floats, r: Floats, group: int = 1) -> Floats:
    """Covariance of a least-squares fit whose residuals differ in size (White 1980, small-sample)."""
    inverse = np.linalg.pinv(a.T @ a)
    scores = (a * r[:, None]).reshape(-1, group, a.shape[1]).sum(1)
    free = max(1, len(scores) - a.shape[1])
    robust = inverse @ (scores.T @ scores) @ inverse * len(scores) / free
    plain = inverse * float(r @ r) / max(1, len(r) - a.shape[1])
    return np.asarray(np.where(np.trace(robust) > np.trace(plain), robust, plain))
