"""Corners of a board in one picture, to a fraction of a pixel; polarity and mirror found out, not assumed.

The refinement window follows the corner spacing: a window that reaches the neighbouring corners
pulls them together (on OpenCV's left set, 11 px instead of 5 doubles the RMS).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.errors import DataError

Floats = npt.NDArray[np.float64]
Grey = npt.NDArray[np.uint8]
WINDOW_SHARE = 0.3  # half window, of the smallest spacing between corners in the picture
WINDOW_SHARE_MAX, WINDOW_PX = 0.45, 5  # small pictures: more of the spacing, for less noise
LEAST_CHARUCO = 6  # corners: fewer fix no pose
SUBPIX = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found of a board in a picture."""

    ids: npt.NDArray[np.int64]  # (N,) index into `Board.points`
    pixels: Floats  # (N, 2)
    inverted: bool  # black and white exchanged
    mirrored: bool  # left and right exchanged; only markers can tell
    spacing_px: float  # least distance between neighbours
    edge_px: float  # width of the blur of an edge, 10 to 90 %


def grey(image: npt.NDArray[np.uint8]) -> Grey:
    """(H, W) of a grey or BGR picture."""
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def detect(image: npt.NDArray[np.uint8], board: Board, window_px: int = 0) -> Detection | None:
    """The board in a picture, (H, W) or (H, W, 3) BGR; None where it is not seen whole enough.

    `window_px` forces the half window of the sub-pixel refinement; 0 follows the spacing.
    """
    plain = grey(image)
    scale = 1 if max(plain.shape) >= 480 else 4 if max(plain.shape) < 240 else 2
    # cubic: linear enlargement bends the gradients that the refinement lives on
    large = plain if scale == 1 else cv2.resize(plain, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)  # fmt: skip
    seek = _charuco if board.kind == "charuco" else _chessboard
    for mirrored in (False, True) if board.kind == "charuco" else (False,):
        turned = np.ascontiguousarray(large[:, ::-1]) if mirrored else large
        for inverted in (False, True):
            found = seek(255 - turned if inverted else turned, board)
            if found is None:
                continue
            ids, pixels = found
            spacing = _spacing(ids, pixels, board)
            half = window_px * scale or _half_window(spacing, scale, board)
            pixels = _refine(turned, pixels, half)
            edge = _edge_width(turned, pixels, spacing) / scale
            if mirrored:
                pixels[:, 0] = turned.shape[1] - 1 - pixels[:, 0]
            # resize maps pixel centres: x_large = (x + 0.5) * scale - 0.5
            pixels = (pixels + 0.5) / scale - 0.5
            return Detection(ids, pixels, inverted, mirrored, spacing / scale, edge)
    return None


def _chessboard(image: Grey, board: Board) -> tuple[npt.NDArray[np.int64], Floats] | None:
    flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
    ok, corners = cv2.findChessboardCorners(image, board.grid, flags=flags)
    if not ok:
        return None
    pixels = np.asarray(corners, np.float64).reshape(-1, 2)
    return np.arange(len(pixels)), pixels


def _charuco(image: Grey, board: Board) -> tuple[npt.NDArray[np.int64], Floats] | None:
    ours = board.charuco()
    best: tuple[npt.NDArray[np.int64], Floats] | None = None
    for legacy in (False, True):  # boards printed by OpenCV before 4.6 start with the other colour
        ours.setLegacyPattern(legacy)
        corners, ids, _, _ = cv2.aruco.CharucoDetector(ours).detectBoard(image)
        count = 0 if ids is None else len(np.ravel(ids))
        if count >= LEAST_CHARUCO and (best is None or count > len(best[0])):
            best = np.ravel(ids).astype(np.int64), np.asarray(corners, np.float64).reshape(-1, 2)
    return best


def _refine(image: Grey, pixels: Floats, half: int) -> Floats:
    points = np.ascontiguousarray(pixels, np.float32).reshape(-1, 1, 2)
    return np.asarray(cv2.cornerSubPix(image, points, (half, half), (-1, -1), SUBPIX), np.float64).reshape(-1, 2)  # fmt: skip


def _half_window(spacing: float, scale: int, board: Board) -> int:
    """In pixels of the enlarged picture; it must not reach a neighbour, nor a marker beside the corner."""
    wanted = max(WINDOW_SHARE * spacing, WINDOW_PX * scale)
    gap = (board.square_m - board.marker_m) / 2 / board.square_m if board.marker_m else 1.0
    return max(2, int(min(wanted, WINDOW_SHARE_MAX * spacing, gap * spacing)))


def _spacing(ids: npt.NDArray[np.int64], pixels: Floats, board: Board) -> float:
    """Least distance between two found corners that are neighbours on the board."""
    columns, rows = board.grid
    at = np.full((rows * columns, 2), np.nan)
    at[ids] = pixels
    grid = at.reshape(rows, columns, 2)
    steps = [np.linalg.norm(np.diff(grid, axis=axis), axis=2) for axis in (0, 1)]
    return float(min(np.nanmin(s) if np.isfinite(s).any() else np.inf for s in steps))


def _edge_width(image: Grey, pixels: Floats, spacing: float) -> float:
    """Blur of the edges near the corners [px]: step height over the steepest slope, the median."""
    reach = max(2, int(spacing / 3))
    smooth = image.astype(np.float32)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(smooth, cv2.CV_32F, 0, 1) / 8
    slope = np.hypot(gx, gy)
    widths = []
    for x, y in np.round(pixels).astype(int):
        rows, columns = (
            slice(max(0, y - reach), y + reach + 1),
            slice(max(0, x - reach), x + reach + 1),
        )
        patch, steep = smooth[rows, columns], slope[rows, columns]
        if patch.size and steep.max() > 0:
            low, high = np.percentile(patch, [10, 90])
            widths.append(0.8 * (high - low) / steep.max())
    return float(np.median(widths)) if widths else np.inf


def other_size(image: npt.NDArray[np.uint8], board: Board) -> tuple[int, int] | None:
    """Another size of chessboard that is whole in the picture, when the one asked for is not."""
    if board.kind != "chessboard":
        return None
    columns, rows = board.grid
    sizes = [
        (c, r) for c in range(4, 13) for r in range(4, 13) if c >= r and (c, r) != (columns, rows)
    ]
    near = sorted(sizes, key=lambda s: abs(s[0] - columns) + abs(s[1] - rows))
    for size in near[:24]:
        if detect(image, Board("chessboard", *size, board.square_m)) is not None:
            return size
    return None


def require_same_size(shapes: list[tuple[int, int]], names: list[str]) -> tuple[int, int]:
    """(width, height) of all pictures; DataError names the odd one."""
    for shape, name in zip(shapes, names, strict=True):
        if shape != shapes[0]:
            raise DataError(
                f"{name} is {shape[1]}x{shape[0]}, the first picture {shapes[0][1]}x{shapes[0][0]};"
                " one calibration takes pictures of one camera in one mode"
            )
    return shapes[0][1], shapes[0][0]
