"""What the core says of itself: flags, ring, counters, IMU batches, battery, faults."""

from __future__ import annotations

import dataclasses

import pytest
from oracle import encode

from firmware_bridge import protocol
from firmware_bridge.protocol import StateFlag


def test_flags(wire):
    wire.run(2).hello()
    assert wire.flags == StateFlag.SESSION
    wire.sync()
    assert wire.flags == StateFlag.SESSION | StateFlag.SYNCED
    wire.armed()
    still = StateFlag.SESSION | StateFlag.SYNCED | StateFlag.ENABLED
    assert wire.flags == still | StateFlag.STOPPING
    wire.commands = {0: 5000, 1: 0}
    wire.run(20)
    assert wire.flags == still | StateFlag.MOVING
    wire.commands = None
    wire.run(90)
    assert wire.flags == still | StateFlag.STOPPING | StateFlag.TTL_EXPIRED
    wire.estop()
    wire.run(301)
    assert wire.flags == StateFlag.SESSION | StateFlag.SYNCED | StateFlag.LATCHED


def test_no_flag_stands_without_its_reason(make_wire, table):
    """Nobody is told these; an image on trial asks for them."""
    wire = make_wire(dataclasses.replace(table, has_stop=False))
    wire.run(2)
    late = StateFlag.HEARTBEAT_LATE
    assert wire.lib.core_flags(wire.core) == late
    wire.run(100).sensing = False
    wire.run(100)
    assert wire.lib.core_flags(wire.core) == late | StateFlag.SENSORS_STALE


def test_health_counts(wire):
    wire.opened().run(1)
    wire.seq = 250
    wire.sync()  # a gap of some frames
    before = health(wire)
    wire.give(b"\x05garbage\x00")
    wire.give(b"\x01" * 2000 + b"\x00")
    wire.seq = wire.seq + 3 & 0xFF
    wire.give(encode(bytes(253).replace(b"\0", b"\x21")))  # too long for one of ours
    wire.give(encode(b"\x21\x01"))  # too short
    wire.send(protocol.ARM, 0, 0, 0, 0, seq=wire.seq)
    wire.seq += 1
    wire.give(encode(b"\x77" + bytes(9)))  # a type that is none
    after = health(wire)
    assert after["rx_bad"] - before["rx_bad"] == 4
    assert after["rx_overrun"] - before["rx_overrun"] == 1


def health(wire) -> dict[str, int]:
    wire.forget()
    while not wire.frames(protocol.HEALTH):
        wire.run(1)
    return wire.last(protocol.HEALTH)


def test_rx_ok_counts_frames(wire):
    wire.opened().beating = False
    before = health(wire)["rx_ok"]
    for _ in range(5):
        wire.sync()
    assert health(wire)["rx_ok"] == before + 5


@pytest.mark.parametrize("gap", [1, 2, 200, 255])
@pytest.mark.parametrize("first", [3, 250])
def test_rx_lost_counts_gaps_in_the_sequence(wire, gap, first):
    wire.opened().beating = False
    wire.seq = first - 1 & 0xFF
    wire.hello()
    wire.sync()
    assert health(wire)["rx_lost"] == 0
    wire.seq = wire.seq + gap & 0xFF
    wire.sync()
    assert health(wire)["rx_lost"] == gap
    wire.sync()
    assert health(wire)["rx_lost"] == gap


def test_a_host_that_begins_anew_lost_nothing(wire):
    wire.opened().seq = 100
    wire.hello(nonce=1)
    wire.seq = 3
    wire.hello(nonce=2)
    wire.sync()
    assert health(wire)["rx_lost"] == 0


def test_an_update_frame_has_no_sequence(wire):
    wire.opened()
    wire.give(encode(b"\x08\x63\x63\x63"))
    wire.sync()
    assert health(wire)["rx_lost"] == 0


