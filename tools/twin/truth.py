"""What really happened, for judges, labels and reports; no part that drives a robot reads it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tools.twin.scene import ROOM_HALF_M, Obstacle
from tools.twin.world import PERSON_RADIUS_M, RING_RADIUS_M

if TYPE_CHECKING:
    from tools.twin.twin import Twin

LOOK_M = 1.1  # height of the point of the target that a camera should be turned to

TRUTH = np.dtype(
    [
        ("t_ns", "<i8"),
        ("x_m", "<f8"),
        ("y_m", "<f8"),
        ("yaw_rad", "<f8"),
        ("wheel_rad_s", "<f4", 2),
        ("person_xy_m", "<f4", 2),  # world
        ("person_base_m", "<f4", 2),  # base frame
        ("person_px", "<i4"),  # of the camera's image
        ("distance_m", "<f4"),
        ("bump", "u1"),  # touched anything but the floor within the last 100 ms
        ("motor_enable", "u1"),
        ("pad", "u1", 6),
        ("off_axis_rad", "<f4"),  # from the camera's optical axis to the target's chest
        ("speed_m_s", "<f4"),  # of the base, forwards
        ("yaw_rate_rad_s", "<f4"),
        ("head_yaw_rad", "<f4"),
        ("gap_m", "<f4"),  # from the bumper ring to the nearest thing, person or wall
        ("pad2", "<f4"),
    ]
)


def measure(twin: Twin, out: np.void | npt.NDArray[np.void]) -> None:
    """Fill the fields about the camera's aim, the base's motion and the room around it."""
    data, ids = twin.data, twin.ids
    x, y, yaw = twin.pose()
    person = twin.people.target
    cx, cy, cz = (float(v) for v in data.site_xpos[ids.camera_site])
    ax, ay, az = (float(v) for v in data.site_xmat[ids.camera_site][0::3])
    dx, dy, dz = person.x - cx, person.y - cy, LOOK_M - cz
    cosine = (ax * dx + ay * dy + az * dz) / (math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9)
    out["off_axis_rad"] = math.acos(max(-1.0, min(1.0, cosine)))
    out["speed_m_s"] = data.qvel[0] * math.cos(yaw) + data.qvel[1] * math.sin(yaw)
    out["yaw_rate_rad_s"] = data.qvel[5]
    if "head_yaw" in twin.body.joint_names:
        out["head_yaw_rad"] = data.qpos[ids.joint_q[twin.body.joint_names.index("head_yaw")]]
    things = [_distance_m(o, x, y) for o in twin.scene.obstacles]
    things += [math.hypot(x - w.x, y - w.y) - PERSON_RADIUS_M for w in twin.people.walkers]
    out["gap_m"] = min(ROOM_HALF_M - max(abs(x), abs(y)), *things) - RING_RADIUS_M


def _distance_m(o: Obstacle, x: float, y: float) -> float:
    """From a point to an obstacle's surface; negative inside a cylinder, 0 inside a box."""
    dx, dy = x - o.x_m, y - o.y_m
    if o.kind != "box":
        return math.hypot(dx, dy) - o.half_m[0]
    cosine, sine = math.cos(o.yaw_rad), math.sin(o.yaw_rad)
    along, across = abs(cosine * dx + sine * dy), abs(-sine * dx + cosine * dy)
    return math.hypot(max(0.0, along - o.half_m[0]), max(0.0, across - o.half_m[1]))
