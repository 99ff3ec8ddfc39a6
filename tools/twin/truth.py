"""What really happened, for judges, labels and reports; no part that drives a robot reads it."""

from __future__ import annotations

import numpy as np

TRUTH = np.dtype(
    [
        ("t_ns", "<i8"),
        ("x_m", "<f8"),
        ("y_m", "<f8"),
        ("yaw_rad", "<f8"),
        ("wheel_rad_s", "<f4", 2),
        ("person_xy_m", "<f4", 2),  # world
        ("person_base_m", "<f4", 2),  # base frame
        ("person_px", "<i4"),  # of the camera's image
        ("distance_m", "<f4"),
        ("bump", "u1"),  # touched anything but the floor within the last 100 ms
        ("motor_enable", "u1"),
        ("pad", "u1", 6),
    ]
)
