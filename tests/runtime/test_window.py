"""Cutting between two frame times, on real channels in memory."""

import numpy as np
import pytest

from models.layout import GRAVITY_M_S2, IMU_SLICES
from runtime.body import load_body
from runtime.channels import channel_table
from runtime.lockstep import START_NS, Clockwork, LockstepChannels
from runtime.window import KEEP, Window

MS = 1_000_000


class Rig:
    def __init__(self) -> None:
        self.body = load_body("companion")
        self.layout = self.body.layout()
        self.clockwork = Clockwork()
        channels = LockstepChannels(channel_table(8, (4, 4, 3)), self.clockwork, {})
        self.window = Window(self.layout, channels.reader("sensors"), channels.reader("sent"))
        self.sensors = channels.writer("sensors", "controller")
        self.sent = channels.writer("sent", "controller")

    def period(self, k: int, gyro_z: float, wheel: float, action: float) -> None:
        """Control period k: its batch ends at (k + 1) * 10 ms."""
        end = START_NS + (k + 1) * 10 * MS
        r = self.sensors.record
        r["imu_t_ns"] = end - np.arange(4, -1, -1) * 2 * MS
        r["accel_m_s2"] = (0, 0, GRAVITY_M_S2)
        r["gyro_rad_s"] = (0, 0, gyro_z)
        r["velocity_rad_s"][:2] = wheel
        self.sensors.publish(end)
        self.sent.record["action"][: self.layout.action_size] = action
        self.sent.publish(end)
        self.clockwork.run(end)
        self.window.collect()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_cut_is_what_lies_between_two_frames(rig: Rig) -> None:
    for k in range(20):
        rig.period(k, gyro_z=float(k), wheel=0.1 * k, action=0.01 * k)
    rig.window.cut(START_NS + 100 * MS, START_NS + 150 * MS)
    w = rig.window
    assert w.has_imu and w.has_proprio
    assert w.imu[:, 5] * rig.layout.gyro_scale_rad_s == pytest.approx([10, 11, 12, 13, 14])
    assert np.abs(w.imu[:, :3]).max() < 1e-6, "gravity is taken out"
    assert w.gyro_z_rad_s() == pytest.approx(12)
    assert w.proprio[0] == pytest.approx(1.4 / 9.0), "the newest senses at the frame's time"
    assert w.rolled == pytest.approx(np.full(2, 1.2 / 9.0)), "the mean, like the gyro's"
    assert w.action == pytest.approx(np.full(4, 0.12)), "the mean of what was sent, not wanted"


def test_an_empty_window_is_masked_and_zero(rig: Rig) -> None:
    rig.period(0, 1.0, 1.0, 1.0)
    rig.window.cut(START_NS + 500 * MS, START_NS + 550 * MS)
    w = rig.window
    assert not w.has_imu and not w.has_proprio
    assert not w.imu.any() and not w.proprio.any() and not w.action.any() and not w.rolled.any()


def test_fewer_samples_than_slices_still_fill_every_slice(rig: Rig) -> None:
    rig.period(0, 2.0, 0.0, 0.0)
    rig.window.cut(START_NS + 4 * MS, START_NS + 8 * MS)
    assert rig.window.imu.shape == (IMU_SLICES, 6)
    assert rig.window.imu[:, 5] == pytest.approx(np.full(IMU_SLICES, 2.0))


def test_only_the_newest_history_is_kept(rig: Rig) -> None:
    for k in range(KEEP + 30):
        rig.period(k, float(k), 0.0, 0.0)
    rig.window.cut(START_NS, START_NS + 50 * MS)
    assert not rig.window.has_imu
    last = START_NS + (KEEP + 30) * 10 * MS
    rig.window.cut(last - 50 * MS, last)
    assert rig.window.gyro_z_rad_s() == pytest.approx(KEEP + 27)


def drive_error(rig: Rig, end: int) -> float:
    """Of the 50 ms to the end of control period `end`, with a delay as long."""
    at = START_NS + end * 10 * MS
    rig.window.cut(at - 50 * MS, at)
    return rig.window.drive_error(at - 50 * MS, at, 50 * MS)


@pytest.mark.parametrize("lag", [5, 9, 14])
@pytest.mark.parametrize("way", [1, -1])
def test_wheels_that_lag_are_no_drive_error_and_pushed_ones_are(
    rig: Rig, lag: int, way: int
) -> None:
    """A ramp that the wheels follow `lag` periods later, then stand at, then are pushed from."""
    full = way * rig.layout.joints[0].velocity_max_rad_s
    errors = []
    for k in range(70):
        pushed = 0.2 if k >= 65 else 0.0
        wheel = 0.01 * min(max(0, k - lag), 30) + pushed
        rig.period(k, 0.0, wheel=full * wheel, action=way * 0.01 * min(k, 30))
        errors.append(drive_error(rig, k + 1))
    assert max(errors[:65]) < 1e-6
    assert errors[69] == pytest.approx(0.2, abs=1e-6), "either way"


def test_wheels_that_do_not_come_are_a_drive_error(rig: Rig) -> None:
    for k in range(40):
        rig.period(k, 0.0, wheel=0.0, action=0.3 if k >= 10 else 0.0)
    assert drive_error(rig, 25) == pytest.approx(0.0, abs=1e-6), "not yet"
    assert drive_error(rig, 35) == pytest.approx(0.3, abs=1e-6)


def test_wheels_of_which_nothing_is_known_are_no_drive_error(rig: Rig) -> None:
    rig.period(0, 0.0, 1.0, 0.0)
    assert drive_error(rig, 100) == 0.0
    rig.window.cut(0, START_NS + 10 * MS)
    assert rig.window.drive_error(0, 1, 50 * MS) == 0.0, "nothing had been sent"


def test_vibration_is_the_swing_and_neither_gravity_nor_steady_acceleration(rig: Rig) -> None:
    for k in range(10):
        rig.period(k, 0.0, 0.0, 0.0)
    rig.window.cut(START_NS, START_NS + 50 * MS)
    assert rig.window.vibration_m_s2 == pytest.approx(0.0, abs=1e-4)
    rig.sensors.record["accel_m_s2"][2] += (0, 0, 5.0)  # one knock of 2 ms
    end = START_NS + 110 * MS
    rig.sensors.record["imu_t_ns"] = end - np.arange(4, -1, -1) * 2 * MS
    rig.sensors.publish(end)
    rig.clockwork.run(end)
    rig.window.collect()
    rig.window.cut(end - 10 * MS, end)
    assert rig.window.vibration_m_s2 == pytest.approx(5.0 * 4 / 5, rel=1e-3)
    rig.window.cut(end + 100 * MS, end + 150 * MS)
    assert rig.window.vibration_m_s2 == 0.0
