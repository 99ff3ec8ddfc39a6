"""What the core asks of a MOTION frame, to the microsecond."""

from __future__ import annotations

import pytest

from firmware_bridge import protocol
from firmware_bridge.protocol import Ack, Mode, StateFlag


def verdict(wire, **change) -> Ack:
    targets = change.pop("targets", {0: 3000})
    wire.move(targets, **change)
    return wire.refused


def stamped(wire, age_us: int) -> int:
    """Issue time of a command that is that old now; never the 0 that means unsynchronised."""
    return wire.mcu_us - age_us & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Ack.OK),
        ({"session": 1}, Ack.NO_SESSION),
        ({"t_us": 0}, Ack.NOT_SYNCED),
        ({"ttl_ms": 0}, Ack.BAD_TTL),
        ({"ttl_ms": 19}, Ack.BAD_TTL),
        ({"ttl_ms": 20}, Ack.OK),
        ({"ttl_ms": 200}, Ack.OK),
        ({"ttl_ms": 201}, Ack.BAD_TTL),
        ({"ttl_ms": 65535}, Ack.BAD_TTL),
        ({"joints": 5}, Ack.BAD_SIZE),
        ({"joints": 7}, Ack.BAD_SIZE),
        ({"targets": {}}, Ack.OK),  # no joint: holds what was commanded
    ],
)
def test_verdicts(wire, change, expected):
    wire.armed().run(9)
    ok, refused = wire_counts(wire)
    assert verdict(wire, **change) is expected
    assert wire_counts(wire) == (ok + (expected is Ack.OK), refused + (expected is not Ack.OK))
    assert bool(wire.state()["age_ms"] != 0xFFFF) == (expected is Ack.OK)


def wire_counts(wire) -> tuple[int, int]:
    health = wire_health(wire)
    return health["motion_ok"], health["motion_refused"]


def wire_health(wire):
    """HEALTH of the next second; the host keeps its heartbeat."""
    wire.forget()
    while not wire.frames(protocol.HEALTH):
        wire.run(1)
    return wire.last(protocol.HEALTH)


@pytest.mark.parametrize(
    ("age_us", "expected"),
    [(0, Ack.OK), (59_999, Ack.OK), (60_000, Ack.STALE), (10_000_000, Ack.STALE),
     ((1 << 31) - 1, Ack.STALE), (-10_000, Ack.OK), (-10_001, Ack.FROM_FUTURE),
     (-(1 << 31), Ack.FROM_FUTURE)],
)  # fmt: skip
def test_age_to_the_microsecond(wire, age_us, expected):
    wire.armed().run(80)
    assert verdict(wire, t_us=stamped(wire, age_us)) is expected
    health = wire_health(wire)
    assert health["motion_stale"] == (expected is Ack.STALE)


def test_every_stale_command_counts(wire):
    wire.armed().run(80)
    for _ in range(3):
        wire.move({0: 100}, t_us=stamped(wire, 60_000))
    wire.move({0: 100}, ttl_ms=19)
    health = wire_health(wire)
    assert (health["motion_stale"], health["motion_refused"], health["motion_ok"]) == (3, 4, 0)


def test_ttl_counts_from_issue_and_ends_exactly(wire):
    wire.rolling(5000).commands = None
    wire.run(3)
    wire.move({}, ttl_ms=50, t_us=stamped(wire, 20_000 + 1))  # 29.999 ms are left
    assert wire.refused is Ack.REORDERED  # older than the last one
    wire.run(40)
    wire.move({}, ttl_ms=50, t_us=stamped(wire, 20_000 + 1))
    assert wire.run(29).wheels == [5000, 5000]
    assert wire.run(1).wheels == [5000 - 66] * 2


def test_ttl_ends_on_its_tick(wire):
    wire.rolling(5000).commands = None
    wire.move({}, ttl_ms=50)
    assert wire.run(49).wheels == [5000, 5000]
    assert wire.state_now()["ttl_left_ms"] == 10
    assert wire.run(1).wheels == [5000 - 66] * 2
    assert wire.state_now()["ttl_left_ms"] == 0
    assert wire.state_now()["age_ms"] == 50


def test_ttl_left_is_what_is_left(wire):
    wire.rolling(5000)
    wire.run(10 - wire.us // 1000 % 10)
    assert wire.state_now()["ttl_left_ms"] == 50
    assert wire.state_now()["age_ms"] == 10


def test_the_next_command_drives_on(wire):
    wire.rolling(5000).commands = None
    wire.run(100)
    assert StateFlag.TTL_EXPIRED | StateFlag.STOPPING in wire.flags
    wire.rolling(5000)
    assert not wire.flags & (StateFlag.TTL_EXPIRED | StateFlag.STOPPING)


def test_order_is_that_of_issue(wire):
    wire.armed().run(50)
    assert verdict(wire, t_us=stamped(wire, 1000)) is Ack.OK
    then = stamped(wire, 0)
    assert verdict(wire, t_us=then) is Ack.OK
    assert verdict(wire, t_us=then) is Ack.OK  # of the same moment
    assert verdict(wire, t_us=then - 1) is Ack.REORDERED


def test_commands_need_a_mode_that_drives(wire):
    wire.opened()
    assert verdict(wire) is Ack.NOT_ACTIVE
    wire.arm(Mode.IDLE)
    assert verdict(wire) is Ack.NOT_ACTIVE
    wire.estop()
    wire.run(2)
    assert verdict(wire) is Ack.LATCHED
    assert wire.wheels == [0, 0]


@pytest.mark.parametrize(
    ("age_us", "expected"), [(10_000_000, Ack.OK), (10_000_001, Ack.NOT_SYNCED)]
)
def test_the_clock_must_be_young(wire, age_us, expected):
    wire.rolling(3000)
    wire.sync()
    synced = wire.us
    wire.run(9_999).commands = None
    assert StateFlag.SYNCED in StateFlag(wire.state_now()["flags"])
    wire.to(synced + age_us).sense()
    wire.move({0: 2000})
    assert wire.refused is expected
    assert not wire.flags & StateFlag.SYNCED
    wire.sync()
    assert wire.flags & StateFlag.SYNCED


def test_the_last_sequence_is_told(wire):
    wire.armed()
    wire.seq = 200
    wire.move({0: 100})
    assert wire.state()["motion_seq"] == 200
    wire.move({0: 100}, ttl_ms=19)
    assert wire.state()["motion_seq"] == 200


def test_every_joint_gets_its_own_target(wire):
    wire.armed().commands = {0: 1000, 1: -900, 2: 800, 3: -700, 4: 600, 5: -500}
    wire.move(wire.commands)
    wire.run(500)
    assert wire.targets.tolist() == [1000, -900, 800, -700, 600, -500]
    wire.commands = {1: 900}
    wire.run(300)
    assert wire.targets.tolist() == [1000, 900, 800, -700, 600, -500]
