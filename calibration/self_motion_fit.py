"""Camera on the head, IMU in the base and the time between them, in one fit to views of a fixed board.

Where the board is seen is what the gyro (in the base), the wheels, the head's encoders and its
drawing say it is; unknown are the camera's turn and shift on the head (3 + 3), how the base that the
head's joints belong to leans on the floor (roll and pitch: turning shows the floor's normal, the head
its own axis), the camera's time offset to the gyro and the encoders' (they need not be filtered
alike), the gyro's bias and scale, and where the board stands in each stretch.
Poses are compared with the weight that their corners give them (Gauss-Newton in two steps: what a
pixel of a corner is worth is linear in a pose that is nearly right).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from calibration.errors import DataError
from calibration.head import Chain
from calibration.rate_alignment import Alignment, Rates, align
from calibration.rotations import matrices, product, quaternions
from calibration.self_motion import ImuMount, Motion, base_rates, head_rates

Floats = npt.NDArray[np.float64]
INSIDE_S = 0.15  # of a stretch: more than any camera's delay
LEAST = 100
COMMON = 14  # parameters before the six of each stretch
LAGS = 10
BLOCKS = 24
CELL_RAD = 0.1  # of the picture
SLANTED = (
    2.0  # corners of slanted squares are off alike in all views, by what the twin's mounts showed
)


@dataclass(frozen=True, slots=True)
class Looks:
    """Where the camera saw the board, K times.

    `pose` (K, 6) is camera from board (rotation vector, translation); `root` (K, 6, 6) turns a
    difference of poses into pixels: |root d|^2 is the sum over its corners.
    """

    t_s: Floats
    pose: Floats
    root: Floats

    def part(self, keep: npt.NDArray[np.bool_]) -> Looks:
        """Some of them."""
        return Looks(self.t_s[keep], self.pose[keep], self.root[keep])


@dataclass(frozen=True, slots=True)
class SelfMotion:
    """The fit at head zero; std of the rotation about the camera's axes [rad]."""

    camera_from_imu: Floats  # (3, 3)
    std_rad: Floats
    camera_from_head: Floats  # (3, 3)
    mount: ImuMount
    lean_rad: Floats  # (2,) roll, pitch: of the head's base against the floor's normal
    offset_s: float
    offset_std_s: float
    encoders_later_s: float  # than the gyro, by their stamps
    gyro_scale: float
    halves: tuple[float, float]  # offsets apart [s], rotations apart [rad]
    shift_m: Floats  # (3,) of the camera on the head, against the drawing
    residual_px: float  # RMS of a corner's place along x or y, as the model foresees it
    used: int  # views
    rough: Alignment  # of rates: likeness, excitation


def fit(looks: Looks, motion: Motion, mount: ImuMount, chain: Chain, radius_m: float) -> SelfMotion:
    """K views of one board against one recording's motion. DataError where there are too few."""
    rough = align(_rates(looks, motion), motion.imu_t_s, head_rates(motion, mount))
    which = _stretches(looks, motion)
    used, which = looks.part(which >= 0), which[which >= 0]
    whole = _Fit(motion, mount, rough, chain, radius_m, np.unique(which))
    x, _, weight = whole.solve(used, which, whole.start(used, which), np.ones(len(which)))
    x, jacobian, weight = whole.solve(used, which, x, weight)
    residual = whole.residual(x, used, which) * np.sqrt(weight)[:, None]
    covariance = SLANTED**2 * _covariance(jacobian, residual, _cells(used, which))
    half = np.arange(len(which)) * BLOCKS // len(which) % 2  # each has a share of every stretch
    parts = [(used.part(half == k), which[half == k], weight[half == k]) for k in (0, 1)]
    halves = [whole.solve(p, w, x, weighted)[0] for p, w, weighted in parts]
    camera_from_head = _turned(x[:3]) @ rough.whole.rotation
    rotation = camera_from_head @ _turned(np.r_[x[3:5], 0.0]) @ mount.base_from_imu
    to_camera = np.column_stack((np.eye(3), camera_from_head[:, :2]))  # of turn and lean
    spread = to_camera @ covariance[:5, :5] @ to_camera.T
    spread += camera_from_head @ np.diag(mount.std_rad**2) @ camera_from_head.T
    apart = halves[0] - halves[1]
    corners = max(float(weight.sum()), 1.0)
    return SelfMotion(
        rotation, np.sqrt(np.diag(spread)), camera_from_head, mount, x[3:5],
        rough.whole.offset_s + float(x[5]), float(np.sqrt(covariance[5, 5])), float(x[13]), float(x[9]),
        (abs(float(apart[5])), float(np.linalg.norm(to_camera @ apart[:5]))),
        x[10:13], float(np.sqrt((residual**2).sum() / (6 * corners))), int((weight > 0).sum()), rough,
    )  # fmt: skip


