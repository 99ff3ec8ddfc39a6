"""A twin as a workshop builds it: wheels, track and camera mount off by what is usual.

Only calibration drives such a specimen: the plain twin has the body file's geometry, as the policy
and its figures were made with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import mujoco
import numpy as np
import numpy.typing as npt

from tools.twin.scenario import EMPTY
from tools.twin.scene import ROOM_HALF_M
from tools.twin.twin import Twin

Floats = npt.NDArray[np.float64]
NOSLIP = (
    5  # else soft contacts creep by half a percent of the way, which no tyre does at such loads
)
PURPOSE = 7  # a stream of its own, beside those of `specimen`
LAG_STEPS = 6  # 12 ms: a motor driver's own cycle
LATE_NS = (
    -4_000_000,
    12_000_000,
)  # stamps of the exposure's start, up to those of the read-out's end


CLEARED = replace(EMPTY, person_speed_m_s=(0.0, 0.0))  # somebody stands in a corner and waits


@dataclass(frozen=True)
class Made:
    """How a specimen differs from the drawing: lengths [m], angles [rad]."""

    radius_m: tuple[float, float]  # of the wheels, left and right
    track_m: float
    camera_shift_m: Floats  # (3,) in the pitch frame
    camera_turn_rad: Floats  # (3,) rotation vector in the pitch frame
    command_lag_steps: int = 0  # of physics, from the firmware's outputs to the motors
    camera_late_ns: int = 0  # a frame's stamp after its mid-exposure


def draw_made(twin: Twin) -> Made:
    """What the twin's seed was built like."""
    rng = np.random.default_rng((twin.seed, PURPOSE))
    clock = np.random.default_rng((twin.seed, PURPOSE, 1))
    g = twin.body.geometry
    radius = g.wheel_radius_m * (
        1 + rng.normal(0, 0.001, 2)
    )  # more, and it stands on other casters
    return Made(
        radius_m=(float(radius[0]), float(radius[1])),
        track_m=float(g.track_width_m * (1 + rng.normal(0, 0.01))),
        camera_shift_m=rng.normal(0, 0.003, 3),
        camera_turn_rad=rng.normal(0, 0.015, 3),
        command_lag_steps=int(clock.integers(0, LAG_STEPS + 1)),
        camera_late_ns=int(clock.uniform(*LATE_NS)),
    )


def rolling_radius_m(twin: Twin) -> tuple[float, float]:
    """Of the wheels under the twin's weight: to the contact point, half the tyre's squash below it."""
    out = []
    for side, name in enumerate(("wheel_left", "wheel_right")):
        height = float(twin.data.xpos[twin.model.body(name).id, 2])
        out.append((float(twin.model.geom_size[twin.ids.wheel_geom[side], 0]) + height) / 2)
    return out[0], out[1]


def mismake(twin: Twin, made: Made) -> None:
    """Build the twin so, and put it into the middle of a cleared floor."""
    model = twin.model
    for side, (name, radius) in enumerate(
        zip(("wheel_left", "wheel_right"), made.radius_m, strict=True)
    ):
        model.geom_size[twin.ids.wheel_geom[side], 0] = radius
        model.body_pos[model.body(name).id, 1] = (0.5 - side) * made.track_m
    site = twin.ids.camera_site
    model.site_pos[site] += made.camera_shift_m
    turn = np.asarray(cv2.Rodrigues(made.camera_turn_rad)[0])
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, turn.ravel())
    model.site_quat[site] = quaternion
    model.site_sameframe[site] = 0  # else MuJoCo takes the head's own axes
    model.opt.noslip_iterations = NOSLIP
    twin.motors.lag(made.command_lag_steps)
    corner = ROOM_HALF_M - 0.5
    for walker in twin.people.walkers:
        walker.x, walker.y = corner, corner
    twin.data.qpos[:2] = 0.0  # the middle of the room
    twin.data.qpos[3:7] = 1.0, 0.0, 0.0, 0.0
    mujoco.mj_forward(model, twin.data)
