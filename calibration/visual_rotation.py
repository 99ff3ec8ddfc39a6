"""How a camera turned between two frames: corners followed, their rays fitted by a rotation.

Lucas-Kanade tracks checked forth and back; Kabsch 1976 with Tukey's weights on the rays. Right where
the camera turns and hardly moves, or looks at things far away; near things become outliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibration.rotations import best_rotation, turn

Floats = npt.NDArray[np.float64]
Gray = npt.NDArray[np.uint8]

CORNERS = 300
BACK_PX = 1.0  # forth and back must end this near
WINDOW = (21, 21)
LEAST = 15  # corners for a rotation
ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Tracks:
    """Corners (N, 2) [px] in one frame and in the next, and how many were looked for."""

    before: Floats
    after: Floats
    wanted: int


@dataclass(frozen=True, slots=True)
class Lens:
    """Camera matrix (3, 3) [px] and Brown-Conrady distortion (0 to 8)."""

    matrix: Floats
    distortion: Floats

    @classmethod
    def guess(cls, width: int, height: int) -> Lens:
        """A pinhole as wide as most cameras are (64 degrees)."""
        focal = 0.8 * max(width, height)
        return cls(
            np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]),
            np.zeros(5),
        )

    def scaled(self, factor: float) -> Lens:
        """The same with another focal length."""
        return Lens(
            self.matrix * np.array([[factor, 1, 1], [1, factor, 1], [1, 1, 1]]), self.distortion
        )


def follow(before: Gray, after: Gray) -> Tracks:
    """Corners of one frame, found again in the next."""
    corners = cv2.goodFeaturesToTrack(before, CORNERS, 0.01, 8)
    if corners is None:
        return Tracks(np.zeros((0, 2)), np.zeros((0, 2)), 0)
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, corners, None, winSize=WINDOW, maxLevel=4
    )
    back, again, _ = cv2.calcOpticalFlowPyrLK(
        after, before, there, None, winSize=WINDOW, maxLevel=4
    )
    off = np.linalg.norm((back - corners).reshape(-1, 2), axis=1)
    good = (found.ravel() == 1) & (again.ravel() == 1) & (off < BACK_PX)
    return Tracks(
        corners.reshape(-1, 2)[good].astype(np.float64),
        there.reshape(-1, 2)[good].astype(np.float64),
        len(corners),
    )


def rotation(tracks: Tracks, lens: Lens) -> tuple[Floats, int]:
    """The camera's own turn (3,) [rad] in its optical frame, and how many corners agree; NaN if few.

    Things move against the camera: a ray r seen before is seen at R^T r after a turn R.
    """
    if len(tracks.before) < LEAST:
        return np.full(3, np.nan), len(tracks.before)
    return turn_between(rays(tracks.before, lens), rays(tracks.after, lens))


def turn_between(one: Floats, other: Floats) -> tuple[Floats, int]:
    """The same from rays (N, 3) before and after."""
    nothing = np.full(3, np.nan)
    if len(one) < LEAST:
        return nothing, len(one)
    weight = np.ones(len(one))
    for _ in range(ROUNDS):
        w = np.sqrt(weight)[:, None]
        matrix, _ = best_rotation(w * other, w * one)
        off = np.linalg.norm(one - other @ matrix.T, axis=1)
        limit = 4.685 * max(1.4826 * float(np.median(off)), 1e-5)
        weight = (1 - np.minimum(off / limit, 1) ** 2) ** 2
    count = int((weight > 0.1).sum())
    return (turn(matrix) if count >= LEAST else nothing), count


def unrolled(seen: Floats, late_s: Floats, rate_rad_s: Floats) -> Floats:
    """Rays (N, 3) of a rolling shutter as they were when the middle row was exposed.

    Each row was `late_s` (N,) after it, while the camera turned by `rate_rad_s` (3,). Without this a
    turn that speeds up shears the picture, which looks like a roll.
    """
    moved: Floats = seen + late_s[:, None] * np.cross(rate_rad_s, seen)
    return moved


def rays(pixels: Floats, lens: Lens) -> Floats:
    """(N, 2) pixels -> (N, 3) unit rays in the optical frame."""
    flat = cv2.undistortPoints(pixels.reshape(-1, 1, 2), lens.matrix, lens.distortion).reshape(
        -1, 2
    )
    rays = np.column_stack((flat, np.ones(len(flat))))
    unit: Floats = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return unit
