"""Every row of the link's table of states, in lockstep over a wire that misbehaves."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge import protocol
from firmware_bridge.connection import DEAF
from firmware_bridge.faults import Faults, FaultyLine
from firmware_bridge.link import Link, LinkState
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.protocol import Ack, EstopReason, Fault, Mode
from firmware_bridge.reconnect import NEXT, WAITS, Event, markdown

MS = 1_000_000
GRAIN_NS = 100_000  # a byte that arrives wakes the host within this


class Line:
    """A robot on a faulty wire; the host steps every 10 ms and whenever bytes arrive."""

    def __init__(self, table, seed=1, skew_ppm=0.0, **faults) -> None:
        self.table = table
        self.wire = FaultyLine(LockstepFirmware(table), Faults(**faults), seed, skew_ppm)
        self.link = Link(self.wire, table)
        self.target = np.zeros(len(table.joints), np.int16)
        self.now_ns = 0
        self.driving = False
        self.states: list[tuple[int, LinkState]] = []
        self.errors: list[float] = []  # of the clock [us], while ready
        self.speeds: list[int] = []  # the left wheel's target, each ms

    def run(self, ms: float, until=lambda: False) -> bool:
        end_ns = self.now_ns + int(ms * MS)
        while self.now_ns < end_ns:
            self.now_ns += GRAIN_NS
            if self.now_ns % (2 * MS) == 0:
                self.sense()
            self.wire.advance(self.now_ns)
            if self.now_ns % MS == 0:
                self.speeds.append(int(self.plant.read_outputs().target[0]))
            tick = self.now_ns % (10 * MS) == 0
            if tick or self.wire.waiting:
                self.link.step(self.now_ns)
                self.note()
            if tick and self.driving:
                self.link.send_motion(self.now_ns, self.target, 0xFFFF, 60)
            if tick and until():
                return True
        return False

    def note(self) -> None:
        state = self.link.status.state
        if not self.states or self.states[-1][1] is not state:
            self.states.append((self.now_ns, state))
        if state is LinkState.READY:
            truth = self.wire.mcu_us(self.now_ns)
            self.errors.append(self.link.clock.mcu_us(self.now_ns) - truth)

    def sense(self) -> None:
        sensors = self.plant.sensors
        sensors["imu_seq"] += 1
        sensors["velocity_mrad_s"][:2] = self.plant.read_outputs().target[:2]
        self.plant.write_sensors()

    @property
    def plant(self):
        return self.wire.firmware.plant

    @property
    def state(self) -> LinkState:
        return self.link.status.state

    @property
    def mode(self) -> Mode:
        return Mode(int(self.link.sensors["mcu_mode"][0]))

    @property
    def wheels(self) -> list[int]:
        return self.plant.read_outputs().target[:2].tolist()

    def ready(self) -> Line:
        assert self.run(3000, lambda: self.link.ready), self.link.status
        return self

    def rolling(self, speed: int = 4000) -> Line:
        if not self.link.ready:
            self.ready()
        for _ in range(5):  # a request may be lost three times on a bad wire
            self.link.arm(self.now_ns, Mode.ACTIVE)
            if self.run(400, lambda: self.link.answer(protocol.ARM) is Ack.OK):
                break
        self.target[:2] = speed
        self.driving = True
        assert self.run(2000, lambda: self.wheels == [speed, speed])
        return self


@pytest.fixture
def line(table):
    return lambda **arguments: Line(table, **arguments)


# ── the clock, in lockstep truth ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(("seed", "skew_ppm"), [(1, 0), (2, 100), (3, -100), (4, 10_000)])
def test_clock_p99_under_asymmetric_jitter(line, seed, skew_ppm):
    """0.2 to 5 ms, drawn for each chunk and way: within 200 us from 1 s after READY on."""
    rig = line(seed=seed, skew_ppm=skew_ppm, delay_ns=(200_000, 5_000_000)).ready()
    rig.run(1000)
    assert np.abs(rig.errors).max() < 1000
    rig.errors.clear()
    rig.run(12_000)
    assert np.percentile(np.abs(rig.errors), 99) < 200
    assert abs(rig.link.status.skew_ppm - skew_ppm) < 30


@pytest.mark.parametrize("skew_ppm", [100, -100, 10_000, -10_000])
def test_a_skewed_clock_drives_from_the_first_second(line, skew_ppm):
    """No MOTION is refused as from the future, and its ttl is what it says."""
    rig = line(skew_ppm=skew_ppm, delay_ns=(200_000, 2_000_000)).rolling()
    rig.run(5500)
    assert rig.wheels == [4000, 4000]
    assert rig.link.health.motion_refused == 0
    assert bool(rig.link.status.clock_note) == (abs(skew_ppm) > 500)
    rig.driving = False
    sent_ns = rig.now_ns // (10 * MS) * (10 * MS)
    assert rig.run(200, lambda: rig.wheels != [4000, 4000])
    assert 60 <= (rig.now_ns - sent_ns) / MS <= 75


def test_a_clock_beyond_two_percent_is_refused_by_name(line):
    rig = line(skew_ppm=40_000)
    rig.run(3000)
    assert rig.state is LinkState.SYNCING
    assert "4.0 % fast" in rig.link.status.reason
    assert not rig.link.send_motion(rig.now_ns, rig.target, 0xFFFF, 60)


# ── the rows of the table ────────────────────────────────────────────────────────────────


def test_every_state_has_a_wait_and_a_way_out():
    assert set(WAITS) == set(LinkState)
    for state in LinkState:
        assert {event for here, event in NEXT if here is state}
    for state in (s for s in LinkState if s is not LinkState.DISCONNECTED):
        assert NEXT[state, Event.PORT_LOST] is LinkState.DISCONNECTED
    reached, grown = {LinkState.DISCONNECTED}, 0
    while len(reached) > grown:
        grown = len(reached)
        reached |= {then for (here, _), then in NEXT.items() if here in reached}
    assert reached == set(LinkState)
    assert all(state.name in markdown() for state in LinkState)


def jump(rig: Line) -> None:
    """The MCU's clock leaps 5 s ahead."""
    rig.wire._start_ns -= 5_000 * MS


