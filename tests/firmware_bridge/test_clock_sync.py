"""The clock estimate under jitter, late reads, skew and a restart."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.clock_sync import SETTLED, ClockSync

START_US = 2**32 - 20_000_000


def simulate(skew_ppm: float, seconds: int, poll_ns: int = 10_000_000, seed: int = 1) -> tuple:
    """1 Hz exchanges; each way takes 60-300 us with tails of 5 ms; answers are read by polling."""
    rng = np.random.default_rng(seed)
    clock = ClockSync()

    def mcu_us(t_ns: float) -> float:
        return START_US + t_ns * (1 + skew_ppm * 1e-6) / 1000

    def delay() -> float:
        return 60_000 + rng.exponential(60_000) + (5e6 if rng.random() < 0.05 else 0)

    errors = []
    t = 0
    for count in range(SETTLED + seconds):
        t += 50_000_000 if count < SETTLED else 983_000_000
        received = mcu_us(t + delay())
        read = t + 2 * delay() + rng.uniform(0, poll_ns)
        best = int(received) * 1000 - read
        for _ in range(5 if count < SETTLED else 98):  # STATE frames, read when they come
            best = max(best, -delay() + mcu_us(t) * 1000 - t)
        clock.add(t, int(received), int(best))
        errors.append(clock.mcu_us(t + 500_000_000) - mcu_us(t + 500_000_000))
    return clock, np.array(errors)


@pytest.mark.parametrize("skew_ppm", [0.0, 40.0, -150.0])
def test_settles_and_follows_skew(skew_ppm):
    clock, errors = simulate(skew_ppm, 60)
    assert np.abs(errors[SETTLED + 15 :]).max() < 150
    assert abs(clock.skew_ppb / 1000 - skew_ppm) < 20


def test_late_reads_do_not_shift_the_estimate():
    _, prompt = simulate(0.0, 30, poll_ns=1)
    _, polled = simulate(0.0, 30, poll_ns=20_000_000)
    assert abs(np.median(prompt) - np.median(polled)) < 60


def test_exact_in_lockstep():
    clock = ClockSync()
    for count in range(40):
        t = count * 50_000_000
        clock.add(t, START_US + t // 1000, START_US * 1000)
    assert clock.skew_ppb == 0
    assert clock.rtt_ns == 0
    assert clock.mcu_us(10**10) == START_US + 10**7


def test_validity():
    clock = ClockSync()
    for count in range(SETTLED):
        assert not clock.valid(count)
        clock.add(count, START_US, START_US * 1000)
    assert clock.valid(SETTLED)
    assert not clock.valid(SETTLED + 11 * 10**9)
    clock.reset()
    assert not clock.valid(SETTLED)
