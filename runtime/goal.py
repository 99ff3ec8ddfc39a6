"""The goal of a skill now: its parts of the goal given at the start, carried along by odometry."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from models.layout import GOAL_FIELDS, GOAL_MASKS
from runtime.odometry import Pose

Float32 = npt.NDArray[np.float32]
VALUES = {  # where each part's values stand in the goal vector
    "position": slice(0, 2),
    "distance": slice(2, 3),
    "appearance": slice(3, 6),
    "heading": slice(6, 8),
}
MASK = {name: len(GOAL_FIELDS) + i for i, name in enumerate(GOAL_MASKS)}


def goal_now(start: Float32, pose: Pose, needs: tuple[str, ...]) -> Float32:
    """The parts named in `needs` of a goal (12,) given in the base frame at odometry's zero.

    Position and heading are turned into the base frame at `pose`; all other parts are invalid.
    """
    goal = np.zeros_like(start)
    for part in needs:
        if start[MASK[part]]:
            goal[VALUES[part]], goal[MASK[part]] = start[VALUES[part]], 1.0
    x, y, yaw = pose
    cosine, sine = math.cos(yaw), math.sin(yaw)
    if goal[MASK["position"]]:
        dx, dy = float(start[0]) - x, float(start[1]) - y
        goal[VALUES["position"]] = cosine * dx + sine * dy, -sine * dx + cosine * dy
    if goal[MASK["heading"]]:
        sin, cos = (float(v) for v in start[VALUES["heading"]])
        goal[VALUES["heading"]] = sin * cosine - cos * sine, cos * cosine + sin * sine
    return goal
