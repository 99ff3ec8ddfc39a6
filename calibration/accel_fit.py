"""Accelerometer scale, misalignment and bias from still poses: |a| must be gravity in each.

Model and method: Tedaldi, Pretto, Menegatti, ICRA 2014: a = T K (raw - b), T upper triangular with
ones, so x of the calibrated frame is the sensor's x axis and z is normal to its x and y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from calibration.errors import DataError
from calibration.sphere import cells

Floats = npt.NDArray[np.float64]

UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
PARAMETERS = 9
OUTLIER_SIGMA = 5.0
LEAST_SIGMA_M_S2 = 5e-4  # what poses differ by in the best of sensors: none is thrown out for less


@dataclass(frozen=True, slots=True)
class Triad:
    """A three-axis sensor: si = misalignment @ ((raw - bias) / inverse_scale), each with its std."""

    inverse_scale: Floats  # (3,) raw units per SI unit
    bias: Floats  # (3,) raw units
    misalignment: Floats  # (3, 3), ones on the diagonal
    inverse_scale_std: Floats
    bias_std: Floats
    misalignment_std: Floats

    def si(self, raw: Floats) -> Floats:
        """(N, 3) raw -> (N, 3) m/s^2 or rad/s."""
        found: Floats = ((raw - self.bias) / self.inverse_scale) @ self.misalignment.T
        return found


@dataclass(frozen=True, slots=True)
class AccelFit:
    """The fit, which poses it kept, and by how much each misses gravity [m/s^2]."""

    triad: Triad
    kept: npt.NDArray[np.bool_]  # (P,)
    error_m_s2: Floats  # (P,) |a| - g
    held_out_m_s2: Floats  # (P,) the same from fits without the pose; NaN where not kept
    cell_std_m_s2: Floats  # (32,) how well |a| is known in each cell of `sphere.cells`


def fit_accel(means: Floats, gravity_m_s2: float, folds: int = 10) -> AccelFit:
    """(P, 3) raw means of P >= 10 still poses -> AccelFit; poses that stand out are left out."""
    centre, radius = _sphere(means)
    if not 0 < radius < np.inf:
        raise DataError("the still poses lie on no sphere; is this an accelerometer's log?")
    points = (means - centre) / radius * gravity_m_s2
    start = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0], float)
    rough = _solve(points, start, gravity_m_s2, loss="soft_l1", f_scale=0.01)
    sigma = max(
        1.4826 * float(np.median(np.abs(_error(rough, points, gravity_m_s2)))), LEAST_SIGMA_M_S2
    )
    kept = np.abs(_error(rough, points, gravity_m_s2)) < OUTLIER_SIGMA * sigma
    best = _solve(points[kept], rough, gravity_m_s2)
    for _ in range(3):  # a wild pose also spoils the spread by which it is judged
        error = _error(best, points, gravity_m_s2)
        sigma = max(float(np.sqrt(np.mean(error[kept] ** 2))), LEAST_SIGMA_M_S2)
        fresh = np.abs(error) < OUTLIER_SIGMA * sigma
        if (fresh == kept).all():
            break
        kept = fresh
        best = _solve(points[kept], best, gravity_m_s2)
    error = _error(best, points, gravity_m_s2)
    held_out = _held_out(points, kept, best, gravity_m_s2, folds)
    jacobian = _jacobian(best, points[kept])
    cov = covariance(jacobian, error[kept], held_out, int(kept.sum()) - PARAMETERS)
    return AccelFit(
        triad=_triad(best, cov, centre, radius / gravity_m_s2), kept=kept, error_m_s2=error,
        held_out_m_s2=held_out,
        cell_std_m_s2=_cell_std(best, cov, gravity_m_s2),
    )  # fmt: skip


def _sphere(means: Floats) -> tuple[Floats, float]:
    """Centre and radius of the sphere through the poses, linear in both: a guess without units."""
    middle = means.mean(axis=0)
    size = float(np.abs(means - middle).max()) or 1.0
    x = (means - middle) / size
    solution = np.linalg.lstsq(np.c_[2 * x, np.ones(len(x))], (x**2).sum(axis=1), rcond=None)[0]
    radius = np.sqrt(max(solution[3] + solution[:3] @ solution[:3], 1e-12))
    return middle + size * solution[:3], float(size * radius)


def _matrix(p: Floats) -> Floats:
    m = np.zeros((3, 3))
    for value, place in zip(p[:6], UPPER, strict=True):
        m[place] = value
    return m


def _error(p: Floats, points: Floats, gravity_m_s2: float) -> Floats:
    found: Floats = np.linalg.norm((points - p[6:]) @ _matrix(p).T, axis=1) - gravity_m_s2
    return found


def _jacobian(p: Floats, points: Floats) -> Floats:
    m, x = _matrix(p), points - p[6:]
    y = x @ m.T
    n = y / np.linalg.norm(y, axis=1, keepdims=True)
    return np.column_stack([n[:, i] * x[:, j] for i, j in UPPER] + [-n @ m])


def _solve(points: Floats, start: Floats, gravity_m_s2: float, **loss: object) -> Floats:
    if len(points) < PARAMETERS:
        raise DataError(
            f"only {len(points)} still poses agree on gravity, {PARAMETERS} needed; is this an"
            " accelerometer's log, and was it still in its poses?"
        )
    method = "trf" if loss else "lm"
    fit = least_squares(
        lambda p: _error(p, points, gravity_m_s2), start, lambda p: _jacobian(p, points),
        method=method, xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=200, **loss,
    )  # fmt: skip
    found: Floats = fit.x
    return found


def covariance(jacobian: Floats, residuals: Floats, held_out: Floats, freedom: int) -> Floats:
    """(P, P) by the larger of the residuals' spread and the held-out one, and few degrees of freedom.

    What was also used to choose poses is smaller than it should be; Student's factor widens the rest.
    """
    variance = max(
        float(residuals.ravel() @ residuals.ravel()) / max(freedom, 1),
        float(np.nansum(held_out**2)) / (freedom + jacobian.shape[1]),
    )
    variance *= freedom / (freedom - 2) if freedom > 2 else 100.0
    _, values, vt = np.linalg.svd(jacobian, full_matrices=False)
    weight = variance / np.maximum(values, values[0] * 1e-12) ** 2
    found: Floats = (vt.T * weight) @ vt
    return found


def _cell_std(p: Floats, cov: Floats, gravity_m_s2: float) -> Floats:
    """How uncertain |a| is in every direction, also in those that no pose showed."""
    shown = cells() @ np.linalg.inv(_matrix(p)).T * gravity_m_s2 + p[6:]
    jacobian = _jacobian(p, shown)
    found: Floats = np.sqrt(np.einsum("ci,ij,cj->c", jacobian, cov, jacobian))
    return found


def _triad(p: Floats, cov: Floats, centre: Floats, raw_per_si: float) -> Triad:

    def values(q: Floats) -> Floats:
        m = _matrix(q)
        scale = np.diag(m)
        return np.concatenate(
            (raw_per_si / scale, centre + raw_per_si * q[6:], (m / scale[None, :]).ravel())
        )

    found = values(p)
    step = 1e-6
    slope = np.column_stack(
        [(values(p + d) - values(p - d)) / (2 * step) for d in np.eye(PARAMETERS) * step]
    )
    std = np.sqrt(np.maximum(np.diag(slope @ cov @ slope.T), 0))
    return Triad(
        found[:3], found[3:6], found[6:].reshape(3, 3), std[:3], std[3:6], std[6:].reshape(3, 3)
    )


def _held_out(
    points: Floats, kept: npt.NDArray[np.bool_], best: Floats, gravity_m_s2: float, folds: int
) -> Floats:
    """Each fold judged by a fit without it; folds interleave, as neighbours in time are alike."""
    out = np.full(len(points), np.nan)
    index = np.flatnonzero(kept)
    folds = max(2, min(folds, len(index) - PARAMETERS))
    for fold in range(folds):
        without = np.delete(index, np.s_[fold::folds])
        if len(without) < PARAMETERS:
            continue
        p = _solve(points[without], best, gravity_m_s2)
        left = index[fold::folds]
        out[left] = _error(p, points[left], gravity_m_s2)
    return out
