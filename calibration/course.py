"""Where the camera looks beside the way the robot drives: its turn sideways, from pictures while driving.

A wheeled base moves along its own x axis. Seen from a camera that goes straight ahead everything flows
away from one point, the focus of expansion (Gibson 1950), and that point is where the base is going.
Found direct, without features (Horn & Weldon 1988): with the turn taken out by the gyro, brightness
changes by inverse depth times a product that is linear in the direction of travel; each patch of the
picture has a depth of its own, which cannot be negative, and the direction is the one under which
the patches explain most. It needs no metric, so neither wheels nor focal length need be exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from calibration.camera import PinholeCamera
from calibration.small_turns import Float32, sample, small_rotation

Floats = npt.NDArray[np.float64]

AHEAD_M = (0.05, 0.12)  # between the two pictures: far enough to see, near enough to be linear
TURNED_RAD = 0.01  # meanwhile: a camera before the axle swings sideways in a turn
HEAD_RAD = 0.01
MOST_NS = 1_000_000_000
PATCH_PX = 8
PIXELS = 400  # fewer seen in both tell nothing
CANDIDATES_RAD = np.radians(np.arange(-9.0, 9.1, 1.0))
PAIRS = 120  # to a block: two minutes of driving to and fro
PARTS = 8  # of a block, left out in turn (jackknife)
HUBER = 3.0  # robust stds, of brightness: who walks through the picture


class CourseBlocks:
    """`see` every frame in order of time; each block of pairs is told as one turn [rad], with its std."""

    def __init__(
        self, pinhole: PinholeCamera, tell: Callable[[str, int, float, float], None]
    ) -> None:
        self._pinhole, self._tell = pinhole, tell
        pixels = pinhole.pixels()
        self._rays = pinhole.unproject(pixels).T  # (3, N)
        columns = -(-pinhole.width // PATCH_PX)
        self._patch = (pixels[:, 1] // PATCH_PX * columns + pixels[:, 0] // PATCH_PX).astype(int)
        self._patches = int(self._patch.max()) + 1
        self._profiles: list[Floats] = []
        self._anchor: tuple[int, Float32, Floats, Floats] | None = None

    def pause(self) -> None:
        """What comes next does not follow what was before."""
        self._anchor = None

    def see(
        self, t_ns: int, grey: Float32, row: Floats, camera: Floats, bias_rad_s: Floats
    ) -> None:
        """A frame (H, W) and what stood at its time.

        `row` (6,): the gyro's integral [rad] (3), head yaw and pitch [rad], way [m]; `camera` (3, 3):
        base from optical, as foretold.
        """
        anchor = self._anchor
        if anchor is None or t_ns - anchor[0] > MOST_NS or np.abs(row[3:5] - anchor[2][3:5]).max() > HEAD_RAD:  # fmt: skip
            self._anchor = (t_ns, grey, row, camera)
            return
        turn = row[:3] - anchor[2][:3] - bias_rad_s * ((t_ns - anchor[0]) / 1e9)
        ahead = float(row[5] - anchor[2][5])
        if abs(turn[2]) > TURNED_RAD or abs(ahead) > AHEAD_M[1]:
            self._anchor = (t_ns, grey, row, camera)
            return
        if abs(ahead) < AHEAD_M[0]:
            return
        self._anchor = (t_ns, grey, row, camera)
        half = float(turn[2]) / 2  # the later base has turned on from the mean direction
        way = np.sign(ahead) * np.array([np.cos(half), -np.sin(half), 0.0])
        rotation = anchor[3].T @ small_rotation(turn) @ camera
        profile = self.profile(anchor[1], grey, rotation, camera.T @ way)
        if profile is not None:
            self._profiles.append(profile)
        if len(self._profiles) == PAIRS:
            self._close(t_ns)

    def profile(self, before: Float32, after: Float32, turn: Floats, way: Floats) -> Floats | None:
        """(C,) explained change of brightness, by its noise, for each candidate turn about optical y.

        `turn` (3, 3): earlier from later optical axes; `way` (3,): unit vector of travel in the later
        ones, as foretold. None where too little is seen of both.
        """
        p = self._pinhole
        x, y, z = turn @ self._rays
        z = np.maximum(z, 1e-3)
        u, v = x / z * p.fx + p.cx, y / z * p.fy + p.cy
        at = np.flatnonzero((u >= 1) & (v >= 1) & (u < p.width - 2) & (v < p.height - 2))
        if len(at) < PIXELS:
            return None
        expected, du, dv = sample(before, u[at], v[at])
        off = _evened(after.ravel()[at] - expected, expected)
        limit = HUBER * 1.4826 * max(float(np.median(np.abs(off))), 0.5)
        weight = np.minimum(1, limit / np.maximum(np.abs(off), 1e-9))
        du, dv = p.fx * du, p.fy * dv
        g = np.stack(
            [-du, -dv, du * self._rays[0, at] + dv * self._rays[1, at]]
        )  # (3, N), by travel
        patch, count = self._patch[at], self._patches
        b = np.stack([np.bincount(patch, -weight * off * row, count) for row in g], 1)  # (K, 3)
        a = np.stack([[np.bincount(patch, weight * r * s, count) for r in g] for s in g]).transpose(2, 0, 1)  # fmt: skip
        ways = np.stack([small_rotation(np.array([0.0, c, 0.0])).T @ way for c in CANDIDATES_RAD])
        seen = np.maximum(ways @ b.T, 0) ** 2  # depth is positive
        explained = (seen / np.maximum(np.einsum("ci,kij,cj->ck", ways, a, ways), 1e-6)).sum(1)
        left = max(float((weight * off) @ off) - float(explained.max()), 1e-6)
        found: Floats = explained * (len(at) / left)
        return found

    def _close(self, t_ns: int) -> None:
        parts = np.array(self._profiles).reshape(PARTS, -1, len(CANDIDATES_RAD)).sum(1)
        self._profiles.clear()
        whole = parts.sum(0)
        best = _peak(whole)
        without = np.array([_peak(whole - part) for part in parts])
        if best is None or any(w is None for w in without):
            return
        std = float(np.sqrt((PARTS - 1) * np.mean((without.astype(float) - without.astype(float).mean()) ** 2)))  # fmt: skip
        self._tell("camera_course", t_ns, best, std)


def _evened(off: Floats, expected: Floats) -> Floats:
    """Without what a change of exposure explains: a gain and an offset, found robustly."""
    far = 3 * 1.4826 * float(np.median(np.abs(off - np.median(off)))) + 1
    near = np.abs(off - np.median(off)) < far
    a = np.stack([expected - expected.mean(), np.ones_like(expected)], 1)
    found: Floats = off - a @ np.linalg.lstsq(a[near], off[near], rcond=None)[0]
    return found


def _peak(profile: Floats) -> float | None:
    """The candidate [rad] of the highest value, by a parabola through its neighbours; None at an end."""
    k = int(profile.argmax())
    if k in (0, len(profile) - 1):
        return None
    low, top, high = profile[k - 1 : k + 2]
    step = float(CANDIDATES_RAD[1] - CANDIDATES_RAD[0])
    return float(CANDIDATES_RAD[k] + step * 0.5 * (low - high) / min(low - 2 * top + high, -1e-12))
