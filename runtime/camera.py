"""Camera sources: the twin's channel, a V4L2 or GStreamer device, a recorded video.

`read(now_ns)` returns the newest frame not yet seen, or None; it never blocks for long.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runtime import clock
from runtime.channels import Reader
from runtime.errors import ConfigError

Pixels = npt.NDArray[np.uint8]
AGAIN_NS = 1_000_000_000
OLDEST_NS = 500_000_000  # an older stamp is of another clock, as the time since the stream's start


@dataclass(frozen=True, slots=True)
class CameraFrame:
    """One device frame: RGB (H,W,3), its stamp on the host clock.

    The twin's stamp is the middle of the exposure; a device's is as its driver gives it, and what
    lies between the two is what the calibration `cam-imu` finds.
    """

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


class DeviceCamera:
    """A V4L2 device (number or /dev path) or a GStreamer pipeline, through OpenCV.

    One that gives no frames, as when it is unplugged, is opened `again` once a second, in a thread:
    a driver may take its time.
    """

    has_body = True

    def __init__(self, device: str, fps: int = 0, again: bool = True) -> None:
        self._device, self._fps, self._again = device, fps, again
        self._silent_ns = 0  # since when, or since it was last tried again
        self._opening: threading.Thread | None = None
        self.ended = False
        self._capture = self._open()
        self.width, self.height = self._size(self._capture)

    def _open(self) -> Any:
        cv2, device = import_cv2(), self._device
        source: int | str = int(device) if device.isdigit() else device
        if isinstance(source, str) and source.startswith("/dev/") and not Path(source).exists():
            found = sorted(str(p) for p in Path("/dev").glob("video*"))
            raise ConfigError(
                f"no camera {device}: found {', '.join(found) or 'no /dev/video* device'}; "
                "plug it in, or use --camera twin"
            )
        api = cv2.CAP_GSTREAMER if isinstance(source, str) and "!" in source else cv2.CAP_ANY
        capture = cv2.VideoCapture(source, api)
        if not capture.isOpened():
            raise ConfigError(
                f"camera {device} does not open; check the cable and that no other program uses it"
            )
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._fps:  # where it can: 30 a second, read at 20, come 33 and 67 ms apart
            capture.set(cv2.CAP_PROP_FPS, self._fps)
        return capture

    @staticmethod
    def _size(capture: Any) -> tuple[int, int]:
        cv2 = import_cv2()
        width, height = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))  # fmt: skip
        return int(width), int(height)

    def read(self, now_ns: int) -> CameraFrame | None:
        """Blocks up to one frame time, in the perception process only."""
        if self._opening is not None and self._opening.is_alive():
            return None
        found, image = self._capture.read()
        if not found:
            self._try_again(now_ns)
            return None
        self._silent_ns = 0
        driver_ms = float(self._capture.get(import_cv2().CAP_PROP_POS_MSEC))
        return CameraFrame(stamp_ns(driver_ms, clock.now_ns()), image[:, :, ::-1])

    def _try_again(self, now_ns: int) -> None:
        self._silent_ns = self._silent_ns or now_ns
        if not self._again or now_ns - self._silent_ns < AGAIN_NS:
            return
        self._silent_ns = now_ns
        self._opening = threading.Thread(target=self._reopen, daemon=True)
        self._opening.start()

    def _reopen(self) -> None:
        self._capture.release()
        with contextlib.suppress(ConfigError):  # not back yet
            capture = self._open()
            if self._size(capture) == (self.width, self.height):
                self._capture = capture
            else:  # another camera: what is calibrated is not it
                capture.release()

    def close(self) -> None:
        """Free the device."""
        self._capture.release()


def stamp_ns(driver_ms: float, arrived_ns: int) -> int:
    """A frame's own stamp where the driver gives one on the host's clock (V4L2), or when it arrived.

    The arrival jitters by what else the process did; a driver's stamp does not.
    """
    own_ns = round(driver_ms * 1e6) if np.isfinite(driver_ms) else 0
    return own_ns if 0 <= arrived_ns - own_ns < OLDEST_NS else arrived_ns
