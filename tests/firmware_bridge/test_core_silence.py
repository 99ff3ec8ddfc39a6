"""Silence of host and sensors, an empty battery, and what each of them ends, to the tick."""

from __future__ import annotations

import dataclasses

import pytest

from firmware_bridge.protocol import Ack, Fault, Mode, StateFlag

LOW_MV = 12_399


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


@pytest.mark.parametrize("offset_us", [0, 1, 999])
def test_a_quarter_of_a_second_of_silence_ramps(wire, offset_us):
    """Age is compared in microseconds: exactly 250 ms is not yet late."""
    wire.rolling()
    wire.to(wire.us + offset_us)
    quiet(wire)
    assert wire.run(250).wheels == [5000, 5000]
    assert not wire.state_now()["flags"] & StateFlag.HEARTBEAT_LATE
    assert wire.run(1).wheels == [5000 - 66] * 2
    assert wire.flags & StateFlag.HEARTBEAT_LATE
    assert wire.until(lambda: wire.wheels == [0, 0]) < 76


@pytest.mark.parametrize("offset_us", [0, 1, 999])
@pytest.mark.parametrize("mode", [Mode.IDLE, Mode.ACTIVE, Mode.BENCH])
def test_a_second_of_silence_disarms(wire, mode, offset_us):
    wire.armed(mode).run(10)
    wire.to(wire.us + offset_us)
    quiet(wire)
    wire.run(1000)
    assert wire.state_now()["mode"] == mode
    assert wire.latched == 0
    wire.run(1)
    assert wire.latched == (0 if mode is Mode.IDLE else Fault.HEARTBEAT)
    assert wire.fault["detail"] == 0
    assert wire.mode is Mode.SAFE


def test_silence_in_safe_latches_nothing(wire):
    quiet(wire.opened())
    wire.run(1200)
    assert wire.latched == 0
    assert wire.mode is Mode.SAFE
    assert wire.flags & StateFlag.HEARTBEAT_LATE


def test_a_heartbeat_of_another_session_is_none(wire):
    wire.rolling()
    quiet(wire)
    for _ in range(30):
        wire.run(10)
        wire.beat(session=wire.session ^ 1)
        if wire.wheels != [5000, 5000]:
            return
    pytest.fail("it never stopped")


def test_the_host_may_come_back_within_a_second(wire):
    wire.rolling()
    quiet(wire)
    wire.run(400)
    assert wire.wheels == [0, 0]
    wire.beating = True
    wire.run(300)
    assert wire.wheels == [5000, 5000]


def test_a_new_hello_forgives_the_silence_alone(wire):
    wire.rolling().commands = None
    quiet(wire)
    wire.run(1100)
    assert wire.latched == Fault.HEARTBEAT
    wire.hello(nonce=2)
    wire.run(2)
    assert wire.latched == 0
    wire.sync()
    wire.beat()
    assert wire.arm(Mode.ACTIVE) is Ack.OK
    wire.estop()
    wire.run(2).hello(nonce=3)
    wire.run(2)
    assert wire.latched == Fault.ESTOP


def test_a_new_hello_keeps_a_cut_that_another_latch_made(wire):
    wire.rolling().sensors["stop_input"] = 0
    wire.run(2).hello(nonce=9)
    wire.sensors["stop_input"] = 1
    wire.run(2)
    assert not wire.enabled
    assert wire.latched == Fault.STOP_INPUT


def test_sensors_gone_stop_then_cut(wire):
    wire.rolling()
    blind(wire)
    assert wire.run(50).wheels == [5000, 5000]
    assert not wire.state_now()["flags"] & StateFlag.SENSORS_STALE
    assert wire.run(1).wheels == [5000 - 66] * 2
    assert wire.active == Fault.SENSORS | Fault.IMU_GAP
    wire.run(449)
    assert wire.state_now()["flags"] & StateFlag.SENSORS_STALE
    assert wire.enabled
    assert wire.latched == 0
    wire.run(1)
    assert not wire.enabled
    assert wire.latched == Fault.SENSORS
    assert wire.fault["detail"] == 0
    assert wire.clear() is Ack.CAUSE_PRESENT
    wire.sensing = True
    wire.run(2)
    assert wire.clear() is Ack.OK


@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.IDLE])
def test_sensors_gone_latch_nothing_at_rest(wire, mode):
    wire.armed(mode)
    blind(wire)
    wire.run(1000)
    assert wire.latched == 0
    assert wire.active == Fault.SENSORS | Fault.IMU_GAP


