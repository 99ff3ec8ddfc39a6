"""How far a fitted lens can be trusted: projection uncertainty, change, coverage, tilts.

A lens that is moved and a camera that is turned look alike, so rotations are taken out before
lenses are compared (the idea of mrcal's implied transformation; Kogan, mrcal documentation).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from calibration.bundle_adjustment import Solution, View
from calibration.projection import project, rays

Floats = npt.NDArray[np.float64]
CELLS = 5


def grid_px(size: tuple[int, int]) -> Floats:
    """(CELLS * CELLS, 2) centres of the cells of the image."""
    x = (np.arange(CELLS) + 0.5) * size[0] / CELLS - 0.5
    y = (np.arange(CELLS) + 0.5) * size[1] / CELLS - 0.5
    return np.asarray(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))


def _seen(solution: Solution, at: Floats) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
    """Pixels, derivatives by lens (N, 2, P) and by a turn of the camera (N, 2, 3), of the rays at."""
    directions = rays(solution.family.model, solution.lens, at)
    valid = np.isfinite(directions).all(1) & (np.nan_to_num(directions[:, 2]) > 0.02)
    directions = np.where(valid[:, None], directions, [0.0, 0, 1])
    pixels, by_lens, by_pose, _ = project(
        solution.family.model, solution.lens, np.zeros(6), directions
    )
    return pixels, by_lens, by_pose[..., :3], valid


def projection_std(solution: Solution, at: Floats, size: tuple[int, int]) -> Floats:
    """(N,) standard deviation [px] of where the ray of each pixel falls, turns of the camera apart."""
    inner = _inner(grid_px(size), size)
    _, by_lens, by_turn, valid = _seen(solution, np.concatenate([inner, at]))
    count = solution.family.free.shape[1]
    j = by_lens @ solution.family.free
    fitted = valid & (np.arange(len(valid)) < len(inner))
    turn, rows = by_turn[fitted].reshape(-1, 3), j[fitted].reshape(-1, count)
    j = j - by_turn @ np.linalg.lstsq(turn, rows, rcond=None)[0]
    plain = np.einsum("nij,jk,nik->n", j, solution.covariance[:count, :count], j)
    robust = np.einsum("nij,jk,nik->n", j, solution.robust[:count, :count], j)
    # noise that is shared within a view counts for all of the image alike
    factor = max(1.0, float(robust[fitted].mean() / max(plain[fitted].mean(), 1e-30)))
    return np.where(valid, np.sqrt(plain * factor / 2), np.inf)[len(inner) :]


def _inner(at: Floats, size: tuple[int, int]) -> Floats:
    """Those of the pixels that are not at the edge, where lenses are known least."""
    middle = (np.array(size) - 1) / 2
    return np.asarray(at[np.linalg.norm(at - middle, axis=1) < 0.3 * float(np.hypot(*size))])


def projection_change(one: Solution, other: Solution, at: Floats) -> Floats:
    """(N,) how far [px] the same rays fall apart under two lenses, best turned onto each other."""
    directions = rays(one.family.model, one.lens, at)
    valid = np.isfinite(directions).all(1) & (np.nan_to_num(directions[:, 2]) > 0.02)
    if valid.sum() < 3:
        return np.full(len(at), np.inf)
    pose = np.zeros(6)
    for _ in range(8):
        pixels, _, by_pose, _ = project(other.family.model, other.lens, pose, directions[valid])
        r = (pixels - at[valid]).ravel()
        pose[:3] -= np.linalg.lstsq(by_pose[..., :3].reshape(-1, 3), r, rcond=None)[0]
    out = np.full(len(at), np.nan)
    pixels, *_ = project(other.family.model, other.lens, pose, directions[valid])
    out[valid] = np.linalg.norm(pixels - at[valid], axis=1)
    return out


def coverage(views: list[View], size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """(CELLS, CELLS) corners seen in each cell of the image, row by row."""
    pixels = np.concatenate([v.pixels for v in views])
    counts, _, _ = np.histogram2d(
        pixels[:, 1], pixels[:, 0], CELLS, [[-0.5, size[1] - 0.5], [-0.5, size[0] - 0.5]]
    )
    return np.asarray(counts, np.int64)


def tilt(pose: Floats) -> Floats:
    """(2,) lean of a board out of the plane of the image, along x and y [rad].

    Boards parallel to the image plane show no perspective, wherever in the picture they are.
    """
    normal = np.asarray(cv2.Rodrigues(pose[:3])[0])[:, 2]
    normal = normal * (np.sign(normal[2]) or 1.0)
    flat = float(np.linalg.norm(normal[:2]))
    return np.asarray(normal[:2] / max(flat, 1e-9) * np.arctan2(flat, normal[2]))
