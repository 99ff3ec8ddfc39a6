"""Bundle adjustment of one lens, many views of one board: Levenberg-Marquardt, poses eliminated.

Each view's pose enters its own residuals alone, so the normal equations reduce to the lens and
board parameters (Schur complement; Triggs et al., Bundle Adjustment: A Modern Synthesis, 1999).
The covariance is the larger of two: of independent corner noise, and of views that err as wholes
(cluster-robust sandwich; Liang & Zeger 1986), for corners of one picture share its blur and light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from calibration.projection import matrix, project

Floats = npt.NDArray[np.float64]
STEPS = 60
CONVERGED = 1e-9  # relative fall of the cost
BEHIND = 1e6  # residual [px] of a model that left the numbers


@dataclass(frozen=True, slots=True)
class View:
    """Board points (N, 3) [m] and where they were seen (N, 2) [px]."""

    name: str
    points: Floats
    pixels: Floats


@dataclass(frozen=True)
class Family:
    """A lens model and which of its parameters are free: lens = free @ x + fixed."""

    name: str
    model: str  # of `projection`
    free: Floats  # (P, m)
    warp: bool = False  # the board may be bent: two sags [m], along x and y

    @property
    def size(self) -> int:
        """Number of parameters: lens, then warp."""
        return int(self.free.shape[1]) + (2 if self.warp else 0)


@dataclass(frozen=True)
class Solution:
    """A fit: x (m,), poses (V, 6), residuals per view (N, 2) [px], covariance of x (m, m)."""

    family: Family
    x: Floats
    poses: Floats
    residuals: list[Floats]
    covariance: Floats
    robust: Floats

    @property
    def lens(self) -> Floats:
        """(P,) parameters of the lens."""
        return np.asarray(self.family.free @ self.x[: self.family.free.shape[1]])

    @property
    def sag_m(self) -> Floats:
        """(2,) how far the board's middle stands out, along its x and its y."""
        return self.x[self.family.free.shape[1] :] if self.family.warp else np.zeros(2)

    @property
    def rms_px(self) -> float:
        """Root mean square distance over all corners."""
        return rms(self.residuals)


def rms(residuals: list[Floats]) -> float:
    """Root mean square length of (N, 2) residuals."""
    return float(np.sqrt(np.mean(np.concatenate([(r**2).sum(1) for r in residuals]))))