class _Fit:
    """Parameters x: turn (3), lean (2), offset [s] beside the rough one's, bias (3), scale, shift (3).

    Then the encoders' offset to the gyro [s], and boards (6 each).
    """

    def __init__(
        self, motion: Motion, mount: ImuMount, rough: Alignment, chain: Chain, radius_m: float,
        stretches: npt.NDArray[np.int64],
    ) -> None:  # fmt: skip
        self._motion, self._rough, self._stretches = motion, rough, stretches
        self._neck, self._head, self._drawn = (np.array(v) for v in (chain.neck_m, chain.head_m, chain.camera_m))  # fmt: skip
        raw = base_rates(motion, mount)
        self._raw = np.column_stack([np.interp(motion.joint_t_s, motion.imu_t_s, c) for c in _smooth(raw).T])  # fmt: skip
        self._way = motion.wheels_rad.mean(axis=1) * radius_m

    def start(self, looks: Looks, which: npt.NDArray[np.int64]) -> Floats:
        """Nothing but what is drawn; each board where its middle view saw it."""
        x = np.zeros(COMMON + 6 * len(self._stretches))
        x[9] = 1.0
        for k, stretch in enumerate(self._stretches):
            mine = np.flatnonzero(which == stretch)
            turn, place = self._cameras(x, looks.t_s[mine], stretch)
            at = len(mine) // 2
            pose = looks.pose[mine[at]]
            board = turn[at] @ _turned(pose[:3])
            x[COMMON + 6 * k : COMMON + 6 * k + 3] = _vectors(board[None])[0]
            x[COMMON + 6 * k + 3 : COMMON + 6 * k + 6] = turn[at] @ pose[3:] + place[at]
        return x

    def solve(
        self, looks: Looks, which: npt.NDArray[np.int64], start: Floats, weight: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Parameters, weighted Jacobian, and Tukey's weights after it: a board may be taken wrongly."""
        root = np.sqrt(weight)[:, None]
        found = least_squares(
            lambda p: (root * self.residual(p, looks, which)).ravel(), start, x_scale="jac",
            xtol=1e-7, ftol=1e-7,
        )  # fmt: skip
        x = np.asarray(found.x)
        size = np.linalg.norm(self.residual(x, looks, which), axis=1)
        limit = 3.0 * max(float(np.median(size)), 1e-9)
        return x, np.asarray(found.jac), (1 - np.minimum(size / limit, 1) ** 2) ** 2

    def residual(self, x: Floats, looks: Looks, which: npt.NDArray[np.int64]) -> Floats:
        """(K, 6) [px] from where the board should be seen to where it is."""
        out = np.zeros((len(which), 6))
        for k, stretch in enumerate(self._stretches):
            mine = which == stretch
            if not mine.any():
                continue
            board = x[COMMON + 6 * k : COMMON + 6 * k + 6]
            turn, place = self._cameras(x, looks.t_s[mine], stretch)
            seen = turn.swapaxes(1, 2)
            pose = np.column_stack(
                (
                    _vectors(seen @ _turned(board[:3])),
                    (seen @ (board[3:] - place)[..., None])[..., 0],
                )
            )
            out[mine] = (looks.root[mine] @ (looks.pose[mine] - pose)[..., None])[..., 0]
        return out

    def _cameras(self, x: Floats, t_s: Floats, stretch: int) -> tuple[Floats, Floats]:
        """(K, 3, 3), (K, 3) world from camera by the model; the world is where the stretch began."""
        m = self._motion
        at_s = t_s + self._rough.whole.offset_s + x[5]
        mine = np.flatnonzero(m.stretch == stretch)
        t = m.joint_t_s[mine]
        rate = x[9] * (self._raw[mine] - x[6:9]) @ _turned(np.r_[x[3:5], 0.0]).T
        steps = quaternions((rate[1:] + rate[:-1]) / 2 * np.diff(t)[:, None])
        attitude = _running(np.concatenate(([[0.0, 0, 0, 1]], steps)))
        ahead = matrices(attitude)[:, :, 0]
        gone = np.diff(self._way[mine])[:, None] * (ahead[1:] + ahead[:-1]) / 2
        place = np.concatenate((np.zeros((1, 3)), np.cumsum(gone, axis=0)))
        k = np.clip(np.searchsorted(t, at_s) - 1, 0, len(t) - 2)
        step_s = (t[k + 1] - t[k])[:, None]
        share = (at_s - t[k])[:, None] / step_s
        turned = share * (rate[k] + (rate[k + 1] - rate[k]) * share / 2) * step_s
        base = matrices(product(attitude[k], quaternions(turned)))
        yaw, pitch, *here = (
            np.interp(at_s + x[13], t, a) for a in (m.yaw_rad[mine], m.pitch_rad[mine], *place.T)
        )
        zero = np.zeros_like(yaw)
        neck = base @ matrices(quaternions(np.stack((zero, zero, yaw), 1)))
        head = neck @ matrices(quaternions(np.stack((zero, pitch, zero), 1)))
        turn = head @ (_turned(x[:3]) @ self._rough.whole.rotation).T
        return turn, np.stack(here, 1) + base @ self._neck + neck @ self._head + head @ (
            self._drawn + x[10:13]
        )


def _smooth(rate: Floats) -> Floats:
    """Means over a control period, as joints are sampled."""
    kernel = np.ones(5) / 5
    return np.column_stack([np.convolve(c, kernel, "same") for c in rate.T])


def _rates(looks: Looks, motion: Motion) -> Rates:
    """The camera's turn rates between neighbouring views of one stretch."""
    which = _stretches(looks, motion)
    near = (which[1:] == which[:-1]) & (which[1:] >= 0) & (np.diff(looks.t_s) < 0.2)
    if near.sum() < LEAST:
        raise DataError(
            f"the board is seen in {int(near.sum())} frames while the robot moves, {LEAST} needed; put it"
            " half a metre before its face, whole in the picture, and record again"
        )
    turns = np.asarray(matrices(quaternions(looks.pose[:, :3])))
    before, after = turns[:-1][near], turns[1:][near]
    start, end = looks.t_s[:-1][near], looks.t_s[1:][near]
    turned = _vectors(before @ after.swapaxes(1, 2))
    return Rates(start, end, turned / (end - start)[:, None])


def _stretches(looks: Looks, motion: Motion) -> npt.NDArray[np.int64]:
    """(K,) which stretch each view is in, and not at its ends; -1: none."""
    out = np.full(len(looks.t_s), -1)
    for at in motion.spans():
        low, high = motion.joint_t_s[at[0]] + INSIDE_S, motion.joint_t_s[at[-1]] - INSIDE_S
        if motion.phase[at[0]] != "drive":
            out[(looks.t_s > low) & (looks.t_s < high)] = motion.stretch[at[0]]
    return out


def _cells(looks: Looks, which: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(K,) views of one stretch with the board in one part of the picture: they err alike."""
    at = np.rint(looks.pose[:, 3:5] / looks.pose[:, 5:6] / CELL_RAD).astype(np.int64)
    return np.unique(np.column_stack((which, at)), axis=0, return_inverse=True)[1].ravel()


def _covariance(jacobian: Floats, residual: Floats, cells: npt.NDArray[np.int64]) -> Floats:
    """Sandwich of two kinds of likeness: of neighbours in time, of neighbours in the picture.

    Newey and West 1987; Cameron, Gelbach, Miller 2011. A corner is found off by what its square's
    slant and place make of it, which is the same each time that the board comes by.
    """
    each = (jacobian.reshape(len(residual), 6, -1) * residual[..., None]).sum(axis=1)
    meat = np.zeros((each.shape[1], each.shape[1]))
    for lag in range(1, LAGS):
        part = each[lag:].T @ each[:-lag]
        meat += (1 - lag / LAGS) * (part + part.T)
    sums = np.zeros((int(cells.max()) + 1, each.shape[1]))
    np.add.at(sums, cells, each)
    meat += sums.T @ sums * len(sums) / max(1, len(sums) - 1)
    inverse = np.linalg.pinv(jacobian.T @ jacobian)
    found: Floats = inverse @ meat @ inverse
    return found


def _running(q: Floats) -> Floats:
    """(L, 4) steps -> (L, 4): the product of all up to each, by doubling."""
    out: Floats = q.copy()
    shift = 1
    while shift < len(q):
        out[shift:] = product(out[:-shift].copy(), out[shift:])
        shift *= 2
    return out


def _vectors(turns: Floats) -> Floats:
    """(K, 3, 3) rotations by less than half a turn -> (K, 3) rotation vectors."""
    odd = np.stack(
        (turns[:, 2, 1] - turns[:, 1, 2], turns[:, 0, 2] - turns[:, 2, 0], turns[:, 1, 0] - turns[:, 0, 1]), 1
    ) / 2  # fmt: skip
    cosine = (np.trace(turns, axis1=1, axis2=2) - 1) / 2
    sine = np.linalg.norm(odd, axis=1)
    angle = np.arctan2(sine, cosine)
    found: Floats = odd * (angle / np.maximum(sine, 1e-12))[:, None]
    return found


def _turned(vector: Floats) -> Floats:
    return np.asarray(matrices(quaternions(vector)))
