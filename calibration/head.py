"""Where the camera sits on the head: views of one fixed board from many pan and tilt poses.

The chain is base <- yaw <- pitch <- camera <- board; unknown are the camera on the head and the
board in the base frame, fitted to all corners at once (least squares on reprojection). A pitch
encoder's zero and the camera's own tilt look alike; they come out as one, in the mount.

An encoder tells an angle by steps, and tells it alike each time that it stands there: that error does
not average out over the poses of one angle, and goes into the covariance by the steps' size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from calibration.bundle_adjustment import View, locate, rms
from calibration.errors import DataError
from calibration.projection import project
from calibration.verdict import Finding, Level

Floats = npt.NDArray[np.float64]
LEAST = 6
# optical axes (x right, y down, z forward) as columns in the head's frame (x forward, z up)
HEAD_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
STD_M, STD_RAD = 0.003, 0.005
HALVES_M, HALVES_RAD = 0.006, 0.0105
HELD_OUT_PX = 0.6
SPAN_RAD = 0.35  # 20 degrees of either axis


@dataclass(frozen=True, slots=True)
class Chain:
    """The head's drawing: yaw axis in the base [m], pitch axis from it [m], camera on the head [m]."""

    neck_m: tuple[float, float, float]
    head_m: tuple[float, float, float]
    camera_m: tuple[float, float, float]


@dataclass(frozen=True)
class Pose:
    """One view at one pose of the head [rad]; positive pitch looks down."""

    yaw_rad: float
    pitch_rad: float
    view: View


@dataclass(frozen=True)
class Head:
    """A fit of the mount, against the drawing and as a whole.

    `shift_m` (3,) and `turn_rad` (3,), a rotation vector, are of the camera in the head's frame;
    `head_from_camera` (4, 4) maps optical axes.
    """

    shift_m: Floats
    turn_rad: Floats
    std: Floats  # (6,) m, rad
    head_from_camera: Floats
    residuals: list[Floats]
    held_out_px: float
    halves: tuple[float, float]  # m, rad
    span_rad: tuple[float, float]


def base_from_head(chain: Chain, yaw_rad: float, pitch_rad: float) -> Floats:
    """(4, 4) of the pitch frame."""
    yaw, pitch = np.eye(4), np.eye(4)
    yaw[:3, :3] = np.asarray(cv2.Rodrigues(np.array([0, 0, yaw_rad]))[0])
    yaw[:3, 3] = chain.neck_m
    pitch[:3, :3] = np.asarray(cv2.Rodrigues(np.array([0, pitch_rad, 0.0]))[0])
    pitch[:3, 3] = chain.head_m
    return np.asarray(yaw @ pitch)


def mount(chain: Chain, x: Floats) -> Floats:
    """(4, 4) head from camera (optical) of the parameters x: shift (3,), turn (3,)."""
    out = np.eye(4)
    out[:3, :3] = np.asarray(cv2.Rodrigues(x[3:6].copy())[0]) @ HEAD_FROM_OPTICAL
    out[:3, 3] = np.array(chain.camera_m) + x[:3]
    return out


def solve_head(
    poses: list[Pose], chain: Chain, model: str, lens: Floats, steps_rad: tuple[float, float]
) -> Head:
    """Fit the mount and the board; `steps_rad` of the encoders of yaw and pitch.

    DataError where there are too few views.
    """
    if len(poses) < LEAST:
        raise DataError(f"the board was seen in {len(poses)} poses of the head, {LEAST} are the least; move the board into its middle")  # fmt: skip
    x, covariance, residuals = _fit(poses, chain, model, lens, steps_rad)
    halves = [_fit(poses[k::2], chain, model, lens)[0] for k in (0, 1)] if len(poses) >= 2 * LEAST else None  # fmt: skip
    apart = (np.inf, np.inf)
    if halves is not None:
        apart = (float(np.linalg.norm(halves[0][:3] - halves[1][:3])), float(np.linalg.norm(halves[0][3:6] - halves[1][3:6])))  # fmt: skip
    yaws, pitches = [p.yaw_rad for p in poses], [p.pitch_rad for p in poses]
    return Head(
        x[:3], x[3:6], np.sqrt(np.maximum(np.diag(covariance)[:6], 0)), mount(chain, x), residuals,
        _held_out(poses, chain, model, lens), apart, (float(np.ptp(yaws)), float(np.ptp(pitches))),
    )  # fmt: skip


