"""What stops the motors by itself: every cause, to the tick, at every rate a body may have."""

from __future__ import annotations

import dataclasses

import pytest

from firmware_bridge.protocol import Ack, Fault, Mode, Param

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


def test_a_stop_that_is_latched_again_stays_as_hard_as_it_was(wire):
    wire.rolling().sensors["bumper"] = 1
    wire.run(2)
    wire.estop()
    assert wire.run(1).wheels == [0, 0]
    assert wire.enabled


@pytest.mark.parametrize(
    ("name", "time_ms", "how"),
    [("opposing", 40, CUT), ("stalled", 44, CUT), ("overcurrent", 20, CUT), ("contact", 44, ZERO)],
)
@pytest.mark.parametrize("side", [0, 1])
def test_joint_watches_take_their_time_exactly(any_rate, name, time_ms, how, side):
    wire = any_rate.rolling(5000)
    provoke(wire, name, side)
    samples = -(-time_ms // wire.sense_ms)
    wire.run(samples * wire.sense_ms - 1)
    assert wire.wheels == [5000, 5000]
    wire.run(1)
    check_latched(wire, Fault[name.upper()], how, side)


def provoke(wire, name: str, joint: int = 0) -> None:
    wire.ideal = False
    s = wire.sensors
    if name == "opposing":
        s["velocity_mrad_s"][joint] = -2000
    elif name == "stalled":
        s["velocity_mrad_s"][joint] = 0
    elif name == "overcurrent":
        s["current_ma"][joint] = -5001
    else:
        s["current_ma"][joint] = 3201


def sound(wire) -> None:
    s = wire.sensors
    s["velocity_mrad_s"][:2] = wire.wheels
    s["current_ma"][:] = 0


@pytest.mark.parametrize("name", ["opposing", "stalled", "overcurrent", "contact"])
def test_one_good_sample_begins_the_count_anew(wire, name):
    wire.rolling(5000)
    for _ in range(4):
        provoke(wire, name)
        wire.run(18)
        sound(wire)
        wire.run(2)
    assert wire.latched == 0
    assert wire.wheels == [5000, 5000]


@pytest.mark.parametrize("name", ["opposing", "stalled", "overcurrent", "contact"])
def test_samples_that_repeat_are_not_counted(wire, name):
    """A sensor source that stands still is another fault than a motor that does."""
    wire.rolling(5000)
    provoke(wire, name)
    wire.run(2).sensing = False
    wire.run(48)
    assert wire.wheels == [5000, 5000]
    assert wire.latched == 0


@pytest.mark.parametrize("name", ["opposing", "stalled", "overcurrent", "contact"])
def test_nothing_is_watched_without_a_command(wire, name):
    wire.armed()
    provoke(wire, name)
    wire.run(200)
    assert wire.latched == 0
    wire.move({0: 0, 1: 0})
    wire.run(10)
    assert wire.latched == 0


@pytest.mark.parametrize("name", ["overcurrent", "contact"])
def test_a_watch_begins_anew_with_each_command_after_a_stop(wire, name):
    wire.rolling(5000).commands = None
    wire.move({}, ttl_ms=20)
    wire.run(4)
    provoke(wire, name)
    wire.run(30)  # from the 20th millisecond on there is no command
    late = 10 if name == "overcurrent" else 22
    wire.move({0: 5000, 1: 5000}, ttl_ms=200)
    wire.run(2 * late - 2)
    assert wire.latched == 0
    assert wire.run(3).latched == Fault[name.upper()]


@pytest.mark.parametrize(
    ("command", "measured", "fault"),
    [
        (5000, 112, 0), (5000, 111, Fault.STALLED), (5000, -111, Fault.STALLED),
        (5000, -112, 0), (5000, -900, 0), (5000, -901, Fault.OPPOSING), (-5000, 901, Fault.OPPOSING),
        (-5000, 900, 0), (5000, 901, 0), (-5000, -901, 0),
        (900, 0, 0), (901, 0, Fault.STALLED), (-901, 0, Fault.STALLED), (-900, 0, 0),
        (900, -5000, 0), (901, -5000, Fault.OPPOSING),
    ],
)  # fmt: skip
def test_thresholds_of_motion(wire, command, measured, fault):
    """A tenth of top speed counts as driven and as moving, an eightieth as standing."""
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


@pytest.mark.parametrize("current", [5000, 5001])
def test_a_wheel_that_gains_speed_is_not_in_contact_but_may_be_over_its_current(wire, current):
    wire.rolling(5000)
    wire.ideal = False
    wire.sensors["current_ma"][0] = current
    for step in range(60):
        wire.sensors["velocity_mrad_s"][0] = 1000 + 451 * (step % 8)
        wire.run(2)
    assert wire.latched == (0 if current == 5000 else Fault.OVERCURRENT)


@pytest.mark.parametrize(("swing", "fault"), [(450, Fault.CONTACT), (451, 0)])
def test_contact_forgives_a_twentieth_of_top_speed(wire, swing, fault):
    wire.rolling(5000)
    wire.ideal = False
    wire.sensors["current_ma"][1] = 3500
    for step in range(40):
        wire.sensors["velocity_mrad_s"][1] = 5000 - swing * (step % 2)
        wire.run(2)
    assert wire.latched == fault


@pytest.mark.parametrize(("permille", "current"), [(300, 1200), (800, 3200)])
def test_contact_counts_from_what_the_host_asks(wire, permille, current):
    wire.opened()
    wire.set_param(Param.CONTACT_PERMILLE, permille)
    wire.rolling(5000)
    wire.sensors["current_ma"][0] = current
    wire.run(100)
    assert wire.latched == 0
    wire.sensors["current_ma"][0] = current + 1
    wire.run(100)
    assert wire.latched == Fault.CONTACT


def test_contact_counts_from_the_current_the_host_allows(wire):
    wire.opened()
    wire.set_param(Param.CURRENT_PERMILLE, 500)
    wire.rolling(5000)
    wire.sensors["current_ma"][0] = 1601
    wire.run(60)
    assert wire.latched == Fault.CONTACT


def test_a_coarse_scale_has_the_same_thresholds_in_rad_s(make_wire, table):
    joints = [dataclasses.replace(j, scale=0.01) for j in table.joints[:2]]
    coarse = dataclasses.replace(table, joints=(*joints, *table.joints[2:]))
    for measured, fault in ((-900, 0), (-901, Fault.OPPOSING), (111, Fault.STALLED), (112, 0)):
        wire = make_wire(coarse).rolling(91)
        wire.ideal = False
        wire.sensors["velocity_mrad_s"][0] = measured
        wire.run(60)
        assert wire.latched == fault
