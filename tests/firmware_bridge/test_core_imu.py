"""IMU samples in batches: rounded, stamped, flagged where one repeats, back to back with STATE."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from firmware_bridge import protocol


def test_imu_batches(wire):
    wire.opened()
    wire.run(-(wire.us // 1000) % 10).forget()
    values = [0.0, 1.0, -1.0, 100.0, -100.0]
    sent = []

    def shake():
        if wire.us // 1000 % 2 == 0:
            step = wire.us // 2000 % 5
            wire.sensors["accel_m_s2"] = (values[step], 9.81, -values[step])
            wire.sensors["gyro_rad_s"] = (0.0004, -0.0006, 3 * values[step])
            sent.append(values[step])
            wire.plant.write_sensors()

    wire.before_tick = shake
    wire.run(10)
    (batch,) = wire.frames(protocol.IMU)
    assert batch.fields == {"n": 5, "flags": 0, "temperature": 0}
    assert [i["dt_us"] for i in batch.items] == [0, 2000, 4000, 6000, 8000]
    assert batch.t_us == wire.mcu_us - 8000 & 0xFFFFFFFF
    for item, value in zip(batch.items, sent, strict=True):
        assert item["accel"] == (counts(value / 0.005), 1962, counts(-value / 0.005))
        assert item["gyro"] == (0, -1, counts(3 * value / 0.001))


def counts(value: float) -> int:
    return int(np.clip(np.sign(value) * np.floor(abs(value) + 0.5), -32767, 32767))


def test_imu_that_is_no_number_is_far_out(wire):
    wire.sensors["gyro_rad_s"] = (float("nan"), float("inf"), float("-inf"))
    wire.opened().run(20)
    assert wire.frames(protocol.IMU)[-1].items[-1]["gyro"] == (-32767, 32767, -32767)


@pytest.mark.parametrize(("value", "count"), [(163.835, 32767), (163.84, 32767), (-163.84, -32767),
                                              (1e30, 32767), (-1e30, -32767), (0.0124, 2), (0.0126, 3),
                                              (-0.0124, -2), (-0.0126, -3)])  # fmt: skip
def test_imu_rounds_and_saturates(wire, value, count):
    wire.sensors["accel_m_s2"] = (value, 0, 0)
    wire.opened().run(20)
    assert wire.frames(protocol.IMU)[-1].items[-1]["accel"] == (count, 0, 0)


def test_a_repeated_sample_is_flagged(wire):
    wire.opened()
    wire.run(-(wire.us // 1000) % 10 + 2).forget()
    wire.sensing = False
    wire.run(2)
    wire.sensing = True
    wire.run(6)
    assert wire.frames(protocol.IMU)[-1].fields["flags"] == 1
    wire.forget().run(10)
    assert wire.frames(protocol.IMU)[-1].fields["flags"] == 0


def test_a_session_begins_with_a_fresh_batch(wire):
    """Nobody took the batches before it: they are dropped, period by period."""
    wire.run(500)
    wire.hello()
    wire.run(10)
    assert wire.frames(protocol.IMU)[0].fields["n"] == 5


@pytest.mark.parametrize("hz", [50, 100, 200])
def test_imu_and_state_stand_back_to_back(make_wire, table, hz):
    wire = make_wire(dataclasses.replace(table, control_hz=hz, imu_hz=5 * hz)).opened()
    wire.run(100).forget()
    wire.run(200)
    imu, state = wire.frames(protocol.IMU), wire.frames(protocol.STATE)
    assert len(imu) == len(state) == hz // 5
    assert [s.seq for s in state] == [(i.seq + 1) & 0xFF for i in imu]
    assert all(i.fields["n"] == 5 for i in imu)


def test_a_batch_whose_report_was_too_late_begins_anew(wire):
    wire.opened().run(-wire.us // 1000 % 10)
    wire.forget()
    wire.us += 200_000
    wire.lib.core_run(wire.core, wire.mcu_us)
    wire.run(10)
    for batch in wire.frames(protocol.IMU):
        assert batch.fields["n"] == 5
        assert (wire.mcu_us - batch.t_us) & 0xFFFFFFFF < 70_000
