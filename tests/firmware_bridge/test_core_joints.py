"""Joints that do not do as they are told: each watch at its thresholds, to the sample."""

from __future__ import annotations

import dataclasses

import pytest

from firmware_bridge.protocol import Fault, Mode

CUT, ZERO = True, False
WATCHES = {  # what it latches, after how long, and whether the motors are cut
    "opposing": (Fault.OPPOSING, 16, CUT),
    "stalled": (Fault.STALLED, 12, CUT),
    "overcurrent": (Fault.OVERCURRENT, 20, CUT),
    "pushing": (Fault.CONTACT, 20, ZERO),
    "shoved": (Fault.CONTACT, 12, ZERO),
}


@pytest.fixture(params=[100, 200, 50])
def any_rate(request, table, make_wire):
    """Control at 100, 200 and 50 Hz: IMU samples 2, 1 and 4 ms apart."""
    hz = request.param
    return make_wire(dataclasses.replace(table, control_hz=hz, imu_hz=5 * hz))


def provoke(wire, name: str, joint: int = 0, sign: int = 1) -> None:
    """What a wheel that is told 5 rad/s then measures."""
    wire.ideal = False
    speed, current = {
        "opposing": (-2000, 0),
        "stalled": (0, 0),
        "overcurrent": (5000, -5001),
        "pushing": (5000, 3201),
        "shoved": (4099, 1201),
    }[name]
    wire.sensors["velocity_mrad_s"][joint] = sign * speed
    wire.sensors["current_ma"][joint] = sign * current


def sound(wire) -> None:
    wire.sensors["velocity_mrad_s"][:2] = wire.wheels
    wire.sensors["current_ma"][:] = 0


@pytest.mark.parametrize("name", WATCHES)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_watch_takes_its_time_exactly(any_rate, name, side, sign):
    wire = any_rate.rolling(sign * 5000)
    fault, time_ms, cut = WATCHES[name]
    provoke(wire, name, side, sign)
    wire.run(time_ms - 1)
    assert wire.wheels == [sign * 5000] * 2
    assert wire.latched == 0
    wire.run(1)
    assert wire.wheels == [0, 0]
    assert wire.enabled == (not cut)
    assert wire.out.brake
    assert wire.latched == fault
    assert wire.fault["code"] == fault.value.bit_length() - 1
    assert wire.fault["detail"] == side
    wire.commands = None
    assert wire.mode is Mode.SAFE


@pytest.mark.parametrize("name", WATCHES)
def test_one_good_sample_begins_the_count_anew(wire, name):
    wire.rolling(5000)
    for _ in range(4):
        provoke(wire, name)
        wire.run(WATCHES[name][1] - 2)
        sound(wire)
        wire.run(2)
    assert wire.latched == 0
    assert wire.wheels == [5000, 5000]


@pytest.mark.parametrize("name", WATCHES)
def test_samples_that_repeat_are_not_counted(wire, name):
    """A sensor source that stands still is another fault than a motor that does."""
    wire.rolling(5000)
    provoke(wire, name)
    wire.run(2).sensing = False
    wire.run(48)
    assert wire.wheels == [5000, 5000]
    assert wire.latched == 0


@pytest.mark.parametrize("name", WATCHES)
def test_nothing_is_watched_without_a_command(wire, name):
    wire.armed()
    provoke(wire, name)
    wire.run(200)
    assert wire.latched == 0
    wire.move({0: 0, 1: 0})
    wire.run(10)
    assert wire.latched == 0


@pytest.mark.parametrize("name", ["overcurrent", "pushing"])
def test_a_watch_begins_anew_with_each_command_after_a_stop(wire, name):
    wire.rolling(5000).commands = None
    wire.move({}, ttl_ms=20)
    wire.run(4)
    provoke(wire, name)
    wire.run(26)  # from the 20th millisecond on there is no command
    wire.move({0: 5000, 1: 5000}, ttl_ms=200)
    wire.run(19)
    assert wire.latched == 0
    assert wire.run(2).latched == WATCHES[name][0]


def test_a_wheel_that_has_not_moved_yet_may_take_longer(any_rate):
    """44 ms from where the command is more than a crawl, a tenth of top speed."""
    wire = any_rate.armed()
    wire.ideal = False
    wire.commands = {0: 5000}
    wire.move(wire.commands)
    wire.until(lambda: wire.wheels[0] > 900)
    late = wire.until(lambda: not wire.enabled)
    assert 44 - wire.sense_ms < late <= 44
    wire.commands = None
    assert wire.run(1).latched == Fault.STALLED