def change_schema(rig: Line) -> None:
    """As if the MCU had been flashed with another firmware, which begins with a reset."""
    rig.link._connection.schema ^= 1
    rig.wire.replace(LockstepFirmware(rig.table, boot_id=7))


REACH = {
    LinkState.HELLO: lambda rig: rig.wire.cut(),
    LinkState.SYNCING: lambda rig: None,
    LinkState.READY: lambda rig: None,
    LinkState.MISMATCH: change_schema,
    LinkState.DISCONNECTED: lambda rig: setattr(rig.wire.faults, "unplugged", True),
}
CAUSE = {
    Event.ANSWERED: lambda rig: (rig.wire.mend(), setattr(rig.link._connection, "schema", protocol.schema_crc())),
    Event.REFUSED: lambda rig: (change_schema(rig), rig.wire.mend()),
    Event.RESTARTED: lambda rig: rig.wire.replace(LockstepFirmware(rig.table, boot_id=9)),
    Event.SETTLED: lambda rig: None,
    Event.UNTIMED: jump,
    Event.SILENT: lambda rig: rig.wire.cut(),
    Event.PORT_LOST: lambda rig: setattr(rig.wire.faults, "unplugged", True),
    Event.PORT_OPEN: lambda rig: rig.wire.mend(),
}  # fmt: skip
STAYS = [(state, event) for (state, event), then in NEXT.items() if then is state]


@pytest.mark.parametrize(
    ("state", "event"), NEXT, ids=[f"{state.value}-{event.name.lower()}" for state, event in NEXT]
)
def test_each_row_of_the_table(line, state, event):
    """From that state, that cause leads where the table says, within 1.3 s, and nowhere else first."""
    rig = line()
    REACH[state](rig)
    assert rig.run(2000, lambda: rig.state is state)
    rig.states.clear()
    taken = []
    go = rig.link._connection._go
    rig.link._connection._go = lambda e, reason: (taken.append((rig.state, e)), go(e, reason))
    if event is Event.UNTIMED and state is LinkState.SYNCING:
        rig.wire._ppb = 50_000_000
    elif (state, event) != (LinkState.MISMATCH, Event.REFUSED):
        CAUSE[event](rig)
    assert rig.run(1300, lambda: bool(taken))
    assert taken[0] == (state, event)
    assert rig.states[-1][1] is NEXT[state, event] or (state, event) in STAYS
    assert rig.link.status.reason or event in (Event.ANSWERED, Event.SETTLED)
    assert rig.link.status.state is NEXT[state, event]


def test_a_clock_that_jumps_is_measured_anew(line):
    rig = line().ready()
    rig.run(2000)
    jump(rig)
    assert rig.run(1000, lambda: rig.state is LinkState.SYNCING)
    assert rig.link.status.reason == "the MCU's clock jumped"
    assert rig.run(1000, lambda: rig.link.ready)
    rig.errors.clear()
    rig.run(1000)
    assert np.abs(rig.errors).max() < 100


