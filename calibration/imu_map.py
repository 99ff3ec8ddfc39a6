"""What an IMU delivers -> rates and accelerations in the base's axes, out of installed calibrations.

One affine map a sensor: base = matrix @ raw - offset. Scale, misalignment and bias come from
`imu-multi` (si = misalignment @ ((raw - bias) / inverse_scale)), a newer gyro bias from `imu-static`,
the turn into the base's axes from `cam-imu`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.errors import RecordError
from calibration.rotations import matrices

Floats = npt.NDArray[np.float64]
SCALE_OFF = 0.2  # of 1: the board delivers SI units, and no chip is further off
BIAS_MAX = {"gyro": 0.5, "accel": 5.0}  # rad/s, m/s^2
TURN_MAX_RAD = 0.35  # of the IMU against the drawing; more, and a mount is another one


@dataclass(frozen=True, slots=True)
class Affine:
    """(3, 3) matrix and (3,) offset [SI]: of one sensor's raw triple."""

    matrix: Floats
    offset: Floats

    def __call__(self, raw: Floats) -> Floats:
        """(..., 3) -> (..., 3)."""
        found: Floats = raw @ self.matrix.T - self.offset
        return found


@dataclass(frozen=True, slots=True)
class ImuMap:
    """Both sensors' maps."""

    gyro: Affine
    accel: Affine


def imu_map(
    multi: Mapping[str, Any] | None = None,
    still: Mapping[str, Any] | None = None,
    mounted: Mapping[str, Any] | None = None,
) -> ImuMap | None:
    """The map that results of `imu-multi`, `imu-static`, `cam-imu` give; None where there are none.

    Give `still` only where it is newer than `multi`. RecordError names what cannot be used.
    """
    if multi is None and still is None and mounted is None:
        return None
    turn = np.eye(3) if mounted is None else base_from_imu(mounted)
    found = []
    for kind in ("gyro", "accel"):
        bias = np.zeros(3)
        matrix = np.eye(3)
        if multi is not None:
            matrix, bias = _triad(multi, kind)
        if still is not None and kind == "gyro":
            bias = _vector(still, "imu-static", "gyro", "bias")
        if float(np.abs(bias).max()) > BIAS_MAX[kind]:
            raise RecordError(
                f"the {kind}'s bias is {np.abs(bias).max():.3g}, more than any chip's; calibrate again"
            )
        matrix = turn @ matrix
        found.append(Affine(matrix, matrix @ bias))
    return ImuMap(found[0], found[1])


def base_from_imu(mounted: Mapping[str, Any]) -> Floats:
    """(3, 3) out of a `cam-imu` result."""
    quaternion = np.asarray(mounted.get("base_from_imu_quat_xyzw") or (0, 0, 0, 0), float)
    if quaternion.shape != (4,) or not abs(float(np.linalg.norm(quaternion)) - 1) < 1e-3:
        raise RecordError(
            "the cam-imu calibration does not say how the IMU sits in the base; record it with"
            " `companion calibrate cam-imu record`"
        )
    angle = 2 * float(np.arccos(min(1.0, abs(quaternion[3]))))
    if angle > TURN_MAX_RAD:
        raise RecordError(
            f"the cam-imu calibration turns the IMU by {np.rad2deg(angle):.0f} deg against the drawing;"
            " see how it is mounted, and that the body file is this robot's"
        )
    return np.asarray(matrices(quaternion))


def _triad(result: Mapping[str, Any], kind: str) -> tuple[Floats, Floats]:
    """Matrix and bias [raw] of one sensor of an `imu-multi` result."""
    scale = _vector(result, "imu-multi", kind, "inverse_scale")
    if float(np.abs(scale - 1).max()) > SCALE_OFF:
        raise RecordError(
            f"the imu-multi calibration is of a {kind} that delivers {scale.mean():.4g} of its units to"
            " an SI unit, and this board delivers SI units; record it on the robot"
        )
    skew = np.asarray(result[kind].get("misalignment", ()), float)
    if skew.shape != (3, 3) or not np.isfinite(skew).all():
        raise RecordError(f"the imu-multi calibration holds no misalignment of the {kind}")
    return skew / scale, _vector(result, "imu-multi", kind, "bias")


def _vector(result: Mapping[str, Any], tool: str, kind: str, key: str) -> Floats:
    try:
        found = np.asarray(result[kind][key], float)
    except (KeyError, TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (3,) or not np.isfinite(found).all():
        raise RecordError(f"the {tool} calibration holds no {key} of the {kind}; calibrate again")
    return found