def test_a_wheel_that_moved_against_its_command_has_not_moved_yet(wire):
    wire.armed().ideal = False
    wire.sensors["velocity_mrad_s"][0] = 300
    wire.commands = {0: 950}
    wire.move(wire.commands)
    wire.until(lambda: wire.wheels[0] > 900)
    wire.sensors["velocity_mrad_s"][0] = -901
    wire.run(8)
    wire.sensors["velocity_mrad_s"][0] = 0
    wire.run(40)
    assert wire.latched == 0
    wire.run(10)
    assert wire.latched == Fault.STALLED


@pytest.mark.parametrize(("moved", "time_ms"), [(900, 44), (901, 12)])
def test_more_than_a_crawl_is_a_tenth_of_top_speed(wire, moved, time_ms):
    wire.armed().ideal = False
    wire.sensors["velocity_mrad_s"][0] = moved
    wire.commands = {0: 1500}
    wire.run(300)
    wire.sensors["velocity_mrad_s"][0] = 0
    assert wire.run(time_ms - 1).latched == 0
    assert wire.run(1).latched == Fault.STALLED


def test_a_crawl_forgets_that_the_wheel_has_moved(wire):
    wire.rolling(2000)
    wire.commands = {0: 900, 1: 900}
    wire.run(200)
    assert wire.wheels == [900, 900]
    wire.ideal = False
    wire.sensors["velocity_mrad_s"][:2] = (0, 1500)
    wire.commands = {0: 1500, 1: 1500}
    wire.until(lambda: wire.wheels[0] > 900)
    assert wire.run(40).latched == 0
    assert wire.run(4).latched == Fault.STALLED


@pytest.mark.parametrize(
    ("command", "measured", "fault"),
    [
        (5000, 112, 0), (5000, 111, Fault.STALLED), (5000, -111, Fault.STALLED),
        (5000, -112, 0), (5000, -450, 0), (5000, -451, Fault.OPPOSING), (-5000, 451, Fault.OPPOSING),
        (-5000, 450, 0), (5000, 451, 0), (-5000, -451, 0),
        (900, 0, 0), (901, 0, Fault.STALLED), (-901, 0, Fault.STALLED), (-900, 0, 0),
        (450, -5000, 0), (451, -5000, Fault.OPPOSING), (-450, 5000, 0), (-451, 5000, Fault.OPPOSING),
    ],
)  # fmt: skip
def test_thresholds_of_motion(wire, command, measured, fault):
    """A tenth of top speed counts as driven, a twentieth as opposing, an eightieth as standing."""
    wire.rolling(command)
    wire.ideal = False
    wire.sensors["velocity_mrad_s"][1] = measured
    wire.run(60)
    assert wire.latched == fault


@pytest.mark.parametrize(
    ("joint", "current", "fault"),
    [(0, 3200, 0), (0, 3201, Fault.CONTACT), (1, -3201, Fault.CONTACT), (1, -3200, 0),
     (2, 2500, 0), (2, 2501, Fault.OVERCURRENT), (5, -625, 0), (5, -626, Fault.OVERCURRENT),
     (2, 1900, 0)],
)  # fmt: skip
def test_thresholds_of_current(wire, joint, current, fault):
    wire.rolling(5000)
    wire.sensors["current_ma"][joint] = current
    wire.run(60)
    assert wire.latched == fault
    assert wire.fault["detail"] == (joint if fault else 0)


def test_a_coarse_scale_has_the_same_thresholds_in_rad_s(make_wire, table):
    joints = [dataclasses.replace(j, scale=0.01) for j in table.joints[:2]]
    coarse = dataclasses.replace(table, joints=(*joints, *table.joints[2:]))
    for measured, fault in ((-450, 0), (-451, Fault.OPPOSING), (111, Fault.STALLED), (112, 0)):
        wire = make_wire(coarse).rolling(91)
        wire.ideal = False
        wire.sensors["velocity_mrad_s"][0] = measured
        wire.run(60)
        assert wire.latched == fault


@pytest.mark.parametrize(
    ("command", "measured", "fault"),
    [(900, 0, 0), (901, 0, Fault.STALLED), (2000, -449, 0), (2000, -450, Fault.OPPOSING)],
)
def test_a_scale_that_is_no_round_number_rounds_down(make_wire, table, command, measured, fault):
    """9000 counts are 8.999 rad/s here: a tenth is 899, a twentieth 449 mrad/s."""
    joints = [dataclasses.replace(j, scale=0.000999999) for j in table.joints[:2]]
    odd = dataclasses.replace(table, joints=(*joints, *table.joints[2:]))
    wire = make_wire(odd).rolling(command)
    wire.ideal = False
    wire.sensors["velocity_mrad_s"][0] = measured
    wire.run(60)
    assert wire.latched == fault
