"""Pictures of a calibration board through a specimen's lens: what a tech's hand holds up to the twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.camera import LensCamera

Floats = npt.NDArray[np.float64]
Unproject = Callable[[Floats], Floats]
SUB = 4  # rays per pixel, each way
MARGIN = 1.0  # white border, in squares
TEXELS = 40  # per square
WHITE, BLACK, WALL = 205.0, 28.0, 110.0


@dataclass(frozen=True)
class BoardView:
    """A board before a lens; `look` takes its picture."""

    board: Board
    width: int
    height: int
    unproject: Unproject  # (N, 2) pixels -> (N, 3) rays, optical frame
    noise_counts: float = 2.2
    inverted: bool = False

    @classmethod
    def of(cls, board: Board, lens: LensCamera, noise_counts: float = 2.2) -> BoardView:
        """Through the lens of a specimen; rays outside its model see the wall."""
        p = lens.pinhole
        return cls(board, p.width, p.height, lens.unproject, noise_counts)

    def look(
        self, pose: Floats, rng: np.random.Generator, drift: Floats | None = None
    ) -> npt.NDArray[np.uint8]:
        """(H, W) grey picture of the board at `pose` (6,): rotation vector, translation.

        `drift` (6,): how far the pose moves while the shutter is open.
        """
        grid = self._rays
        moments = 1 if drift is None else 6
        total = np.zeros(len(grid))
        for k in range(moments):
            now = pose if drift is None else pose + drift * ((k + 0.5) / moments - 0.5)
            total += self._light(grid, now)
        return self._exposed(total / moments, rng)

    def _exposed(self, light: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Light on the rays -> grey picture with shade and noise."""
        image = light.reshape(self.height, SUB, self.width, SUB).mean((1, 3))
        shade = (
            1 - 0.12 * np.linspace(-1, 1, self.width)[None] ** 2
        )  # a lamp, and the lens's falloff
        image = image * shade + rng.normal(0, self.noise_counts, image.shape)
        return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)

    def roll(self, poses: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """(H, W) grey through a rolling shutter: B bands of rows, from the top, each at its pose (6,)."""
        rows = np.array_split(np.arange(self.height), len(poses))
        light = [
            self._light(self._rays[at[0] * SUB * self.width * SUB : (at[-1] + 1) * SUB * self.width * SUB], pose)
            for at, pose in zip(rows, poses, strict=True)
        ]  # fmt: skip
        return self._exposed(np.concatenate(light), rng)

    @cached_property
    def _rays(self) -> Floats:
        """(N, 3) SUB x SUB through every pixel, row by row."""
        steps = (np.arange(SUB) + 0.5) / SUB - 0.5
        y = (np.arange(self.height)[:, None] + steps).ravel()
        x = (np.arange(self.width)[:, None] + steps).ravel()
        return self.unproject(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))

    def _light(self, rays: Floats, pose: Floats) -> Floats:
        import cv2

        turn = np.asarray(cv2.Rodrigues(pose[:3])[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = (turn.T @ pose[3:])[2] / (rays @ turn)[:, 2]
        met = (rays * reach[:, None] - pose[3:]) @ turn  # in the board's frame
        out = np.full(len(rays), WALL)
        paint, low = self._texture
        at = (met[:, :2] / self.board.square_m - low) * TEXELS
        with np.errstate(invalid="ignore"):
            inside = (reach > 0) & (at >= 0).all(1) & (at < paint.shape[::-1]).all(1)
        where = at[inside].astype(np.int64)
        out[inside] = paint[where[:, 1], where[:, 0]]
        return out

    @cached_property
    def _texture(self) -> tuple[Floats, Floats]:
        """Paint (rows, columns) of the board with its border, and its low corner [squares]."""
        board = self.board
        if board.kind == "charuco":
            size = (board.columns * TEXELS, board.rows * TEXELS)
            ink = np.asarray(board.charuco().generateImage(size), np.float64) / 255
            low = np.zeros(2)
        else:
            y, x = np.mgrid[: (board.rows + 1) * TEXELS, : (board.columns + 1) * TEXELS] // TEXELS
            ink = ((x + y) % 2).astype(np.float64)
            low = np.full(2, -1.0)
        edge = int(MARGIN * TEXELS)
        ink = np.pad(ink, edge, constant_values=1.0)
        if self.inverted:
            ink = 1 - ink
        return BLACK + (WHITE - BLACK) * ink, low - MARGIN
