"""Out of a driving mode and into it: the stop ramp, the brake, the pose it begins from."""

from __future__ import annotations

import dataclasses

import pytest

from firmware_bridge import protocol
from firmware_bridge.protocol import Ack, Mode, StateFlag

DRIVING = (Mode.ACTIVE, Mode.BENCH)
BRAKE_MS = 300


@pytest.mark.parametrize(
    ("mode", "leave"), [(m, e) for m in DRIVING for e in (Mode.SAFE, Mode.IDLE)]
)
def test_leaving_brakes_for_300_ms_then_cuts(wire, mode, leave):
    wire.rolling(2000, mode)
    wire.commands = None
    assert wire.arm(leave) is Ack.OK
    left = 2000
    for ms in range(1, BRAKE_MS):
        left = max(0, left - 66)
        assert wire.run(1).wheels == [left, left if mode is Mode.ACTIVE else 0]
        assert wire.enabled, ms
    assert not wire.run(1).enabled


def test_leaving_between_ticks_counts_from_that_moment(wire):
    wire.rolling(2000).commands = None
    wire.to(wire.us + 1)
    wire.arm(Mode.IDLE)
    assert wire.run(BRAKE_MS).enabled
    assert not wire.run(1).enabled


def test_arming_on_the_stop_ramp_goes_on_braking(wire):
    """Not at once to rest: that is harder than the stop ramp allows."""
    wire.rolling(5000).commands = None
    wire.arm(Mode.IDLE)
    wire.run(10)
    assert wire.wheels == [5000 - 660] * 2
    assert wire.arm(Mode.ACTIVE) is Ack.OK
    assert wire.run(1).wheels == [5000 - 726] * 2


def test_arming_takes_the_measured_pose_of_the_head_and_none_of_the_wheels(wire):
    wire.sensors["position"][:6] = (777, -777, 1111, -2222, 333, 0)
    wire.opened()
    assert wire.targets.tolist() == [0, 0, 1111, -2222, 333, 0]
    wire.sensors["position"][2] = 1500
    assert wire.run(4).targets[2] == 1111
    wire.armed().run(1)
    assert wire.targets.tolist() == [0, 0, 1500, -2222, 333, 0]
    wire.move({3: -2000})
    wire.run(50)
    assert wire.targets[[0, 1, 2, 4, 5]].tolist() == [0, 0, 1500, 333, 0]  # unnamed joints stay
    assert wire.targets[3] > -2222


def test_a_command_of_the_last_session_of_driving_is_forgotten(wire):
    wire.rolling(5000)
    wire.commands = None
    wire.arm(Mode.IDLE)
    wire.armed()
    assert wire.state()["age_ms"] == 0xFFFF
    assert not wire.flags & StateFlag.TTL_EXPIRED
    wire.run(300)
    assert wire.wheels == [0, 0]
    wire.move({2: 100})  # names no wheel
    assert wire.run(20).wheels == [0, 0]


def test_ears_and_all_sixteen_joints(table, make_wire):
    wide = dataclasses.replace(table, joints=table.joints + (table.joints[5],) * 10)
    wire = make_wire(wide).armed()
    assert wire.state()["limited"] == 0xFFFF
    wire.commands = {15: 5000}
    wire.run(600)
    assert wire.targets[15] == 5000
    assert wire.targets[:15].tolist() == [0] * 15
    assert len(wire.frames(protocol.STATE)[0].items) == 16
    assert wire.arm(Mode.SAFE) is Ack.OK
    assert wire.arm(Mode.BENCH) is Ack.OK
    wire.move({15: 0}, mask=0x8000)
    assert wire.refused is Ack.OK


def test_sixteen_position_joints_stay_where_they_are(table, make_wire):
    """The whole width of every table: the last joint's neighbour must not feel it."""
    joints = tuple(dataclasses.replace(table.joints[2], name=f"joint{j}") for j in range(16))
    wire = make_wire(dataclasses.replace(table, joints=joints))
    wire.sensors["position"][:] = range(100, 1700, 100)
    for mode in DRIVING:
        wire.armed(mode).commands = {15: 2000}
        wire.run(500)
        assert wire.targets.tolist() == [*range(100, 1600, 100), 2000]
        wire.commands = None
        assert wire.arm(Mode.IDLE) is Ack.OK
        wire.sensors["position"][15] = 2000
        wire.run(300)


def test_park_cuts_at_once(wire):
    wire.rolling()
    wire.lib.core_park(wire.core)
    assert wire.wheels == [0, 0]
    assert not wire.enabled
    assert wire.out.brake
    wire.commands = None
    assert not wire.run(1).enabled
    assert wire.mode is Mode.SAFE


def test_what_was_commanded_ends_with_the_mode(wire):
    wire.rolling(5000).commands = None
    wire.move({}, ttl_ms=200)
    assert wire.arm(Mode.IDLE) is Ack.OK
    assert wire.state()["ttl_left_ms"] == 0
