"""Time offset and rotation between two things that turn together, from their turn rates.

Kabsch 1976 for the rotation at each offset; the offset is searched around a coarse one, found by
correlating the lengths of the rates (which no rotation changes). Conventions: t_B = t_A + offset, with
A the camera and B the IMU as in Kalibr (t_imu = t_cam + shift); v_A = R v_B (Kalibr's T_cam_imu).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from calibration.errors import DataError
from calibration.rotations import best_rotation, quaternion

Floats = npt.NDArray[np.float64]

COARSE_HZ = 100.0
LEAST_S = 5.0
OVERLAP = 0.5  # of the shorter recording
STEP = 1e-4  # s and rad, for the Jacobian


@dataclass(frozen=True, slots=True)
class Rates:
    """Mean turn rates (K, 3) [rad/s] over intervals from `start_s` to `end_s` (K,) each."""

    start_s: Floats
    end_s: Floats
    rate_rad_s: Floats

    @property
    def middle_s(self) -> Floats:
        """(K,) [s]."""
        return (self.start_s + self.end_s) / 2

    def part(self, keep: npt.NDArray[np.bool_]) -> Rates:
        """Some of the intervals."""
        return Rates(self.start_s[keep], self.end_s[keep], self.rate_rad_s[keep])


@dataclass(frozen=True, slots=True)
class Fit:
    """B against A at the best offset: A ~ scale * R B + bias, with std; K residuals."""

    offset_s: float
    offset_std_s: float
    rotation: Floats  # (3, 3) A from B
    rotation_std_rad: Floats  # (3,) about A's axes
    bias_rad_s: Floats  # (3,) in A's axes
    scale: float
    scale_std: float
    correlation: float  # of the lengths of both rates
    residual_rad_s: Floats  # (K, 3)


@dataclass(frozen=True, slots=True)
class Alignment:
    """The whole, its halves, and whether the motion can answer; `excitation` (3,) falls from 1."""

    whole: Fit
    halves: tuple[Fit, Fit] | None
    excitation: Floats  # singular values of B's rates by the largest
    still_axis: Floats  # (3,) the direction in B that moved least
    main_axis: Floats  # (3,) and most
    rms_rad_s: float
    runner_up: float  # correlation of the next best, different coarse offset by the best one's
    mirrored: bool  # a mirror image fits better than a rotation
    costs: tuple[Floats, Floats]  # offsets [s] and RMS residual [rad/s] around the best
    compared: tuple[Floats, Floats, Floats]  # (K,) times, (K, 3) A, (K, 3) B turned into A

    @property
    def quaternion_xyzw(self) -> Floats:
        """A from B."""
        return quaternion(self.whole.rotation)


def interval_rates(t_s: Floats, rate_rad_s: Floats, width_s: float) -> Rates:
    """A gyro's samples (N,), (N, 3) as means over intervals of about `width_s`, none over gaps."""
    count = max(2, int(np.ptp(t_s) / width_s))
    edges = np.linspace(t_s[0], t_s[-1], count + 1)
    angle = CubicSpline(t_s, rate_rad_s).antiderivative()(edges)
    whole = np.diff(np.searchsorted(t_s, edges)) >= 1
    return Rates(edges[:-1], edges[1:], np.diff(angle, axis=0) / np.diff(edges)[:, None]).part(
        whole
    )


def align(a: Rates, b_t_s: Floats, b_rad_s: Floats) -> Alignment:
    """A's interval rates against a gyro B (M,), (M, 3), both from their own first stamp [s].

    DataError where they share too little, or nothing turned.
    """
    if min(np.ptp(a.middle_s), np.ptp(b_t_s)) < LEAST_S:
        raise DataError(f"{min(np.ptp(a.middle_s), np.ptp(b_t_s)):.1f} s recorded, at least {LEAST_S:.0f} s of turning needed (30 s wanted)")  # fmt: skip
    coarse, runner_up = _coarse(a, b_t_s, b_rad_s)
    turned = CubicSpline(b_t_s, b_rad_s).antiderivative()
    inside = (a.start_s + coarse > b_t_s[0] + 0.1) & (a.end_s + coarse < b_t_s[-1] - 0.1)
    used = a.part(inside)
    if len(used.start_s) < 50:
        raise DataError(f"{len(used.start_s)} common intervals, 50 needed; were both recorded at one time?")  # fmt: skip
    whole = _fit(used, turned, coarse)
    halves = _halves(used, turned, whole.offset_s)
    if halves is not None:  # two halves see what the residuals do not: clocks that run apart
        apart_s = abs(halves[0].offset_s - halves[1].offset_s) / 2
        whole = replace(whole, offset_std_s=max(whole.offset_std_s, apart_s))
    b = _mean_rates(used, turned, whole.offset_s)
    _, values, vt = np.linalg.svd(b - b.mean(axis=0), full_matrices=False)
    return Alignment(
        whole=whole, halves=halves, excitation=values / max(values[0], 1e-300),
        still_axis=vt[2], main_axis=vt[0], rms_rad_s=float(np.sqrt((b**2).sum(axis=1).mean())),
        runner_up=runner_up, mirrored=_mirrored(used.rate_rad_s, b),
        costs=_costs(used, turned, whole.offset_s),
        compared=(used.middle_s, used.rate_rad_s, whole.scale * b @ whole.rotation.T + whole.bias_rad_s),
    )  # fmt: skip


