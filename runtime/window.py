"""Cutting what happened between two frame times: IMU samples, senses, mean sent action."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.layout import IMU_SLICES, Layout
from runtime.channels import Reader

Float32 = npt.NDArray[np.float32]
KEEP = 64  # control periods of history: 640 ms
# A command takes its time to become a wheel's speed, and how much differs from robot to robot: of
# what was sent within this long, anything may be what a wheel does now.
DRIVE_LAG_NS = 100_000_000


class Window:
    """Rolling history of sensor batches and sent actions, and cuts through it."""

    def __init__(self, layout: Layout, sensors: Reader, sent: Reader) -> None:
        self._layout = layout
        self._sensors, self._sent = sensors, sent
        self._imu_t = np.zeros(KEEP * 5, np.int64)
        self._imu_v = np.zeros((KEEP * 5, 6), np.float32)
        self._sent_t = np.zeros(KEEP, np.int64)
        self._sent_v = np.zeros((KEEP, layout.action_size), np.float32)
        self._state_t = np.zeros(KEEP, np.int64)
        self._state_v = np.zeros((KEEP, layout.proprio_size), np.float32)
        self.imu: Float32 = np.zeros((IMU_SLICES, 6), np.float32)
        self.proprio: Float32 = np.zeros(layout.proprio_size, np.float32)
        self.action: Float32 = np.zeros(layout.action_size, np.float32)
        self.rolled: Float32 = np.zeros(2, np.float32)
        self.vibration_m_s2 = 0.0
        self.has_imu = False
        self.has_proprio = False

    def collect(self) -> None:
        """Take in all that came since the last call."""
        for record in self._sensors.drain():
            self._imu_t[:-5] = self._imu_t[5:]
            self._imu_v[:-5] = self._imu_v[5:]
            self._imu_t[-5:] = record["imu_t_ns"]
            self._layout.imu(record["accel_m_s2"], record["gyro_rad_s"], self._imu_v[-5:])
            self._state_t[:-1] = self._state_t[1:]
            self._state_v[:-1] = self._state_v[1:]
            self._state_t[-1] = record["t_ns"]
            self._layout.proprio(
                record["position_rad"],
                record["velocity_rad_s"],
                float(record["range_m"]),
                self._state_v[-1],
            )
        for record in self._sent.drain():
            self._sent_t[:-1] = self._sent_t[1:]
            self._sent_v[:-1] = self._sent_v[1:]
            self._sent_t[-1] = record["t_ns"]
            self._sent_v[-1] = record["action"][: self._layout.action_size]

    def cut(self, start_ns: int, end_ns: int) -> None:
        """Fill `imu` (5,6), `proprio` (P,), `action` (A,) and what else is of the window (start, end].

        `rolled` (2,): mean rates of the wheels, of full speed; `vibration_m_s2`: largest swing.
        """
        inside = (self._imu_t > start_ns) & (self._imu_t <= end_ns)
        self.has_imu = bool(inside.any())
        self.imu[:] = 0
        self.vibration_m_s2 = 0.0
        if self.has_imu:
            values = self._imu_v[inside]
            swing = values[:, :3] - values[:, :3].mean(0)
            self.vibration_m_s2 = self._layout.accel_scale_m_s2 * float(
                np.sqrt((swing**2).sum(1).max())
            )
            edges = np.linspace(0, len(values), IMU_SLICES + 1).astype(int)
            for k in range(IMU_SLICES):
                low = min(edges[k], len(values) - 1)
                self.imu[k] = values[low : max(edges[k + 1], low + 1)].mean(0)
        at = int(np.searchsorted(self._state_t, end_ns, "right")) - 1
        self.has_proprio = at >= 0 and end_ns - int(self._state_t[at]) < 100_000_000
        self.proprio[:] = self._state_v[at] if self.has_proprio else 0
        states = (self._state_t > start_ns) & (self._state_t <= end_ns)
        self.rolled[:] = self._state_v[states, :2].mean(0) if states.any() else self.proprio[:2]
        moved = (self._sent_t > start_ns) & (self._sent_t <= end_ns)
        self.action[:] = self._sent_v[moved].mean(0) if moved.any() else 0

    def drive_error(self, start_ns: int, end_ns: int, delay_ns: int) -> float:
        """How far the wheels of the last cut were outside all they had been sent, of full speed.

        That is what was sent within the window, `delay_ns` before, and `DRIVE_LAG_NS` before that.
        """
        first_ns = start_ns - delay_ns - DRIVE_LAG_NS
        sent = (self._sent_t > first_ns) & (self._sent_t <= end_ns - delay_ns)
        if not (self.has_proprio and sent.any()):
            return 0.0
        told = self._sent_v[sent, :2]
        outside = np.maximum(self.rolled - told.max(0), told.min(0) - self.rolled)
        return max(0.0, float(outside.max()))

    def gyro_z_rad_s(self) -> float:
        """Mean yaw rate of the last cut window."""
        return float(self.imu[:, 5].mean()) * self._layout.gyro_scale_rad_s
