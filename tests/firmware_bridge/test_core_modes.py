"""Sessions, modes and commands of the core, verdict by verdict."""

from __future__ import annotations

import pytest

from firmware_bridge import protocol
from firmware_bridge.protocol import Ack, Fault, Mode, StateFlag

DRIVING = (Mode.ACTIVE, Mode.BENCH)


def test_hello_tells_who_answers(wire, table):
    wire.identify(uid=(1, 2, 3), image=(9, 8), version_major=4, version_minor=5, version_patch=600,
                  reset_cause=2, slot=1, trial=1)  # fmt: skip
    answer = wire.opened().hello()
    assert answer["uid"] == (1, 2, 3) + (0,) * 9
    assert answer["image"] == (9, 8) + (0,) * 6
    assert (answer["version_major"], answer["version_minor"], answer["version_patch"]) == (
        4,
        5,
        600,
    )
    assert (answer["reset_cause"], answer["slot"], answer["boot_id"]) == (2, 1, 7)
    assert (answer["schema"], answer["layout"]) == (protocol.schema_crc(), table.crc())
    assert (answer["major"], answer["minor"], answer["nonce"]) == (
        protocol.MAJOR,
        protocol.MINOR,
        0x12345678,
    )
    assert answer["caps"] == len(table.joints)
    assert StateFlag.TRIAL in wire.flags


def test_no_trial_no_flag(wire):
    assert StateFlag.TRIAL not in wire.opened().flags


def test_the_same_hello_keeps_the_session_and_another_does_not(wire):
    wire.rolling()
    session = wire.session
    assert session
    assert wire.hello()["session"] == session
    assert wire.mode is Mode.ACTIVE
    assert wire.hello(nonce=5)["session"] not in (0, session)
    assert wire.mode is Mode.SAFE
    assert not wire.flags & StateFlag.SYNCED
    before = wire.session
    assert wire.hello(nonce=6)["session"] != before
    assert wire.hello(nonce=5)["session"] not in (0, before)  # never one that stood before


def session_of(wire, nonce: int, count: int) -> int:
    chance = nonce ^ 7 * 31 ^ wire.mcu_us & 0xFFFFFFFF
    return (chance * 2654435761 + count) & 0xFFFFFFFF


def test_the_session_number_is_hashed_from_nonce_boot_time_and_count(wire):
    first = session_of(wire, 0x1234, 1)
    assert wire.hello(nonce=0x1234)["session"] == first
    assert wire.hello(nonce=0x1234)["session"] == first
    assert wire.hello(nonce=0x99)["session"] == session_of(wire, 0x99, 2)


def test_a_board_without_chance_takes_the_first_hosts(wire):
    wire.identify(boot_id=0)
    assert wire.hello(nonce=0x55)["boot_id"] == 0x55
    assert wire.hello(nonce=0x66)["boot_id"] == 0x55


def test_a_session_is_never_zero(wire):
    """The nonce whose hash is 0 gets 1."""
    inverse = pow(2654435761, -1, 1 << 32)
    nonce = (-inverse % (1 << 32)) ^ 7 * 31 ^ wire.mcu_us & 0xFFFFFFFF
    assert wire.hello(nonce=nonce)["session"] == 1


@pytest.mark.parametrize("change", [{"major": protocol.MAJOR + 1}, {"schema": 1}])
def test_another_schema_ends_the_session(wire, change):
    wire.rolling()
    assert wire.hello(**change)["session"] == 0
    wire.commands = None
    wire.forget().run(200)
    assert wire.bytes_in + wire.firmware.transmit() == b""  # and it would understand no telemetry
    assert wire.wheels == [0, 0]
    assert wire.hello()["session"] != 0
    assert wire.mode is Mode.SAFE


def test_without_a_session_only_hello_and_stop_are_heard(wire):
    wire.run(10).sync()
    wire.send(protocol.ARM, 0, Mode.ACTIVE, 0, wire.table.crc())
    wire.send(protocol.PARAM_GET, 0)
    wire.send(protocol.REBOOT, 0, protocol.REBOOT_MAGIC, 0, (0, 0, 0))
    assert wire.firmware.transmit() == b""
    assert not wire.run(20).enabled
    wire.estop()
    wire.opened().run(1)
    assert wire.latched == Fault.ESTOP
    assert wire.fault["detail"] == 3


def test_a_new_host_is_told_what_is_latched(wire):
    wire.opened().estop()
    wire.run(5).forget()
    wire.hello(nonce=1)
    wire.run(1)
    assert len(wire.frames(protocol.FAULT)) == 1


@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.IDLE, *DRIVING])
def test_arm_leads_to_every_mode(wire, mode):
    wire.opened()
    assert wire.arm(mode) is Ack.OK
    assert wire.last(protocol.ACK)["value"] == mode
    assert wire.mode is mode
    assert wire.enabled == (mode in DRIVING)


@pytest.mark.parametrize("mode", DRIVING)
def test_arming_again_changes_nothing(wire, mode):
    wire.rolling(2000, mode)
    assert wire.arm(mode) is Ack.OK
    before = wire.wheels
    assert wire.run(1).wheels == before == [2000, 2000 if mode is Mode.ACTIVE else 0]


