"""Domain randomisation, all of it: what may differ between two specimens, rooms and days.

One row per axis: the nominal value (what the plain twin is) and the varied range. A `Domain` holds
a range per axis, and `draw` makes of it the values of one seed, from a stream of its own: the
nominal domain takes nothing from any other stream of the twin.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import numpy as np

V = TypeVar("V")
Range = tuple[float, float]
DOMAIN = 4  # the purpose a seed is split by, after those of `specimen`


def _axis(nominal: float | Range, low: float, high: float) -> Any:
    same = nominal if isinstance(nominal, tuple) else (nominal, nominal)
    return field(metadata={"nominal": same, "varied": (low, high)})


@dataclass(frozen=True, slots=True)
class Axes(Generic[V]):
    """Every axis once: `_axis(nominal, varied low, varied high)`; `_sd`: of a normal draw."""

    # Light. Things are lit by ambient + sun * lambert + lamp * facing; 1: full albedo.
    ambient: V = _axis(0.5, 0.3, 0.75)  # an overcast window up to many lamps
    sun_x: V = _axis(0.35, -1.5, 1.5)  # the sun is at (x, y, 0.9): 23 to 90 degrees up
    sun_y: V = _axis(0.25, -1.5, 1.5)
    sun: V = _axis(0.35, 0.05, 0.6)  # diffuse only, up to a bright window
    lamp: V = _axis(0.2, 0.05, 0.35)  # light from where the robot is
    falloff_1_m2: V = _axis(0.012, 0.0, 0.05)  # darker far away: at 4 m up to 0.55 of the light
    room_contrast: V = _axis(1.0, 0.3, 2.5)  # exponent of the faces' light: 0.9 to 0.44 darkest
    shadow: V = _axis(0.55, 0.1, 0.75)  # of a person on the floor: share of light taken
    # Camera.
    exposure_wanted: V = _axis(0.42, 0.28, 0.55)  # mean of the image, of full scale
    exposure_speed: V = _axis(0.15, 0.04, 0.4)  # share of the error taken back per frame
    colour_gain_sd: V = _axis(0.03, 0.02, 0.09)  # white balance off by up to a fifth
    pixel_noise_counts: V = _axis(2.2, 1.0, 7.0)  # sd, of 255: a dim room's high gain
    lens_focal_sd: V = _axis(0.01, 0.01, 0.025)  # share; known from the calibration
    lens_centre_sd_px: V = _axis(0.8, 0.8, 2.5)
    lens_distortion_sd: V = _axis(0.005, 0.005, 0.02)  # of k1
    readout_share: V = _axis(1.0, 0.3, 1.6)  # of the body's rolling shutter readout
    # Room and clothes.
    wall_contrast: V = _axis(1.0, 0.1, 1.8)  # exponent of the panels: plain paint to wallpaper
    floor_contrast: V = _axis(1.0, 0.05, 1.6)  # exponent of the tiles: carpet to chessboard
    tile_m: V = _axis(0.4, 0.1, 0.8)  # rounded to 0.1, 0.2, 0.4 or 0.8 m
    wall_saturation: V = _axis(0.18, 0.05, 0.45)  # most that a face may have; shirts have 0.82
    wall_value_low: V = _axis(0.55, 0.3, 0.6)  # the darkest face
    wall_value_high: V = _axis(0.8, 0.65, 0.95)  # the brightest
    shirt_gain: V = _axis(1.0, 0.7, 1.1)  # the shirt's brightness over what the robot was told
    shirt_folds: V = _axis(0.0, 0.0, 0.3)  # how much folds darken and brighten it
    # Body.
    tyre_friction: V = _axis(1.2, 0.9, 1.4)  # worn to new
    floor_friction_share: V = _axis(1.0, 0.6, 1.1)  # of all friction on the floor: 0.6 laminate
    wheel_loss_n_m: V = _axis(0.03, 0.01, 0.07)  # dry friction of a gear box, cold or worn
    caster_friction: V = _axis(0.02, 0.01, 0.08)  # hard floor to short carpet
    wheel_strength: V = _axis(1.0, 0.75, 1.1)  # torque per ampere, hot or new magnets
    wheel_kv_share: V = _axis(1.0, 0.6, 1.3)  # of the speed loop's gain: 33 to 15 ms
    head_strength: V = _axis(1.0, 0.7, 1.1)
    head_kp_share: V = _axis(1.0, 0.6, 1.4)  # stiffness of head and ears
    head_kv_share: V = _axis(1.0, 0.7, 1.5)  # their damping
    payload_kg: V = _axis(0.0, 0.0, 0.5)  # a bag on its back, 8 cm above the axle
    # IMU.
    gyro_noise_rad_s: V = _axis(0.004, 0.002, 0.012)
    gyro_bias_sd_rad_s: V = _axis(0.008, 0.004, 0.02)  # left after calibration, warm or cold
    accel_noise_m_s2: V = _axis(0.06, 0.03, 0.2)
    accel_bias_sd_m_s2: V = _axis(0.08, 0.04, 0.2)
    mount_sd_rad: V = _axis(0.006, 0.003, 0.02)  # roll and pitch of the board, 1 degree
    vibration_per_m_s: V = _axis(1.0, 0.5, 6.0)  # share of noise added per m/s: rough floors
    # Latency; the nominal range is that of `runtime.lockstep.Latency.draw`.
    camera_ms: V = _axis((14.0, 24.0), 8.0, 45.0)  # mid exposure to frame readable
    serial_ms: V = _axis((0.3, 0.8), 0.2, 3.0)  # one way
    controller_ms: V = _axis((0.2, 0.6), 0.1, 2.0)
    perception_ms: V = _axis((3.0, 9.0), 2.0, 25.0)  # a busy or a slow computer
    mind_ms: V = _axis((1.0, 4.0), 1.0, 12.0)


@dataclass(frozen=True, slots=True)
class Drawn(Axes[float]):
    """The values of one seed."""


@dataclass(frozen=True, slots=True)
class Domain(Axes[Range]):
    """A range (low, high) for every axis."""

    def draw(self, seed: int) -> Drawn:
        """The values of a seed; an axis keeps its draw whatever the others' ranges are."""
        share = np.random.default_rng((seed, DOMAIN)).random(len(AXES))
        ranges = (getattr(self, name) for name in AXES)
        return Drawn(
            *(low + (high - low) * float(u) for (low, high), u in zip(ranges, share, strict=True))
        )


AXES = tuple(f.name for f in fields(Axes))
NOMINAL = Domain(*(f.metadata["nominal"] for f in fields(Axes)))
VARIED = Domain(*(f.metadata["varied"] for f in fields(Axes)))
STANDARD = NOMINAL.draw(0)
