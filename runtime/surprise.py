"""Surprise: how far what came is from what was expected, as a small vector of named channels.

Each channel has its own threshold (set on data, in the bundle's manifest), its event, its effect:
only slip, lift and a frozen or dark camera may hold the robot, all others lower speed caps.

What the body's own senses say is smoothed: a hand that pushes is little against the noise of one
frame, and much against that of several.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.manifest import Threshold

SURPRISE_CHANNELS = (
    "divergence",  # of the posterior from the prior, nats
    "image_error",  # of the expected frame
    "imu_error",  # of the expected mean of the IMU's window
    "odometry",  # gyro's yaw rate less the wheels', rad/s
    "drive",  # wheels against what they were sent, of full speed
    "vibration",  # acceleration's largest swing within a window, m/s^2: knocks, and wheels that chatter
    "rarity",  # of the pattern of the posterior net's units
    "frozen",
    "dark",
)
# Frames in a row above the threshold before a channel counts as an event, where no manifest says.
FRAMES = {
    "divergence": 2, "image_error": 2, "imu_error": 1, "odometry": 2, "drive": 2, "vibration": 2,
    "rarity": 2, "frozen": 2, "dark": 3,
}  # fmt: skip
# Share of the newest frame in the running mean of a channel (EWMA: Roberts 1959); others have none.
SMOOTHED = {"imu_error": 0.4, "odometry": 0.4, "drive": 0.4, "vibration": 0.4}
# Channels that are yes or no: their level is no matter of training data.
FLAGS = {"frozen": 0.5, "dark": 0.5}

Float32 = npt.NDArray[np.float32]


class Smoother:
    """Running means of the channels in `SMOOTHED`; a channel without a source begins anew."""

    def __init__(self) -> None:
        self._share = np.array([SMOOTHED.get(c, 1.0) for c in SURPRISE_CHANNELS], np.float32)
        self._mean = np.full(len(SURPRISE_CHANNELS), np.nan, np.float32)

    def step(self, value: Float32) -> None:
        """Take in a frame's values (C,) and leave the means in their place."""
        more = self._share * (value - self._mean)
        self._mean = np.where(np.isfinite(self._mean), self._mean + more, value)
        value[:] = self._mean


class SurpriseMonitor:
    """Counts how long each channel has been above its threshold."""

    def __init__(self, thresholds: Mapping[str, Threshold]) -> None:
        self._limit = np.array(
            [
                FLAGS.get(c, thresholds[c].event if c in thresholds else np.inf)
                for c in SURPRISE_CHANNELS
            ],
            np.float32,
        )
        self._need = np.array(
            [thresholds[c].frames if c in thresholds else FRAMES[c] for c in SURPRISE_CHANNELS]
        )
        self._run = np.zeros(len(SURPRISE_CHANNELS), np.int64)

    def step(self, value: Float32) -> int:
        """Bit mask of the channels in alarm; NaN means the channel is silent (no source)."""
        over = value > self._limit
        self._run = np.where(over, self._run + 1, 0)
        mask = 0
        for i in np.flatnonzero(self._run >= self._need):
            mask |= 1 << int(i)
        return mask
