"""A film of a fixed board from a moving camera as attitudes, each row at its own time of a rolling shutter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.bundle_adjustment import View, locate
from calibration.corners import detect
from calibration.errors import DataError
from calibration.projection import project
from calibration.self_motion_fit import Looks
from tools.calibrate.finish import Step

Floats = npt.NDArray[np.float64]
NEIGHBOUR_S = 0.2
ROUNDS = 2


def size_of(file: Path) -> tuple[int, int]:
    """Width and height of a frame."""
    picture = _read(file)
    return picture.shape[1], picture.shape[0]


def board_looks(
    files: Sequence[Path], t_s: Floats, board: Board, model: str, lens: Floats, readout_s: float
) -> Looks:
    """Camera from board in every frame in which it is seen, at the middle row's time."""
    step = Step("frames", len(files))
    views: list[View] = []
    times: list[float] = []
    height = size_of(files[0])[1]
    for file, at in zip(files, t_s, strict=True):
        seen = detect(_read(file), board)
        if seen is not None:
            views.append(View(file.name, board.points[seen.ids], seen.pixels))
            times.append(float(at))
        step()
    if len(views) < 2:
        raise DataError(f"the board {board} is seen in {len(views)} of {len(files)} frames; give the --board that stood there, and record again with it whole in the picture")  # fmt: skip
    stamps = np.array(times)
    poses = np.array([locate(model, lens, v) for v in views])
    for _ in range(ROUNDS):
        twists = _twists(stamps, poses)
        poses = np.array([
            locate(model, lens, _at_once(v, p, w, model, lens, readout_s, height), p)
            for v, p, w in zip(views, poses, twists, strict=True)
        ])  # fmt: skip
    slopes = [project(model, lens, p, v.points)[2].reshape(-1, 6) for v, p in zip(views, poses, strict=True)]  # fmt: skip
    return Looks(stamps, poses, np.array([np.linalg.qr(j)[1] for j in slopes]))


def _twists(t_s: Floats, poses: Floats) -> Floats:
    """(K, 6) how fast each pose changes, from its neighbours; 0 where there are none near."""
    out = np.zeros_like(poses)
    dt = t_s[2:] - t_s[:-2]
    near = dt < 2 * NEIGHBOUR_S
    out[1:-1][near] = (poses[2:] - poses[:-2])[near] / dt[near][:, None]
    return out


def _at_once(
    view: View, pose: Floats, twist: Floats, model: str, lens: Floats, readout_s: float, height: int
) -> View:
    """The view as all rows would have seen it at the middle one's time."""
    late_s = ((view.pixels[:, 1] + 0.5) / height - 0.5) * readout_s
    _, _, by_pose, _ = project(model, lens, pose, view.points)
    return View(view.name, view.points, view.pixels - late_s[:, None] * (by_pose @ twist))


def _read(file: Path) -> npt.NDArray[np.uint8]:
    picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise DataError(f"{file} cannot be read; record again")
    return np.asarray(picture, np.uint8)
