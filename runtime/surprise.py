"""Surprise: how far what came is from what was expected, as a small vector of named channels.

Each channel has its own threshold (set on data, in the bundle's manifest), its event, its effect:
only slip, lift and a frozen or dark camera may hold the robot, all others lower speed caps.

What the IMU says of motion is smoothed: it is little against the noise of one frame, and much
against that of several. How the wheels run is told at its peaks, for wheels on ice chatter now and
then, and against how they lately ran: on a rough floor all of it is more, and an ice patch no less.
A floor that it has not driven on counts as a rough one, and where it stands it learns of none.
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
    "drive",  # wheels outside all that they were lately sent, of full speed
    "vibration",  # acceleration's largest swing within a window, m/s^2: knocks, and wheels that chatter
    "rarity",  # of the pattern of the posterior net's units
    "frozen",
    "dark",
)
# Frames in a row above the threshold before a channel counts as an event, where no manifest says.
FRAMES = {
    "divergence": 2, "image_error": 2, "imu_error": 1, "odometry": 2, "drive": 1, "vibration": 1,
    "rarity": 2, "frozen": 2, "dark": 3,
}  # fmt: skip
# Share of the newest frame in the running mean of a channel (EWMA: Roberts 1959); others have none.
SMOOTHED = {"imu_error": 0.4, "odometry": 0.4}
# Channels read like a peak meter: at once when they rise, by this share of the way when they fall.
RELEASE = {"drive": 0.2, "vibration": 0.2}
# Channels told against their own running mean: it follows slowly, so that what goes on for a second
# still stands out, and is bounded, so that nothing that goes on for minutes becomes usual.
RELATIVE = ("drive", "vibration")
UNKNOWN = 2.0  # times the typical: what is usual before anything was driven
USUAL_RISE_FRAMES = 30  # of the running mean, where it rises: 1.5 s
USUAL_FALL_FRAMES = 60  # and where it falls
MOVING = 0.05  # of full speed, sent to a wheel: with less the floor is not felt
USUAL_STEP, USUAL_MOST = 1.5, 4.0  # a frame counts as this many times the mean; times the typical
# Channels that are yes or no: their level is no matter of training data.
FLAGS = {"frozen": 0.5, "dark": 0.5}

Float32 = npt.NDArray[np.float32]


class Smoother:
    """Running means and peaks of the channels; a channel without a source begins anew."""

    def __init__(self) -> None:
        fall = {**SMOOTHED, **RELEASE}
        self._rise = np.array([SMOOTHED.get(c, 1.0) for c in SURPRISE_CHANNELS], np.float32)
        self._fall = np.array([fall.get(c, 1.0) for c in SURPRISE_CHANNELS], np.float32)
        self._mean = np.full(len(SURPRISE_CHANNELS), np.nan, np.float32)

    def step(self, value: Float32) -> None:
        """Take in a frame's values (C,) and leave the smoothed ones in their place."""
        more = value - self._mean
        more *= np.where(more > 0, self._rise, self._fall)
        self._mean = np.where(np.isfinite(self._mean), self._mean + more, value)
        value[:] = self._mean


class Usual:
    """How much of each channel a frame was by the standard of a typical floor.

    A constant false-alarm rate needs a level that goes with the noise around it (cell averaging:
    Finn and Johnson 1968); here the noise before it.
    """

    def __init__(self, thresholds: Mapping[str, Threshold]) -> None:
        typical = [thresholds[c].typical if c in RELATIVE and c in thresholds else 0.0 for c in SURPRISE_CHANNELS]  # fmt: skip
        self._index = np.flatnonzero(np.array(typical) > 0)
        self._typical = np.array(typical, np.float32)[self._index]
        self._mean = self._typical * np.float32(UNKNOWN)

    def step(self, value: Float32, moves: bool = True) -> Float32:
        """Values (C,) over how much rougher than typical it lately was, 1 to `USUAL_MOST`.

        Where the robot does not move, what is usual stays what it was.
        """
        out: Float32 = value.copy()
        now = value[self._index]
        out[self._index] = now / np.clip(self._mean / self._typical, 1.0, USUAL_MOST)
        if moves:
            counted = np.minimum(now, USUAL_STEP * np.maximum(self._mean, self._typical))
            more = counted - self._mean
            more /= np.where(more > 0, USUAL_RISE_FRAMES, USUAL_FALL_FRAMES).astype(np.float32)
            self._mean += np.where(np.isfinite(now), more, 0)
        return out


def moves(action: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Whether actions (...,A) of full speed, wheels first, move the base."""
    out: npt.NDArray[np.bool_] = np.abs(action[..., :2]).max(-1) > MOVING
    return out


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
        self._usual = Usual(thresholds)

    def step(self, value: Float32, moves: bool = True) -> int:
        """Bit mask of the channels in alarm; NaN means the channel is silent (no source)."""
        over = self._usual.step(value, moves) > self._limit
        self._run = np.where(over, self._run + 1, 0)
        mask = 0
        for i in np.flatnonzero(self._run >= self._need):
            mask |= 1 << int(i)
        return mask
