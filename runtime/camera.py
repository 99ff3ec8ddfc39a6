"""Camera sources: the twin's channel, a V4L2 or GStreamer device, a recorded video.

`read(now_ns)` returns the newest frame not yet seen, or None; it never blocks for long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runtime.channels import Reader
from runtime.errors import ConfigError

Pixels = npt.NDArray[np.uint8]
STAMP_OLD_NS = 1_000_000_000  # a kernel's stamp is no older


@dataclass(frozen=True, slots=True)
class CameraFrame:
    """One device frame: RGB (H,W,3), mid-exposure time on the host clock."""

    t_ns: int
    pixels: Pixels


class Camera(Protocol):
    """What perception reads."""

    ended: bool
    has_body: bool  # False: a recording without wheels or IMU behind it

    def read(self, now_ns: int) -> CameraFrame | None:
        """The newest unseen frame."""

    def close(self) -> None:
        """Free the device."""


class ChannelCamera:
    """Frames that another process renders into a channel (the twin)."""

    has_body = True

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.ended = False

    def read(self, now_ns: int) -> CameraFrame | None:
        """See `Camera`."""
        if not self._reader.latest():
            return None
        record = self._reader.record
        return CameraFrame(int(record["t_ns"]), record["pixels"])

    def close(self) -> None:
        """Nothing to free."""


def import_cv2() -> Any:
    """OpenCV, or a ConfigError that says how to get it."""
    for name, quiet in (("OPENCV_LOG_LEVEL", "ERROR"), ("OPENCV_FFMPEG_LOGLEVEL", "-8")):
        os.environ.setdefault(name, quiet)  # what it finds wrong, our one sentence says
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "reading this camera needs OpenCV, which is not installed; pip install "
            "opencv-python-headless (on a Jetson use the system's python3-opencv)"
        ) from error
    return cv2


class VideoCamera:
    """A recorded video, paced by its own frame times; its end is an event, not an error."""

    has_body = False

    def __init__(self, path: Path, realtime: bool = True) -> None:
        cv2 = import_cv2()
        if not path.is_file():
            raise ConfigError(f"no video {path}; give --camera twin, a device or a video file")
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise ConfigError(f"{path} is no video that OpenCV can read; convert it to mp4 (H.264)")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 30.0
        self._to_rgb: Callable[[Pixels], Pixels] = lambda image: image[:, :, ::-1]
        self._period_ns = round(1e9 / fps)
        self._start_ns: int | None = None
        self._number = -1
        self.ended = False
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def read(self, now_ns: int) -> CameraFrame | None:
        """The frame whose time has come; frames in between are skipped, as a live camera would."""
        if self.ended:
            return None
        if self._start_ns is None:
            self._start_ns = now_ns
        due = (now_ns - self._start_ns) // self._period_ns
        if due <= self._number:
            return None
        while self._number < due:
            if not self._capture.grab():
                self.ended = True
                return None
            self._number += 1
        found, image = self._capture.retrieve()
        if not found:
            self.ended = True
            return None
        return CameraFrame(self._start_ns + self._number * self._period_ns, self._to_rgb(image))

    def close(self) -> None:
        """Free the decoder."""
        self._capture.release()


def stamped(kernel_ms: float, arrived_ns: int) -> int:
    """When a device's frame was taken [ns]: what the kernel says, where it can be that; else its arrival.

    V4L2 stamps a buffer by the monotonic clock, and OpenCV hands that on as the position [ms]; other
    back ends count from the stream's start. What is left to mid exposure, `calibrate latency` finds.
    """
    kernel_ns = round(kernel_ms * 1e6)
    return kernel_ns if 0 <= arrived_ns - kernel_ns < STAMP_OLD_NS else arrived_ns


class DeviceCamera:
    """A V4L2 device (number or /dev path) or a GStreamer pipeline, through OpenCV."""

    has_body = True

    def __init__(self, device: str) -> None:
        cv2 = self._cv2 = import_cv2()
        source: int | str = int(device) if device.isdigit() else device
        if isinstance(source, str) and source.startswith("/dev/") and not Path(source).exists():
            found = sorted(str(p) for p in Path("/dev").glob("video*"))
            raise ConfigError(
                f"no camera {device}: found {', '.join(found) or 'no /dev/video* device'}; "
                "plug it in, or use --camera twin"
            )
        api = cv2.CAP_GSTREAMER if isinstance(source, str) and "!" in source else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(source, api)
        if not self._capture.isOpened():
            raise ConfigError(
                f"camera {device} does not open; check the cable and that no other program uses it"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.ended = False
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def read(self, now_ns: int) -> CameraFrame | None:
        """Blocks up to one frame time, in the perception process only."""
        began_ns = time.monotonic_ns()
        if not self._capture.grab():
            return None
        arrived_ns = now_ns + time.monotonic_ns() - began_ns
        stamp_ns = stamped(float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)), arrived_ns)
        found, image = self._capture.retrieve()
        return CameraFrame(stamp_ns, image[:, :, ::-1]) if found else None

    def close(self) -> None:
        """Free the device."""
        self._capture.release()
