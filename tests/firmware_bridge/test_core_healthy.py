"""What confirms an image on trial: a host, its clock, sensors, and a second since the boot."""

from __future__ import annotations

import pytest

from firmware_bridge.protocol import LedMode


def quiet(wire) -> int:
    """The last heartbeat is now."""
    wire.beat()
    wire.beating = False
    return wire.us


def blind(wire) -> int:
    """No IMU sample from now on; the last came with the last even millisecond."""
    assert wire.us % 2000 == 0
    wire.sensing = False
    return wire.us


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (lambda w: setattr(w, "beating", False), lambda w: w.beat()),
        (lambda w: setattr(w, "sensing", False), lambda w: (w.sense(), w.run(1))),
        (lambda w: w.hello(nonce=77), lambda w: (w.sync(), w.beat())),
    ],
)
def test_healthy_needs_host_clock_and_sensors(wire, break_it, mend_it):
    wire.opened().run(1500)
    assert wire.healthy
    break_it(wire)
    wire.run(252)
    assert not wire.healthy
    mend_it(wire)
    assert wire.healthy


def test_healthy_needs_a_second_since_boot(wire):
    wire.opened().run(998)
    assert wire.us == 1_000_000
    assert not wire.healthy
    wire.to(1_000_001)
    assert wire.healthy


def test_healthy_to_the_tick(wire):
    wire.opened().run(1498)
    blind(wire)
    assert wire.run(50).healthy
    assert not wire.run(1).healthy
    wire.sense()
    wire.run(1)
    quiet(wire)
    wire.sensing = True
    assert wire.run(250).healthy
    assert not wire.run(1).healthy


def test_healthy_needs_a_young_clock(wire):
    wire.opened().run(9_998)
    assert wire.healthy
    wire.sync()
    synced = wire.us
    wire.run(10_000)
    assert wire.us - synced == 10_000_000
    assert wire.healthy
    assert not wire.run(1).healthy


def test_nobody_there_is_not_healthy(wire):
    assert not wire.run(2000).healthy
    assert wire.out.led_mode == LedMode.DISARMED
