"""BENCH, for a robot on a stand: one joint, little current, little speed, no floor to look for."""

from __future__ import annotations

import pytest

from firmware_bridge.protocol import Ack, Fault, LedMode, Mode, Param

QUARTER = 2250


@pytest.fixture
def bench(wire):
    return wire.armed(Mode.BENCH)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(0b1, Ack.OK), (0b10, Ack.OK), (0b100, Ack.OK), (0b100000, Ack.OK), (0, Ack.ONE_JOINT),
     (0b11, Ack.ONE_JOINT), (0b110000, Ack.ONE_JOINT), (0xFFFF, Ack.ONE_JOINT),
     (0b1000000, Ack.ONE_JOINT), (0x8000, Ack.ONE_JOINT), (0x8001, Ack.ONE_JOINT)],
)  # fmt: skip
def test_one_joint_at_a_time(bench, mask, expected):
    bench.move(dict.fromkeys(range(6), 100), mask=mask)
    assert bench.refused is expected


def test_many_joints_are_for_active_alone(wire):
    wire.armed().move({0: 100, 1: 100})
    assert wire.refused is Ack.OK


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("speed", [QUARTER - 1, QUARTER, QUARTER + 1, 9000])
def test_a_quarter_of_the_wheels_speed(bench, speed, sign):
    top = sign * min(speed, QUARTER)
    bench.commands = {1: sign * speed}
    bench.move(bench.commands)
    bench.until(lambda: bench.wheels == [0, top])
    bench.run(100)
    assert bench.wheels == [0, top]
    assert bench.state()["limited"] == (0b10 if speed > QUARTER else 0)


def test_the_head_keeps_its_range(bench):
    bench.commands = {2: 32767}
    bench.run(2000)
    assert bench.targets[2] == 20_000


def test_a_tenth_of_the_current(bench):
    assert bench.run(1).currents == [400, 400, 200, 200, 50, 50]
    bench.arm(Mode.IDLE)
    assert bench.run(1).currents == [4000, 4000, 2000, 2000, 500, 500]
    bench.armed(Mode.ACTIVE)
    assert bench.run(1).currents == [4000, 4000, 2000, 2000, 500, 500]


@pytest.mark.parametrize(("permille", "current"), [(50, 200), (99, 396), (100, 400), (101, 400)])
def test_a_parameter_may_ask_for_less_current(wire, permille, current):
    wire.opened()
    assert wire.set_param(Param.CURRENT_PERMILLE, permille) is Ack.OK
    assert wire.armed(Mode.BENCH).run(1).currents[0] == current


@pytest.mark.parametrize(("permille", "top"), [(50, 450), (249, 2241), (250, 2250), (251, 2250)])
def test_a_parameter_may_ask_for_less_speed(wire, permille, top):
    wire.opened()
    assert wire.set_param(Param.SPEED_PERMILLE, permille) is Ack.OK
    wire.armed(Mode.BENCH).commands = {0: 9000}
    wire.run(600)
    assert wire.wheels == [top, 0]


def test_the_joint_before_comes_to_rest(bench):
    bench.commands = {0: 2000}
    bench.run(300)
    bench.commands = {1: 2000}
    bench.run(400)
    assert bench.wheels == [0, 2000]
    bench.commands = {2: 3000}
    bench.run(400)
    assert bench.wheels == [0, 0]


def test_a_head_that_moves_stays_where_it_is_when_the_next_joint_has_its_turn(bench):
    bench.commands = {2: 10_000}
    bench.run(300)
    assert 1000 < bench.targets[2] < 9000
    bench.commands = {3: -500}
    bench.run(600)
    here = bench.targets[2]
    assert 1000 < here < 9900
    assert bench.targets[3] == -500
    assert bench.run(200).targets[2] == here


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_no_floor_is_no_matter(wire, bits):
    wire.opened().sensors["cliff"] = bits
    wire.run(2)
    assert wire.arm(Mode.ACTIVE) is Ack.CAUSE_PRESENT
    wire.rolling(2000, Mode.BENCH)
    wire.run(500)
    assert wire.wheels == [2000, 0]
    assert wire.active == (Fault.LIFT if bits == 3 else Fault.CLIFF)


@pytest.mark.parametrize(
    ("name", "value", "fault", "still"),
    [("bumper", 1, Fault.BUMPER, 1), ("stop_input", 0, Fault.STOP_INPUT, 1)],
)
def test_what_still_stops_it(wire, name, value, fault, still):
    wire.rolling(2000, Mode.BENCH)
    wire.sensors[name] = value
    wire.sense()
    assert wire.until(lambda: wire.wheels == [0, 0]) <= still
    assert wire.run(10).latched == fault
    assert wire.mode is Mode.SAFE


def test_the_stop_of_the_host_still_stops_it(wire):
    wire.rolling(2000, Mode.BENCH).estop()
    assert wire.until(lambda: wire.wheels == [0, 0]) == 31  # 2000 / 66 per tick
    assert wire.run(1).latched == Fault.ESTOP


def test_silence_of_the_host_still_stops_it(wire):
    wire.rolling(2000, Mode.BENCH)
    wire.beat()
    beaten, wire.beating = wire.us, False
    wire.run(250)
    assert wire.wheels == [2000, 0]
    assert wire.until(lambda: wire.wheels == [0, 0]) == 31
    wire.run(1000 - (wire.us - beaten) // 1000)
    assert wire.state_now()["mode"] == Mode.BENCH
    assert wire.run(1).latched == Fault.HEARTBEAT
    assert wire.mode is Mode.SAFE


def test_a_command_still_ends_with_its_ttl(wire):
    wire.rolling(2000, Mode.BENCH).commands = None
    wire.move({0: 2000}, ttl_ms=60)
    wire.run(59)
    assert wire.wheels == [2000, 0]
    assert wire.run(1).wheels == [2000 - 66, 0]


@pytest.mark.parametrize(("current", "latched"), [(500, 0), (501, Fault.OVERCURRENT)])
def test_overcurrent_is_of_the_motor_not_of_the_bench(wire, current, latched):
    """5/4 of the body's own limit: on the bench a tenth is a wish, not a danger."""
    wire.rolling(2000, Mode.BENCH)
    wire.sensors["current_ma"][4] = current * 5 // 4 if current == 500 else 626
    wire.run(100)
    assert wire.latched == latched


def test_pushing_is_not_watched(wire):
    """At a tenth of the current every start looks like contact."""
    wire.rolling(2000, Mode.BENCH)
    wire.sensors["current_ma"][0] = 4000
    wire.run(200)
    assert wire.wheels == [2000, 0]


def test_swapped_polarity_and_a_dead_encoder_are_seen(make_wire, table):
    for measured, fault in ((-2000, Fault.OPPOSING), (0, Fault.STALLED)):
        wire = make_wire(table).rolling(2000, Mode.BENCH)
        wire.ideal = False
        wire.sensors["velocity_mrad_s"][0] = measured
        assert wire.until(lambda w=wire: not w.enabled) <= 46
        assert wire.run(1).latched == fault
        assert wire.fault["detail"] == 0


def test_the_ring_shows_it(bench):
    assert bench.run(1).out.led_mode == LedMode.ARMED
    bench.move({0: 500})
    assert bench.run(10).out.led_mode == LedMode.MOVING
