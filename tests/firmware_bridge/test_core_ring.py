"""The LED ring tells the truth: in every mode, for every latch, and with the host dead."""

from __future__ import annotations

import pytest

from firmware_bridge.protocol import Ack, Fault, LedMode, Mode

COLOUR = {
    LedMode.DISARMED: [24, 24, 24],
    LedMode.ARMED: [0, 40, 160],
    LedMode.MOVING: [0, 160, 40],
    LedMode.STOPPED: [200, 0, 0],
    LedMode.FAULT: [220, 90, 0],
}


def ring(wire) -> LedMode:
    shown = LedMode(wire.out.led_mode)
    dark = wire.out.led_rgb.tolist() == [0, 0, 0]
    assert dark or wire.out.led_rgb.tolist() == COLOUR[shown]
    assert not dark or shown is LedMode.FAULT
    return shown


def test_ring_in_every_mode(wire):
    wire.run(2)
    assert ring(wire) is LedMode.DISARMED
    wire.opened().arm(Mode.IDLE)
    assert ring(wire.run(1)) is LedMode.DISARMED
    for mode in (Mode.ACTIVE, Mode.BENCH):
        wire.armed(mode)
        assert ring(wire.run(1)) is LedMode.ARMED
        wire.move({2: 500})
        assert ring(wire.run(10)) is LedMode.MOVING  # the head moves too
        wire.move({2: 500}, ttl_ms=200)
        wire.until(lambda: ring(wire) is LedMode.ARMED)
        assert wire.arm(Mode.IDLE) is Ack.OK


def test_ring_shows_a_stop_ramp_as_motion(wire):
    wire.rolling(5000).commands = None
    wire.arm(Mode.SAFE)
    assert ring(wire.run(75)) is LedMode.MOVING
    assert wire.wheels == [5000 - 75 * 66] * 2
    assert ring(wire.run(1)) is LedMode.DISARMED
    assert wire.wheels == [0, 0]


@pytest.mark.parametrize("name", ["stop_input", "estop"])
def test_ring_is_red_for_a_stop(wire, name):
    wire.rolling()
    if name == "estop":
        wire.estop()
    else:
        wire.sensors["stop_input"] = 0
        wire.sense()
    for _ in range(1000):
        assert ring(wire.run(1)) is LedMode.STOPPED


@pytest.mark.parametrize("fault", [Fault.BUMPER, Fault.CLIFF, Fault.LIFT])
def test_ring_blinks_at_2_hz_for_a_fault(wire, fault):
    wire.rolling()
    name, bits = (
        ("bumper", 1) if fault is Fault.BUMPER else ("cliff", 3 if fault is Fault.LIFT else 1)
    )
    wire.sensors[name] = bits
    wire.run(2)
    for _ in range(1500):
        assert ring(wire.run(1)) is LedMode.FAULT
        dark = not wire.out.led_rgb.any()
        assert dark == bool(wire.mcu_us // 250_000 % 2)


def test_ring_of_a_stop_beside_a_fault_is_red(wire):
    wire.rolling().sensors["bumper"] = 1
    wire.run(2)
    assert ring(wire) is LedMode.FAULT
    wire.estop()
    assert ring(wire.run(1)) is LedMode.STOPPED


def test_ring_of_a_frozen_host_goes_from_moving_to_armed_to_fault(wire):
    """Nothing but time passes: the command ends, the wheels stand, after a second it is latched."""
    wire.rolling(9000).commands = None
    wire.beating = False
    shown = []
    for _ in range(1500):
        wire.run(1)
        moves = bool(wire.targets[:2].any())
        led = ring(wire)
        assert led is not LedMode.MOVING or moves
        assert not moves or led is LedMode.MOVING
        if not shown or shown[-1] is not led:
            shown.append(led)
    assert shown == [LedMode.MOVING, LedMode.ARMED, LedMode.FAULT]


@pytest.mark.parametrize(
    ("mode", "shown"),
    [(Mode.SAFE, LedMode.DISARMED), (Mode.IDLE, LedMode.DISARMED), (Mode.ACTIVE, LedMode.FAULT),
     (Mode.BENCH, LedMode.FAULT)],
)  # fmt: skip
def test_ring_after_the_host_died_in_each_mode(wire, mode, shown):
    wire.armed(mode).beating = False
    wire.run(1100)
    assert ring(wire) is shown


@pytest.mark.parametrize("name", ["estop", "bumper"])
def test_ring_keeps_telling_what_was_latched_when_the_host_died(wire, name):
    wire.rolling().commands = None
    if name == "estop":
        wire.estop()
    else:
        wire.sensors["bumper"] = 1
    wire.beating = False
    wire.run(2)
    for _ in range(2000):
        assert ring(wire.run(1)) is (LedMode.STOPPED if name == "estop" else LedMode.FAULT)


def test_ring_of_a_core_whose_sensors_died_too(wire):
    wire.rolling().commands = None
    wire.beating = wire.sensing = False
    wire.run(600)
    assert ring(wire) is LedMode.FAULT
    assert not wire.enabled