def _fit(
    poses: list[Pose], chain: Chain, model: str, lens: Floats,
    steps_rad: tuple[float, float] = (0.0, 0.0),
) -> tuple[Floats, Floats, list[Floats]]:  # fmt: skip
    """Parameters (12,): mount, board; covariance; residuals of each view [px]."""
    first = poses[0]
    seen = _matrix(locate(model, lens, first.view))
    board = base_from_head(chain, first.yaw_rad, first.pitch_rad) @ mount(chain, np.zeros(6)) @ seen
    start = np.concatenate([np.zeros(6), np.ravel(cv2.Rodrigues(board[:3, :3])[0]), board[:3, 3]])
    found = least_squares(lambda x: np.concatenate([r.ravel() for r in _errors(x, poses, chain, model, lens)]), start, x_scale=0.01, loss="soft_l1")  # fmt: skip
    residuals = _errors(found.x, poses, chain, model, lens)
    free = max(1, sum(r.size for r in residuals) - 12)
    scale = sum(float((r**2).sum()) for r in residuals) / free
    inverse = np.linalg.pinv(found.jac.T @ found.jac)
    plain = inverse * scale
    robust = inverse @ _meat(poses, found.jac, residuals) @ inverse
    factor = max(1.0, float(np.trace(robust[:6, :6]) / max(np.trace(plain[:6, :6]), 1e-30)))
    by_reading = inverse @ found.jac.T @ _by_readings(found.x, poses, chain, model, lens, steps_rad)
    return found.x, plain * factor + by_reading @ by_reading.T, residuals


def _by_readings(x: Floats, poses: list[Pose], chain: Chain, model: str, lens: Floats, steps_rad: tuple[float, float]) -> Floats:  # fmt: skip
    """(2K, R) how far all residuals [px] move by one std of each reading: of a step, uniform in it."""
    before = np.concatenate([r.ravel() for r in _errors(x, poses, chain, model, lens)])
    out = []
    for axis, step in enumerate(steps_rad):
        if step <= 0:
            continue
        told = np.round([(p.yaw_rad, p.pitch_rad)[axis] / step for p in poses])
        for one in np.unique(told):
            turned = [_turned(p, axis, step / np.sqrt(12)) if t == one else p for p, t in zip(poses, told, strict=True)]  # fmt: skip
            after = np.concatenate([r.ravel() for r in _errors(x, turned, chain, model, lens)])
            out.append(after - before)
    return np.stack(out, 1) if out else np.zeros((len(before), 1))


def _turned(pose: Pose, axis: int, by_rad: float) -> Pose:
    yaw, pitch = (by_rad, 0.0) if axis == 0 else (0.0, by_rad)
    return replace(pose, yaw_rad=pose.yaw_rad + yaw, pitch_rad=pose.pitch_rad + pitch)


def _meat(poses: list[Pose], jac: Floats, residuals: list[Floats]) -> Floats:
    """Scores squared, of views and of corners as wholes: two-way clusters (Cameron et al. 2011).

    A picture's blur moves all its corners alike; a slanted square moves one corner alike in all.
    """
    scores = jac.reshape(-1, 2, jac.shape[1]) * np.concatenate(residuals)[:, :, None]
    each = scores.sum(1)
    views = np.repeat(np.arange(len(poses)), [len(r) for r in residuals])
    points = np.concatenate([p.view.points for p in poses])
    corners = np.unique(points, axis=0, return_inverse=True)[1].ravel()
    out = np.zeros((jac.shape[1], jac.shape[1]))
    for group in (views, corners):
        sums = np.zeros((group.max() + 1, jac.shape[1]))
        np.add.at(sums, group, each)
        out += sums.T @ sums * len(sums) / max(1, len(sums) - 1)
    return out


