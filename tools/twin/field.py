"""What stands near the robot and how it pushes: a potential field of things, walls and people.

After Khatib, "Real-time obstacle avoidance for manipulators and mobile robots" (1986), with a part
that goes around what is in the way.
"""

from __future__ import annotations

import math

from tools.twin.scene import Obstacle
from tools.twin.world import RING_RADIUS_M

FRONT_RAD, BACK_RAD = math.radians(100), math.radians(150)
REACH_M = 0.5  # of a thing's push
PUSH_MAX_M_S = 1.3

Thing = tuple[float, float, float, float]  # unit vector from it to the robot, its reach, the gap


def force(unit: tuple[float, float], toward: float, things: list[Thing]) -> tuple[float, float]:
    """Wanted velocity in the world, m/s: the pull along `unit`, away from and around things."""
    ux, uy = unit
    fx, fy = toward * ux, toward * uy
    share = 0.8 * min(1.0, max(0.0, toward) / 0.2)
    for px, py, reach, gap in things:
        if gap >= reach:
            continue
        push = min(PUSH_MAX_M_S, 0.12 * (1 / max(gap, 0.04) - 1 / reach))
        side = 1.0 if px * uy - py * ux >= 0 else -1.0
        around = share * side * push
        fx += push * px - around * py
        fy += push * py + around * px
    return fx, fy


def thing(dx: float, dy: float, size: float, reach: float) -> Thing:
    """What pushes from (dx, dy) away, `size` thick."""
    away = math.hypot(dx, dy) + 1e-9
    return dx / away, dy / away, reach, away - size


def long_thing(o: Obstacle, x: float, y: float) -> Thing:
    """The nearest spot of a box too long to be taken for round."""
    cosine, sine = math.cos(o.yaw_rad), math.sin(o.yaw_rad)
    along, across = (
        cosine * (x - o.x_m) + sine * (y - o.y_m),
        cosine * (y - o.y_m) - sine * (x - o.x_m),
    )
    along -= clip(along, o.half_m[0])
    across -= clip(across, o.half_m[1])
    dx, dy = cosine * along - sine * across, sine * along + cosine * across
    return thing(dx, dy, RING_RADIUS_M, REACH_M)


def beside(
    o: Obstacle, here: tuple[float, float], there: tuple[float, float]
) -> tuple[float, float]:
    """How far an obstacle's hull stands off a line of sight [m], and on which side (left: 1).

    Infinitely far where it stands beyond either end.
    """
    dx, dy = there[0] - here[0], there[1] - here[1]
    length = math.hypot(dx, dy) + 1e-9
    ux, uy = dx / length, dy / length
    ox, oy = o.x_m - here[0], o.y_m - here[1]
    along, left = ux * ox + uy * oy, ux * oy - uy * ox
    if not 0 < along < length:
        return math.inf, 1.0
    half = o.half_m[0]
    if o.kind == "box":  # its shadow across the line
        angle = o.yaw_rad - math.atan2(uy, ux)
        half = abs(math.sin(angle)) * o.half_m[0] + abs(math.cos(angle)) * o.half_m[1]
    return abs(left) - half, math.copysign(1.0, left)


def steer(angle: float) -> float:
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


def wrap(angle: float) -> float:
    """The same direction within a half turn to each side."""
    return math.atan2(math.sin(angle), math.cos(angle))


def clip(value: float, limit: float) -> float:
    """Within -limit and limit."""
    return max(-limit, min(limit, value))
