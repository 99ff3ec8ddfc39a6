"""Gyro scale and misalignment from moves between still poses: gravity, carried along, must arrive.

Model: Tedaldi, Pretto, Menegatti, ICRA 2014: rate = T K (raw - b) in the calibrated accelerometer's
frame. The rate is integrated as a product of rotations of the mean of neighbouring samples; the
Jacobian comes out of the same pass, as every small turn on the way turns the end.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.accel_fit import OUTLIER_SIGMA, Triad, covariance
from calibration.rotations import matrices, product, quaternions, suffixes

Floats = npt.NDArray[np.float64]
PARAMETERS = 9
LEAST_SIGMA_RAD = np.deg2rad(0.05)
SCAN_MOVES, SCAN_STEPS, SCAN_LENGTH = 12, 40, 128
ROUNDS = 12
LOST_DEG = 5.0  # a fit that leaves more than this in half of the moves has other axes


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves between neighbouring poses, padded with dt = 0: raw less bias, period, gravity's way."""

    raw: Floats  # (M, L, 3) raw units, bias taken off
    dt_s: Floats  # (M, L)
    before: Floats  # (M, 3) unit vectors, accelerometer frame
    after: Floats  # (M, 3)

    def some(self, index: npt.NDArray[np.intp]) -> Moves:
        """A part of the moves."""
        return Moves(self.raw[index], self.dt_s[index], self.before[index], self.after[index])


@dataclass(frozen=True, slots=True)
class GyroFit:
    """The fit, which moves it kept, and by how much gravity misses its place after each [rad]."""

    triad: Triad
    kept: npt.NDArray[np.bool_]  # (M,)
    error_rad: Floats  # (M,)
    held_out_rad: Floats  # (M,) NaN where not kept
    axes: tuple[str, str, str]  # which gyro axis lies along accelerometer x, y, z: "x", "-z"


def moves_between(
    t_s: Floats, raw: Floats, biases: Floats, spans_s: list[tuple[float, float]], ways: Floats
) -> Moves:
    """Cut a gyro log (N,), (N, 3) at M spans; `ways` (M, 2, 3) is gravity before and after.

    `biases` (M, 3) [raw] is one for each move: the gyro's drift over a recording is not its scale.
    """
    cuts = []
    for (start, end), bias in zip(spans_s, biases, strict=True):
        inside = (t_s > start) & (t_s < end)
        times = np.concatenate(([start], t_s[inside], [end]))
        rates = np.column_stack([np.interp(times, t_s, raw[:, i] - bias[i]) for i in range(3)])
        cuts.append(((rates[1:] + rates[:-1]) / 2, np.diff(times)))
    longest = max(len(dt) for _, dt in cuts)
    middle, dt_s = np.zeros((len(cuts), longest, 3)), np.zeros((len(cuts), longest))
    for i, (rate, dt) in enumerate(cuts):
        middle[i, : len(dt)], dt_s[i, : len(dt)] = rate, dt
    return Moves(middle, dt_s, ways[:, 0], ways[:, 1])


def fit_gyro(moves: Moves, bias: Floats, bias_std: Floats, folds: int = 10) -> GyroFit:
    """M >= 6 moves -> GyroFit; the start is found by a scan over scales, and axes where need be."""
    best, kept, axes = _mounted(moves)
    error, jacobian = _arrive(best, moves)
    held_out = _held_out(error, jacobian, kept, folds)
    cov = covariance(
        jacobian[kept].reshape(-1, PARAMETERS),
        error[kept],
        held_out,
        2 * int(kept.sum()) - PARAMETERS,
    )
    size = np.linalg.norm(error, axis=1)
    return GyroFit(_triad(best, cov, bias, bias_std, axes), kept, size, held_out, _names(axes))


