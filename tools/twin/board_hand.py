"""A hand that holds a board before the twin's camera and does what the guidance asks for.

It moves in a few frames, which blurs them, and then holds still with a slight tremor; it knows the
lens, as a tech sees the picture, and keeps the board inside of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.camera import LensCamera
from calibration.guidance import NEAR_SHARE, TILT_RAD, Advice, Need
from calibration.lens_trust import CELLS, tilt
from tools.twin.board_view import BoardView

Floats = npt.NDArray[np.float64]
HAND = 77  # purpose a seed is split by
MOVE_FRAMES, HOLD_FRAMES = 3, 7  # then it tries another place
OPEN_SHARE = 0.3  # of a frame that the shutter is open
TREMOR = 2e-4  # rad and m
SPAN = (0.4, 0.75)  # share of the picture that the corners take, more or less
LEAN_RAD = (0.3, 0.75)
TRIES = 300
LEANS = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])  # of `guidance.TILTS`
MOST_GOOD = 0.45  # rad between a lean and the direction that is asked for


class Hand:
    """One board in one hand before one lens; `start` (views taken before) moves it another way."""

    def __init__(self, board: Board, lens: LensCamera, seed: int, start: int = 0) -> None:
        self._board, self._lens = board, lens
        self._view = BoardView.of(board, lens)
        self._rng = np.random.default_rng((seed, HAND, start))
        self._pose = self._goal = self._sample(None)
        self._step = np.zeros(6)
        self._moving, self._held = 0, 0
        self._need: Need | None = None

    def frame(self) -> npt.NDArray[np.uint8]:
        """(H, W) grey: the next picture."""
        if self._moving:
            self._moving -= 1
            self._pose = self._pose + self._step
            return self._view.look(self._pose - self._step / 2, self._rng, OPEN_SHARE * self._step)
        self._held += 1
        shaken = self._goal + self._rng.normal(0, TREMOR, 6)
        return self._view.look(shaken, self._rng)

    def follow(self, advice: Advice) -> None:
        """Go elsewhere once the picture is taken, something else is asked for, or nothing comes."""
        changed = advice.need != self._need
        self._need = advice.need
        if self._moving or not (advice.take or changed or self._held >= HOLD_FRAMES):
            return
        self._goal = self._sought(advice.need)
        self._step = (self._goal - self._pose) / MOVE_FRAMES
        self._moving, self._held = MOVE_FRAMES, 0

    def _sought(self, need: Need | None) -> Floats:
        """A pose that gives what is asked for; the last one tried where none does."""
        pose = self._sample(need)
        for _ in range(TRIES):
            if need is None or self._gives(pose, need):
                break
            pose = self._sample(need)
        return pose

    def _sample(self, need: Need | None) -> Floats:
        """Any pose with the whole board in the picture."""
        near = need is not None and need.kind == "near"
        p = self._lens.pinhole
        edge = self._outline()
        width = float(np.ptp(edge[:, 0]))
        for _ in range(TRIES):
            span = self._rng.uniform(NEAR_SHARE, NEAR_SHARE + 0.3) if near else self._rng.uniform(*SPAN)  # fmt: skip
            reach = p.fx * width / (span * p.width)
            angle, lean = self._rng.uniform(-np.pi, np.pi), self._rng.uniform(*LEAN_RAD)
            axis = lean * np.array([np.cos(angle), np.sin(angle), 0])
            axis[2] = self._rng.normal(0, 0.1)
            at = self._rng.uniform(0.05, 0.95, (1, 2)) * (p.width, p.height)
            middle = self._lens.unproject(at)[0] * reach
            pose = np.concatenate([axis, middle - _turned(axis, edge.mean(0)[None])[0]])
            if self._inside(pose, edge):
                return pose
        return np.concatenate([np.zeros(3), [0, 0, 2 * reach] - edge.mean(0)])

    def _outline(self) -> Floats:
        """(4, 3) outer corners of the squares [m]: a chessboard is found when these are seen."""
        low, high = self._board.points.min(0), self._board.points.max(0)
        side = self._board.square_m
        return np.array([[x, y, 0] for x in (low[0] - side, high[0] + side) for y in (low[1] - side, high[1] + side)])  # fmt: skip

    def _inside(self, pose: Floats, points: Floats) -> bool:
        seen = _turned(pose[:3], points) + pose[3:]
        if (seen[:, 2] < 0.05).any():
            return False
        pixels = self._lens.project(seen)
        p = self._lens.pinhole
        return bool(((pixels > 0) & (pixels < (p.width - 1, p.height - 1))).all())

    def _gives(self, pose: Floats, need: Need) -> bool:
        pixels = self._lens.project(_turned(pose[:3], self._board.points) + pose[3:])
        p = self._lens.pinhole
        if need.kind == "cell":
            column, row = np.floor((pixels + 0.5) / (p.width, p.height) * CELLS).astype(int).T
            return int((row * CELLS + column == need.index).sum()) >= 3
        if need.kind == "near":
            return float((np.ptp(pixels, axis=0) / (p.width, p.height)).max()) > NEAR_SHARE
        if need.kind == "tilt":
            lean = tilt(pose)
            size = float(np.linalg.norm(lean))
            off = np.arccos(np.clip(lean @ LEANS[need.index] / max(size, 1e-9), -1, 1))
            return size > 1.2 * TILT_RAD and off < MOST_GOOD / 2
        return True


def _turned(axis: Floats, points: Floats) -> Floats:
    import cv2

    return np.asarray(points @ np.asarray(cv2.Rodrigues(axis)[0]).T)