def _coarse(a: Rates, b_t_s: Floats, b_rad_s: Floats) -> tuple[float, float]:
    """The lag of the best correlation of lengths, and how good the best elsewhere is beside it."""
    step = 1 / COARSE_HZ
    grid_a = np.arange(a.middle_s[0], a.middle_s[-1], step)
    grid_b = np.arange(b_t_s[0], b_t_s[-1], step)
    x = np.interp(grid_a, a.middle_s, np.linalg.norm(a.rate_rad_s, axis=1))
    y = np.interp(grid_b, b_t_s, np.linalg.norm(_smooth(b_t_s, b_rad_s, step), axis=1))
    score = _correlations(x, y)
    lags = np.arange(-(len(x) - 1), len(y))
    best = int(np.argmax(score))
    apart = np.abs(lags - lags[best]) > COARSE_HZ / 2
    elsewhere = float(score[apart].max()) if apart.any() else -1.0
    return float(lags[best] * step + grid_b[0] - grid_a[0]), elsewhere / max(
        float(score[best]), 1e-9
    )


def _smooth(t_s: Floats, xyz: Floats, width_s: float) -> Floats:
    """A fast gyro's noise must not add to the length of its rate."""
    width = max(1, round(width_s * (len(t_s) - 1) / float(np.ptp(t_s))))
    kernel = np.ones(width) / width
    return np.column_stack([np.convolve(c, kernel, "same") for c in xyz.T])


def _correlations(x: Floats, y: Floats) -> Floats:
    """Pearson's correlation at every lag of y after x; -1 where they overlap too little."""
    size = next_fast_len(len(x) + len(y))

    def slide(u: Floats, v: Floats) -> Floats:
        full = irfft(rfft(v, size) * np.conj(rfft(u, size)), size)
        return np.concatenate((full[size - len(x) + 1 :], full[: len(y)]))

    one_x, one_y = np.ones(len(x)), np.ones(len(y))
    x, y = x - x.mean(), y - y.mean()
    n = np.round(slide(one_x, one_y))
    sx, sy = slide(x, one_y), slide(one_x, y)
    vx, vy = (
        slide(x**2, one_y) - sx**2 / np.maximum(n, 1),
        slide(one_x, y**2) - sy**2 / np.maximum(n, 1),
    )
    enough = n >= max(OVERLAP * min(len(x), len(y)), LEAST_S * COARSE_HZ * OVERLAP)
    spread = np.sqrt(np.maximum(vx, 0) * np.maximum(vy, 0))
    enough &= spread > 1e-9 * max(float(spread.max()), 1e-300)
    covariance = slide(x, y) - sx * sy / np.maximum(n, 1)
    found: Floats = np.where(enough, covariance / np.where(enough, spread, 1), -1.0)
    return found


Turned = Callable[[Floats], Floats]


def _mean_rates(a: Rates, turned: Turned, offset_s: float) -> Floats:
    """B's mean rates over A's intervals, shifted."""
    width = (a.end_s - a.start_s)[:, None]
    found: Floats = (turned(a.end_s + offset_s) - turned(a.start_s + offset_s)) / width
    return found


def _weights(a: Floats, b: Floats, rotation: Floats, bias: Floats, scale: float) -> Floats:
    """Tukey's biweight over the lengths of residuals: a frame tracked wrongly counts nothing."""
    size = np.linalg.norm(a - scale * b @ rotation.T - bias, axis=1)
    limit = 4.685 * max(1.4826 * float(np.median(size)) / 1.5, 1e-9)
    found: Floats = (1 - np.minimum(size / limit, 1) ** 2) ** 2
    return found


def _match(a: Floats, b: Floats, weight: Floats) -> tuple[Floats, Floats, float]:
    """Weighted R, bias, scale of a ~ scale * R b + bias."""
    w = (weight / weight.sum())[:, None]
    mean_a, mean_b = (w * a).sum(axis=0), (w * b).sum(axis=0)
    da, db = np.sqrt(w) * (a - mean_a), np.sqrt(w) * (b - mean_b)
    rotation, _ = best_rotation(db, da)
    scale = float((da * (db @ rotation.T)).sum() / max((db**2).sum(), 1e-300))
    return rotation, mean_a - scale * rotation @ mean_b, scale


