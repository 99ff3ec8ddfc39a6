"""Frames while the robot turns: of the twin's camera, or of a device read in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from runtime.camera import DeviceCamera
from runtime.clock import now_ns as clock_ns
from runtime.errors import ConfigError
from tools.calibrate.rig import PERIOD_NS, Rig, TwinRig
from tools.compose import device_serial
from tools.twin.specimen import latency_of

WIDEST_PX = 160  # a rotation needs no more, and twenty seconds stay small


@dataclass(frozen=True, slots=True)
class Look:
    """A frame as the runtime would get it: its stamp, when it was there, (H, W) uint8."""

    t_ns: int
    arrival_ns: int
    grey: npt.NDArray[np.uint8]


class Eye(Protocol):
    """A camera that delivers frames."""

    serial: str
    size: tuple[int, int]  # width, height of the device's frames

    def take(self, now_ns: int) -> list[Look]:
        """What came since the last call."""


class TwinEye:
    """The twin's camera; its stamps are as late as its specimen's, and jitter if they are arrivals."""

    def __init__(self, rig: TwinRig, jitter_s: float = 0.0) -> None:
        self._rig, self._jitter_s = rig, jitter_s
        body = rig.body
        self.serial = f"twin-{rig.twin.seed}"
        self.size = (body.camera.width, body.camera.height)
        self._every_ns = 1_000_000_000 // body.frame_hz
        self._delay_ns = latency_of(rig.twin.seed, rig.twin.scenario.domain).camera
        self._rng = np.random.default_rng((rig.twin.seed, 12))
        self._next_ns = 0

    def take(self, now_ns: int) -> list[Look]:
        """See `Eye`: rendered when due, at this moment."""
        if now_ns < self._next_ns:
            return []
        self._next_ns = now_ns - now_ns % PERIOD_NS + self._every_ns
        image = cv2.cvtColor(self._rig.twin.render(), cv2.COLOR_RGB2GRAY)
        late_ns = -round(1e9 * self._rig.made.camera_offset_s)
        late_ns += round(1e9 * float(self._rng.exponential(self._jitter_s)))
        stamp_ns = now_ns + late_ns
        arrival_ns = stamp_ns if self._jitter_s else max(stamp_ns, now_ns + self._delay_ns)
        return [Look(stamp_ns, arrival_ns, np.asarray(image, np.uint8))]


class DeviceEye:
    """A V4L2 device or a pipeline, stamped as the runtime stamps it."""

    def __init__(self, device: str) -> None:
        self._camera = DeviceCamera(device)
        self.serial = device_serial(device)
        self.size = (self._camera.width, self._camera.height)
        self._looks: list[Look] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def take(self, now_ns: int) -> list[Look]:
        """See `Eye`."""
        with self._lock:
            out, self._looks = self._looks, []
        return out

    def close(self) -> None:
        """Give the device back."""
        self._ended.set()
        self._reader.join(2.0)
        self._camera.close()

    def _read(self) -> None:
        while not self._ended.is_set():
            frame = self._camera.read(clock_ns())
            if frame is None:
                self._ended.wait(0.01)
                continue
            look = Look(frame.t_ns, clock_ns(), small(frame.pixels))
            with self._lock:
                self._looks.append(look)


def small(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) RGB -> (h, w) grey, at most WIDEST_PX wide."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    share = WIDEST_PX / grey.shape[1]
    if share < 1:
        grey = cv2.resize(grey, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


@contextmanager
def open_eye(rig: Rig, device: str) -> Iterator[Eye]:
    """The twin's camera, or the robot's device."""
    if isinstance(rig, TwinRig):
        yield TwinEye(rig)
        return
    if not device:
        raise ConfigError("--camera is missing: name the head's camera, as /dev/video0")
    eye = DeviceEye(device)
    try:
        yield eye
    finally:
        eye.close()
