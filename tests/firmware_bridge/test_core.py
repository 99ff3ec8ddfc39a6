"""The firmware core in lockstep, through the real link: time, commands, stops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from firmware_bridge import protocol
from firmware_bridge.codec import Encoder
from firmware_bridge.link import LinkState
from firmware_bridge.protocol import Ack, EstopReason, Fault, LedMode, Mode, StateFlag

STOP_INPUTS = {
    Fault.STOP_INPUT: ("stop_input", 0, 1),
    Fault.BUMPER: ("bumper", 1, 0),
    Fault.CLIFF: ("cliff", 2, 0),
}
FAR = 1 << 62


def refused(rig, frame) -> Ack:
    """Verdict on one more MOTION frame, as the next STATE tells it."""
    rig.driving = False
    rig.run(-rig.ms % 10)
    rig.firmware.receive(bytes(frame))
    rig.run(10)
    return rig.link.status.motion_refused


def frame(rig, now_ns=None, session=None, ttl_ms=60, t_us=None, speed=3000, joints=None):
    joints = rig.joints if joints is None else joints
    now_ns = rig.now_ns if now_ns is None else now_ns
    t_us = rig.link.clock.mcu_us(now_ns) & 0xFFFFFFFF if t_us is None else t_us
    target = np.full(joints, speed, np.int16)
    session = rig.link.session if session is None else session
    return Encoder(joints).motion(t_us, session, ttl_ms, 0xFFFF, target)


def test_silent_and_safe_until_hello(table, make_rig):
    rig = make_rig(table)
    rig.firmware.run(rig.firmware.clock_start_us + 500_000)
    assert rig.firmware.transmit() == b""
    assert not rig.enabled


def test_drives_across_the_wrap_of_the_clock(rig):
    rig.rolling()
    rig.run(23_000)  # the low half wraps 20 s after the start
    assert rig.wheels == [5000, 5000]
    assert not rig.latched
    assert rig.link.status.motion_refused is Ack.OK
    age_ns = rig.now_ns - int(rig.link.sensors["t_ns"][0])
    assert 0 <= age_ns < 10_000_000
    assert rig.link.health.motion_refused == 0


def test_sensor_times_and_units(rig):
    rig.plant.sensors["position"][:4] = (10_000, -10_000, 500, -500)
    rig.plant.sensors["current_ma"][1] = -250
    rig.plant.sensors["accel_m_s2"] = (1.0, -2.0, 9.81)
    rig.plant.sensors["gyro_rad_s"] = (0.1, 0.2, -0.3)
    rig.plant.sensors["range_mm"] = 750
    rig.plant.sensors["battery_mv"] = 12_340
    rig.ready()
    s = rig.link.sensors[0]
    assert s["t_ns"] == rig.now_ns
    assert s["imu_t_ns"].tolist() == [rig.now_ns - k * 2_000_000 for k in (4, 3, 2, 1, 0)]
    assert np.allclose(s["position_rad"][:4], (1.0, -1.0, 0.05, -0.05))
    assert np.isclose(s["current_a"][1], -0.25)
    assert np.allclose(s["accel_m_s2"], (1.0, -2.0, 9.81), atol=0.0026)
    assert np.allclose(s["gyro_rad_s"], (0.1, 0.2, -0.3), atol=0.0006)
    assert np.isclose(s["range_m"], 0.75)
    assert np.isclose(rig.link.power.voltage_v, 12.34)
    assert np.isclose(s["battery_v"], 12.34)
    assert s["stop_ok"] == 1


def test_arming_starts_from_the_measured_pose(rig):
    rig.plant.sensors["position"][2] = 4321
    rig.armed()
    assert rig.plant.read_outputs().target[2] == 4321
    rig.run(100)
    assert rig.plant.read_outputs().target[2] == 4321  # holds until the first MOTION
    assert rig.enabled


def test_motion_without_sync_is_refused(rig):
    rig.rolling()
    assert refused(rig, frame(rig, t_us=0)) is Ack.NOT_SYNCED


def test_sync_ages_out(rig):
    rig.rolling()
    rig.link._connection.next_sync_ns = FAR
    rig.run(11_500)
    assert rig.link.status.motion_refused is Ack.NOT_SYNCED
    assert rig.wheels == [0, 0]
    rig.link._connection.next_sync_ns = 0
    rig.run(1000)
    assert rig.wheels == [5000, 5000]  # nothing latched: the next valid command drives on


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Ack.OK),
        ({"session": 0x1234_5678}, Ack.NO_SESSION),
        ({"ttl_ms": 19}, Ack.BAD_TTL),
        ({"ttl_ms": 20}, Ack.OK),
        ({"ttl_ms": 200}, Ack.OK),
        ({"ttl_ms": 201}, Ack.BAD_TTL),
        ({"joints": 5}, Ack.BAD_SIZE),
        ({"joints": 7}, Ack.BAD_SIZE),
    ],
)
def test_motion_is_checked(rig, change, verdict):
    rig.rolling()
    rig.driving = False
    rig.run(-rig.ms % 10)
    assert refused(rig, frame(rig, **change)) is verdict


@pytest.mark.parametrize(
    ("late_ms", "verdict"),
    [(0, Ack.OK), (50, Ack.OK), (59, Ack.OK), (60, Ack.STALE), (1000, Ack.STALE),
     (-9, Ack.OK), (-11, Ack.FROM_FUTURE), (-1000, Ack.FROM_FUTURE)],
)  # fmt: skip
def test_motion_counts_from_its_issue(rig, late_ms, verdict):
    """A command that waited in a buffer is refused, whenever it arrives."""
    rig.armed()
    rig.run(-rig.ms % 10)
    assert refused(rig, frame(rig, now_ns=rig.now_ns - late_ms * 1_000_000)) is verdict
    moved = max(targets[0] for _, targets, _ in rig.history) > 0
    assert moved == (verdict is Ack.OK and late_ms < 59)  # its last millisecond moves no count


def test_reordered_motion_is_refused(rig):
    rig.rolling()
    rig.run(-rig.ms % 10)
    assert refused(rig, frame(rig, now_ns=rig.now_ns - 20_000_000)) is Ack.REORDERED


def test_motion_needs_active(rig):
    rig.ready()
    rig.run(-rig.ms % 10)
    assert refused(rig, frame(rig)) is Ack.NOT_ACTIVE
    assert rig.wheels == [0, 0]


@pytest.mark.parametrize("speed", [9000, -9000])
def test_ttl_stops_within_its_time(rig, speed):
    """ttl + v_max / stop_deceleration <= 230 ms, and not before the ttl."""
    rig.rolling(speed)
    rig.run(-rig.ms % 10)
    rig.driving = False
    rig.run(59)
    assert rig.wheels == [speed, speed]
    assert 59 + rig.until_still() <= 230
    rig.run(10)
    assert StateFlag.TTL_EXPIRED in rig.flags
    assert rig.mode is Mode.ACTIVE
    rig.driving = True
    rig.run(800)
    assert rig.wheels == [speed, speed]


def test_heartbeat_late_stops_then_disarms(rig):
    rig.rolling()
    rig.link._connection.next_heartbeat_ns = FAR
    rig.run(240)
    assert rig.wheels == [5000, 5000]
    rig.run(60)
    assert rig.until_still() <= 150
    assert rig.mode is Mode.ACTIVE
    rig.run(1000)
    assert rig.mode is Mode.SAFE
    assert rig.latched == Fault.HEARTBEAT
    assert not rig.enabled
    rig.link._connection.next_heartbeat_ns = 0
    rig.run(100)
    rig.link.arm(rig.now_ns, Mode.ACTIVE)
    rig.run(20)
    assert rig.link.answer(protocol.ARM) is Ack.LATCHED
    assert rig.ask(protocol.ESTOP_CLEAR) is Ack.OK
    rig.armed()


def test_estop_latches_until_cleared(rig):
    rig.rolling()
    rig.link.estop(EstopReason.TEST)
    assert rig.until_still() <= 140
    rig.run(400)
    assert rig.latched == Fault.ESTOP
    assert rig.mode is Mode.SAFE
    assert not rig.enabled
    assert rig.plant.outputs.led_mode == LedMode.STOPPED
    rig.link.arm(rig.now_ns, Mode.ACTIVE)
    rig.run(20)
    assert rig.link.answer(protocol.ARM) is Ack.LATCHED
    assert rig.ask(protocol.ESTOP_CLEAR) is Ack.OK
    assert rig.mode is Mode.IDLE
    assert rig.wheels == [0, 0]
    rig.run(500)
    assert rig.wheels == [0, 0]  # commands kept coming; only ARM drives again


def test_estop_needs_no_session(table, make_rig):
    rig = make_rig(table)
    rig.sense()
    rig.firmware.receive(bytes(Encoder(1).message(protocol.ESTOP, 0, EstopReason.TEST)))
    rig.ready()
    assert rig.latched == Fault.ESTOP


@pytest.mark.parametrize("fault", STOP_INPUTS)
def test_inputs_stop_the_wheels(rig, fault):
    name, pressed, released = STOP_INPUTS[fault]
    rig.rolling(9000)
    rig.plant.sensors[name] = pressed
    assert rig.until_still() <= 50
    if fault is Fault.STOP_INPUT:
        assert not rig.enabled
    rig.run(20)
    assert rig.latched == fault
    assert rig.link.fault.first == fault
    assert rig.mode is Mode.SAFE
    assert rig.ask(protocol.ESTOP_CLEAR) is Ack.CAUSE_PRESENT
    rig.plant.sensors[name] = released
    rig.run(500)
    assert rig.latched == fault  # the cause gone clears nothing by itself
    assert not rig.enabled
    assert rig.ask(protocol.ESTOP_CLEAR) is Ack.OK
    rig.armed()


@pytest.mark.parametrize("name", ["stop_input", "bumper", "cliff"])
def test_absent_inputs_are_not_heeded(table, make_rig, name):
    blind = dataclasses.replace(table, has_stop=False, has_bumper=False, cliffs=0)
    rig = make_rig(blind).rolling()
    rig.plant.sensors[name] = 0 if name == "stop_input" else 1
    rig.run(100)
    assert rig.wheels == [5000, 5000]


@pytest.mark.parametrize(
    ("fault", "velocity", "current"),
    [
        (Fault.OPPOSING, -2000, 500),
        (Fault.STALLED, 0, 500),
        (Fault.OVERCURRENT, 5000, 5500),
        (Fault.CONTACT, 5000, 3500),
    ],
)
def test_motors_that_misbehave_are_stopped(rig, fault, velocity, current):
    rig.rolling()
    rig.ideal = False
    rig.plant.sensors["velocity_mrad_s"][1] = velocity
    rig.plant.sensors["current_ma"][1] = current
    assert rig.until_still() <= 50
    rig.run(20)
    assert rig.latched == fault
    assert rig.link.fault.detail == 1
    assert rig.enabled == (fault is Fault.CONTACT)  # brakes where the motor can be trusted
    assert rig.plant.outputs.led_mode == LedMode.FAULT


def test_reversing_is_no_opposing_motion(rig):
    """A wheel that follows 40 ms late must not look as if it ran the wrong way."""
    rig.rolling(9000)
    rig.ideal = False
    lag = [9000] * 40
    for step in range(1500):
        if step % 400 == 0:
            rig.target[:2] *= -1
        lag.append(rig.wheels[0])
        rig.plant.sensors["velocity_mrad_s"][:2] = lag.pop(0)
        rig.run(1)
    assert not rig.latched


def test_sensors_gone_stop_then_cut(rig):
    rig.rolling()
    rig.sensing = False
    rig.run(60)
    assert rig.until_still() <= 90
    assert rig.mode is Mode.ACTIVE
    rig.run(500)
    assert rig.latched == Fault.SENSORS
    assert not rig.enabled
    assert rig.ask(protocol.ESTOP_CLEAR) is Ack.CAUSE_PRESENT
    rig.sensing = True
    rig.run(20)
    assert rig.ask(protocol.ESTOP_CLEAR) is Ack.OK


def test_arm_is_refused_without_sensors(table, make_rig):
    rig = make_rig(table)
    rig.sensing = False
    rig.ready()
    rig.link.arm(rig.now_ns, Mode.ACTIVE)
    rig.run(20)
    assert rig.link.answer(protocol.ARM) is Ack.NO_SENSORS


def test_another_body_is_refused(table, make_rig):
    other = dataclasses.replace(table, body="other")
    rig = make_rig(table, host_table=other)
    rig.run(600)
    assert rig.link.status.state is LinkState.MISMATCH
    assert "another body" in rig.link.status.reason
    rig.firmware.receive(
        bytes(Encoder(1).message(protocol.ARM, 1, rig.link.session, Mode.ACTIVE, 0, 0))
    )
    rig.run(20)
    assert not rig.enabled


def test_arm_checks_the_layout(rig):
    rig.ready()
    rig.link._connection.layout ^= 1
    rig.link.arm(rig.now_ns, Mode.ACTIVE)
    rig.run(20)
    assert rig.link.answer(protocol.ARM) is Ack.WRONG_LAYOUT


def test_another_schema_hears_only_the_stop(table, make_rig):
    rig = make_rig(table)
    rig.link._connection.schema ^= 1
    rig.run(600)
    assert rig.link.status.state is LinkState.MISMATCH
    assert "flash" in rig.link.status.reason
    rig.link.estop(EstopReason.TEST)
    rig.run(30)
    rig.link._connection.schema ^= 1
    rig.link._connection.connect(rig.now_ns, "test")
    rig.ready()
    assert rig.latched == Fault.ESTOP


def test_a_new_host_begins_a_new_session_and_disarms(table, make_rig):
    rig = make_rig(table).rolling()
    session = rig.link.session
    other = make_rig(table)
    other.firmware, other.plant = rig.firmware, rig.plant
    other.link._transport.firmware = rig.firmware
    other.ms = rig.ms
    other.run(10)
    assert other.until_still() <= 140
    other.run(1000)
    assert other.link.ready
    assert other.link.session != session
    assert other.mode is Mode.SAFE
    assert not other.latched
    assert refused(other, frame(other, session=session)) is Ack.NO_SESSION


def test_random_commands_stay_within_the_limits(rig, table):
    """What the motors get, at 1 kHz, against the body's own numbers."""
    rng = np.random.default_rng(5)
    rig.armed()
    rig.driving = True
    for _ in range(150):
        rig.target[:] = rng.integers(-32768, 32767, rig.joints)
        rig.run(int(rng.integers(1, 150)))
        assert not rig.latched
    wheels = np.array([targets for _, targets, _ in rig.history], float)
    for index, (joint, counts) in enumerate(zip(table.joints, table.counts(), strict=True)):
        values = wheels[1000:, index]
        if counts.velocity_joint:
            assert np.abs(values).max() <= counts.velocity_max
            assert np.abs(np.diff(values)).max() <= counts.acceleration_max * 1e-3 + 1
        else:
            assert values.min() >= counts.position_min
            assert values.max() <= counts.position_max
            assert np.abs(np.diff(values)).max() <= counts.velocity_max * 1e-3 + 1, joint.name


