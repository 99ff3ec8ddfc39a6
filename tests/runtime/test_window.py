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
    assert w.action == pytest.approx(np.full(4, 0.12)), "the mean of what was sent, not wanted"


def test_an_empty_window_is_masked_and_zero(rig: Rig) -> None:
    rig.period(0, 1.0, 1.0, 1.0)
    rig.window.cut(START_NS + 500 * MS, START_NS + 550 * MS)
    w = rig.window
    assert not w.has_imu and not w.has_proprio
    assert not w.imu.any() and not w.proprio.any() and not w.action.any()


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


def test_wheels_that_lag_as_ever_are_no_drive_error_and_pushed_ones_are(rig: Rig) -> None:
    full = rig.layout.joints[0].velocity_max_rad_s
    for k in range(40):  # a ramp that the wheels follow 50 ms later
        pushed = 0.2 if k >= 35 else 0.0
        rig.period(k, 0.0, wheel=full * (0.01 * max(0, k - 5) + pushed), action=0.01 * k)

    def error(end: int) -> float:
        at = START_NS + end * 10 * MS
        return rig.window.drive_error(at - 50 * MS, at, 50 * MS)

    assert error(30) == pytest.approx(0.0, abs=1e-6)
    assert error(40) == pytest.approx(0.2, abs=1e-6)
    assert rig.window.drive_error(0, 1, 50 * MS) == 0.0, "nothing is known of then"


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
