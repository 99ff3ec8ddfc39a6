"""The one place where calibrations of the IMU enter: on a sensor batch, before anything reads it.

In place, on arrays made once: the controller does it a hundred times a second. What is published and
logged is corrected; a log's metadata names the calibrations, so that raw values can be had again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.imu_map import Affine, ImuMap
from runtime.channels import Record


class Corrections:
    """Corrects the batches that `record` (SENSORS) is filled with; without a map they stay as they are."""

    def __init__(self, record: Record, imu: ImuMap | None) -> None:
        self._parts: list[_Part] = []
        if imu is not None:
            self._parts = [_Part(record["gyro_rad_s"], imu.gyro), _Part(record["accel_m_s2"], imu.accel)]  # fmt: skip

    def apply(self) -> None:
        """Once per batch."""
        for part in self._parts:
            part.apply()


class _Part:
    """One sensor's five samples (5, 3) float32."""

    def __init__(self, batch: npt.NDArray[np.float32], affine: Affine) -> None:
        self._batch = batch
        self._turned = np.zeros_like(batch)
        self._transposed = np.ascontiguousarray(affine.matrix.T, np.float32)
        self._offset = affine.offset.astype(np.float32)

    def apply(self) -> None:
        np.matmul(self._batch, self._transposed, out=self._turned)
        np.subtract(self._turned, self._offset, out=self._batch)
