"""Surprise: how far what came is from what was expected, as a small vector of named channels.

Each channel has its own threshold (set on data, in the bundle's manifest), its event, its effect:
only slip, lift and a frozen or dark camera may hold the robot, all others lower speed caps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.manifest import Threshold

SURPRISE_CHANNELS = ("divergence", "image_error", "imu_error", "odometry", "rarity", "frozen", "dark")  # fmt: skip
# Frames in a row above the threshold before a channel counts as an event, where no manifest says.
FRAMES = {"divergence": 2, "image_error": 2, "imu_error": 1, "odometry": 2, "rarity": 2, "frozen": 2, "dark": 3}  # fmt: skip
# Channels that are yes or no: their level is no matter of training data.
FLAGS = {"frozen": 0.5, "dark": 0.5}

Float32 = npt.NDArray[np.float32]


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
