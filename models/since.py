"""How the camera turned and the body moved since a frame, from senses measured or imagined."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.layout import Layout

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Senses:
    """Where in the senses (P proprioception, then 6 IMU means) what this needs stands."""

    gyro_z: int
    wheels: tuple[int, int]
    head_yaw_rate: int | None
    head_pitch_rate: int | None
    head_pitch: int | None
    gyro_scale_rad_s: float
    yaw_scale_rad_s: float
    pitch_scale_rad_s: float
    frame_s: float

    @staticmethod
    def of(layout: Layout) -> Senses:
        """Read off a layout."""
        full = {j.name: j.velocity_max_rad_s for j in layout.joints}
        return Senses(
            layout.proprio_size + 5,
            (0, 1),
            layout.index("head_yaw.velocity"),
            layout.index("head_pitch.velocity"),
            layout.index("head_pitch.position"),
            layout.gyro_scale_rad_s,
            full.get("head_yaw", 0.0),
            full.get("head_pitch", 0.0),
            1 / layout.frame_hz,
        )


# Share of the error of the senses a belief holds that is still there a frame later (measured best
# of 0.4 to 0.9 on training data).
INNOVATION_KEPT = 0.8


class Since:
    """Adds up one frame at a time; `value` (6,) is what the decoder wants (`Decoder.forward`).

    `senses` (P+6,) are the newest: imagined ones are put right by what the belief they come from
    was off by (the innovation), less and less.

    The head's angles are added up from its rates: an imagined angle is off by more than a pixel.
    Rates of joints are of a moment, so between two frames the mean of both counts (the trapezoidal
    rule; the newer alone was 1.7 pixels off after half a second); the gyro's are means already.
    """

    def __init__(self, senses: Senses) -> None:
        self._s = senses
        self.turned_rad = 0.0  # of the base, to the left
        self.value: Float32 = np.zeros(6, np.float32)
        self.senses: Float32 = np.zeros(senses.gyro_z + 1, np.float32)
        self._innovation: Float32 = np.zeros(senses.gyro_z + 1, np.float32)
        self._before: Float32 = np.zeros(senses.gyro_z + 1, np.float32)

    def start(self, proprio: Float32, innovation: Float32 | None = None) -> None:
        """From the senses (P,) of the frame that everything is counted from.

        `innovation` (P+6,), of what is imagined from then on: measured less believed at that frame.
        """
        s = self._s
        self._innovation[:] = 0 if innovation is None else innovation
        self.turned_rad = 0.0
        self.senses[: len(proprio)] = proprio
        pitch = 0.0 if s.head_pitch is None else float(proprio[s.head_pitch])
        self.value[:] = (0.0, pitch, pitch, 0.0, 0.0, 0.0)

    def step(self, senses: Float32) -> None:
        """One frame later: senses (P+6,), normalised."""
        s, v, before = self._s, self.value, self._before
        before[:] = self.senses
        self._innovation *= INNOVATION_KEPT
        np.add(senses, self._innovation, out=self.senses)
        senses = self.senses
        turn = float(senses[s.gyro_z]) * s.gyro_scale_rad_s * s.frame_s
        self.turned_rad += turn

        def rate(index: int | None) -> float:
            return 0.0 if index is None else 0.5 * float(before[index] + senses[index])

        yaw, pitch = rate(s.head_yaw_rate), rate(s.head_pitch_rate)
        way = 0.5 * (rate(s.wheels[0]) + rate(s.wheels[1])) * s.frame_s
        v[0] += turn + yaw * s.yaw_scale_rad_s * s.frame_s
        v[2] += pitch * s.pitch_scale_rad_s * s.frame_s
        v[3] += way * math.cos(self.turned_rad)
        v[4] += way * math.sin(self.turned_rad)
        v[5] += s.frame_s
