"""What a calibration by the robot's own motion is worth: it moved, it was seen, its halves agree."""

from __future__ import annotations

import numpy as np

from calibration.rate_alignment import apart_deg
from calibration.self_motion_fit import SelfMotion
from calibration.verdict import Finding, Level

ALIKE = (
    0.98,
    0.9,
)  # gyro and wheels, accelerometer and wheels: PASS from the first, FAIL below the second
OFFSET_STD_S, OFFSET_HALVES_S = (0.0005, 0.003), (0.001, 0.005)
TURN_STD_DEG, TURN_HALVES_DEG = (0.35, 1.0), (0.5, 2.0)
LOST = (0.4, 0.7)  # share of frames without a whole board
SCALE = (0.02, 0.1)  # of the gyro, by the board and the wheels
LEAN_DEG = (3.0, 10.0)
RESIDUAL_PX = (0.5, 2.0)
MOUNT_DEG = (10.0, 20.0)  # the runtime takes none beyond


def judge(fit: SelfMotion, frames: int) -> list[Finding]:
    """All that speaks against the fit; `frames` were taken while it moved."""
    out: list[Finding] = []

    def above(value: float, limits: tuple[float, float], cause: str, fix: str) -> None:
        level: Level = (
            "PASS" if value <= limits[0] else "MARGINAL" if value <= limits[1] else "FAIL"
        )
        if level != "PASS":
            out.append(Finding(level, cause, fix))

    unlike = (1 - ALIKE[0], 1 - ALIKE[1])
    turned, driven = fit.mount.turned.alike, fit.mount.driven.alike
    above(1 - turned, unlike, f"turning on the spot, gyro and wheels are alike to {turned:.2f} only ({ALIKE[0]} wanted): the wheels slip, or an axis is exchanged", "put it on a clean, hard floor, then record again")  # fmt: skip
    above(1 - driven, unlike, f"driving, accelerometer and wheels are alike to {driven:.2f} only ({ALIKE[0]} wanted); the base cannot roll or pitch itself, so this is what tells its x axis", "put it on a clean, hard floor, then record again")  # fmt: skip
    off_deg = apart_deg(fit.mount.base_from_imu, np.eye(3))
    above(off_deg, MOUNT_DEG, f"the IMU sits {off_deg:.0f} deg off the drawing: its axes are exchanged, or the body file is another robot's", "correct the axes in the firmware's board file, and record again")  # fmt: skip
    lost = 1 - fit.used / max(frames, 1)
    above(lost, LOST, f"the board was whole in {1 - lost:.0%} of the frames only", "fix it half a metre before its face, in the middle, and record again")  # fmt: skip
    above(fit.residual_px, RESIDUAL_PX, f"corners are {fit.residual_px:.2f} px off where they should be ({RESIDUAL_PX[0]} allowed)", "fix the board, calibrate the camera, see that the head has no play (calibrate motor), and record again")  # fmt: skip
    off = abs(fit.gyro_scale - 1)
    above(off, SCALE, f"the gyro turns {fit.gyro_scale:.3f} times as much as the board says", "check the lens and the gyro's scale (imu-multi)")  # fmt: skip
    lean = float(np.rad2deg(np.abs(fit.lean_rad).max()))
    above(lean, LEAN_DEG, f"the base leans by {lean:.1f} deg on the floor", "put it on a level floor, on all its wheels, and record again")  # fmt: skip
    above(fit.offset_std_s, OFFSET_STD_S, f"the time offset is known to {fit.offset_std_s * 1e3:.1f} ms only", "record again in good light, the board whole in the picture")  # fmt: skip
    std_deg = float(np.rad2deg(fit.std_rad.max()))
    above(std_deg, TURN_STD_DEG, f"the rotation is known to {std_deg:.2f} deg only ({TURN_STD_DEG[0]} wanted)", "hold the board closer, and record again")  # fmt: skip
    apart_s, halves_deg = fit.halves[0], float(np.rad2deg(fit.halves[1]))
    above(apart_s, OFFSET_HALVES_S, f"the halves' time offsets differ by {apart_s * 1e3:.1f} ms", "check that stamps are the camera's own, not arrival times, and record again")  # fmt: skip
    above(halves_deg, TURN_HALVES_DEG, f"the halves' rotations differ by {halves_deg:.2f} deg ({TURN_HALVES_DEG[0]} allowed)", "fix board, camera and board of the IMU firmly, and record again")  # fmt: skip
    return out