def _errors(x: Floats, poses: list[Pose], chain: Chain, model: str, lens: Floats) -> list[Floats]:
    board = np.eye(4)
    board[:3, :3] = np.asarray(cv2.Rodrigues(x[6:9].copy())[0])
    board[:3, 3] = x[9:12]
    camera = mount(chain, x)
    out = []
    for pose in poses:
        seen = np.linalg.inv(base_from_head(chain, pose.yaw_rad, pose.pitch_rad) @ camera) @ board
        vector = np.concatenate([np.ravel(cv2.Rodrigues(seen[:3, :3])[0]), seen[:3, 3]])
        out.append(project(model, lens, vector, pose.view.points)[0] - pose.view.pixels)
    return out


def _held_out(poses: list[Pose], chain: Chain, model: str, lens: Floats) -> float:
    """RMS [px] of the poses left out in turn, predicted by the others."""
    errors: list[Floats] = []
    for fold in range(4):
        inside = [p for i, p in enumerate(poses) if i % 4 != fold]
        x, _, _ = _fit(inside, chain, model, lens)
        errors += _errors(x, [p for i, p in enumerate(poses) if i % 4 == fold], chain, model, lens)
    return rms(errors)


def _matrix(pose: Floats) -> Floats:
    out = np.eye(4)
    out[:3, :3] = np.asarray(cv2.Rodrigues(pose[:3].copy())[0])
    out[:3, 3] = pose[3:]
    return out


def judge_head(fit: Head) -> list[Finding]:
    """What speaks against the fit."""
    out = []
    for axis, span in zip(("yaw", "pitch"), fit.span_rad, strict=True):
        if span < SPAN_RAD:
            level: Level = "FAIL" if span < SPAN_RAD / 3 else "MARGINAL"
            out.append(Finding(level, f"the {axis} axis moved {np.degrees(span):.0f} deg, 20 are needed", f"record again with the board in the middle, so that the {axis} can move"))  # fmt: skip
    sigma_m, sigma_rad = float(fit.std[:3].max()), float(fit.std[3:].max())
    if sigma_m > STD_M or sigma_rad > STD_RAD:
        out.append(Finding("MARGINAL", f"the mount is known to {sigma_m * 1e3:.1f} mm and {np.degrees(sigma_rad):.2f} deg only", "hold the board closer, and tilted, and record more poses"))  # fmt: skip
    if not (fit.halves[0] <= max(HALVES_M, 6 * sigma_m) and fit.halves[1] <= max(HALVES_RAD, 6 * sigma_rad)):  # fmt: skip
        out.append(Finding("MARGINAL", f"two halves of the poses disagree by {fit.halves[0] * 1e3:.1f} mm and {np.degrees(fit.halves[1]):.2f} deg", "fix board and robot so that neither moves, then record again"))  # fmt: skip
    if not fit.held_out_px <= HELD_OUT_PX:
        level = "FAIL" if not fit.held_out_px <= 4 * HELD_OUT_PX else "MARGINAL"
        out.append(Finding(level, f"poses left out are missed by {fit.held_out_px:.2f} px, at most {HELD_OUT_PX} is good", "calibrate the camera first; fix the board; see that the head has no play (calibrate motor)"))  # fmt: skip
    if float(np.linalg.norm(fit.shift_m)) > 0.03 or float(np.linalg.norm(fit.turn_rad)) > 0.35:
        out.append(Finding("MARGINAL", f"the camera sits {np.linalg.norm(fit.shift_m) * 1e3:.0f} mm and {np.degrees(np.linalg.norm(fit.turn_rad)):.0f} deg off the drawing", "see how it is mounted, and that the body file is this robot's"))  # fmt: skip
    return out
