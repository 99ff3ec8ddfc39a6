"""What the MCU measured in one control period, in SI units: STATE and its IMU batch."""

from __future__ import annotations

import numpy as np

IMU_SAMPLES = 5
MAX_JOINTS = 16

# One record per control period. Joints stand in the body's order, unused ones are 0.
SENSORS = np.dtype(
    [
        ("t_ns", "<i8"),  # host clock at which STATE was sampled
        ("imu_t_ns", "<i8", IMU_SAMPLES),  # host clock of each IMU sample, oldest first
        ("accel_m_s2", "<f4", (IMU_SAMPLES, 3)),  # IMU frame: x forward, y left, z up
        ("gyro_rad_s", "<f4", (IMU_SAMPLES, 3)),
        ("position_rad", "<f4", MAX_JOINTS),  # velocity joints: unwrapped angle
        ("velocity_rad_s", "<f4", MAX_JOINTS),
        ("current_a", "<f4", MAX_JOINTS),
        ("range_m", "<f4"),  # inf: nothing in range
        ("battery_v", "<f4"),
        ("mcu_mode", "u1"),  # protocol.Mode
        ("cliff", "u1"),  # one bit per sensor, 1: no floor
        ("bumper", "u1"),  # one bit per switch, 1: pressed
        ("stop_ok", "u1"),  # 1: stop input closed
        ("flags", "<u2"),  # protocol.StateFlag
        ("limited", "<u2"),  # one bit per joint held back by a limit
        ("motion_seq", "u1"),  # sequence of the last MOTION frame accepted
        ("pad", "u1", 5),
    ]
)
