"""How much more a small picture turned than was foretold: direct, without features, numpy alone.

Lucas and Kanade 1981 with the motion of a pure rotation as the warp: the frame before is turned as
foretold, and what is left between it and the frame after is explained by three small angles, a gain
and an offset of brightness, by least squares with Huber's weights. Half a millisecond for 64 x 64 pixels, of
which every other one each way is used: they are smoothed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.camera import PinholeCamera

Floats = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

HUBER = 1.5  # robust std
ROUNDS = 3
LEAST_PIXELS = 200
EVERY = 2  # pixels each way
LEAST_CONTRAST = 2.0  # counts, RMS of the gradient: a plain wall shows no turn


@dataclass(frozen=True, slots=True)
class Leftover:
    """What the prediction left: (3,) [rad] in the later frame's optical axes, and RMS [counts]."""

    turn_rad: Floats
    rms: float


class SmallTurns:
    """For one pinhole camera; frames as (H, W) float32 from `grey`."""

    def __init__(self, pinhole: PinholeCamera) -> None:
        self._pinhole = pinhole
        pixels = pinhole.pixels()
        self._at = np.flatnonzero((pixels % EVERY == 0).all(1))
        self.rays = pinhole.unproject(pixels[self._at]).T  # (3, N), z = 1

    @staticmethod
    def grey(pixels: npt.NDArray[np.uint8]) -> Float32:
        """(H, W, 3) uint8 -> (H, W) float32, smoothed by 3 x 3."""
        image = pixels.astype(np.float32).sum(2) / 3
        padded = np.pad(image, 1, mode="edge")
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        found: Float32 = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / np.float32(9)
        return found

    def leftover(self, before: Float32, after: Float32, turn: Floats, above: Floats) -> Leftover | None:  # fmt: skip
        """`turn` (3, 3): rays of the later frame in the earlier one's axes, as foretold.

        Only pixels whose ray has a positive product with `above` (3,), in the later frame's axes,
        are used. None where too little is seen of both, or nothing has edges.
        """
        used = above @ self.rays > 0
        total = np.zeros(3)
        now = turn
        for _ in range(ROUNDS):
            step, rms = self._step(before, after, now, used)
            if step is None:
                return None
            total += step
            now = now @ small_rotation(step)
            if np.abs(step).max() < 1e-4:
                break
        return Leftover(total, rms)

    def _step(
        self, before: Float32, after: Float32, turn: Floats, used: npt.NDArray[np.bool_]
    ) -> tuple[Floats | None, float]:
        p = self._pinhole
        x, y, z = turn @ self.rays
        z = np.maximum(z, 1e-3)
        u, v = x / z * p.fx + p.cx, y / z * p.fy + p.cy
        inside = used & (u >= 1) & (v >= 1) & (u < p.width - 2) & (v < p.height - 2)
        at = np.flatnonzero(inside)
        if len(at) < LEAST_PIXELS:
            return None, 0.0
        expected, du, dv = sample(before, u[at], v[at])
        # how a small turn of the later camera moves the point that is looked up
        ray = turn @ self.rays[:, at]
        moved = np.cross(np.eye(3)[:, None, :], self.rays[:, at].T[None])  # (3, N, 3) e_i x r
        moved = moved @ turn.T
        depth = ray[2]
        a = np.empty((5, len(at)))
        for i in range(3):
            mu = (moved[i, :, 0] - ray[0] / depth * moved[i, :, 2]) / depth * p.fx
            mv = (moved[i, :, 1] - ray[1] / depth * moved[i, :, 2]) / depth * p.fy
            a[i] = du * mu + dv * mv
        if float(np.sqrt(np.mean(du**2 + dv**2))) < LEAST_CONTRAST:
            return None, 0.0
        a[3], a[4] = expected - expected.mean(), 1.0
        off = after.ravel()[self._at[at]] - expected
        weight = np.ones(len(at))
        x5 = np.zeros(5)
        for _ in range(2):
            aw = a * weight
            x5 = np.linalg.solve(aw @ a.T + 1e-9 * np.eye(5), aw @ off)
            left = np.abs(off - x5 @ a)
            limit = HUBER * 1.4826 * max(float(np.median(left)), 0.1)
            weight = np.minimum(1, limit / np.maximum(left, 1e-9))
        return x5[:3], float(np.sqrt(np.mean(np.minimum(left, 3 * limit) ** 2)))


def small_rotation(turn_rad: Floats) -> Floats:
    """(3, 3) of a rotation vector (3,), Rodrigues."""
    angle = float(np.linalg.norm(turn_rad))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = turn_rad / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    found: Floats = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    return found


def sample(
    image: npt.NDArray[np.floating[Any]], u: Floats, v: Floats
) -> tuple[Floats, Floats, Floats]:
    """Bilinear values and derivatives by u and v at (N,) places within the image (H, W)."""
    i, j = v.astype(np.int64), u.astype(np.int64)
    b, a = v - i, u - j
    image = image.astype(np.float64)
    p00, p01 = image[i, j], image[i, j + 1]
    p10, p11 = image[i + 1, j], image[i + 1, j + 1]
    top, low = p00 + a * (p01 - p00), p10 + a * (p11 - p10)
    du = (1 - b) * (p01 - p00) + b * (p11 - p10)
    return top + b * (low - top), du, low - top
