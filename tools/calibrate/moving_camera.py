"""The head's camera while the robot moves: every frame with its stamp, as the runtime would take it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import cv2
import mujoco
import numpy as np
import numpy.typing as npt

from calibration.board import Board
from runtime.camera import DeviceCamera
from runtime.clock import now_ns
from runtime.errors import ConfigError
from tools.calibrate.rig import Rig, TwinRig
from tools.calibrate.still_camera import before_it, pose_of
from tools.twin.board_view import BoardView

LEAST_NS = 60_000_000  # between two frames: more of them only fill the memory
TWIN_BOARD_M = (0.46, 0.02, 0.36)  # the board's middle, in the base's frame
BANDS = 8  # of rows that are taken as seen at one moment
FILM = 12  # purpose a seed is split by


class MovingCamera(Protocol):
    """Collects frames from `step` to `step`."""

    def step(self, now_ns: int) -> None:
        """Once per control period."""

    def frames(self) -> list[tuple[int, bytes]]:
        """Stamps [ns] and grey pictures (PNG)."""


class TwinMovingCamera:
    """The specimen's camera before a fixed board, in virtual time: rolling shutter, stamps that are late."""

    def __init__(self, rig: TwinRig, board: Board) -> None:
        self._rig, self._twin = rig, rig.twin
        self._period_ns = 1_000_000_000 // rig.body.frame_hz
        self._view = BoardView.of(board, rig.twin.camera.lens)
        self._rng = np.random.default_rng((rig.twin.seed, FILM))
        self._board = before_it(rig, board, TWIN_BOARD_M)
        self._readout_s = rig.body.camera.readout_s
        self._frames: list[tuple[int, bytes]] = []
        self._before = pose_of(rig, self._board)
        self._before_ns = rig.twin.now_ns

    def step(self, now_ns: int) -> None:
        """See `MovingCamera`."""
        twin = self._twin
        mujoco.mj_kinematics(twin.model, twin.data)  # else places are those of the step before
        pose, dt_s = pose_of(self._rig, self._board), (twin.now_ns - self._before_ns) / 1e9
        if twin.now_ns % self._period_ns == 0 and 0 < dt_s < 0.02:
            late_s = ((np.arange(BANDS) + 0.5) / BANDS - 0.5) * self._readout_s
            poses = pose + late_s[:, None] * (pose - self._before) / dt_s
            picture = _png(self._view.roll(poses, self._rng))
            self._frames.append((twin.now_ns - twin.camera_offset_ns, picture))
        self._before, self._before_ns = pose, twin.now_ns

    def frames(self) -> list[tuple[int, bytes]]:
        """See `MovingCamera`."""
        return self._frames


class DeviceMovingCamera:
    """A device, read by a thread: the control period does not wait for it."""

    def __init__(self, device: str) -> None:
        self._camera = DeviceCamera(device)
        self._frames: list[tuple[int, bytes]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        last_ns = 0
        while not self._stopped.is_set():
            frame = self._camera.read(now_ns())
            if frame is not None and frame.t_ns - last_ns >= LEAST_NS:
                last_ns = frame.t_ns
                self._frames.append((frame.t_ns, _png(frame.pixels)))

    def step(self, now_ns: int) -> None:
        """Its thread does it."""

    def frames(self) -> list[tuple[int, bytes]]:
        """See `MovingCamera`."""
        return list(self._frames)

    def close(self) -> None:
        """End the thread, free the device."""
        self._stopped.set()
        self._thread.join(2.0)
        self._camera.close()


@contextmanager
def open_camera(rig: Rig, device: str, board: Board) -> Iterator[MovingCamera]:
    """The twin's with a board before it, or the robot's device."""
    if isinstance(rig, TwinRig):
        yield TwinMovingCamera(rig, board)
        return
    if not device:
        raise ConfigError("--camera is missing: name the head's camera, as /dev/video0")
    camera = DeviceMovingCamera(device)
    try:
        yield camera
    finally:
        camera.close()


def _png(rgb: npt.NDArray[np.uint8]) -> bytes:
    whole = np.ascontiguousarray(rgb)
    grey = np.asarray(cv2.cvtColor(whole, cv2.COLOR_RGB2GRAY), np.uint8) if rgb.ndim == 3 else whole
    return bytes(cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
