"""Parameters, log lines and the reboot, from the host's side of a lockstep firmware."""

from __future__ import annotations

import pytest

from firmware_bridge import protocol
from firmware_bridge.faults import Faults, FaultyLine
from firmware_bridge.link import Link, LinkState
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.outbox import TRIES
from firmware_bridge.protocol import PARAMS, Ack, LogLevel, Mode, Param, Reboot, ResetCause
from firmware_bridge.telemetry import parse_param


def answer(rig, param: Param):
    rig.run(30)
    assert not rig.link.waiting
    return rig.link.param(param)


@pytest.mark.parametrize("param", Param)
def test_parameters_are_set_within_their_range_only(rig, param):
    row = PARAMS[param]
    rig.ready()
    rig.link.ask_param(param)
    assert rig.link.param(param) is None
    found = answer(rig, param)
    assert (found.code, found.value, found.low, found.high) == (
        Ack.OK,
        row.start,
        row.low,
        row.high,
    )
    rig.link.set_param(param, row.low)
    assert (answer(rig, param).code, rig.link.param(param).value) == (Ack.OK, row.low)
    for value in (row.low - 1, row.high + 1, -(2**31), 2**31 - 1):
        rig.link.set_param(param, value)
        found = answer(rig, param)
        assert (found.code, found.value) == (Ack.OUT_OF_RANGE, row.low)


def test_parameters_are_refused_while_a_mode_drives(rig):
    rig.armed()
    rig.link.set_param(Param.SPEED_PERMILLE, 500)
    assert answer(rig, Param.SPEED_PERMILLE).code is Ack.BAD_MODE


def test_a_set_parameter_holds_until_the_session_ends(rig):
    rig.ready()
    rig.link.set_param(Param.SPEED_PERMILLE, 300)
    assert answer(rig, Param.SPEED_PERMILLE).value == 300
    rig.armed()
    rig.target[:2] = 9000
    rig.driving = True
    rig.run(800)
    assert 2500 < rig.wheels[0] < 3300
    rig.link._connection.connect(rig.now_ns, "test")
    rig.run(1000)
    assert rig.link.param(Param.SPEED_PERMILLE) is None
    rig.link.ask_param(Param.SPEED_PERMILLE)
    assert answer(rig, Param.SPEED_PERMILLE).value == PARAMS[Param.SPEED_PERMILLE].start


def test_several_parameters_at_once(rig):
    rig.ready()
    for param in Param:
        rig.link.set_param(param, PARAMS[param].low)
    rig.run(30)
    assert {p: rig.link.param(p).value for p in Param} == {p: PARAMS[p].low for p in Param}


def test_without_a_session_the_answer_is_at_once(table, make_rig):
    link = make_rig(table).link
    link.set_param(Param.LED_PERMILLE, 500)
    assert link.param(Param.LED_PERMILLE).code is Ack.NO_SESSION
    link.reboot(0, Reboot.APPLICATION)
    assert link.answer(protocol.REBOOT) is Ack.NO_SESSION
    assert not link.waiting


def test_a_late_answer_to_the_question_before_is_not_this_ones(rig):
    rig.ready()
    rig.link.ask_param(Param.LED_PERMILLE)
    rig.link._outbox.repeat(rig.now_ns, 0)
    rig.link.set_param(Param.LED_PERMILLE, 100)
    assert answer(rig, Param.LED_PERMILLE).value == 100


def test_requests_are_given_up_after_three_tries(table):
    wire = FaultyLine(LockstepFirmware(table), Faults())
    link = Link(wire, table)

    def run(since_ms: int, until_ms: int) -> None:
        for ms in range(since_ms, until_ms, 10):
            wire.advance(ms * 1_000_000)
            link.step(ms * 1_000_000)

    run(0, 1000)
    assert link.ready
    sent: list[bytes] = []
    write = wire.write
    wire.write = lambda data: sent.append(bytes(data)) or len(data)  # type: ignore[func-returns-value]
    link.set_param(Param.LED_PERMILLE, 100)
    link.reboot(1_000_000_000, Reboot.APPLICATION)
    run(1000, 1250)
    assert link.waiting
    run(1250, 1400)
    assert not link.waiting
    assert link.param(Param.LED_PERMILLE) is None and link.answer(protocol.REBOOT) is None
    size = 6 + protocol.PARAM_SET.size() + 4
    assert sum(len(d) == size for d in sent) == 2 * TRIES  # REBOOT is as long as PARAM_SET
    wire.write = write


def test_log_lines_arrive_with_level_and_time(rig):
    rig.ready()
    said_us = rig.firmware.mcu_us(rig.now_ns)
    rig.firmware.log(LogLevel.WARNING, "battery low")
    rig.firmware.log(LogLevel.ERROR, "x" * 80)
    rig.run(20)
    first, second = rig.link.log
    assert (first.level, first.text, first.mcu_us) == (LogLevel.WARNING, "battery low", said_us)
    assert (second.level, second.text) == (LogLevel.ERROR, "x" * 63)
    for count in range(100):
        rig.firmware.log(LogLevel.INFO, str(count))
        rig.run(10)
    assert [line.text for line in rig.link.log][-1] == "99"
    assert len(rig.link.log) == 64  # the newest; a reader that sleeps costs no memory


def test_reboot_in_safe_begins_a_new_session(rig):
    rig.ready()
    boot_id, session = rig.link.identity.boot_id, rig.link.session
    rig.link.reboot(rig.now_ns, Reboot.APPLICATION)
    rig.run(20)
    assert rig.link.answer(protocol.REBOOT) is Ack.OK
    rig.run(1000)
    assert rig.link.ready
    assert rig.link.identity.boot_id == boot_id + 1
    assert rig.link.identity.reset_cause is ResetCause.SOFTWARE
    assert rig.link.session != session
    rig.armed()


def test_reboot_is_refused_while_armed(rig):
    rig.armed()
    rig.link.reboot(rig.now_ns, Reboot.LOADER)
    rig.run(20)
    assert rig.link.answer(protocol.REBOOT) is Ack.BAD_MODE
    assert rig.mode is Mode.ACTIVE
    assert rig.link.status.state is LinkState.READY


def test_a_verdict_or_parameter_of_a_newer_firmware_is_a_refusal():
    layout = protocol.PARAM.layout
    assert parse_param(layout.pack(0, 999, 1, 0, 2)).code is not Ack.OK
    assert parse_param(layout.pack(len(Param), 0, 1, 0, 2)) is None
