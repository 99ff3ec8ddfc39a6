"""A device's frames: whose clock their stamps are of."""

import pytest

from runtime.camera import stamp_ns

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
