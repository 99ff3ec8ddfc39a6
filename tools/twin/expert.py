"""The privileged driver: what a policy that knew everything would do; learners imitate it.

A pure function of the twin's present state, continuous in it, so that it can label any state a
learner gets into: a potential field keeps the distance and clear of things, the base tracks it as
a unicycle, and the head keeps the person centred against the base's own turning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tools.twin.scene import ROOM_HALF_M
from tools.twin.twin import Twin
from tools.twin.world import PERSON_RADIUS_M, RING_RADIUS_M

AIM_SHARE = 0.6  # of the shirt's elevation: keeps face and floor in view
SHIRT_M = 1.0
APPROACH_1_S = 1.3  # speed per metre of distance error
FOLLOW_SHARE = 0.5  # of the person's own velocity, fed forward
SPEED_MAX_M_S, TURN_MAX_RAD_S = 0.6, 2.2
TURN_1_S = 2.2
HEAD_1_S = 4.0
FRONT_RAD, BACK_RAD = math.radians(100), math.radians(150)
CLEARANCE_M, CLEARANCE_1_S = 0.06, 1.5
REACH_M, WALL_REACH_M, PERSON_REACH_M = 0.5, 0.4, 0.55
PULL_MAX_M_S, PUSH_MAX_M_S = 0.75, 1.3

Vector = tuple[float, float]


def expert(twin: Twin) -> npt.NDArray[np.float32]:
    """(4,) in [-1, 1]: wheels as a fraction of their top speed, head joints as a rate."""
    forward, left = _force(twin)
    person_x, person_y = twin.person_base_m()
    bearing = math.atan2(person_y, person_x)
    size = math.hypot(forward, left)
    steer = _steer(math.atan2(left, forward))
    weight = size / (size + 0.2)
    turn = TURN_1_S * (weight * steer + (1 - weight) * bearing)
    turn = _clip(turn, TURN_MAX_RAD_S)
    speed = _clip(forward, SPEED_MAX_M_S) * max(0.0, 1 - abs(turn) / 4.0)
    speed = _clear_of_things(twin, speed)
    return _action(twin, speed, turn, bearing, math.hypot(person_x, person_y))


def _action(
    twin: Twin, speed: float, turn: float, bearing: float, distance: float
) -> npt.NDArray[np.float32]:
    body, data, ids = twin.body, twin.data, twin.ids
    half_track = body.geometry.track_width_m / 2
    radius = body.geometry.wheel_radius_m
    left = (speed - turn * half_track) / (radius * body.joint[0].velocity_max_rad_s)
    right = (speed + turn * half_track) / (radius * body.joint[1].velocity_max_rad_s)
    over = max(1.0, abs(left), abs(right))
    yaw_joint, pitch_joint = (body.joint_names.index(n) for n in ("head_yaw", "head_pitch"))
    yaw = float(data.qpos[ids.joint_q[yaw_joint]])
    pitch = float(data.qpos[ids.joint_q[pitch_joint]])
    off = math.atan2(math.sin(bearing - yaw), math.cos(bearing - yaw))
    yaw_rate = HEAD_1_S * off - float(data.qvel[5])
    camera_m = float(data.site_xpos[ids.camera_site][2])
    aim = -AIM_SHARE * math.atan2(SHIRT_M - camera_m, max(distance, 0.4))
    pitch_rate = HEAD_1_S * (aim - pitch)
    action = (
        left / over,
        right / over,
        yaw_rate / body.joint[yaw_joint].velocity_max_rad_s,
        pitch_rate / body.joint[pitch_joint].velocity_max_rad_s,
    )
    return np.clip(np.array(action, np.float32), -1, 1)


def _force(twin: Twin) -> Vector:
    """Wanted velocity in the base frame, m/s."""
    x, y, yaw = twin.pose()
    target = twin.people.target
    dx, dy = target.x - x, target.y - y
    distance = math.hypot(dx, dy) + 1e-6
    ux, uy = dx / distance, dy / distance
    error = distance - twin.scenario.desired_distance_m
    toward = APPROACH_1_S * error + FOLLOW_SHARE * (target.vx * ux + target.vy * uy)
    toward = _clip(toward, PULL_MAX_M_S)
    fx, fy = toward * ux, toward * uy
    for px, py, reach, gap in _things(twin, x, y):
        push = _push(gap, reach)
        if push == 0.0:
            continue
        away = math.hypot(px, py) + 1e-9
        px, py = px / away, py / away
        side = 1.0 if px * uy - py * ux >= 0 else -1.0
        around = 0.8 * side * push * min(1.0, max(0.0, toward) / 0.2)
        fx += push * px - around * py
        fy += push * py + around * px
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return cosine * fx + sine * fy, -sine * fx + cosine * fy


def _things(twin: Twin, x: float, y: float) -> Iterator[tuple[float, float, float, float]]:
    """Direction from each thing to the robot, how far it pushes, and the gap to the bumper ring."""
    for o in twin.scene.obstacles:
        dx, dy = x - o.x_m, y - o.y_m
        yield dx, dy, REACH_M, math.hypot(dx, dy) - o.radius_m - RING_RADIUS_M
    for w in twin.people.walkers[1:]:
        dx, dy = x - w.x, y - w.y
        yield dx, dy, PERSON_REACH_M, math.hypot(dx, dy) - PERSON_RADIUS_M - RING_RADIUS_M
    for side in (-1.0, 1.0):
        yield -side, 0.0, WALL_REACH_M, ROOM_HALF_M - side * x - RING_RADIUS_M
        yield 0.0, -side, WALL_REACH_M, ROOM_HALF_M - side * y - RING_RADIUS_M


def _push(gap_m: float, reach_m: float) -> float:
    """Repulsion in m/s: none from `reach_m` on, the most at the ring."""
    if gap_m >= reach_m:
        return 0.0
    near = max(gap_m, 0.04)
    return min(PUSH_MAX_M_S, 0.12 * (1 / near - 1 / reach_m))


def _steer(angle: float) -> float:
    """The turn that lines the base up with a direction: forwards up to 100 degrees, else backing.

    In between it falls steeply instead of jumping; no continuous rule can do without that.
    """
    size = abs(angle)
    if size > BACK_RAD:
        return angle - math.copysign(math.pi, angle)
    if size > FRONT_RAD:
        share = (size - FRONT_RAD) / (BACK_RAD - FRONT_RAD)
        size = FRONT_RAD + share * (BACK_RAD - math.pi - FRONT_RAD)
    return math.copysign(1.0, angle) * size


def _clear_of_things(twin: Twin, speed: float) -> float:
    """Never approach anything faster than the gap to it allows."""
    x, y, yaw = twin.pose()
    ahead_x, ahead_y = math.cos(yaw), math.sin(yaw)
    for px, py, _, gap in _things(twin, x, y):
        if gap > REACH_M:
            continue
        toward = -(px * ahead_x + py * ahead_y) / (math.hypot(px, py) + 1e-9)
        allowed = CLEARANCE_1_S * max(0.0, gap - CLEARANCE_M)
        if toward * speed > allowed:
            speed = allowed / toward
    return speed


def _clip(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))
