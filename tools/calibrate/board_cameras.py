"""What `calibrate camera record` looks through: the twin with a hand before it, a device, a video."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.guidance import Advice
from runtime.body import load_body
from runtime.camera import DeviceCamera, VideoCamera
from runtime.clock import now_ns
from runtime.errors import RuntimeFault
from tools.compose import device_serial

Image = npt.NDArray[np.uint8]
SILENT_NS = 5_000_000_000
VIDEO_STEP_NS = 2_000_000  # of the time that a video is played by: no frame is skipped
TWIN_PERIOD_S = 0.05


class Source(Protocol):
    """Pictures one after the other."""

    serial: str

    def read(self) -> Image | None:
        """(H, W) grey or (H, W, 3) BGR; None at the end."""

    def follow(self, advice: Advice) -> None:
        """What the hand should do next; only the twin's obeys."""

    def close(self) -> None:
        """Free the device."""


class TwinSource:
    """The camera of the specimen `seed`, and a hand that follows the advice."""

    def __init__(self, body: str, seed: int, board: Board, taken: int, watched: bool) -> None:
        from tools.twin.board_hand import Hand
        from tools.twin.specimen import lens_of

        self.serial = f"twin-{seed}"
        self._hand = Hand(board, lens_of(load_body(body), seed), seed, taken)
        self._pause_s = TWIN_PERIOD_S if watched else 0.0

    def read(self) -> Image | None:
        """The next picture, at a pace that can be watched."""
        time.sleep(self._pause_s)
        return self._hand.frame()

    def follow(self, advice: Advice) -> None:
        """See `Hand.follow`."""
        self._hand.follow(advice)

    def close(self) -> None:
        """Nothing to free."""


class LiveSource:
    """A device: its newest picture, as long as it gives any."""

    def __init__(self, device: str) -> None:
        self.serial, self._device = device_serial(device), device
        self._camera = DeviceCamera(device)

    def read(self) -> Image | None:
        """Wait for a picture; RuntimeFault when none comes."""
        until = now_ns() + SILENT_NS
        while now_ns() < until:
            frame = self._camera.read(now_ns())
            if frame is not None:
                return np.ascontiguousarray(frame.pixels[:, :, ::-1])
            time.sleep(0.005)
        raise RuntimeFault(f"camera {self._device} gives no pictures; check the cable and that no other program uses it")  # fmt: skip

    def follow(self, advice: Advice) -> None:
        """A person does."""

    def close(self) -> None:
        """Free the device."""
        self._camera.close()


class VideoSource:
    """Every frame of a video; it does not say which camera took it."""

    serial = ""

    def __init__(self, path: Path) -> None:
        self._camera, self._t_ns = VideoCamera(path), 0

    def read(self) -> Image | None:
        """The next frame."""
        while not self._camera.ended:
            frame = self._camera.read(self._t_ns)
            self._t_ns += VIDEO_STEP_NS
            if frame is not None:
                return np.ascontiguousarray(frame.pixels[:, :, ::-1])
        return None

    def follow(self, advice: Advice) -> None:
        """It was recorded before."""

    def close(self) -> None:
        """Free the decoder."""
        self._camera.close()
