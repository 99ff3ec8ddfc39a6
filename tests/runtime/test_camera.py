"""A device's frames: how many it is asked for, and whose clock their stamps are of."""

from types import SimpleNamespace

import pytest

from runtime import camera
from runtime.camera import DeviceCamera, stamp_ns

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