@pytest.mark.parametrize("gone_ms", [300, 900, 1500, 7000])
def test_cable_cut_and_back(line, gone_ms):
    """Shorter than a second the session goes on; longer, a new one stands within 1 s."""
    rig = line(delay_ns=(200_000, 1_000_000)).rolling()
    session = rig.link.session
    rig.wire.cut()
    rig.run(gone_ms)
    assert rig.wheels == [0, 0]
    gone = gone_ms > 1000
    assert rig.state is (LinkState.HELLO if gone else LinkState.READY)
    if gone:
        assert "silent" in rig.link.status.reason
    rig.wire.mend()
    assert rig.run(1000, lambda: rig.link.ready)
    assert (rig.link.session != session) == gone
    assert rig.link.status.connects == 1 + gone
    rig.run(600)
    assert rig.wheels == ([0, 0] if gone else [4000, 4000])


def test_mcu_reset_is_found_within_a_second(line, table):
    rig = line(delay_ns=(200_000, 1_000_000)).rolling()
    rig.wire.replace(LockstepFirmware(table, boot_id=2))
    assert rig.run(1000, lambda: rig.link.ready and rig.link.identity.boot_id == 2)
    assert [s for _, s in rig.states][-2:] == [LinkState.SYNCING, LinkState.READY]
    rig.run(100)
    assert rig.wheels == [0, 0]
    assert rig.mode is Mode.SAFE
    rig.rolling()


def test_a_reset_names_its_cause_while_the_clock_is_measured(line, table):
    rig = line().ready()
    rig.wire.replace(LockstepFirmware(table, boot_id=3))
    assert rig.run(1000, lambda: rig.state is LinkState.SYNCING)
    assert rig.link.status.reason == "the MCU restarted (power)"


def test_another_schema_then_the_right_one(line, table):
    rig = line()
    rig.link._connection.schema ^= 1
    rig.run(5000)
    assert rig.state is LinkState.MISMATCH
    assert "companion flash" in rig.link.status.reason
    rig.link.estop(EstopReason.TEST)
    rig.run(50)
    rig.link._connection.schema ^= 1  # as if the MCU had been flashed
    assert rig.run(1000, lambda: rig.link.ready)
    assert rig.run(1100, lambda: rig.link.fault.latched == Fault.ESTOP)


def test_a_running_session_that_turns_into_another_schema(line, table):
    rig = line().ready()
    rig.wire.replace(LockstepFirmware(table, boot_id=2))
    rig.link._connection.schema ^= 1
    assert rig.run(1000, lambda: rig.state is LinkState.MISMATCH)
    assert not rig.link.send_motion(rig.now_ns, rig.target, 0xFFFF, 60)
    rig.wire.cut()
    assert rig.run(1500, lambda: rig.state is LinkState.HELLO)


def test_silent_port(line):
    """Nobody there: HELLO goes on at its beat for ever, and an MCU that comes is found."""
    rig = line()
    rig.wire.cut()
    rig.run(10_000)
    assert rig.state is LinkState.HELLO
    assert 98 <= rig.wire.to_mcu.frames <= 101
    rig.wire.mend()
    assert rig.run(1000, lambda: rig.link.ready)


def test_port_gone_and_back(line):
    rig = line().rolling()
    rig.wire.faults.unplugged = True
    assert rig.run(50, lambda: rig.state is LinkState.DISCONNECTED)
    assert rig.link.status.reason == "the port is gone"
    rig.run(3000)
    assert rig.wheels == [0, 0]
    rig.wire.mend()
    assert rig.run(1000, lambda: rig.link.ready)


def test_noise_without_a_frame_is_named(line):
    rig = line()
    rig.wire.cut()
    rng = np.random.default_rng(9)
    for _ in range(20):
        rig.wire._arrived += rng.integers(0, 256, 20, np.uint8).tobytes()
        rig.run(10)
    assert rig.state is LinkState.HELLO
    assert rig.link.status.reason == DEAF
    rig.wire.mend()
    assert rig.run(1000, lambda: rig.link.ready)


# ── a noisy wire ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "faults", [{"error_rate": 0.01}, {"drop_rate": 0.01}], ids=["byte_errors", "byte_drops"]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_percent_of_bytes_hurt(line, faults, seed):
    """It keeps driving or ramps down and drives on; every frame that is not delivered is counted."""
    rig = line(seed=seed, delay_ns=(200_000, 1_000_000)).rolling()
    before = rig.wire.to_host.frames - rig.link.status.frames
    for name, rate in faults.items():
        setattr(rig.wire.faults, name, rate)
    rig.speeds.clear()
    rig.run(20_000)
    assert rig.state is LinkState.READY
    assert rig.mode is Mode.ACTIVE
    assert not rig.link.fault.latched
    speeds = np.array(rig.speeds)
    assert speeds.min() >= 0 and speeds.max() == 4000  # never more than asked, never backwards
    assert (speeds == 4000).mean() > 0.8
    for name in faults:
        setattr(rig.wire.faults, name, 0.0)
    assert rig.run(1000, lambda: rig.wheels == [4000, 4000])
    rig.run(1100)
    status, sent = rig.link.status, rig.wire.to_host.frames
    assert status.bad > 500 and rig.wire.to_host.hurt > 1000
    assert sent - before - status.frames == status.lost > 500
    health = rig.link.health
    assert health.rx_bad > 100
    assert rig.wire.to_mcu.frames - health.rx_ok - health.rx_lost in range(0, 180)  # since HEALTH