@pytest.mark.parametrize(("late_us", "ticks"), [(999, 0), (1000, 1), (4300, 4), (49_999, 49)])
def test_a_late_tick_is_caught_up_and_counted(wire, late_us, ticks):
    wire.opened().run(10 - wire.us // 1000 % 10)
    before, count = health(wire), wire.out.tick_count
    wire.beating = False
    wire.us += 1000 + late_us
    wire.lib.core_run(wire.core, wire.mcu_us)
    assert wire.out.tick_count == count + 1 + ticks
    after = health(wire)
    assert after["catch_up"] - before["catch_up"] == ticks
    assert after["late_max_us"] == late_us
    wire.us += 1000
    wire.lib.core_run(wire.core, wire.mcu_us)
    assert health(wire)["late_max_us"] == late_us  # the worst so far


@pytest.mark.parametrize(
    ("late_us", "told"),
    [(49_999, 5), (58_500, 5), (59_000, 5), (59_999, 5), (60_000, 5), (70_000, 5)],
)
def test_reports_of_long_ago_are_not_made(wire, late_us, told):
    """A tick that is 50 ms late or more reports nothing."""
    wire.opened().run(10 - wire.us // 1000 % 10)
    wire.forget()
    start = wire.us
    wire.us += 1000 + late_us
    wire.lib.core_run(wire.core, wire.mcu_us)
    times = [
        f.t_us - (wire.firmware.clock_start_us & 0xFFFFFFFF) for f in wire.frames(protocol.STATE)
    ]
    due = [t for t in range(start + 10_000, wire.us + 1, 10_000) if wire.us - t < 50_000]
    assert times == due
    assert len(due) in (told - 1, told)


def test_bytes_see_no_tick_before_their_time(wire):
    """A stop that arrives late finds all due ticks done."""
    wire.rolling(5000)
    data = encode(bytes([protocol.ESTOP.type, wire.seq, 0, 0, 0, 0, 1]))
    count = wire.out.tick_count
    wire.us += 5000
    wire.lib.core_receive(wire.core, wire.mcu_us, data, len(data))
    assert wire.out.tick_count == count + 5
    assert wire.wheels == [5000, 5000]
    wire.commands = None
    assert wire.run(1).wheels == [5000 - 66] * 2


def test_state_tells_the_sensors(wire):
    s = wire.sensors
    s["range_mm"], s["bumper"], s["cliff"] = 777, 5, 2
    s["position"][:6] = (1, -2, 3, -4, 5, -6)
    s["current_ma"][:6] = (10, -20, 30, -40, 50, -60)
    wire.ideal = False
    s["velocity_mrad_s"][:6] = (32767, 32768, -32767, -32768, 7, 1 << 30)
    wire.opened().run(20)
    state = wire.frames(protocol.STATE)[-1]
    assert (state.fields["range_mm"], state.fields["bumper"], state.fields["cliff"]) == (777, 5, 2)
    assert state.fields["stop_ok"] == 1
    assert [i["position"] for i in state.items] == [1, -2, 3, -4, 5, -6]
    assert [i["current"] for i in state.items] == [10, -20, 30, -40, 50, -60]
    assert [i["velocity"] for i in state.items] == [32767, 32767, -32767, -32767, 7, 32767]


def test_a_body_without_range_sees_nothing(make_wire, table):
    wire = make_wire(dataclasses.replace(table, has_range=False))
    wire.sensors["range_mm"] = 777
    assert wire.opened().state()["range_mm"] == 0xFFFF


def test_power_sums_what_was_drawn(wire):
    s = wire.sensors
    s["battery_mv"], s["battery_ma"], s["soc"], s["temperature_c"] = 14_000, 30_000, 55, -7
    wire.opened()
    wire.run(20_000)
    drawn = wire.frames(protocol.POWER)[-1].fields
    assert (drawn["voltage"], drawn["current"]) == (14_000, 30_000)
    assert (drawn["soc"], drawn["temperature"]) == (55, -7)
    assert abs(drawn["used"] - 14 * 30 * 20 / 3.6) < 30  # mWh
    s["battery_ma"] = -30_000  # on the charger nothing is given back
    wire.run(20_000)
    assert abs(wire.frames(protocol.POWER)[-1].fields["used"] - drawn["used"]) < 30
    assert wire.frames(protocol.IMU)[-1].fields["temperature"] == -700


@pytest.mark.parametrize(("current_ma", "used"), [(0, 0), (1, 1), (-1, 0), (-30_000, 0)])
def test_a_single_milliampere_counts_and_a_charger_does_not(wire, current_ma, used):
    wire.sensors["battery_mv"], wire.sensors["battery_ma"] = 65_535, current_ma
    wire.sense()
    wire.to(65_000_000)  # 65.5 mW for 65 s: 1.18 mWh
    wire.hello()
    wire.forget().run(250)
    assert wire.last(protocol.POWER)["used"] == used


def test_rates_of_the_slow_reports(wire):
    wire.opened().run(1000)
    wire.forget().run(2000)
    assert len(wire.frames(protocol.FAULT)) == 2
    assert len(wire.frames(protocol.HEALTH)) == 2
    assert len(wire.frames(protocol.POWER)) == 10


def test_faults_are_told_with_the_tick_that_finds_them(wire):
    wire.rolling().forget()
    wire.sensors["bumper"] = 1
    wire.sense()
    wire.run(1)
    assert len(wire.frames(protocol.FAULT)) == 1
    wire.forget().run(5)
    assert wire.frames(protocol.FAULT) == []
    wire.sensors["bumper"] = 0
    wire.run(2)
    assert len(wire.frames(protocol.FAULT)) == 1
    assert wire.active == 0


def test_a_port_that_is_not_emptied_loses_the_newest_whole(wire):
    wire.opened()
    for ms in range(2000):
        wire.us += 1000
        wire.firmware.run(wire.mcu_us)
        if ms % 50 == 0:
            wire.beat()
    data = wire.firmware.transmit()
    assert 8192 - 300 < len(data) <= 8192
    assert data.endswith(b"\0")
    assert health(wire)["tx_dropped"] > 100