def _fit(a: Rates, turned: Turned, start_s: float) -> Fit:
    """Offset by a bounded search in seconds after the start.

    scipy's tolerance is relative to the value, which on an epoch clock made milliseconds of it.
    """
    weight = np.ones(len(a.start_s))
    here = start_s
    reach = 1.5 / COARSE_HZ + float(np.median(a.end_s - a.start_s))
    for _ in range(3):
        found = minimize_scalar(
            lambda d: _cost(a, turned, here + d, weight), bounds=(-reach, reach), method="bounded",  # noqa: B023
            options={"xatol": 1e-8},
        )  # fmt: skip
        here += float(found.x)
        reach = 3e-3
        b = _mean_rates(a, turned, here)
        weight = _weights(a.rate_rad_s, b, *_match(a.rate_rad_s, b, weight))
    return _with_std(a, turned, here, weight)


def _cost(a: Rates, turned: Turned, offset_s: float, weight: Floats) -> float:
    b = _mean_rates(a, turned, offset_s)
    rotation, bias, scale = _match(a.rate_rad_s, b, weight)
    return float(weight @ ((a.rate_rad_s - scale * b @ rotation.T - bias) ** 2).sum(axis=1))


def _with_std(a: Rates, turned: Turned, offset_s: float, weight: Floats) -> Fit:
    """Standard deviations from the Jacobian of all eight parameters and residuals that are alike."""
    b = _mean_rates(a, turned, offset_s)
    rotation, bias, scale = _match(a.rate_rad_s, b, weight)
    turned_b = scale * b @ rotation.T
    residual = a.rate_rad_s - turned_b - bias
    slope = (_mean_rates(a, turned, offset_s + STEP) - _mean_rates(a, turned, offset_s - STEP)) / (
        2 * STEP
    )
    columns = [scale * slope @ rotation.T, turned_b / scale]
    columns += [np.cross(np.eye(3)[i][None], turned_b) for i in range(3)]
    columns += [np.broadcast_to(np.eye(3)[i], b.shape) for i in range(3)]
    jacobian = np.stack(columns, axis=-1)  # (K, 3, 8)
    w = np.sqrt(weight)[:, None]
    left = (w[..., None] * jacobian).reshape(-1, 8)
    freedom = max(3 * float(weight.sum()) - 8, 1.0)
    variance = float(((w * residual) ** 2).sum()) / freedom * alike(residual)
    cov = variance * np.linalg.pinv(left.T @ left)
    std = np.sqrt(np.maximum(np.diag(cov), 0))
    lengths = np.linalg.norm(a.rate_rad_s - bias, axis=1), np.linalg.norm(b, axis=1)
    use = weight > 0.05
    correlation = (
        float(np.corrcoef(lengths[0][use], lengths[1][use])[0, 1]) if use.sum() > 3 else 0.0
    )
    return Fit(offset_s, float(std[0]), rotation, std[2:5], bias, scale, float(std[1]), correlation, residual)  # fmt: skip


def alike(residual: Floats) -> float:
    """By how much neighbouring residuals resemble each other: sums of their correlations, at least 1."""
    r = residual - residual.mean(axis=0)
    power = float((r**2).sum())
    total = 1.0
    for lag in range(1, min(200, len(r) // 4)):
        here = float((r[lag:] * r[:-lag]).sum()) / max(power, 1e-300)
        if here < 0.05:
            break
        total += 2 * here
    return total


def _halves(a: Rates, turned: Turned, offset_s: float) -> tuple[Fit, Fit] | None:
    middle = np.median(a.middle_s)
    first, second = a.part(a.middle_s < middle), a.part(a.middle_s >= middle)
    if min(len(first.start_s), len(second.start_s)) < 25:
        return None
    return _fit(first, turned, offset_s), _fit(second, turned, offset_s)


def _mirrored(a: Floats, b: Floats) -> bool:
    """Whether a reflection explains A by B much better than a rotation does."""
    da, db = a - a.mean(axis=0), b - b.mean(axis=0)
    u, values, vt = np.linalg.svd(da.T @ db)
    if values[2] < 0.02 * values[0]:
        return False  # two axes alone do not tell
    return bool(np.linalg.det(u @ vt) < 0 and values[2] > 0.05 * values.sum())


def _costs(a: Rates, turned: Turned, offset_s: float) -> tuple[Floats, Floats]:
    """RMS residual at offsets around the best one, for the eye."""
    step = np.linspace(-0.1, 0.1, 81)
    one = np.ones(len(a.start_s))
    cost = [np.sqrt(_cost(a, turned, offset_s + d, one) / len(one)) for d in step]
    return offset_s + step, np.array(cost)


def apart_deg(one: Floats, other: Floats) -> float:
    """The angle between two rotations [deg]."""
    cosine = (np.trace(one.T @ other) - 1) / 2
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
