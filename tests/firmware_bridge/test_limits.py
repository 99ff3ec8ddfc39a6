"""The limit table in wire units: rounding, refusals, identity."""

from __future__ import annotations

import dataclasses

import pytest

from firmware_bridge.errors import LimitError
from firmware_bridge.header import packed_limits
from firmware_bridge.link import Link
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.transport import LockstepTransport


def changed(table, index, **values):
    joints = list(table.joints)
    joints[index] = dataclasses.replace(joints[index], **values)
    return dataclasses.replace(table, joints=tuple(joints))


def test_counts(table):
    wheel, _, yaw, *_ = table.counts()
    assert (wheel.velocity_max, wheel.acceleration_max, wheel.jerk_max) == (9000, 30_000, 600_000)
    assert (yaw.position_min, yaw.position_max, yaw.velocity_max) == (-20_000, 20_000, 30_000)
    assert (wheel.current_max_ma, wheel.scale_nano) == (4000, 1_000_000)


def test_rounding_never_widens(table):
    odd = changed(table, 2, position_min_rad=-1.00009, position_max_rad=1.00009)
    assert odd.counts()[2].position_min == -10_000
    assert odd.counts()[2].position_max == 10_000
    slow = changed(table, 0, velocity_max_rad_s=1.0009)
    assert slow.counts()[0].velocity_max == 1000


@pytest.mark.parametrize(
    ("index", "values", "words"),
    [
        (0, {"velocity_max_rad_s": 33.0}, "coarser scale"),
        (2, {"position_max_rad": 3.4}, "coarser scale"),
        (2, {"position_max_rad": -3.0}, "position_min below"),
        (0, {"jerk_max_rad_s3": 1e9}, "too large"),
        (2, {"acceleration_max_rad_s2": 1e6}, "too large"),
        (0, {"stop_deceleration_rad_s2": 1e-6}, "below one count"),
        (0, {"current_max_a": 40.0}, "too big"),
    ],
)
def test_what_does_not_fit_is_refused(table, index, values, words):
    bad = changed(table, index, **values)
    with pytest.raises(LimitError, match=words):
        bad.counts()
    with pytest.raises(LimitError):
        LockstepFirmware(bad)
    with pytest.raises(LimitError):
        Link(LockstepTransport(LockstepFirmware(table)), bad)


def test_rates_and_joint_count_are_checked(table):
    with pytest.raises(LimitError, match="imu_hz"):
        dataclasses.replace(table, imu_hz=400).counts()
    with pytest.raises(LimitError, match="17 joints"):
        dataclasses.replace(table, joints=(table.joints[0],) * 17).counts()


def test_another_body_needs_no_source_change(table, make_rig):
    """Three joints in another order and scale, other rates."""
    joints = (
        dataclasses.replace(table.joints[2], name="arm", scale=0.0002),
        dataclasses.replace(table.joints[0], name="belt", scale=0.01),
        dataclasses.replace(table.joints[1], name="belt2"),
    )
    other = dataclasses.replace(table, body="crane", joints=joints, control_hz=50, imu_hz=250)
    rig = make_rig(other)
    rig.ideal = False
    rig.armed()
    rig.target[:] = (5000, 40, 0)
    rig.driving = True
    rig.plant.sensors["velocity_mrad_s"][1] = 400
    rig.run(1500)
    assert rig.plant.read_outputs().target[:4].tolist() == [5000, 40, 0, 0]
    assert not rig.latched


def test_crc_tells_bodies_apart(table):
    other = changed(table, 3, velocity_max_rad_s=1.9)
    assert table.crc() == dataclasses.replace(table).crc()
    assert table.crc() != other.crc()
    assert packed_limits(table) != packed_limits(other)


@pytest.mark.parametrize("cliffs", [-1, 9])
def test_more_cliff_sensors_than_state_carries_are_refused(table, cliffs):
    with pytest.raises(LimitError, match="cliff sensors"):
        dataclasses.replace(table, cliffs=cliffs).counts()
