"""What stops the motors by itself: every cause, to the tick, at every rate a body may have."""

from __future__ import annotations

import dataclasses

import pytest

from firmware_bridge.protocol import Ack, Fault, Mode, StateFlag

RAMP, ZERO, CUT = "ramp", "zero", "cut"


@pytest.fixture(params=[100, 200, 50])
def any_rate(request, table, make_wire):
    """Control at 100, 200 and 50 Hz: IMU samples 2, 1 and 4 ms apart."""
    hz = request.param
    return make_wire(dataclasses.replace(table, control_hz=hz, imu_hz=5 * hz))


def stopped_how(wire) -> str:
    """After the very tick that latched: how the wheels stop."""
    if not wire.enabled:
        assert wire.wheels == [0, 0]
        return CUT
    return ZERO if wire.wheels == [0, 0] else RAMP


def check_latched(wire, fault, how, detail=0) -> None:
    assert stopped_how(wire) == how
    wire.commands = None
    assert wire.latched == fault
    assert wire.fault["code"] == fault.value.bit_length() - 1
    assert wire.fault["detail"] == detail
    assert wire.fault["first_t_us"] == wire.mcu_us & 0xFFFFFFFF
    assert wire.mode is Mode.SAFE
    assert wire.arm(Mode.ACTIVE) is Ack.LATCHED
    wire.move({0: 5000})
    assert wire.refused is Ack.LATCHED


@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.IDLE, Mode.ACTIVE])
def test_stop_input_latches_in_any_mode(wire, mode):
    if mode is Mode.ACTIVE:
        wire.rolling()
    else:
        wire.armed(mode).run(10)
    wire.sensors["stop_input"] = 0
    wire.sense()
    wire.run(1)
    check_latched(wire, Fault.STOP_INPUT, CUT)
    assert wire.active == Fault.STOP_INPUT
    assert wire.clear() is Ack.CAUSE_PRESENT
    wire.sensors["stop_input"] = 1
    wire.run(2)
    assert wire.active == 0
    assert wire.clear() is Ack.OK


def test_a_stop_input_that_was_never_read_is_not_open(wire):
    wire.run(1)
    wire.hello()
    wire.run(1000)
    assert wire.latched == 0


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [("bumper", 1, Fault.BUMPER), ("bumper", 0x80, Fault.BUMPER), ("cliff", 1, Fault.CLIFF),
     ("cliff", 2, Fault.CLIFF), ("cliff", 3, Fault.LIFT)],
)  # fmt: skip
def test_bumper_cliff_and_lift(wire, name, value, fault):
    wire.rolling()
    wire.sensors[name] = value
    wire.sense()
    wire.run(1)
    check_latched(wire, fault, ZERO, value)
    assert wire.active == fault
    assert wire.clear() is Ack.CAUSE_PRESENT
    wire.sensors[name] = 0
    wire.run(300)
    assert not wire.enabled  # braked, then off
    assert wire.active == 0
    assert wire.clear() is Ack.OK
    assert wire.run(1).latched == 0


@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.IDLE])
@pytest.mark.parametrize(("name", "value"), [("bumper", 1), ("cliff", 1), ("cliff", 3)])
def test_they_latch_nothing_that_does_not_drive(wire, mode, name, value):
    wire.armed(mode).sensors[name] = value
    wire.run(10)
    assert wire.latched == 0
    assert wire.active != 0


@pytest.mark.parametrize(
    ("cliffs", "bits", "fault"),
    [(0, 0xFF, 0), (1, 1, Fault.CLIFF), (1, 2, 0), (2, 4, 0), (2, 7, Fault.LIFT),
     (4, 3, Fault.CLIFF), (4, 15, Fault.LIFT), (8, 0x7F, Fault.CLIFF), (8, 0xFF, Fault.LIFT)],
)  # fmt: skip
def test_lift_is_every_sensor_and_more_than_one(make_wire, table, cliffs, bits, fault):
    wire = make_wire(dataclasses.replace(table, cliffs=cliffs)).rolling()
    wire.sensors["cliff"] = bits
    wire.run(4)
    assert wire.latched == fault


def test_all_that_is_wrong_is_told_at_once(wire):
    wire.armed(Mode.IDLE)
    s = wire.sensors
    s["bumper"], s["cliff"], s["stop_input"], s["battery_mv"] = 1, 2, 0, 12_000
    wire.sense()
    wire.sensing = False
    wire.run(60)
    every = Fault.STOP_INPUT | Fault.BUMPER | Fault.CLIFF | Fault.BROWN_OUT | Fault.SENSORS
    assert wire.active & ~Fault.IMU_GAP == every
    assert wire.latched == Fault.STOP_INPUT


def test_lift_after_cliff_is_a_second_latch_and_no_new_first(wire):
    wire.rolling().sensors["cliff"] = 1
    wire.run(2)
    first = wire.fault
    wire.sensors["cliff"] = 3
    wire.run(10)
    assert wire.fault["first_t_us"] == first["first_t_us"]
    assert wire.latched == Fault.CLIFF  # at rest nothing more is latched
    assert wire.active == Fault.LIFT


def test_more_than_one_latch_keeps_the_first_and_the_hardest_stop(wire):
    wire.rolling().estop(reason=2)
    wire.run(1)
    assert wire.wheels == [5000 - 66] * 2
    wire.sensors["stop_input"] = 0
    wire.run(2)
    assert not wire.enabled
    assert wire.latched == Fault.ESTOP | Fault.STOP_INPUT
    assert (wire.fault["code"], wire.fault["detail"]) == (0, 2)
    wire.sensors["stop_input"] = 1
    wire.run(2).estop(reason=1)
    wire.run(2)
    assert wire.fault["detail"] == 2


@pytest.mark.parametrize("name", ["bumper", "stop_input"])
def test_the_head_ramps_at_a_brake_and_freezes_at_a_cut(wire, name):
    wire.armed().commands = {2: 20_000}
    wire.run(300)
    before = int(wire.targets[2])
    step = int(wire.run(1).targets[2]) - before
    assert step > 20  # near its top speed of 30 counts a millisecond
    wire.sensors[name] = int(name == "bumper")
    wire.sense()
    wire.commands = None
    moved = []
    for _ in range(120):
        here = int(wire.targets[2])
        moved.append(int(wire.run(1).targets[2]) - here)
    if name == "bumper":
        assert step - 3 < moved[0] <= step
        assert 60 < len([m for m in moved if m]) < 80  # 3 rad/s at 40 rad/s2
    else:
        assert not any(moved)
    assert not wire.flags & StateFlag.MOVING


def test_a_stop_that_is_latched_again_stays_as_hard_as_it_was(wire):
    wire.rolling().sensors["bumper"] = 1
    wire.run(2)
    wire.estop()
    assert wire.run(1).wheels == [0, 0]
    assert wire.enabled