@pytest.mark.parametrize("seed", range(4))
def test_a_session_can_begin_on_a_noisy_wire(line, seed):
    rig = line(seed=seed, error_rate=0.01)
    assert rig.run(6000, lambda: rig.link.ready)


def test_same_seed_same_bytes(line):
    def record() -> bytes:
        rig = line(seed=7, delay_ns=(0, 3_000_000), error_rate=0.01, drop_rate=0.001)
        taken = bytearray()
        read = rig.wire.read_into

        def tap(buffer: memoryview) -> int:
            size = read(buffer)
            taken.extend(buffer[:size])
            return size

        rig.wire.read_into = tap
        rig.run(2000)
        return bytes(taken)

    first = record()
    assert first == record()
    assert len(first) > 10_000


# ── stale commands and the stop ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("reconnect", [False, True])
def test_buffered_motion_moves_nothing(line, reconnect):
    """300 ms of MOTION held back and delivered at once, also into a session that came after."""
    rig = line().rolling()
    held: list[bytes] = []
    write = rig.wire.write

    def hold(data: memoryview) -> int:
        held.append(bytes(data))
        return len(data)

    rig.target[:2] = 8000
    rig.wire.write = hold
    rig.run(300)
    rig.wire.write = write
    rig.driving = False
    motions = [d for d in held if d.count(0) == 1 and len(d) > 26]
    assert len(motions) == 30
    if reconnect:
        rig.link._connection.connect(rig.now_ns, "test")
        assert rig.run(2000, lambda: rig.link.ready)
        rig.link.arm(rig.now_ns, Mode.ACTIVE)
        assert rig.run(300, lambda: rig.link.answer(protocol.ARM) is Ack.OK)
    else:
        rig.run(300)  # ramped down, and still ACTIVE
    rig.run(200)
    assert rig.wheels == [0, 0] and rig.mode is Mode.ACTIVE
    rig.speeds.clear()
    for data in motions:
        rig.wire.firmware.receive(data)
    rig.run(500)
    assert max(map(abs, rig.speeds)) == 0
    refused = Ack.NO_SESSION if reconnect else Ack.STALE
    assert rig.link.status.motion_refused is refused


def test_stop_latches_within_one_tick_and_outlives_a_reconnect(line):
    rig = line().rolling()
    rig.run(10 - rig.now_ns / MS % 10)
    rig.link.estop(EstopReason.OPERATOR)
    before = rig.wheels[0]
    rig.wire.advance(rig.now_ns + MS)
    assert rig.wheels[0] < before == 4000  # the ramp began with this very tick
    rig.run(10)
    for _ in range(2):
        rig.wire.cut()
        rig.run(1600)
        rig.wire.mend()
        assert rig.run(1000, lambda: rig.link.ready)
        rig.link.arm(rig.now_ns, Mode.ACTIVE)
        assert rig.run(300, lambda: rig.link.answer(protocol.ARM) is Ack.LATCHED)
        assert rig.wheels == [0, 0]
        assert not rig.plant.read_outputs().enable
        assert rig.run(1100, lambda: Fault.ESTOP in rig.link.fault.latched)
    rig.link.clear(rig.now_ns)
    assert rig.run(300, lambda: rig.link.answer(protocol.ESTOP_CLEAR) is Ack.OK)
    rig.run(20)
    assert rig.mode is Mode.IDLE
    rig.rolling()


def test_stop_is_cleared_only_in_safe(line):
    rig = line().ready()
    rig.link.arm(rig.now_ns, Mode.IDLE)
    assert rig.run(300, lambda: rig.link.answer(protocol.ARM) is Ack.OK)
    rig.link.clear(rig.now_ns)
    assert rig.run(300, lambda: rig.link.answer(protocol.ESTOP_CLEAR) is Ack.BAD_MODE)


def test_a_port_that_floods_does_not_hold_the_step(line):
    """A step reads one buffer at most, however much waits."""
    rig = line().ready()
    rig.wire._arrived += b"\x55" * 1_000_000
    before = rig.link.bytes_in
    rig.link.step(rig.now_ns)
    assert rig.link.bytes_in - before == 16384
    assert len(rig.wire._arrived) > 900_000
