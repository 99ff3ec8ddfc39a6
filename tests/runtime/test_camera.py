"""A device's frames: how many it is asked for, and whose clock their stamps are of."""

from types import SimpleNamespace

import numpy as np
import pytest

from runtime import camera
from runtime.camera import CameraFrame, DeviceCamera, stamp_ns

NOW = 5_000_000_000_000


@pytest.mark.parametrize(
    ("driver_ms", "stamp"),
    [
        (NOW / 1e6 - 12.0, NOW - 12_000_000),  # V4L2: when the frame began
        (NOW / 1e6 + 3.0, NOW),  # the future
        (1234.5, NOW),  # since the stream's start
        (0.0, NOW),
        (-1.0, NOW),  # no such property
        (float("nan"), NOW),
    ],
)
def test_a_driver_stamp_counts_where_it_is_of_the_hosts_clock(driver_ms, stamp) -> None:
    assert stamp_ns(driver_ms, NOW) == stamp


@pytest.mark.parametrize(("fps", "asked"), [(20, {"buffer": 1, "fps": 20}), (0, {"buffer": 1})])
def test_a_device_is_asked_for_the_loops_frame_rate(monkeypatch, fps: int, asked) -> None:
    told: dict[str, float] = {}
    device = SimpleNamespace(isOpened=lambda: True, set=told.__setitem__, get=lambda _what: 0.0)
    cv2 = SimpleNamespace(
        VideoCapture=lambda _source, _api: device, CAP_GSTREAMER=0, CAP_ANY=1,
        CAP_PROP_BUFFERSIZE="buffer", CAP_PROP_FPS="fps", CAP_PROP_FRAME_WIDTH="width",
        CAP_PROP_FRAME_HEIGHT="height",
    )  # fmt: skip
    monkeypatch.setattr(camera, "import_cv2", lambda: cv2)
    DeviceCamera("0", fps)
    assert told == asked


def test_a_device_that_was_unplugged_is_opened_anew(monkeypatch) -> None:
    opened: list[int] = []
    plugged, size = True, 640.0

    class Device:
        def __init__(self, _source, _api) -> None:
            opened.append(len(opened))
            self.works = plugged

        def isOpened(self) -> bool:
            return self.works

        def read(self):
            return (
                (True, np.zeros((2, 2, 3), np.uint8)) if self.works and plugged else (False, None)
            )

        def set(self, _what, _value) -> None: ...
        def release(self) -> None:
            self.works = False

        def get(self, what) -> float:
            return size if what in (2, 3) else 0.0

    cv2 = SimpleNamespace(
        VideoCapture=Device, CAP_GSTREAMER=0, CAP_ANY=1, CAP_PROP_BUFFERSIZE=0, CAP_PROP_FPS=1,
        CAP_PROP_FRAME_WIDTH=2, CAP_PROP_FRAME_HEIGHT=3, CAP_PROP_POS_MSEC=4,
    )  # fmt: skip
    monkeypatch.setattr(camera, "import_cv2", lambda: cv2)
    device = DeviceCamera("0")
    assert device.read(NOW) is not None
    plugged = False
    assert all(read(device, k) is None for k in range(100))
    assert 4 <= len(opened) - 1 <= 5, "once a second"
    size, plugged = 1280.0, True
    assert all(read(device, k) is None for k in range(100, 150)), "another camera is not it"
    size = 640.0
    assert any(read(device, k) is not None for k in range(150, 175))


def read(device: DeviceCamera, k: int) -> CameraFrame | None:
    """At the k-th frame's time, with the thread that opens it done."""
    found = device.read(NOW + k * 50_000_000)
    if device._opening is not None:
        device._opening.join()
    return found
