"""A twin as a workshop builds it: wheels, track, drives, camera and IMU off by what is usual.

Only calibration drives such a specimen: the plain twin has the body file's geometry, as the policy
and its figures were made with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
OFFSET_S = (-0.012, 0.004)  # stamps of the read-out's end, up to those of the exposure's start


CLEARED = replace(EMPTY, person_speed_m_s=(0.0, 0.0))  # somebody stands in a corner and waits


@dataclass(frozen=True)
class Made:
    """How a specimen differs from the drawing: lengths [m], angles [rad]."""

    radius_m: tuple[float, float]  # of the wheels, left and right
    track_m: float
    camera_shift_m: Floats  # (3,) in the pitch frame
    camera_turn_rad: Floats  # (3,) rotation vector in the pitch frame
    imu_turn_rad: Floats  # (3,) rotation vector in the base, beside the board's own mount
    imu_scale: Floats  # (2, 3) what gyro and accelerometer deliver of what is there, per axis
    imu_skew: Floats  # (2, 3, 3) rows: axes of gyro and accelerometer that see their neighbours
    command_lag_steps: int  # of physics, from the firmware's outputs to the motors
    camera_offset_s: float  # from a frame's stamp to its mid-exposure
    joint_gain: (
        Floats  # (J,) what a drive makes of its command, beside a wheel's droop under friction
    )
    joint_zero_rad: Floats  # (J,) where a position drive stands when commanded to zero


def draw_made(twin: Twin) -> Made:
    """What the twin's seed was built like."""
    rng = np.random.default_rng((twin.seed, PURPOSE))
    clock = np.random.default_rng((twin.seed, PURPOSE, 1))
    drives = np.random.default_rng((twin.seed, PURPOSE, 2))
    joints = twin.body.joint
    is_position = np.array([j.command == "position" for j in joints])
    g = twin.body.geometry
    radius = g.wheel_radius_m * (
        1 + rng.normal(0, 0.001, 2)
    )  # more, and it stands on other casters
    return Made(
        radius_m=(float(radius[0]), float(radius[1])),
        track_m=float(g.track_width_m * (1 + rng.normal(0, 0.01))),
        camera_shift_m=rng.normal(0, 0.003, 3),
        camera_turn_rad=rng.normal(0, 0.015, 3),
        imu_turn_rad=rng.normal(0, 0.015, 3),
        imu_scale=1 + rng.normal(0, 0.005, (2, 3)),
        imu_skew=np.eye(3) + rng.normal(0, 0.003, (2, 3, 3)) * (1 - np.eye(3)),
        command_lag_steps=int(clock.integers(0, LAG_STEPS + 1)),
        camera_offset_s=float(clock.uniform(*OFFSET_S)),
        joint_gain=1 + drives.normal(0, 0.005, len(joints)),
        joint_zero_rad=drives.normal(0, 0.015, len(joints)) * is_position,
    )


def rolling_radius_m(twin: Twin) -> tuple[float, float]:
    """Of the wheels under the twin's weight: to the contact point, half the tyre's squash below it."""
    out = []
    for side, name in enumerate(("wheel_left", "wheel_right")):
        height = float(twin.data.xpos[twin.model.body(name).id, 2])
        out.append((float(twin.model.geom_size[twin.ids.wheel_geom[side], 0]) + height) / 2)
    return out[0], out[1]


def mismake(twin: Twin, made: Made, raw_imu: bool = False) -> None:
    """Build the twin so, and put it into the middle of a cleared floor; `raw_imu`: see `build_so`."""
    build_so(twin, made, raw_imu)
    corner = ROOM_HALF_M - 0.5
    for walker in twin.people.walkers:
        walker.x, walker.y = corner, corner
    twin.data.qpos[:2] = 0.0  # the middle of the room
    twin.data.qpos[3:7] = 1.0, 0.0, 0.0, 0.0
    mujoco.mj_forward(twin.model, twin.data)


def build_so(twin: Twin, made: Made, raw_imu: bool = False) -> None:
    """Wheels, camera, drives and IMU as made; `raw_imu`: scale and axes as before its factory calibration."""
    model = twin.model
    for side, (name, radius) in enumerate(
        zip(("wheel_left", "wheel_right"), made.radius_m, strict=True)
    ):
        model.geom_size[twin.ids.wheel_geom[side], 0] = radius
        model.body_pos[model.body(name).id, 1] = (0.5 - side) * made.track_m
    model.site_pos[twin.ids.camera_site] += made.camera_shift_m
    _turn(model, twin.ids.camera_site, made.camera_turn_rad)
    _turn(model, model.site("imu").id, made.imu_turn_rad)
    model.opt.noslip_iterations = NOSLIP
    twin.motors.lag(made.command_lag_steps)
    twin.motors.answer(made.joint_gain, made.joint_zero_rad)
    twin.camera_offset_ns = round(made.camera_offset_s * 1e9)
    twin.sensors.renew_noise = True
    if raw_imu:
        twin.sensors.axes = np.zeros((6, 6))
        for part in (0, 1):
            at = slice(3 * part, 3 * part + 3)
            twin.sensors.axes[at, at] = made.imu_scale[part][:, None] * made.imu_skew[part]


def _turn(model: mujoco.MjModel, site: int, turn_rad: Floats) -> None:
    """Turn a site in its body's frame, before what it was turned by already."""
    turn, before = np.zeros(4), model.site_quat[site].copy()
    angle = float(np.linalg.norm(turn_rad))
    mujoco.mju_axisAngle2Quat(turn, turn_rad / max(angle, 1e-12), angle)
    mujoco.mju_mulQuat(model.site_quat[site], turn, before)
    model.site_sameframe[site] = 0  # else MuJoCo takes the body's own axes