def test_an_imu_gap_is_told_with_the_next_report(wire):
    wire.opened().run(400)
    blind(wire)
    wire.run(45).forget()
    assert wire.active == 0  # no news of its own
    wire.sensing = True
    wire.run(1000)
    assert wire.active == 0
    wire.run(-(wire.us // 1000) % 1000 + 322)
    blind(wire)
    wire.run(10)
    assert wire.us // 1000 % 1000 == 332
    wire.run(1)
    assert wire.active == Fault.IMU_GAP
    wire.sensing = True
    wire.run(1)
    wire.run(990)
    blind(wire)
    wire.run(8)
    assert wire.us // 1000 % 1000 == 332
    wire.run(1)
    assert wire.active == 0


@pytest.mark.parametrize(("age_ms", "gap"), [(9, 0), (10, 0), (11, Fault.IMU_GAP)])
def test_an_imu_gap_is_more_than_10_ms(wire, age_ms, gap):
    """Told with whatever else is news: here the bumper, in the same old sample."""
    wire.armed(Mode.IDLE).run(8)
    blind(wire)
    wire.run(age_ms - 1)
    wire.sensors["bumper"] = 1
    wire.plant.write_sensors()
    wire.run(1)
    assert wire.active == Fault.BUMPER | gap


def test_reading_sensors_at_all_comes_before_the_first_pose(wire):
    wire.sensing = False
    wire.sensors["position"][2] = 555
    wire.run(20)
    assert wire.targets[2] == 0
    wire.sense()
    assert wire.run(1).targets[2] == 555


@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.BENCH])
def test_brown_out_takes_20_ms_and_ramps(wire, mode):
    wire.rolling(2000, mode)
    wire.sensors["battery_mv"] = LOW_MV
    wire.sense()
    assert wire.run(19).wheels[0] == 2000
    assert wire.active == 0
    assert wire.run(1).wheels[0] == 2000 - 66
    assert wire.enabled
    assert wire.latched == wire.active == Fault.BROWN_OUT
    assert wire.fault["detail"] == LOW_MV
    wire.commands = None
    wire.run(31)
    assert wire.wheels == [0, 0]
    assert wire.clear() is Ack.CAUSE_PRESENT
    wire.sensors["battery_mv"] = LOW_MV + 1
    wire.run(2)
    assert wire.active == 0
    assert wire.latched == Fault.BROWN_OUT  # recovers under no load: that proves nothing
    assert wire.arm(mode) is Ack.LATCHED
    assert wire.clear() is Ack.OK


@pytest.mark.parametrize("mv", [LOW_MV + 1, 16_000, 0])
def test_enough_battery_or_a_gauge_not_read_yet(wire, mv):
    wire.rolling().sensors["battery_mv"] = mv
    wire.run(200)
    assert wire.latched == 0


def test_a_dip_of_19_ms_is_forgiven_as_often_as_it_comes(wire):
    wire.rolling()
    for _ in range(5):
        wire.sensors["battery_mv"] = LOW_MV
        wire.sense()
        wire.run(19)
        wire.sensors["battery_mv"] = 15_000
        wire.sense()
        wire.run(1)
    assert wire.latched == 0


def test_a_body_without_a_gauge_has_no_brown_out(make_wire, table):
    wire = make_wire(dataclasses.replace(table, brown_out_mv=0)).rolling()
    wire.sensors["battery_mv"] = 1
    wire.run(200)
    assert wire.latched == 0


@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.IDLE])
def test_brown_out_at_rest_refuses_to_arm(wire, mode):
    wire.armed(mode).sensors["battery_mv"] = LOW_MV
    wire.run(1000)
    assert wire.latched == 0
    assert wire.active == Fault.BROWN_OUT
    assert wire.arm(Mode.ACTIVE) is Ack.CAUSE_PRESENT
    assert wire.arm(Mode.BENCH) is Ack.CAUSE_PRESENT
    wire.sensors["battery_mv"] = 15_000
    wire.run(2)
    assert wire.arm(Mode.ACTIVE) is Ack.OK


def test_an_empty_battery_for_a_minute_overflows_nothing(wire):
    wire.armed(Mode.IDLE).sensors["battery_mv"] = LOW_MV
    wire.run(70_000)
    assert wire.active == Fault.BROWN_OUT
