"""What a calibration of the twin's IMU should find: its axes, biases, and how camera and IMU are turned.

A gyro alone is turned as the rotation nearest to its axes; after `imu-multi` the frame is that of
the calibrated accelerometer (x along its x axis, z normal to its x and y).
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from calibration.head import HEAD_FROM_OPTICAL
from calibration.rotations import matrices, quaternions
from tools.twin.sensors import HEAD_ENCODER_COUNTS
from tools.twin.twin import Twin

Floats = npt.NDArray[np.float64]


def axes(twin: Twin) -> tuple[Floats, Floats]:
    """(3, 3) each: what gyro and accelerometer deliver of what is there, in the IMU's place."""
    whole = np.eye(6) if twin.sensors.axes is None else twin.sensors.axes
    return whole[:3, :3], whole[3:, 3:]


def triads(twin: Twin) -> dict[str, tuple[Floats, Floats]]:
    """(matrix, bias) of each sensor: si = matrix @ (raw - bias), as `imu-multi` finds them."""
    gyro, accel = axes(twin)
    frame, upper = _frame(accel)
    bias = twin.sensors.bias
    return {
        "accel": (upper, bias[3:].copy()),
        "gyro": (frame.T @ np.linalg.inv(gyro), bias[:3].copy()),
    }


def imu_from_place(twin: Twin, calibrated: bool) -> Floats:
    """(3, 3) the IMU's frame from that of the place it is glued to."""
    gyro, accel = axes(twin)
    if calibrated:
        turned: Floats = _frame(accel)[0].T
        return turned
    u, _, vt = np.linalg.svd(gyro)
    nearest: Floats = u @ vt
    return nearest


def base_from_imu(twin: Twin, calibrated: bool) -> Floats:
    """(3, 3) what `cam-imu` should find of the IMU alone."""
    place = np.zeros(9)
    mujoco.mju_quat2Mat(place, twin.model.site_quat[twin.model.site("imu").id])
    return np.asarray(place.reshape(3, 3) @ imu_from_place(twin, calibrated).T)


def camera_from_imu(twin: Twin, calibrated: bool) -> Floats:
    """(3, 3) where the head's encoders show zero: optical axes from the IMU's frame.

    An encoder shows the count below: at zero the head has turned half a count on average.
    """
    mounted = np.zeros(9)
    mujoco.mju_quat2Mat(mounted, twin.model.site_quat[twin.ids.camera_site])
    half = np.pi / HEAD_ENCODER_COUNTS
    yaw, pitch = matrices(quaternions(np.array([[0, 0, half], [0, half, 0]])))
    base_from_camera = yaw @ pitch @ mounted.reshape(3, 3) @ HEAD_FROM_OPTICAL
    return np.asarray(base_from_camera.T @ base_from_imu(twin, calibrated))


def _frame(accel: Floats) -> tuple[Floats, Floats]:
    """Rotation Q and upper triangle U with accel^-1 = Q U, U's diagonal positive."""
    q, upper = np.linalg.qr(np.linalg.inv(accel))
    sign = np.sign(np.diag(upper))
    return q * sign, upper * sign[:, None]
