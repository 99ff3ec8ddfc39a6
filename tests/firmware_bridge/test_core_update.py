"""An update on the same port: what falls silent for it, and what an image on trial may not do."""

from __future__ import annotations

import pytest
from oracle import encode

from firmware_bridge import protocol
from firmware_bridge.protocol import Ack, Fault, Mode, StateFlag

ECHO = encode(b"\x0a\x00\x00\x00\x00\x00\x01\x00")


def said(wire) -> bool:
    """Whether anything was said since the last look."""
    wire.bytes_in += wire.firmware.transmit()
    spoke = bool(wire.bytes_in)
    wire.bytes_in.clear()
    return spoke


@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.BENCH])
def test_on_trial_nothing_is_armed(wire, mode):
    wire.identify(trial=1).opened()
    assert wire.flags & StateFlag.TRIAL
    assert wire.arm(mode) is Ack.ON_TRIAL
    assert wire.mode is Mode.SAFE and not wire.enabled
    assert wire.arm(Mode.IDLE) is Ack.OK
    wire.identify(trial=0)
    assert wire.arm(mode) is Ack.OK and wire.mode is mode
    assert not wire.flags & StateFlag.TRIAL


@pytest.mark.parametrize(("late_us", "told_ms"), [(0, 1000), (1, 1010)])
def test_an_update_frame_silences_telemetry_for_a_second(wire, late_us, told_ms):
    """To the microsecond: the report that is due exactly a second later is made."""
    wire.plug_port().opened()
    wire.run(50 - wire.us // 1000 % 10)
    assert wire.us % 10_000 == 0
    start_us = wire.us
    wire.to(start_us + late_us)
    wire.give(ECHO)
    said(wire)
    wire.run(told_ms - 1)
    assert not said(wire)
    wire.run(1)
    assert said(wire) and wire.us == start_us + 1000 * told_ms


def test_each_update_frame_begins_the_second_anew_and_a_hello_ends_it(wire):
    wire.plug_port().opened().run(50)
    for _ in range(3):
        wire.give(ECHO)
        said(wire)
        wire.run(900)
        assert not said(wire)
    wire.hello()
    said(wire)  # the answer itself
    wire.run(11)
    assert said(wire)


def test_without_a_port_for_them_update_frames_silence_nothing(wire):
    wire.unplug_port().opened().run(50)
    wire.give(ECHO)
    said(wire)
    wire.run(11)
    assert said(wire)


def test_three_seconds_without_a_host_end_telemetry(wire):
    wire.opened().run(50)
    wire.beat()
    wire.beating = False
    wire.run(2990)
    said(wire)
    wire.run(20)
    said(wire)
    wire.run(100)
    assert not said(wire)
    wire.beat()
    wire.run(11)
    assert said(wire)  # the session still stands


@pytest.mark.parametrize(("nonce", "boot_id"), [(0x55, 0x55), (0, 1), (1, 1)])
def test_a_boot_without_a_number_takes_the_first_nonce_and_never_zero(wire, nonce, boot_id):
    wire.identify(boot_id=0)
    assert wire.hello(nonce=nonce)["boot_id"] == boot_id
    assert wire.hello(nonce=0x77)["boot_id"] == boot_id


def test_a_cause_that_stands_keeps_its_own_latch_and_no_other(wire):
    """On a stand no floor is seen: that keeps ARM from ACTIVE, not an operator from clearing a stop."""
    wire.opened()
    wire.sensors["cliff"] = 3
    wire.run(5)
    assert wire.active == Fault.LIFT and wire.latched == 0
    wire.send(protocol.ESTOP, 0)
    wire.run(2)
    assert wire.latched == Fault.ESTOP
    assert wire.clear() is Ack.OK
    assert wire.run(2).latched == 0
    assert wire.arm(Mode.ACTIVE) is Ack.CAUSE_PRESENT
    assert wire.arm(Mode.BENCH) is Ack.OK