def test_same_inputs_same_bytes(table, make_rig):
    def record() -> bytes:
        rig = make_rig(table)
        taken = []
        original = rig.firmware.transmit

        def transmit() -> bytes:
            data = original()
            taken.append(data)
            return data

        rig.firmware.transmit = transmit
        rig.rolling()
        return b"".join(taken)

    first = record()
    assert first == record()
    assert len(first) > 20_000


def test_led_ring_tells_the_mode(rig):
    rig.ready()
    assert rig.plant.outputs.led_mode == LedMode.DISARMED
    rig.armed()
    assert rig.plant.outputs.led_mode == LedMode.ARMED
    rig.target[:2] = 2000
    rig.driving = True
    rig.run(100)
    assert rig.plant.outputs.led_mode == LedMode.MOVING


def test_rebooted_mcu_is_found_again(table, make_rig):
    rig = make_rig(table).rolling()
    fresh = make_rig(table, boot_id=2)
    rig.firmware = fresh.firmware
    rig.firmware.clock_start_us -= rig.now_ns // 1000
    rig.plant = fresh.plant
    rig.link._transport.firmware = fresh.firmware
    rig.run(3000)
    assert rig.link.ready
    assert rig.link.identity.boot_id == 2
    assert rig.wheels == [0, 0]
    assert rig.mode is Mode.SAFE