def _robust(moves: Moves, start: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Gauss-Newton with Huber's weights, then without the moves that stand out."""
    p = start
    kept = np.ones(len(moves.before), bool)
    for step in range(ROUNDS):
        error, jacobian = _arrive(p, moves)
        size = np.linalg.norm(error, axis=1)
        sigma = max(float(np.median(size[kept])) / 1.18, LEAST_SIGMA_RAD)  # 1.18: Rayleigh's median
        if step >= ROUNDS // 2:
            kept = size < OUTLIER_SIGMA * sigma
        weight = np.where(kept, np.minimum(1, 2 * sigma / np.maximum(size, 1e-12)), 0)
        if step >= ROUNDS // 2:
            weight = kept.astype(float)
        w = weight[:, None, None]
        move = np.linalg.lstsq(
            (w * jacobian).reshape(-1, PARAMETERS), -(w[..., 0] * error).ravel(), rcond=1e-12
        )[0]
        p = p + move
        if step > ROUNDS // 2 and np.abs(move).max() < 1e-7 * np.abs(p).max():
            break
    return p, kept


def _arrive(p: Floats, moves: Moves) -> tuple[Floats, Floats]:
    """Errors (M, 3) of gravity at the end of each move and their Jacobian (M, 3, 9)."""
    rates = moves.raw @ p.reshape(3, 3).T
    to_end = matrices(suffixes(quaternions(rates * moves.dt_s[..., None])))  # (M, L, 3, 3)
    arrived = np.einsum("mji,mj->mi", to_end[:, 0], moves.before)
    # A turn e of step k is (R_k..end)^T e at the end, and gravity moves by [gravity]x of it.
    weights = moves.raw * moves.dt_s[..., None]
    flat = (
        to_end.reshape(*to_end.shape[:2], 9).swapaxes(1, 2) @ weights
    )  # (M, row j x end axis i, l)
    turned = flat.reshape(-1, 3, 3, 3)
    x, y, z = arrived.T
    zero = np.zeros_like(x)
    cross = np.stack([np.stack(r, -1) for r in ((zero, -z, y), (z, zero, -x), (-y, x, zero))], -2)
    jacobian = np.einsum("mai,mjil->majl", cross, turned).reshape(len(x), 3, PARAMETERS)
    return arrived - moves.after, jacobian


def _mounted(moves: Moves) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    """The fit, moves kept, axes: equal axes first, then all 48 ways to mount a gyro."""
    few = _coarse(moves)
    _, scale = _scan(few, np.eye(3))
    best, kept = _robust(moves, scale * np.eye(3).ravel())
    size = np.linalg.norm(_arrive(best, moves)[0], axis=1)
    if np.median(size) < np.deg2rad(LOST_DEG) and kept.mean() > 0.5:
        return best, kept, nearest_axes(best.reshape(3, 3))
    tried = [(*_scan(few, axes), axes) for axes in mountings()]
    _, scale, axes = min(tried, key=lambda t: t[0])
    best, kept = _robust(moves, (scale * axes).ravel())
    return best, kept, nearest_axes(best.reshape(3, 3))


def nearest_axes(matrix: Floats) -> Floats:
    """The signed permutation nearest to a matrix: which axis lies along which."""
    scaled = matrix / np.linalg.norm(matrix, axis=0, keepdims=True)
    return max(mountings(), key=lambda axes: float((axes * scaled).sum()))


def mountings() -> list[Floats]:
    """The 48 signed permutations of three axes."""
    return [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


def _coarse(moves: Moves) -> Moves:
    """A few moves in coarse steps: enough to tell one scale from another."""
    angle = np.arccos(np.clip((moves.before * moves.after).sum(axis=1), -1, 1))
    few = moves.some(
        np.argsort(-angle)[: 4 * SCAN_MOVES : max(1, len(angle) // SCAN_MOVES // 2)][:SCAN_MOVES]
    )
    step = max(1, few.raw.shape[1] // SCAN_LENGTH)
    length = few.raw.shape[1] // step * step
    turns = (few.raw * few.dt_s[..., None])[:, :length]
    turns = turns.reshape(len(turns), -1, step, 3).sum(axis=2)
    return Moves(turns, np.ones(turns.shape[:2]), few.before, few.after)


def _scan(moves: Moves, axes: Floats) -> tuple[float, float]:
    """(median error [rad], scale) of the best scale: no less than what the shortest way needs."""
    angle = np.arccos(np.clip((moves.before * moves.after).sum(axis=1), -1, 1))
    path = np.linalg.norm(moves.raw * moves.dt_s[..., None], axis=2).sum(axis=1)
    least = float(np.median(angle / np.maximum(path, 1e-300)))
    best = (np.inf, least)
    for scale in least * np.geomspace(0.6, 8, SCAN_STEPS):
        turns = moves.raw @ (scale * axes).T * moves.dt_s[..., None]
        whole = matrices(_whole(quaternions(turns)))
        arrived = np.einsum("mji,mj->mi", whole, moves.before)
        cost = float(np.median(np.linalg.norm(arrived - moves.after, axis=1)))
        best = min(best, (cost, float(scale)))
    return best


def _whole(q: Floats) -> Floats:
    """(M, L, 4) -> (M, 4): the product of all steps, halving their number each time."""
    while q.shape[1] > 1:
        if q.shape[1] % 2:
            rest = np.zeros((len(q), 1, 4))
            rest[..., 3] = 1
            q = np.concatenate((q, rest), axis=1)
        q = product(q[:, 0::2], q[:, 1::2])
    return q[:, 0]


def _triad(p: Floats, cov: Floats, bias: Floats, bias_std: Floats, axes: Floats) -> Triad:
    """Scale and misalignment of M = T K, gyro axes named in the accelerometer's order."""

    def values(q: Floats) -> Floats:
        m = q.reshape(3, 3) @ axes.T  # columns in the accelerometer's order, signs as mounted
        scale = np.diag(m)
        return np.concatenate((1 / scale, (m / scale[None, :]).ravel()))

    found = values(p)
    step = 1e-6 * float(np.abs(p).max())
    slope = np.column_stack(
        [(values(p + d) - values(p - d)) / (2 * step) for d in np.eye(PARAMETERS) * step]
    )
    std = np.sqrt(np.maximum(np.diag(slope @ cov @ slope.T), 0))
    return Triad(found[:3], bias, found[3:].reshape(3, 3), std[:3], bias_std, std[3:].reshape(3, 3))


def _names(axes: Floats) -> tuple[str, str, str]:
    names = [f"{'-' if row.min() < 0 else ''}{'xyz'[int(np.abs(row).argmax())]}" for row in axes]
    return names[0], names[1], names[2]


def _held_out(error: Floats, jacobian: Floats, kept: npt.NDArray[np.bool_], folds: int) -> Floats:
    """Each fold judged by a fit without it: one Newton step away, so no solver runs again."""
    out = np.full(len(error), np.nan)
    index = np.flatnonzero(kept)
    folds = max(2, min(folds, len(index)))
    for fold in range(folds):
        left, used = index[fold::folds], np.delete(index, np.s_[fold::folds])
        step = np.linalg.lstsq(
            jacobian[used].reshape(-1, PARAMETERS), -error[used].ravel(), rcond=1e-12
        )[0]
        out[left] = np.linalg.norm(error[left] + jacobian[left] @ step, axis=1)
    return out