@pytest.mark.parametrize(("first", "then"), [DRIVING, DRIVING[::-1]])
def test_between_driving_modes_lies_rest(wire, first, then):
    wire.rolling(2000, first)
    assert wire.arm(then) is Ack.BAD_MODE
    assert wire.mode is first
    assert wire.arm(Mode.IDLE) is Ack.OK
    assert wire.arm(then) is Ack.OK


@pytest.mark.parametrize("mode", [4, 5, 255])
def test_a_mode_that_is_none_is_refused(wire, mode):
    assert wire.opened().arm(mode) is Ack.BAD_MODE


def test_arm_verdicts(wire):
    wire.opened()
    assert wire.arm(Mode.ACTIVE, session=wire.session ^ 1) is Ack.NO_SESSION
    assert wire.arm(Mode.SAFE, session=wire.session ^ 1) is Ack.NO_SESSION
    assert wire.arm(Mode.ACTIVE, layout=0) is Ack.WRONG_LAYOUT
    assert wire.arm(Mode.SAFE, layout=0) is Ack.OK
    wire.beating = False
    wire.run(251)
    assert wire.arm(Mode.ACTIVE) is Ack.NO_HEARTBEAT
    assert wire.arm(Mode.IDLE) is Ack.OK
    wire.beat()
    wire.sensors["stop_input"] = 0
    wire.run(2)
    assert wire.arm(Mode.IDLE) is Ack.LATCHED
    assert wire.arm(Mode.SAFE) is Ack.OK


def test_arm_needs_a_clock(wire):
    wire.run(2)
    wire.hello()
    assert wire.arm(Mode.ACTIVE) is Ack.NOT_SYNCED
    wire.sync()
    assert wire.arm(Mode.ACTIVE) is Ack.OK


@pytest.mark.parametrize("mode", DRIVING)
def test_arm_needs_what_is_wrong_to_be_gone(wire, mode):
    wire.opened()
    wire.sensors["bumper"] = 4
    wire.run(2)
    assert wire.arm(mode) is Ack.CAUSE_PRESENT
    wire.sensors["bumper"] = 0
    wire.run(2)
    assert wire.arm(mode) is Ack.OK


def test_arm_needs_sensors_but_a_gap_is_harmless(wire):
    wire.opened().sensing = False
    wire.run(50)
    assert wire.arm(Mode.ACTIVE) is Ack.OK
    assert wire.arm(Mode.SAFE) is Ack.OK
    wire.run(1)
    assert wire.arm(Mode.ACTIVE) is Ack.NO_SENSORS


def test_clear_verdicts(wire):
    wire.opened().estop()
    wire.run(2)
    assert wire.clear(session=wire.session ^ 1) is Ack.NO_SESSION
    assert wire.clear(boot_id=8) is Ack.WRONG_BOOT
    assert wire.run(2).latched == Fault.ESTOP
    assert wire.clear() is Ack.OK
    wire.run(1)
    assert wire.latched == 0
    assert wire.mode is Mode.IDLE
    assert wire.clear() is Ack.BAD_MODE  # nothing to clear outside SAFE
    assert wire.arm(Mode.SAFE) is Ack.OK
    wire.run(2).forget()
    assert wire.clear() is Ack.OK
    assert wire.run(2).frames(protocol.FAULT) == []  # nothing was latched: no news


def test_clearing_gives_back_the_mild_ramp(wire):
    """A latch that cut the motors must not cut after the clear."""
    wire.rolling()
    wire.sensors["stop_input"] = 0
    wire.run(2).sensors["stop_input"] = 1
    wire.commands = None
    assert wire.run(2).clear() is Ack.OK
    wire.rolling()
    assert wire.arm(Mode.IDLE) is Ack.OK
    wire.commands = None
    assert wire.run(1).wheels == [5000 - 66] * 2


@pytest.mark.parametrize("speed", [9000, 9001, -9000, -9001, 32767, -32768])
def test_wheels_go_no_faster_than_the_body(wire, speed):
    top = max(-9000, min(9000, speed))
    wire.armed().commands = {0: speed, 1: top}
    wire.move(wire.commands)
    wire.until(lambda: wire.wheels == [top, top])
    assert wire.state()["limited"] == (top != speed)


def test_limited_names_every_joint_while_stopping(wire):
    wire.armed()
    assert wire.state()["limited"] == 0b111111
    wire.move({2: 20_001}, ttl_ms=200)
    assert wire.state()["limited"] == 0b000100
    wire.arm(Mode.SAFE)
    assert wire.state()["limited"] == 0


def test_nothing_was_commanded_yet_whatever_the_clock_says(table, make_wire):
    """A clock that has just begun: no command is as old as the robot."""
    wire = make_wire(table, clock_start_us=0).armed()
    assert wire.state()["age_ms"] == 0xFFFF
    assert not wire.flags & StateFlag.TTL_EXPIRED


@pytest.mark.parametrize("mode", DRIVING)
def test_arming_forgives_an_imu_gap(wire, mode):
    wire.opened().sensing = False
    wire.run(20)
    assert wire.arm(mode) is Ack.OK