def bend(points: Floats, sag_m: Floats) -> tuple[Floats, Floats]:
    """Points of a board that is bent by `sag_m`, and d(points)/d(sag) (N, 3, 2)."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    share = 2 * (points[:, :2] - low) / np.maximum(high - low, 1e-9) - 1
    shape = 1 - share**2
    by_sag = np.zeros((len(points), 3, 2))
    by_sag[:, 2] = shape
    return np.asarray(points + by_sag @ sag_m), by_sag


def locate(model: str, lens: Floats, view: View, guess: Floats | None = None) -> Floats:
    """Pose (6,) of a board under a known lens: planar PnP on undistorted pixels, then refined."""
    pose = _first_pose(model, lens, view) if guess is None else guess
    alone = Family("pose", model, np.zeros((len(lens), 0)))
    return np.asarray(adjust(alone, [view], np.zeros(0), pose[None], lens).poses[0])


def _first_pose(model: str, lens: Floats, view: View) -> Floats:
    at = view.pixels.reshape(-1, 1, 2)
    if model == "fisheye":
        flat = np.asarray(cv2.fisheye.undistortPoints(at, matrix(lens), lens[4:]))
    else:
        flat = np.asarray(cv2.undistortPoints(at, matrix(lens), lens[4:]))
    usable = np.abs(flat.reshape(-1, 2)).max(1) < 8  # a fisheye's edge is no pinhole's
    if usable.sum() < 6:
        return np.array([0.0, 0, 0, 0, 0, 1])
    method = cv2.SOLVEPNP_IPPE if np.ptp(view.points[:, 2]) < 1e-9 else cv2.SOLVEPNP_SQPNP
    ok, rotation, shift = cv2.solvePnP(
        view.points[usable], flat[usable], np.eye(3), np.zeros(4), flags=method
    )
    if not ok or shift[2] <= 0:
        return np.array([0.0, 0, 0, 0, 0, 1])
    return np.concatenate([np.ravel(rotation), np.ravel(shift)])


def _linear(
    family: Family, views: list[View], x: Floats, poses: Floats, fixed: Floats
) -> list[tuple[Floats, Floats, Floats]]:
    """Per view: residuals (2N,), their derivatives by x (2N, m) and by the pose (2N, 6)."""
    count = family.free.shape[1]
    lens = family.free @ x[:count] + fixed
    out = []
    for view, pose in zip(views, poses, strict=True):
        points, by_sag = bend(view.points, x[count:]) if family.warp else (view.points, None)
        pixels, by_lens, by_pose, by_points = project(family.model, lens, pose, points)
        r = (pixels - view.pixels).ravel()
        a = by_lens.reshape(len(r), -1) @ family.free
        if by_sag is not None:
            a = np.concatenate([a, (by_points @ by_sag).reshape(len(r), 2)], axis=1)
        b = by_pose.reshape(len(r), 6)
        bad = not (np.isfinite(r).all() and np.isfinite(a).all() and np.isfinite(b).all())
        out.append((np.full_like(r, BEHIND), 0 * np.nan_to_num(a), 0 * np.nan_to_num(b)) if bad else (r, a, b))  # fmt: skip
    return out


def _cost(rows: list[tuple[Floats, Floats, Floats]]) -> float:
    return float(sum(r @ r for r, _, _ in rows))


def _step(rows: list[tuple[Floats, Floats, Floats]], damping: float) -> tuple[Floats, Floats]:
    """One damped Gauss-Newton step: of x, and of every pose (V, 6)."""
    m = rows[0][1].shape[1]
    reduced, right = np.zeros((m, m)), np.zeros(m)
    kept = []
    for r, a, b in rows:
        u, w, v = a.T @ a, a.T @ b, b.T @ b
        v = v + np.diag(damping * np.diag(v) + 1e-12)
        inverse = np.linalg.inv(v)
        reduced += u + np.diag(damping * np.diag(u)) - w @ inverse @ w.T
        right += a.T @ r - w @ inverse @ (b.T @ r)
        kept.append((w, inverse, b.T @ r))
    dx = -np.linalg.lstsq(reduced, right, rcond=None)[0] if m else np.zeros(0)
    poses = [-inverse @ (br + w.T @ dx) for w, inverse, br in kept]
    return np.asarray(dx, np.float64), np.array(poses)


def adjust(
    family: Family, views: list[View], x: Floats, poses: Floats, fixed: Floats | None = None
) -> Solution:
    """Fit lens (and board) and all poses from a first guess."""
    fixed = np.zeros(len(family.free)) if fixed is None else fixed
    rows = _linear(family, views, x, poses, fixed)
    cost, damping = _cost(rows), 1e-3
    for _ in range(STEPS):
        dx, dpose = _step(rows, damping)
        tried = _linear(family, views, x + dx, poses + dpose, fixed)
        new = _cost(tried)
        if new < cost:
            done = cost - new < CONVERGED * cost
            x, poses, rows, cost = x + dx, poses + dpose, tried, new
            damping = max(damping / 5, 1e-12)
            if done:
                break
        elif damping > 1e6:
            break
        else:
            damping *= 8
    plain, robust = _covariance(rows)
    residuals = [r.reshape(-1, 2) for r, _, _ in rows]
    return Solution(family, x, poses, residuals, plain, robust)


def _covariance(rows: list[tuple[Floats, Floats, Floats]]) -> tuple[Floats, Floats]:
    """Of x (m, m): for independent corners, and for views that err as wholes."""
    m = rows[0][1].shape[1]
    information, meat = np.zeros((m, m)), np.zeros((m, m))
    total, count = 0.0, 0
    for r, a, b in rows:
        left = a - b @ np.linalg.lstsq(b, a, rcond=None)[0]  # what the pose cannot explain
        information += left.T @ left
        score = left.T @ r
        meat += np.outer(score, score)
        total, count = total + float(r @ r), count + len(r)
    if not m:
        return np.zeros((0, 0)), np.zeros((0, 0))
    inverse = np.linalg.pinv(information)
    free = max(1, count - m - 6 * len(rows))
    views = len(rows)
    robust = inverse @ meat @ inverse * views / max(1, views - 1)
    return inverse * total / free, robust


def without(views: list[View], keep: list[npt.NDArray[np.bool_]]) -> list[View]:
    """The views with only the corners that are kept."""
    return [replace(v, points=v.points[k], pixels=v.pixels[k]) for v, k in zip(views, keep, strict=True)]  # fmt: skip
