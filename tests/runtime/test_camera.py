"""When a device's frame was taken."""

import pytest

from runtime.camera import stamped

NOW = 5_000_000_000_000  # the monotonic clock, after an hour and a half


@pytest.mark.parametrize(
    ("kernel_ms", "stamp_ns"),
    [
        (NOW / 1e6 - 31.25, NOW - 31_250_000),  # V4L2: the buffer's own time
        (1234.0, NOW),  # counted from the stream's start
        (0.0, NOW),  # a back end that knows none
        (NOW / 1e6 + 4.0, NOW),  # in the future: another clock
        (-1.0, NOW),
    ],
)
def test_a_frame_has_the_kernels_time_where_it_can_be_that(kernel_ms, stamp_ns) -> None:
    assert stamped(kernel_ms, NOW) == pytest.approx(stamp_ns, abs=1000)
