"""The only module that reads a clock. Everything else gets `now_ns` handed in."""

from __future__ import annotations

import time


def now_ns() -> int:
    """Monotonic host time [ns]: control, stamps, freshness."""
    return time.monotonic_ns()


def wall_ns() -> int:
    """Wall-clock time [ns since 1970]: one offset per log, dates of records."""
    return time.time_ns()


def now_us() -> float:
    """Monotonic time [us] for self-tests and timings."""
    return time.perf_counter_ns() / 1e3


def no_time_us() -> float:
    """The stopwatch of lockstep: wall timings are not part of a deterministic run."""
    return 0.0


def sleep_until(deadline_ns: int) -> None:
    """Sleep to an absolute monotonic time; returns at once when it has passed."""
    left = deadline_ns - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)
