"""Single pictures while the rig stands still: of the twin's board, or of a device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.head import HEAD_FROM_OPTICAL
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.rig import Rig, TwinRig
from tools.compose import device_serial
from tools.twin.board_view import BoardView

Floats = npt.NDArray[np.float64]
SKIP = 5  # frames that a device has buffered from before it stood still
LEAN_RAD = (0.25, -0.3)  # of the twin's board: square to nothing, or depth and tilt look alike


class Shutter(Protocol):
    """Takes a picture, (H, W) or (H, W, 3) uint8."""

    serial: str

    def picture(self) -> npt.NDArray[np.uint8]:
        """One fresh picture."""


class TwinShutter:
    """The twin's camera before a board that is fixed in the room."""

    def __init__(self, rig: TwinRig, board: Board, middle_m: tuple[float, float, float]) -> None:
        self._rig, self._view = rig, BoardView.of(board, rig.twin.camera.lens)
        self._rng = np.random.default_rng((rig.twin.seed, 11))
        self.serial = f"twin-{rig.twin.seed}"
        self._world_from_board = before_it(rig, board, middle_m)

    def picture(self) -> npt.NDArray[np.uint8]:
        """See `Shutter`."""
        return self._view.look(pose_of(self._rig, self._world_from_board), self._rng)


def before_it(rig: TwinRig, board: Board, middle_m: tuple[float, float, float]) -> Floats:
    """(4, 4) world from a board whose middle is at a place in the base's frame, a little askew."""
    x, y, yaw = rig.twin.pose()
    base = np.eye(4)
    base[:3, :3] = np.asarray(cv2.Rodrigues(np.array([0, 0, yaw]))[0])
    base[:3, 3] = x, y, float(rig.twin.data.qpos[2])
    here = np.eye(4)
    lean = np.asarray(cv2.Rodrigues(np.array([LEAN_RAD[0], LEAN_RAD[1], 0.0]))[0])
    here[:3, :3] = HEAD_FROM_OPTICAL @ lean
    here[:3, 3] = np.array(middle_m) - here[:3, :3] @ board.points.mean(0)
    return np.asarray(base @ here)


def pose_of(rig: TwinRig, world_from_board: Floats) -> Floats:
    """(6,) rotation vector and translation: the twin's camera from the board, now."""
    twin = rig.twin
    site = twin.ids.camera_site
    camera = np.eye(4)
    camera[:3, :3] = twin.data.site_xmat[site].reshape(3, 3) @ HEAD_FROM_OPTICAL
    camera[:3, 3] = twin.data.site_xpos[site]
    seen = np.linalg.inv(camera) @ world_from_board
    return np.concatenate([np.ravel(cv2.Rodrigues(seen[:3, :3])[0]), seen[:3, 3]])


class DeviceShutter:
    """A V4L2 device."""

    def __init__(self, device: str) -> None:
        self.serial = device_serial(device)
        self._capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
        self._device = device
        if not self._capture.isOpened():
            raise RuntimeFault(f"camera {device} does not open; see `companion doctor`")

    def picture(self) -> npt.NDArray[np.uint8]:
        """See `Shutter`."""
        for _ in range(SKIP):
            self._capture.grab()
            time.sleep(0.01)
        ok, image = self._capture.read()
        if not ok:
            raise RuntimeFault(f"camera {self._device} gives no picture; unplug it and plug it in again")  # fmt: skip
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Give the device back."""
        self._capture.release()


@contextmanager
def open_shutter(
    rig: Rig, device: str, board: Board, middle_m: tuple[float, float, float]
) -> Iterator[Shutter]:
    """The twin's camera before its board, or the robot's device."""
    if isinstance(rig, TwinRig):
        yield TwinShutter(rig, board, middle_m)
        return
    if not device:
        raise ConfigError("--camera is missing: name the head's camera, as /dev/video0")
    shutter = DeviceShutter(device)
    try:
        yield shutter
    finally:
        shutter.close()
